# The picklable facts of an array over a segment, packed into one bytes object: pickling
# them one by one takes longer than finding them out. No decisions.
#
#   0  version (1), backend, mode, flags, dimensions, bytes of the name, of the dtype, 0
#   8  origin, family (4 bytes each), nonce, offset, ticket (8 bytes each)
#  40  shape, then strides unless they are C order's (8 bytes each)
#      the name, then the dtype's text
#
# Numbers are in the byte order of the machine, which is the only one that has the memory.

cdef packed struct DescriptorHead:
    unsigned char version, backend, mode, flags, ndim, name_length, dtype_length, zero
    uint32_t origin, family
    uint64_t nonce, offset, ticket

cdef enum:
    DESCRIPTOR_VERSION = 1
    DESCRIPTOR_LOCKED = 1  # the array's writeable flag is off
    DESCRIPTOR_STRIDED = 2


cdef bint in_c_order(cnp.ndarray array) noexcept:
    cdef int i
    cdef int64_t step = cnp.PyArray_ITEMSIZE(array)
    for i in range(cnp.PyArray_NDIM(array) - 1, -1, -1):
        if cnp.PyArray_STRIDE(array, i) != step:
            return False
        step *= cnp.PyArray_DIM(array, i)
    return True


def pack_descriptor(Segment segment not None, cnp.ndarray array not None, str dtype not None,
                    uint64_t ticket):
    """The facts of an array over this segment; `dtype` is a text of up to 255 characters."""
    cdef DescriptorHead head
    cdef const smem_info *facts = segment.facts
    cdef bytes text = dtype.encode("ascii")
    cdef bint strided = not in_c_order(array)
    cdef size_t extents, size, name_length
    cdef bytes packed
    cdef char *at
    if len(text) > 255:
        raise ValueError("the dtype's text is too long for a descriptor")
    smem_publish(segment.c)
    name_length = strlen(facts.name)
    head.version, head.zero = DESCRIPTOR_VERSION, 0
    head.backend, head.mode = <unsigned char>facts.backend, <unsigned char>smem_mode_of(segment.c)
    head.flags = ((0 if cnp.PyArray_ISWRITEABLE(array) else DESCRIPTOR_LOCKED)
                  | (DESCRIPTOR_STRIDED if strided else 0))
    head.ndim = <unsigned char>cnp.PyArray_NDIM(array)
    head.name_length, head.dtype_length = <unsigned char>name_length, <unsigned char>len(text)
    head.origin, head.family, head.nonce = facts.origin, facts.family, facts.nonce
    head.offset = <size_t>cnp.PyArray_DATA(array) - <size_t>smem_data(segment.c)
    if head.offset > facts.nbytes:  # only where there are no elements
        head.offset = 0
    head.ticket = ticket
    extents = head.ndim * sizeof(int64_t)
    size = sizeof(head) + (2 if strided else 1) * extents + name_length + len(text)
    packed = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    at = PyBytes_AS_STRING(packed)
    memcpy(at, &head, sizeof(head))
    at += sizeof(head)
    if extents:  # those of no dimensions are at NULL
        memcpy(at, cnp.PyArray_DIMS(array), extents)
    at += extents
    if strided:
        memcpy(at, cnp.PyArray_STRIDES(array), extents)
        at += extents
    memcpy(at, facts.name, name_length)
    memcpy(at + name_length, <const char *>text, len(text))
    return packed


cdef tuple extents_at(const char *at, int ndim):
    cdef int64_t value
    cdef list found = []
    cdef int i
    for i in range(ndim):
        memcpy(&value, at + i * sizeof(value), sizeof(value))
        found.append(value)
    return tuple(found)


cdef bint can_be_strides(tuple shape, tuple strides):
    # NumPy's own check against the segment overflows: strides of 2**63 - 1 would pass it.
    cdef double reach = 0
    for extent, stride in zip(shape, strides):
        reach += abs(<double>stride) * max(<double>extent - 1, 0)
    return reach < <double>(1 << 62)


def unpack_descriptor(bytes packed not None):
    """Backend, name, nonce, origin, family, mode, offset, shape, strides, dtype, locked, ticket.

    None if these bytes are no descriptor.
    """
    cdef DescriptorHead head
    cdef const char *at = PyBytes_AS_STRING(packed)
    cdef size_t size = <size_t>len(packed), extents
    cdef tuple shape, strides = None
    if size < sizeof(head):
        return None
    memcpy(&head, at, sizeof(head))
    extents = head.ndim * sizeof(int64_t)
    if (head.version != DESCRIPTOR_VERSION or head.zero or head.nonce == 0
            or head.backend not in (SMEM_POSIX, SMEM_SYSV)
            or head.mode not in (SMEM_READ_WRITE, SMEM_READ_ONLY)
            or head.flags > (DESCRIPTOR_LOCKED | DESCRIPTOR_STRIDED)
            or head.ndim > SMEM_NDIM_MAX or not 0 < head.name_length <= SMEM_NAME_MAX
            or size != (sizeof(head) + (2 if head.flags & DESCRIPTOR_STRIDED else 1) * extents
                        + head.name_length + head.dtype_length)):
        return None
    at += sizeof(head)
    shape = extents_at(at, head.ndim)
    at += extents
    if head.flags & DESCRIPTOR_STRIDED:
        strides = extents_at(at, head.ndim)
        if not can_be_strides(shape, strides):
            return None
        at += extents
    return (head.backend, (at[:head.name_length]).decode("utf-8", "surrogateescape"), head.nonce,
            head.origin, head.family, head.mode, head.offset, shape, strides,
            (at + head.name_length)[:head.dtype_length].decode("latin-1"),
            bool(head.flags & DESCRIPTOR_LOCKED), head.ticket)
