/* Sleeping on a word of shared memory, and the clock that deadlines are on. */
#include "os/backend.h"

#include "os/syscalls.h"

#include <errno.h>
#include <linux/futex.h>
#include <time.h>

/* The word may be mapped at another address elsewhere: never FUTEX_PRIVATE_FLAG.
   WAIT_BITSET, since its timeout is a point of CLOCK_MONOTONIC: a wait that a
   signal cut short goes on to the same end. */
int smem__futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    int64_t seconds = deadline / 1000000000;
    struct timespec end = {(time_t)seconds, (long)(deadline % 1000000000)};
    /* a time_t of 32 bits holds 68 years */
    bool never = deadline == INT64_MAX || end.tv_sec != seconds;
    if (smem__sys.futex(word, FUTEX_WAIT_BITSET, expected, never ? NULL : &end,
                        FUTEX_BITSET_MATCH_ANY) == 0)
        return SMEM__WOKEN;
    return errno == EAGAIN ? 0 : -errno;
}

int smem__futex_wake(const _Atomic uint32_t *word, int count)
{
    long woken = smem__sys.futex(word, FUTEX_WAKE, (uint32_t)count, NULL, 0);
    return woken < 0 ? -errno : (int)woken;
}

int64_t smem__monotonic_ns(void)
{
    struct timespec t;
    smem__sys.clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
