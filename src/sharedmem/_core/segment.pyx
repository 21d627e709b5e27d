# cython: language_level=3, freethreading_compatible=False
"""The C core as Python sees it: types, the GIL, result codes. No decisions."""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen
cimport numpy as cnp

from sharedmem._core.c_sharedmem cimport *

from sharedmem._core.errors import from_code

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    # Steals a reference to the descriptor.
    cnp.ndarray PyArray_NewFromDescr(PyTypeObject *cls, cnp.dtype dtype, int ndim,
                                     const cnp.npy_intp *dims, const cnp.npy_intp *strides,
                                     void *data, int flags, cnp.PyObject *model)

cdef extern from *:
    int PyMemoryView_Check(object)
    cnp.PyObject *PyMemoryView_GET_BASE(object)
    Py_ssize_t Py_REFCNT(cnp.PyObject *)
    cnp.PyObject *PyList_GET_ITEM(object, Py_ssize_t)
    cnp.PyObject *PySequence_Fast_GET_ITEM(object, Py_ssize_t)
    Py_ssize_t PySequence_Fast_GET_SIZE(object)
    int PyDict_Next(object, Py_ssize_t *, cnp.PyObject **, cnp.PyObject **)

VERSION = SMEM_VERSION.decode()
FORMAT = SMEM_FORMAT
BACKENDS = {"posix": SMEM_POSIX, "sysv": SMEM_SYSV}
BACKEND_NAMES = {SMEM_POSIX: "posix", SMEM_SYSV: "sysv"}
PERSISTENT, REPLACE, NO_RESERVE = SMEM_PERSISTENT, SMEM_REPLACE, SMEM_NO_RESERVE
UNINITIALIZED, UNPUBLISHED = SMEM_UNINITIALIZED, SMEM_UNPUBLISHED
READ_WRITE, READ_ONLY, COPY_ON_WRITE = SMEM_READ_WRITE, SMEM_READ_ONLY, SMEM_COPY_ON_WRITE


cdef int check(int code, name) except -1:
    if code < 0:
        raise from_code(smem_error_name(code).decode(), smem_error_errno(code),
                        smem_error_text(code).decode(), smem_error_remedy(code).decode(), name)
    return 0


cdef bytes encode(name):
    """A name as the kernel has it; a NUL must not end it early.

    What stands for no bytes becomes what is no name: the core says so.
    """
    cdef bytes text
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    try:
        text = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that os.fsdecode() has not made
        return b"/"
    return b"/" if b"\0" in text else text


cdef object decode(const char *text):
    return (<bytes>text).decode("utf-8", "surrogateescape")


@cython.final
cdef class Info:
    """What a segment is: a copy of its checked header, and what is in flight."""
    cdef smem_info c
    cdef readonly object name, dtype
    cdef readonly tuple shape, strides
    cdef readonly int tickets, pins, voided
    cdef readonly object oldest_ticket

    @property
    def backend(self): return BACKEND_NAMES[self.c.backend]
    @property
    def persistent(self): return bool(self.c.flags & SMEM_PERSISTENT)
    @property
    def nonce(self): return self.c.nonce
    @property
    def size(self): return self.c.size
    @property
    def nbytes(self): return self.c.nbytes
    @property
    def start(self): return self.c.start
    @property
    def itemsize(self): return self.c.itemsize
    @property
    def created(self): return self.c.created
    @property
    def owner(self): return self.c.owner
    @property
    def permissions(self): return self.c.permissions
    @property
    def family(self): return self.c.family
    @property
    def origin(self): return self.c.origin
    @property
    def kernel_id(self): return self.c.kernel_id
    @property
    def mapped(self): return bool(self.c.mapped)
    @property
    def idle(self): return bool(self.c.idle)
    @property
    def elsewhere(self): return bool(self.c.elsewhere)


cdef Info make_info(const smem_info *c, const smem_flight *flight):
    cdef Info info = Info.__new__(Info)
    info.c = c[0]
    info.c.dtype = NULL  # not ours
    info.name = decode(c.name)
    info.dtype = (<bytes>c.dtype).decode("latin-1")
    info.shape = tuple([c.shape[i] for i in range(c.ndim)])
    info.strides = tuple([c.strides[i] for i in range(c.ndim)])
    if flight != NULL:
        info.tickets, info.pins, info.voided = flight.tickets, flight.pins, flight.voided
        info.oldest_ticket = flight.oldest or None
    return info


