"""A round trip to an echoing process; what is sent is the contestant's."""

import multiprocessing


def echo(get, put, receive):
    while True:
        item = get()
        if item is None:
            return
        receive(item)
        put(1)


class Trip:
    receive = staticmethod(id)

    def setup(self, way, nbytes):
        context = multiprocessing.get_context("fork")
        self.sent = self.item(nbytes)
        if way == "Pipe":
            here, there = context.Pipe()
            self.put, self.get, ends = here.send, here.recv, (there.recv, there.send)
        else:
            inbox, outbox = getattr(context, way)(), getattr(context, way)()
            self.put, self.get, ends = inbox.put, outbox.get, (inbox.get, outbox.put)
        self.worker = context.Process(target=echo, args=(*ends, self.receive))
        self.worker.start()

    def time_trip(self, way, nbytes):
        self.put(self.sent)
        self.get()

    def teardown(self, way, nbytes):
        self.put(None)
        self.worker.join()
