/* The copy past the caches, by each of its loops. */
#include "check.h"

#include "base/stream.h"

#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(*-reserved-identifier,cert-*,bugprone-*): the same source a second time, and numbers that
   are to be the same in each run. */
/* Once more, as on a processor without AVX. */
void stream_without_avx(void *to, const void *from, size_t n);
#define smem__stream stream_without_avx
#define __builtin_cpu_supports(feature) 0
#include "../../src/c/base/stream.c"
#undef smem__stream

enum { SMALL = 400,
       LARGE = 70000,
       ROOM = LARGE + 400 };

static unsigned char source[ROOM], copied[ROOM], expected[ROOM];

static void copies_as_memcpy(void (*copy)(void *, const void *, size_t))
{
    srand(1);
    for (unsigned round = 0; round < 3000; round++) {
        size_t n = (size_t)rand() % (round % 16 ? SMALL : LARGE);
        size_t from = (size_t)rand() % 130, to = (size_t)rand() % 130;
        for (size_t i = 0; i < n; i++)
            source[from + i] = (unsigned char)rand();
        memset(copied, 7, sizeof copied);
        memset(expected, 7, sizeof expected);
        copy(copied + to, source + from, n);
        memcpy(expected + to, source + from, n);
        CHECK_EQ(memcmp(copied, expected, sizeof copied), 0);
    }
}

/* From and to any place, any number of bytes, and not one beside them. */
TEST(the_copy_past_the_caches_is_memcpy)
{
    copies_as_memcpy(smem__stream);
}

TEST(so_it_is_without_avx)
{
    copies_as_memcpy(stream_without_avx);
}

int main(int argc, char **argv)
{
    return check_main(argc, argv);
}
/* NOLINTEND(*-reserved-identifier,cert-*,bugprone-*) */