@cython.final
@cython.no_gc
cdef class Segment:
    """One reference to a mapping. It goes with its last view, then and only then."""
    cdef smem_segment *c
    cdef const smem_info *facts
    cdef object __weakref__

    def __dealloc__(self):
        # With the GIL held: a child made by os.fork() must not inherit it half done.
        if self.c != NULL:
            smem_detach(self.c)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, smem_data(self.c), self.facts.nbytes,
                          smem_mode_of(self.c) == SMEM_READ_ONLY, flags)

    @property
    def info(self): return make_info(self.facts, NULL)

    @property
    def dtype(self):
        """The dtype's text in the header."""
        return self.facts.dtype.decode("latin-1")

    @property
    def name(self):
        smem_publish(self.c)
        return decode(self.facts.name)

    @property
    def backend(self): return BACKEND_NAMES[self.facts.backend]
    @property
    def mode(self): return smem_mode_of(self.c)
    @property
    def address(self): return <size_t>smem_data(self.c)

    def is_current(self):
        return bool(smem_is_current(self.c))

    def persist(self):
        check(smem_persist(self.c), self.name)

    def unlink(self):
        cdef int code
        with nogil:
            code = smem_unlink_segment(self.c)
        check(code, self.name)

    def ticket(self):
        """A ticket for one descriptor in flight, or None when it cannot be named."""
        cdef uint64_t ticket = 0
        cdef int code = smem_ticket_issue(self.c, &ticket)
        if code == SMEM_E_UNLINKED:
            return None
        check(code, self.name)
        return ticket

    def ticket_at(self, cnp.ndarray place):
        """The same, which stands in the uint64 `place` as soon as it is in flight."""
        cdef uint64_t *out = <uint64_t *>cnp.PyArray_DATA(place)
        cdef int code
        if cnp.PyArray_NBYTES(place) != sizeof(uint64_t):
            raise ValueError("the place of a ticket is one uint64")
        code = smem_ticket_issue(self.c, out)
        if code == SMEM_E_UNLINKED:
            return None
        check(code, self.name)
        return out[0]

    def free_ticket(self, uint64_t ticket):
        return bool(smem_ticket_free(self.c, ticket))

    @property
    def key(self):
        """Backend, name and nonce: what receive() and forget() find it by."""
        smem_publish(self.c)
        return self.facts.backend, decode(self.facts.name), self.facts.nonce

    def numbers(self, int kind):
        """The numbers that a synchroniser of this kind was made with."""
        cdef uint32_t value = 0, limit = 0
        check(smem_sync_check(self.c, kind, &value, &limit), self.name)
        return value, limit

    def locks(self):
        """Of each lock in it that somebody holds: its number, enum smem_holder, pid or 0."""
        cdef smem_lock *lock
        cdef unsigned number = 0
        cdef int pid = 0, code
        held = []
        while (lock := smem_lock_at(self.c, number)) != NULL:
            with nogil:
                code = smem_lock_holder(self.c, lock, &pid)
            check(code, self.name)
            if code != SMEM_HOLDER_NONE:
                held.append((number, code, pid))
            number += 1
        return held

    def break_lock(self, unsigned number):
        """Whether it was taken from a holder that does not live, or is not seen to."""
        cdef smem_lock *lock = smem_lock_at(self.c, number)
        cdef int code
        with nogil:
            code = smem_lock_break(self.c, lock)
        if code == -EBUSY or code == SMEM_E_NOT_HELD:
            return False
        check(code, self.name)
        return True

    def identity(self):
        """What a descriptor says of the segment itself."""
        smem_publish(self.c)
        return (self.facts.backend, decode(self.facts.name), self.facts.nonce, self.facts.origin,
                self.facts.family, smem_mode_of(self.c))


cdef Segment wrap(smem_segment *c):
    cdef Segment segment = Segment.__new__(Segment)
    segment.c = c
    segment.facts = smem_info_of(c)
    return segment


