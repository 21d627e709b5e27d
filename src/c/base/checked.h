/* Size arithmetic that says when it overflows. True means: it did not. */
#ifndef SMEM_CHECKED_H
#define SMEM_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool smem__add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool smem__mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool smem__add_signed(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool smem__mul_signed(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* Can one object of C have so many bytes? Not what a process of 64 bits made for one of 32. */
static inline bool smem__is_size(uint64_t a)
{
    return a <= PTRDIFF_MAX;
}

/* [unit] is a power of two. */
static inline bool smem__round_up(uint64_t a, uint64_t unit, uint64_t *out)
{
    if (!smem__add(a, unit - 1, &a))
        return false;
    *out = a & ~(unit - 1);
    return true;
}

#endif
