/*
 * Atomic operations on elements whose type is known at run time.
 *
 * All of them are made of a load and a compare-and-swap of so many bytes, which
 * every machine has for the widths of NumPy's numbers; what is computed in between
 * is a function of bits. The compiler's own fetch-and-add would need a case for
 * each width and each kind, and floats have none.
 *
 * The order is not a constant here, and GCC then takes the strongest: at least
 * what was asked for is done. A failed compare-and-swap may not release.
 */
#include "sharedmem.h"

#include <stdbool.h>
#include <string.h>

static bool smem__width_is_valid(const void *element, unsigned width)
{
    return (width == 1 || width == 2 || width == 4 || width == 8) &&
           (uintptr_t)element % width == 0;
}

static bool smem__order_is_valid(int order)
{
    return order == SMEM_RELAXED || (order >= SMEM_ACQUIRE && order <= SMEM_SEQ_CST);
}

_Static_assert((int)SMEM_RELAXED == __ATOMIC_RELAXED && (int)SMEM_ACQUIRE == __ATOMIC_ACQUIRE &&
                   (int)SMEM_RELEASE == __ATOMIC_RELEASE &&
                   (int)SMEM_ACQ_REL == __ATOMIC_ACQ_REL && (int)SMEM_SEQ_CST == __ATOMIC_SEQ_CST,
               "the orders are the compiler's");

static uint64_t smem__load_bits(const void *element, unsigned width, int order)
{
    switch (width) {
    case 1:
        return __atomic_load_n((const uint8_t *)element, order);
    case 2:
        return __atomic_load_n((const uint16_t *)element, order);
    case 4:
        return __atomic_load_n((const uint32_t *)element, order);
    default:
        return __atomic_load_n((const uint64_t *)element, order);
    }
}

#define SMEM__SWAP(type)                                                      \
    {                                                                         \
        type seen = (type)*expected;                                          \
        bool done = __atomic_compare_exchange_n((type *)element, &seen,       \
                                                (type)desired, false, order,  \
                                                __ATOMIC_ACQUIRE);            \
        *expected = seen;                                                     \
        return done;                                                          \
    }

static bool smem__swap_bits(void *element, unsigned width, int order, uint64_t *expected,
                            uint64_t desired)
{
    /* An order for success must not be weaker than that for failure. */
    if (order == SMEM_RELAXED || order == SMEM_RELEASE)
        order = SMEM_ACQ_REL;
    switch (width) {
    case 1:
        SMEM__SWAP(uint8_t)
    case 2:
        SMEM__SWAP(uint16_t)
    case 4:
        SMEM__SWAP(uint32_t)
    default:
        SMEM__SWAP(uint64_t)
    }
}

/* ---- what is computed ------------------------------------------------------------ */

static double smem__to_float(uint64_t bits, unsigned width)
{
    uint32_t half = (uint32_t)bits;
    float narrow;
    double wide;
    memcpy(&narrow, &half, sizeof narrow);
    memcpy(&wide, &bits, sizeof wide);
    return width == 4 ? (double)narrow : wide;
}

static uint64_t smem__from_float(double value, unsigned width)
{
    float narrow = (float)value;
    uint32_t half;
    uint64_t bits;
    memcpy(&half, &narrow, sizeof half);
    memcpy(&bits, &value, sizeof bits);
    return width == 4 ? half : bits;
}

/* In double, whose sum of two floats is rounded to the right float. */
static uint64_t smem__compute_float(int operation, unsigned width, uint64_t old, uint64_t operand)
{
    double a = smem__to_float(old, width), b = smem__to_float(operand, width);
    switch (operation) {
    case SMEM_FETCH_ADD:
        return smem__from_float(a + b, width);
    case SMEM_FETCH_SUB:
        return smem__from_float(a - b, width);
    case SMEM_FETCH_MAX: /* as numpy.maximum: what is no number stays */
        return a != a || a >= b ? old : operand;
    default:
        return a != a || a <= b ? old : operand;
    }
}

static bool smem__is_less(uint64_t a, uint64_t b, int kind, unsigned width)
{
    unsigned shift = 64 - 8 * width;
    if (kind == 'i')
        return (int64_t)(a << shift) < (int64_t)(b << shift);
    return a << shift < b << shift;
}

static uint64_t smem__compute(int operation, int kind, unsigned width, uint64_t old,
                              uint64_t operand)
{
    if (operation == SMEM_STORE || operation == SMEM_EXCHANGE)
        return operand;
    if (kind == 'f')
        return smem__compute_float(operation, width, old, operand);
    switch (operation) {
    case SMEM_FETCH_ADD:
        return old + operand;
    case SMEM_FETCH_SUB:
        return old - operand;
    case SMEM_FETCH_OR:
        return old | operand;
    case SMEM_FETCH_AND:
        return old & operand;
    case SMEM_FETCH_XOR:
        return old ^ operand;
    case SMEM_FETCH_MAX:
        return smem__is_less(old, operand, kind, width) ? operand : old;
    default:
        return smem__is_less(operand, old, kind, width) ? operand : old;
    }
}

static bool smem__has_operation(int kind, unsigned width, int operation)
{
    if (operation < SMEM_LOAD || operation > SMEM_FETCH_XOR)
        return false;
    if (operation <= SMEM_EXCHANGE)
        return true;
    bool bits = operation >= SMEM_FETCH_OR;
    return kind == 'b'   ? bits && width == 1
           : kind == 'f' ? !bits && width >= 4
                         : kind == 'i' || kind == 'u';
}

int smem_atomic(void *element, int kind, unsigned width, int operation, int order, uint64_t operand,
                uint64_t *before)
{
    if (!smem__width_is_valid(element, width) || !smem__order_is_valid(order) ||
        !smem__has_operation(kind, width, operation))
        return SMEM_E_ARGUMENT;
    if (operation == SMEM_LOAD) {
        bool strong = order == SMEM_SEQ_CST;
        *before = smem__load_bits(element, width, strong ? __ATOMIC_SEQ_CST : __ATOMIC_ACQUIRE);
        return 0;
    }
    *before = smem__load_bits(element, width, __ATOMIC_RELAXED);
    while (!smem__swap_bits(element, width, order, before,
                            smem__compute(operation, kind, width, *before, operand))) {
    }
    return 0;
}

int smem_atomic_compare_exchange(void *element, unsigned width, int order, uint64_t *expected,
                                 uint64_t desired)
{
    if (!smem__width_is_valid(element, width) || !smem__order_is_valid(order))
        return SMEM_E_ARGUMENT;
    return smem__swap_bits(element, width, order, expected, desired);
}