@cython.final
@cython.no_gc
cdef class Parcel:
    """A segment that was handed over: what lies in it is its receiver's alone.

    So it is not shared: segment_of() does not find it under an array, the array travels
    by content like any other, and a forked child has a copy.
    """
    cdef readonly Segment segment
    cdef object __weakref__

    def __cinit__(self, Segment segment not None):
        self.segment = segment
        smem_copy_at_fork(segment.c)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, smem_data(self.segment.c), self.segment.facts.nbytes, False,
                          flags)

    @property
    def nbytes(self): return self.segment.facts.nbytes

    def fill(self, cnp.ndarray array):
        """Copy the bytes of a contiguous array to its beginning."""
        cdef const void *source = cnp.PyArray_DATA(array)
        cdef uint64_t nbytes = cnp.PyArray_NBYTES(array)
        cdef int code
        if not cnp.PyArray_ISONESEGMENT(array):
            raise ValueError("a parcel takes one run of bytes")
        with nogil:
            code = smem_fill(self.segment.c, source, nbytes)
        check(code, None)

    def offset(self, cnp.ndarray array):
        """Where an array over it begins."""
        return <size_t>cnp.PyArray_DATA(array) - <size_t>smem_data(self.segment.c)


cdef Parcel sole_parcel(cnp.PyObject *thing):
    """The Parcel under a plain array that, all the way down, one reference each holds."""
    cdef Parcel parcel
    while Py_REFCNT(thing) == 1:
        if type(<object>thing) is Parcel:
            parcel = <Parcel>thing
            # A forked child's is a copy, which is not what is in the segment.
            return parcel if smem_mode_of(parcel.segment.c) == SMEM_READ_WRITE else None
        if not cnp.PyArray_CheckExact(<object>thing):
            return None
        thing = cnp.PyArray_BASE(<cnp.ndarray>thing)
        if thing == NULL:
            return None
    return None


def sole_parcels(list cell):
    """The parcels of the arrays that nobody but `cell` leads to, by the id of the array.

    Looked at are its one item and, of a tuple, list or dict, the items of that.
    Whoever else held an array, a view of it or its buffer would hold a reference.
    """
    cdef dict found = {}
    cdef Py_ssize_t i
    cdef cnp.PyObject *item = PyList_GET_ITEM(cell, 0)
    cdef cnp.PyObject *part
    cdef Parcel parcel
    if Py_REFCNT(item) != 1:
        return found
    if type(<object>item) is tuple or type(<object>item) is list:
        for i in range(PySequence_Fast_GET_SIZE(<object>item)):
            part = PySequence_Fast_GET_ITEM(<object>item, i)
            parcel = sole_parcel(part)
            if parcel is not None:
                found[<size_t>part] = parcel
    elif type(<object>item) is dict:
        i = 0
        while PyDict_Next(<object>item, &i, NULL, &part):
            parcel = sole_parcel(part)
            if parcel is not None:
                found[<size_t>part] = parcel
    else:
        parcel = sole_parcel(item)
        if parcel is not None:
            found[<size_t>item] = parcel
    return found


def segment_of(array):
    """The Segment that an ndarray's memory lies in, or None."""
    cdef size_t data, begin
    cdef Segment segment
    cdef int strangers = 0
    if not cnp.PyArray_Check(array):
        return None
    data = <size_t>cnp.PyArray_DATA(<cnp.ndarray>array)
    base = array
    while base is not None and type(base) is not Segment:
        if cnp.PyArray_Check(base):
            if cnp.PyArray_BASE(<cnp.ndarray>base) == NULL:
                return None
            base = <object>cnp.PyArray_BASE(<cnp.ndarray>base)
        elif PyMemoryView_Check(base) and PyMemoryView_GET_BASE(base) != NULL:
            base = <object>PyMemoryView_GET_BASE(base)
        else:  # a void scalar, or what as_strided() puts in between
            strangers += 1
            base = getattr(base, "base", None) if strangers < 16 else None
    if base is None:
        return None
    segment = base
    begin = <size_t>smem_data(segment.c)
    if begin <= data <= begin + segment.facts.nbytes:
        return segment
    # A slice without elements may point anywhere.
    return segment if cnp.PyArray_SIZE(<cnp.ndarray>array) == 0 else None


