#include "base/stream.h"

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>

enum { SMEM__LINE = 64,
       SMEM__WORD = 16 };

static void smem__stream_line(char *to, const char *from)
{
    for (size_t i = 0; i < SMEM__LINE; i += SMEM__WORD)
        _mm_stream_si128((__m128i *)(to + i), _mm_loadu_si128((const __m128i *)(from + i)));
}

void smem__stream(void *to, const void *from, size_t n)
{
    char *target = to;
    const char *source = from;
    size_t head = -(uintptr_t)target % SMEM__LINE;
    head = head < n ? head : n;
    memcpy(target, source, head);
    size_t end = head + (n - head) / SMEM__LINE * SMEM__LINE;
    for (size_t at = head; at < end; at += SMEM__LINE)
        smem__stream_line(target + at, source + at);
    memcpy(target + end, source + end, n - end);
    _mm_sfence(); /* such stores are not ordered with what the caller publishes next */
}

#else

void smem__stream(void *to, const void *from, size_t n)
{
    memcpy(to, from, n);
}

#endif
