# One element of an array, changed at once for all. No decisions: the arrays are
# without dimensions, of one dtype in the machine's byte order.

OPERATIONS = {
    "load": SMEM_LOAD, "store": SMEM_STORE, "exchange": SMEM_EXCHANGE,
    "add": SMEM_FETCH_ADD, "sub": SMEM_FETCH_SUB, "max": SMEM_FETCH_MAX, "min": SMEM_FETCH_MIN,
    "or": SMEM_FETCH_OR, "and": SMEM_FETCH_AND, "xor": SMEM_FETCH_XOR,
}
ORDERS = {
    "relaxed": SMEM_RELAXED, "acquire": SMEM_ACQUIRE, "release": SMEM_RELEASE,
    "acq_rel": SMEM_ACQ_REL, "seq_cst": SMEM_SEQ_CST,
}


cdef uint64_t bits_of(cnp.ndarray array) noexcept:
    # The element's bytes in those of the integer of the same width.
    cdef void *data = cnp.PyArray_DATA(array)
    cdef cnp.npy_intp width = cnp.PyArray_ITEMSIZE(array)
    if width == 1:
        return (<cnp.uint8_t *>data)[0]
    if width == 2:
        return (<cnp.uint16_t *>data)[0]
    if width == 4:
        return (<cnp.uint32_t *>data)[0]
    return (<cnp.uint64_t *>data)[0]


cdef void set_bits(cnp.ndarray array, uint64_t bits) noexcept:
    cdef void *data = cnp.PyArray_DATA(array)
    cdef cnp.npy_intp width = cnp.PyArray_ITEMSIZE(array)
    if width == 1:
        (<cnp.uint8_t *>data)[0] = <cnp.uint8_t>bits
    elif width == 2:
        (<cnp.uint16_t *>data)[0] = <cnp.uint16_t>bits
    elif width == 4:
        (<cnp.uint32_t *>data)[0] = <cnp.uint32_t>bits
    else:
        (<cnp.uint64_t *>data)[0] = bits


def atomic(cnp.ndarray element, int kind, int operation, int order, cnp.ndarray operand):
    """Apply it; `operand` is then what the element was."""
    cdef uint64_t before = 0
    check(smem_atomic(cnp.PyArray_DATA(element), kind, <unsigned>cnp.PyArray_ITEMSIZE(element),
                      operation, order, bits_of(operand), &before), None)
    set_bits(operand, before)


def atomic_compare_exchange(cnp.ndarray element, int order, cnp.ndarray expected,
                            cnp.ndarray desired):
    """Whether it was `expected`, which is then what the element was."""
    cdef uint64_t seen = bits_of(expected)
    cdef int code = smem_atomic_compare_exchange(
        cnp.PyArray_DATA(element), <unsigned>cnp.PyArray_ITEMSIZE(element), order, &seen,
        bits_of(desired))
    check(code, None)
    set_bits(expected, seen)
    return bool(code)