def whole(Segment segment not None, cnp.dtype dtype not None, cls):
    """The array that the header describes, over its segment; `cls` has no __array_finalize__.

    The extents were found to lie in the segment when it was attached. None: that takes more
    thought, since the header speaks of items of another size, of no bytes, or that are arrays.
    """
    cdef const smem_info *facts = segment.facts
    cdef cnp.npy_intp dims[SMEM_NDIM_MAX]
    cdef cnp.npy_intp strides[SMEM_NDIM_MAX]
    cdef int i
    if (<uint64_t>cnp.PyDataType_ELSIZE(dtype) != facts.itemsize or facts.itemsize == 0
            or cnp.PyDataType_HASSUBARRAY(dtype)):
        return None
    for i in range(facts.ndim):
        dims[i], strides[i] = facts.shape[i], facts.strides[i]
    Py_INCREF(dtype)
    array = PyArray_NewFromDescr(
        <PyTypeObject *>cls, dtype, facts.ndim, dims, strides,
        <char *>smem_data(segment.c) + facts.start,
        0 if smem_mode_of(segment.c) == SMEM_READ_ONLY else cnp.NPY_ARRAY_WRITEABLE, NULL)
    Py_INCREF(segment)
    cnp.PyArray_SetBaseObject(array, segment)
    return array


def replace_reference(thing):
    """Take a reference for one that somebody has given back without owning it."""
    Py_INCREF(thing)


cdef int visit_info(void *arg, const smem_info *info, const smem_flight *flight) noexcept with gil:
    try:
        (<list>arg).append(make_info(info, flight))
        return 0
    except BaseException:
        return -12


cdef int visit_holder(void *arg, int pid, const char *command) noexcept with gil:
    try:
        (<list>arg).append((pid, command.decode("utf-8", "replace")))
        return 0
    except BaseException:
        return -12


cdef int visit_mapping(void *arg, int backend, int64_t kernel_id, int pid,
                       const char *command) noexcept with gil:
    try:
        (<list>arg).append((backend, kernel_id, pid, command.decode("utf-8", "replace")))
        return 0
    except BaseException:
        return -12


cdef int begin_with(smem_spec *spec, cnp.ndarray contents) except -1:
    """Let the data begin with the bytes of this array, again and again until they end."""
    if not cnp.PyArray_ISONESEGMENT(contents):
        raise ValueError("the contents must be one piece of memory")
    spec.contents, spec.contents_size = cnp.PyArray_DATA(contents), cnp.PyArray_NBYTES(contents)
    return 0


