"""A queue in shared memory: its bytes, and how small objects become bytes.

An item is a tag and what belongs to it. Objects of the simplest types are
written as they are in C; everything else is a pickle, made by the caller.

Handlers of signals run before an item is put or taken, whenever the call slept:
one that raises then leaves the queue as it is. They run again when an item was taken, and
when it was unpickled: then the item is kept here for the next call. So one is lost only by
a signal that comes in the Python code that an item's own unpickling runs.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.errno cimport EAGAIN, EBUSY
from libc.string cimport memcpy

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    object PyUnicode_FromStringAndSize(const char *text, Py_ssize_t size)

cdef enum:
    SMALL = 512  # bytes of an item that need no memory of their own

cdef enum:  # beside True and False
    TOO_LONG = 2

cdef enum:  # what an item begins with
    TAG_PICKLE = 80  # 'P'
    TAG_NAMED = 76   # 'L', a pickle of the array that holds the pickle
    TAG_NONE = 78    # 'N'
    TAG_TRUE = 84    # 'T'
    TAG_FALSE = 70   # 'F'
    TAG_INT = 105    # 'i', then 8 bytes, native
    TAG_FLOAT = 100  # 'd', then 8 bytes, native
    TAG_STR = 115    # 's', then ASCII
    TAG_BYTES = 98   # 'b', then the bytes


cdef Py_ssize_t write_simple(object item, char *out) except -2:
    """Write an item of a simple type that is small, and say how long it is; else -1."""
    cdef int overflow = 0
    cdef long long number
    cdef double real
    cdef const char *text
    cdef Py_ssize_t size
    kind = type(item)
    if kind is int:
        number = PyLong_AsLongLongAndOverflow(item, &overflow)
        if overflow:
            return -1
        out[0] = TAG_INT
        memcpy(out + 1, &number, 8)
        return 9
    if kind is float:
        real = item
        out[0] = TAG_FLOAT
        memcpy(out + 1, &real, 8)
        return 9
    if kind is str:
        if len(<str>item) >= SMALL or not PyUnicode_IS_COMPACT_ASCII(item):
            return -1
        text = PyUnicode_AsUTF8AndSize(item, &size)
        out[0] = TAG_STR
        memcpy(out + 1, text, size)
        return size + 1
    if kind is bytes:
        size = PyBytes_GET_SIZE(item)
        if size >= SMALL:
            return -1
        out[0] = TAG_BYTES
        memcpy(out + 1, PyBytes_AS_STRING(item), size)
        return size + 1
    if item is None or kind is bool:
        out[0] = TAG_NONE if item is None else TAG_TRUE if item is True else TAG_FALSE
        return 1
    return -1


@cython.final
cdef class Ring:
    """The queue that lies in the memory of a segment.

    `dumps` and `loads` make a pickle of an object and the reverse; `lay_down` makes the
    name of a pickle for which there is no room, and `pick_up` the object from that.
    `forget` takes back what an item owes that was not put, or cannot be loaded.
    """
    cdef Segment segment
    cdef smem_queue c
    cdef object dumps, loads, lay_down, pick_up, forget
    cdef list kept  # (object, its bytes when it was not unpickled), taken and not given out

    def __cinit__(self, Segment segment, dumps, loads, lay_down, pick_up, forget):
        self.segment, self.forget = segment, forget
        self.dumps, self.loads, self.lay_down, self.pick_up = dumps, loads, lay_down, pick_up
        self.kept = []
        check(smem_queue_open(segment.c, &self.c), segment.name)
        self.c.gives_way = True

    @property
    def limit(self): return self.c.limit
    @property
    def spare(self): return self.c.spare

    def encode(self, item):
        """The bytes that stand for an object."""
        cdef char small[SMALL]
        cdef Py_ssize_t size = write_simple(item, small)
        return PyBytes_FromStringAndSize(small, size) if size >= 0 else b"P" + self.dumps(item)

    cdef object decode(self, const char *data, Py_ssize_t size):
        cdef long long number
        cdef double real
        cdef char tag = data[0] if size else 0
        if tag == TAG_INT and size == 9:
            memcpy(&number, data + 1, 8)
            return number
        if tag == TAG_FLOAT and size == 9:
            memcpy(&real, data + 1, 8)
            return real
        if tag == TAG_STR:
            return PyUnicode_FromStringAndSize(data + 1, size - 1)
        if tag == TAG_BYTES:
            return PyBytes_FromStringAndSize(data + 1, size - 1)
        if tag == TAG_NONE:
            return None
        if tag == TAG_TRUE or tag == TAG_FALSE:
            return tag == TAG_TRUE
        rest = PyBytes_FromStringAndSize(data + 1, size - 1) if size else b""
        if tag == TAG_NAMED:
            return self.pick_up(rest)
        try:
            return self.loads(rest)
        except BaseException:
            self.forget(b"P" + rest)
            raise

    cdef int hear(self) except -1:
        """Let signal handlers run. One that raises ends a wait: somebody else is woken."""
        try:
            return PyErr_CheckSignals()
        except BaseException:
            smem_queue_pass_on(&self.c)
            raise

    cdef int keep_if_interrupted(self, item, const char *data, Py_ssize_t size) except -1:
        try:
            return PyErr_CheckSignals()
        except BaseException:
            kept = item, PyBytes_FromStringAndSize(data, size) if data else None
            self.kept.insert(0, kept)
            raise

    cdef object next_kept(self):
        item, data = self.kept.pop(0)
        if data is not None:
            item = self.decode(data, len(data))
        self.keep_if_interrupted(item, NULL, 0)
        return item

    cdef int put_bytes(self, const char *data, Py_ssize_t size, deadline) except -1:
        cdef int64_t until = FOREVER if deadline is None else deadline
        cdef int code = smem_queue_try_put(&self.c, data, size)
        while (code == -EAGAIN and until != NO_WAIT) or code == -EINTR or code == -EBUSY:
            self.hear()
            with nogil:
                code = smem_queue_put(&self.c, data, size, until)
        if code == -EAGAIN or code == -ETIMEDOUT:
            return False
        if code == SMEM_E_LENGTH and data[0] == TAG_PICKLE:
            return TOO_LONG
        check(code, None)
        return True

    def put_item(self, bytes data, deadline=None):
        """Put what stands for an object: None, or that when there was no room in time.

        After an exception it owes nothing any more.
        """
        cdef int done
        try:
            done = self.put_bytes(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), deadline)
            if done == TOO_LONG:
                data = b"L" + self.lay_down(memoryview(data)[1:])
                done = self.put_bytes(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), deadline)
            return None if done else data
        except BaseException:
            self.forget(data)
            raise

    def put(self, item, deadline=None):
        """Put an object; as put_item() of what stands for it."""
        cdef char small[SMALL]
        cdef Py_ssize_t size = write_simple(item, small)
        if size < 0:
            return self.put_item(b"P" + self.dumps(item), deadline)
        if self.put_bytes(small, size, deadline):
            return None
        return PyBytes_FromStringAndSize(small, size)

    cdef int get_bytes(self, char **at, uint64_t *size, deadline) except -1:
        """Whether there was one; `at` is to be freed when it is not what it was."""
        cdef uint64_t capacity = SMALL
        cdef char *small = at[0]
        cdef char *larger
        cdef int64_t until = FOREVER if deadline is None else deadline
        cdef int code = smem_queue_try_get(&self.c, small, capacity, size)
        while ((code == -EAGAIN and until != NO_WAIT) or code == -EINTR or code == -EBUSY
               or code == SMEM_E_LENGTH):
            if code == SMEM_E_LENGTH:  # it is still there, or another one is
                capacity = size[0]
                larger = <char *>PyMem_Realloc(NULL if at[0] == small else at[0], capacity)
                if larger == NULL:
                    raise MemoryError
                at[0] = larger
            self.hear()
            with nogil:
                code = smem_queue_get(&self.c, at[0], capacity, size, until)
        if code == -EAGAIN or code == -ETIMEDOUT:
            return False
        check(code, None)
        return True

    def get(self, nothing, deadline=None):
        """The first item; `nothing` when there was none before `deadline`."""
        cdef char small[SMALL]
        cdef char *at = small
        cdef uint64_t size
        if self.kept:
            return self.next_kept()
        try:
            if not self.get_bytes(&at, &size, deadline):
                return nothing
            self.keep_if_interrupted(None, at, size)
            item = self.decode(at, size)
            self.keep_if_interrupted(item, NULL, 0)
            return item
        finally:
            if at != small:
                PyMem_Free(at)

    def get_item(self, deadline=None):
        """As get(), but the bytes, or None."""
        cdef char small[SMALL]
        cdef char *at = small
        cdef uint64_t size
        try:
            if not self.get_bytes(&at, &size, deadline):
                return None
            return PyBytes_FromStringAndSize(at, size)
        finally:
            if at != small:
                PyMem_Free(at)

    def count(self):
        return smem_queue_count(&self.c)

    def count_kept(self):
        """Items that were taken and not given out."""
        return len(self.kept)

    def drop_kept(self, bint inherited=False):
        """Throw them away, and say how many they were. A child of a fork owes nothing for them."""
        kept, self.kept = self.kept, []
        for _, data in () if inherited else kept:
            if data is not None:
                self.forget(data)
        return len(kept)

    def shut(self):
        smem_queue_shut(&self.c)

    def done(self):
        """Whether there was an item that was not done."""
        return smem_queue_done(&self.c) == 0

    def join(self, deadline=None):
        """Whether all was done before `deadline`."""
        cdef int64_t until = FOREVER if deadline is None else deadline
        cdef int code = -EINTR
        while code == -EINTR:
            PyErr_CheckSignals()
            with nogil:
                code = smem_queue_join(&self.c, until)
        return code == 0
