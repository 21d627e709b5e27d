#include "base/stream.h"

#include <stdint.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>

enum { SMEM__LINE = 64 };

/* Whole lines to where one begins. */
static void smem__stream_by_16(char *to, const char *from, size_t n)
{
    for (size_t at = 0; at < n; at += sizeof(__m128i))
        _mm_stream_si128((__m128i *)(to + at), _mm_loadu_si128((const __m128i *)(from + at)));
}

__attribute__((target("avx"))) static void smem__stream_by_32(char *to, const char *from, size_t n)
{
    for (size_t at = 0; at < n; at += sizeof(__m256i))
        _mm256_stream_si256((__m256i *)(to + at),
                            _mm256_loadu_si256((const __m256i *)(from + at)));
}

void smem__stream(void *to, const void *from, size_t n)
{
    char *target = to;
    const char *source = from;
    size_t head = -(uintptr_t)target % SMEM__LINE;
    head = head < n ? head : n;
    size_t lines = (n - head) / SMEM__LINE * SMEM__LINE;
    memcpy(target, source, head);
    if (__builtin_cpu_supports("avx"))
        smem__stream_by_32(target + head, source + head, lines);
    else
        smem__stream_by_16(target + head, source + head, lines);
    memcpy(target + head + lines, source + head + lines, n - head - lines);
    _mm_sfence(); /* such stores are not ordered with what the caller publishes next */
}

#else

void smem__stream(void *to, const void *from, size_t n)
{
    memcpy(to, from, n);
}

#endif