@cython.final
cdef class Context:
    """This process as a participant, or as an observer."""
    cdef smem_context *c

    def __cinit__(self, family=None, int parent=0, directory=None, reaper=None, bint observe=False):
        cdef smem_options options
        cdef bytes family_text = None if family is None else encode(family)
        cdef bytes directory_text = None if directory is None else encode(directory)
        cdef bytes reaper_text = None if reaper is None else encode(reaper)
        options.family = NULL if family is None else <const char *>family_text
        options.directory = NULL if directory is None else <const char *>directory_text
        options.reaper = NULL if reaper is None else <const char *>reaper_text
        options.parent = parent
        options.observe = observe
        check(smem_open(&options, &self.c), family)

    @property
    def family(self): return decode(smem_family_name(self.c))

    def leave(self):
        with nogil:
            smem_leave(self.c)

    def family_alive(self, uint32_t tag):
        return smem_family_alive(self.c, tag) != 0

    def origin(self, int backend):
        return smem_origin(self.c, backend)

    def new_family(self, name=None):
        cdef bytes text = None if name is None else encode(name)
        cdef const char *c_name = NULL if name is None else <const char *>text
        cdef int code
        with nogil:
            code = smem_new_family(self.c, c_name)
        check(code, name)

    cdef smem_segment *make(self, name, int backend, unsigned flags, unsigned permissions,
                            bytes dtype, uint64_t itemsize, tuple shape, strides,
                            contents, bint or_attach, bint *created) except NULL:
        cdef smem_spec spec
        cdef smem_segment *out = NULL
        cdef int64_t c_shape[64]
        cdef int64_t c_strides[64]
        cdef bytes text = None if name is None else encode(name)
        cdef int code, made = 1
        cdef int i, ndim = len(shape)
        if ndim > SMEM_NDIM_MAX:
            raise ValueError(f"maximum supported dimension is {SMEM_NDIM_MAX}, found {ndim}")
        for i in range(ndim):
            c_shape[i] = shape[i]
            if strides is not None:
                c_strides[i] = strides[i]
        spec.name = NULL if name is None else <const char *>text
        spec.backend, spec.flags, spec.permissions = backend, flags, permissions
        spec.dtype, spec.itemsize, spec.ndim = dtype, itemsize, ndim
        spec.shape = c_shape
        spec.strides = NULL if strides is None else c_strides
        spec.start = spec.nbytes = 0
        spec.contents, spec.contents_size = NULL, 0
        if contents is not None:
            begin_with(&spec, contents)
        with nogil:
            if or_attach:
                code = smem_attach_or_create(self.c, &spec, &out, &made)
            else:
                code = smem_create(self.c, &spec, &out)
        check(code, name)
        created[0] = made
        return out

    def create(self, name, int backend, unsigned flags, unsigned permissions, bytes dtype,
               uint64_t itemsize, tuple shape, strides, contents=None):
        cdef bint created = False
        return wrap(self.make(name, backend, flags, permissions, dtype, itemsize, shape, strides,
                              contents, False, &created))

    def plain(self, shape, cnp.dtype dtype, bytes text, unsigned flags, cls, contents=None):
        """An unnamed array in C order, made in one step; None for what takes more thought.

        `shape` is an int or a tuple of ints, `cls` has no __array_finalize__, `contents`
        is as for create().
        """
        cdef smem_spec spec
        cdef smem_segment *out = NULL
        cdef int64_t extents[16]
        cdef cnp.npy_intp dims[16]
        cdef int code, i, ndim = 1
        cdef Segment segment
        if type(shape) is int:
            shape = (shape,)
        elif type(shape) is not tuple:
            return None
        ndim = len(<tuple>shape)
        if ndim > 16:
            return None
        for i in range(ndim):
            extent = <object>(<tuple>shape)[i]
            if type(extent) is not int or not 0 <= extent < 1 << 62:
                return None
            extents[i] = dims[i] = extent
        spec.name, spec.backend, spec.flags, spec.permissions = NULL, SMEM_ANY, flags, 0
        spec.dtype, spec.itemsize, spec.ndim = text, cnp.PyDataType_ELSIZE(dtype), ndim
        spec.shape, spec.strides, spec.start, spec.nbytes = extents, NULL, 0, 0
        spec.contents, spec.contents_size = NULL, 0
        if contents is not None:
            begin_with(&spec, contents)
        with nogil:
            code = smem_create(self.c, &spec, &out)
        if code < 0:
            return None
        segment = wrap(out)
        Py_INCREF(dtype)
        array = PyArray_NewFromDescr(<PyTypeObject *>cls, dtype, ndim, dims, NULL,
                                     smem_data(out), cnp.NPY_ARRAY_WRITEABLE, NULL)
        Py_INCREF(segment)
        cnp.PyArray_SetBaseObject(array, segment)
        return array

    def attach_or_create(self, name, int backend, unsigned flags, unsigned permissions,
                         bytes dtype, uint64_t itemsize, tuple shape, strides):
        cdef bint created = False
        segment = wrap(self.make(name, backend, flags, permissions, dtype, itemsize, shape,
                                 strides, None, True, &created))
        return segment, bool(created)

    def attach(self, name, int mode, owner=None):
        cdef smem_segment *out = NULL
        cdef bytes text = encode(name)
        cdef const char *c_name = text
        cdef uint32_t uid = 0
        cdef bint owned = owner is not None
        cdef int code
        if owned:
            uid = owner
        with nogil:
            if owned:
                code = smem_attach_owned(self.c, c_name, mode, uid, &out)
            else:
                code = smem_attach(self.c, c_name, mode, &out)
        check(code, name)
        return wrap(out)

    def receive(self, int backend, name, uint64_t nonce, int mode, uint64_t ticket):
        cdef smem_segment *out = NULL
        cdef bytes text = encode(name)
        cdef const char *c_name = text
        cdef int code
        with nogil:
            code = smem_receive(self.c, backend, c_name, nonce, mode, ticket, &out)
        check(code, name)
        return wrap(out)

    def make_sync(self, int kind, name, int backend, unsigned flags, unsigned permissions,
                  uint32_t value, uint32_t limit, bint or_attach):
        """A synchroniser in a segment of its own; the one that is there if `or_attach`."""
        cdef smem_sync_spec spec
        cdef smem_segment *out = NULL
        cdef bytes text = None if name is None else encode(name)
        cdef int code, created
        spec.name = NULL if name is None else <const char *>text
        spec.kind, spec.backend, spec.flags, spec.permissions = kind, backend, flags, permissions
        spec.value, spec.limit = value, limit
        with nogil:
            if or_attach:
                code = smem_sync_attach_or_create(self.c, &spec, &out, &created)
            else:
                code = smem_sync_create(self.c, &spec, &out)
        check(code, name)
        return wrap(out)

    def attach_sync(self, name, int kind):
        cdef smem_segment *out = NULL
        cdef bytes text = encode(name)
        cdef const char *c_name = text
        cdef int code
        with nogil:
            code = smem_sync_attach(self.c, c_name, kind, &out)
        check(code, name)
        return wrap(out)

    def make_queue(self, name, int backend, unsigned flags, uint32_t limit, uint64_t room,
                   uint64_t spare):
        """A segment that is a queue, from its first moment on."""
        cdef smem_queue_spec spec
        cdef smem_queue out
        cdef bytes text = None if name is None else encode(name)
        cdef int code
        spec.name = NULL if name is None else <const char *>text
        spec.backend, spec.flags, spec.permissions = backend, flags, 0o600
        spec.limit, spec.room, spec.spare = limit, room, spare
        with nogil:
            code = smem_queue_create(self.c, &spec, &out)
        check(code, name)
        return wrap(out.segment)

    def forget(self, int backend, name, uint64_t nonce, uint64_t ticket):
        cdef bytes text = encode(name)
        cdef const char *c_name = text
        cdef int code
        with nogil:
            code = smem_forget(self.c, backend, c_name, nonce, ticket)
        check(code, name)

    def unlink(self, name):
        cdef bytes text = encode(name)
        cdef const char *c_name = text
        cdef int code
        with nogil:
            code = smem_unlink(self.c, c_name)
        check(code, name)

    def stat(self, name):
        cdef smem_info info
        cdef smem_flight flight
        cdef bytes text = encode(name)
        cdef const char *c_name = text
        cdef int code
        with nogil:
            code = smem_stat(self.c, c_name, &info, &flight)
        check(code, name)
        try:
            return make_info(&info, &flight)
        finally:
            smem_info_clear(&info)

    def list(self):
        cdef list rows = []
        cdef int code
        with nogil:
            code = smem_list(self.c, visit_info, <void *>rows)
        check(code, None)
        return rows

    def holders(self, Info info):
        cdef list rows = []
        cdef int code
        with nogil:
            code = smem_holders(self.c, &info.c, visit_holder, <void *>rows)
        check(code, None)
        return rows

    def mappings(self):
        """(backend, kernel_id, pid, command) of what processes map, ours and others'."""
        cdef list rows = []
        cdef int code
        with nogil:
            code = smem_mappings(self.c, visit_mapping, <void *>rows)
        check(code, None)
        return rows

    def families(self):
        """How many families live, and how many left a file only."""
        cdef unsigned alive, dead
        cdef int code
        with nogil:
            code = smem_families(self.c, &alive, &dead)
        check(code, None)
        return alive, dead

    def reclaim_segment(self, Info info, bint in_flight):
        """Whether this very segment was freed, since nobody can reach it."""
        cdef int code
        with nogil:
            code = smem_reclaim_segment(self.c, &info.c, in_flight)
        check(code, info.name)
        return code == 1

    def reclaim(self):
        cdef smem_reclaimed out
        cdef int code
        with nogil:
            code = smem_reclaim(self.c, &out)
        check(code, None)
        return out.segments, out.families, out.bytes

    def trim(self, uint64_t keep):
        cdef uint64_t freed
        with nogil:
            freed = smem_trim(self.c, keep)
        return freed

    def limit_threads(self, unsigned threads):
        smem_limit_threads(self.c, threads)

    def stats(self):
        cdef smem_statistics out
        smem_stats(self.c, &out)
        return out


include "descriptor.pxi"
include "sync.pxi"
include "queue.pxi"
include "atomic.pxi"
include "frame.pxi"
