# The frame that an array's segment holds: begun, ended, waited for and read.


@cython.final
cdef class Frame:
    cdef Segment segment

    def __init__(self, Segment segment not None):
        self.segment = segment

    def begin(self, timeout):
        cdef int64_t deadline = deadline_of(timeout)
        cdef int code
        while True:
            with nogil:
                code = smem_frame_begin(self.segment.c, deadline)
            if code == -ETIMEDOUT:
                return False
            if code != -EINTR:
                check(code, self.segment.name)
                return True
            PyErr_CheckSignals()

    def end(self):
        check(smem_frame_end(self.segment.c), self.segment.name)

    def give_up(self):
        check(smem_frame_give_up(self.segment.c), self.segment.name)

    def number(self):
        return smem_frame_number(self.segment.c)

    def wait(self, uint64_t newer_than, timeout):
        cdef int64_t deadline = deadline_of(timeout)
        cdef int code
        while True:
            with nogil:
                code = smem_frame_wait(self.segment.c, newer_than, deadline)
            if code == -ETIMEDOUT:
                return False
            if code != -EINTR:
                check(code, self.segment.name)
                return True
            PyErr_CheckSignals()

    def read(self, copy, timeout):
        """Call copy() until nothing was written meanwhile: the frame's number, or None."""
        cdef int64_t deadline = deadline_of(timeout)
        cdef uint64_t number = 0
        cdef int code
        while True:
            with nogil:
                code = smem_frame_read_begin(self.segment.c, &number, deadline)
            if code == -EINTR:
                PyErr_CheckSignals()
                continue
            if code == -ETIMEDOUT:
                return None
            check(code, self.segment.name)
            copy()
            if smem_frame_read_end(self.segment.c, number):
                return number
            PyErr_CheckSignals()
            if deadline != FOREVER and smem_deadline(1) > deadline:
                return None
