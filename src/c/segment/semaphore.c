/*
 * Semaphores. [state] is started << 32 | value, so that zero bytes are told from
 * a semaphore without units. [waiters] counts those who may sleep: they are
 * counted before they look at the value a last time, and who releases adds to the
 * value before it looks at the count. One who dies stays in it, which costs a
 * call that wakes nobody. One who was woken and dies before he takes a unit
 * leaves it; those who sleep on find it after a slice (lock.h).
 */
#include "base/point.h"
#include "segment/lock.h"

#include <errno.h>

typedef _Atomic uint64_t smem__units;

static const uint64_t smem__started = (uint64_t)1 << 32;

static smem__units *smem__units_of(smem_semaphore *semaphore)
{
    return (smem__units *)&semaphore->state;
}

static _Atomic uint32_t *smem__value_word(smem_semaphore *semaphore)
{
    _Atomic uint32_t *halves = (_Atomic uint32_t *)&semaphore->state;
    return &halves[__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 1];
}

int smem_semaphore_start(smem_segment *segment, smem_semaphore *semaphore, uint32_t value,
                         uint32_t limit)
{
    uint64_t none = 0;
    int rc = smem__may_change(segment, semaphore, sizeof *semaphore);
    if (limit == 0)
        limit = INT32_MAX;
    if (rc != 0)
        return rc;
    if (value > limit || limit > INT32_MAX)
        return SMEM_E_ARGUMENT;
    if (atomic_load(smem__units_of(semaphore)) != 0)
        return 0;
    /* Everybody starts it with the same numbers, so this may be repeated. */
    atomic_store((_Atomic uint32_t *)&semaphore->limit, limit);
    SMEM__POINT("semaphore.starting", "the limit is there, the units are not");
    atomic_compare_exchange_strong(smem__units_of(semaphore), &none, smem__started | value);
    return 0;
}

static bool smem__take_unit(smem_semaphore *semaphore)
{
    uint64_t seen = atomic_load_explicit(smem__units_of(semaphore), memory_order_relaxed);
    while ((uint32_t)seen > 0)
        if (atomic_compare_exchange_weak(smem__units_of(semaphore), &seen, seen - 1)) {
            SMEM__POINT("semaphore.taken", "a unit is somebody's who gives it back, or never");
            return true;
        }
    return false;
}

static int smem__await_unit(smem_semaphore *semaphore, int64_t deadline)
{
    _Atomic uint32_t *waiters = (_Atomic uint32_t *)&semaphore->waiters;
    int64_t slice = SMEM__SLICE_FIRST;
    bool looked, taken = false;
    int rc = 0;
    atomic_fetch_add(waiters, 1);
    SMEM__POINT("semaphore.waits", "one who waits is counted");
    while (rc == 0 && !(taken = smem__take_unit(semaphore))) {
        rc = smem__sleep(smem__value_word(semaphore), 0, deadline, &slice, &looked);
        SMEM__POINT("semaphore.woken", "one who waited is awake and has no unit");
    }
    atomic_fetch_sub(waiters, 1);
    return taken ? 0 : rc;
}

int smem_semaphore_acquire(smem_segment *segment, smem_semaphore *semaphore, int64_t deadline)
{
    int rc = smem__may_change(segment, semaphore, sizeof *semaphore);
    if (rc != 0)
        return rc;
    if (smem__take_unit(semaphore))
        return 0;
    return deadline == SMEM_NO_WAIT ? -ETIMEDOUT : smem__await_unit(semaphore, deadline);
}

int smem_semaphore_release(smem_segment *segment, smem_semaphore *semaphore, uint32_t count)
{
    int rc = smem__may_change(segment, semaphore, sizeof *semaphore);
    if (rc != 0)
        return rc;
    uint64_t seen = atomic_load(smem__units_of(semaphore));
    uint32_t limit = atomic_load((_Atomic uint32_t *)&semaphore->limit);
    do {
        if (count > limit || (uint32_t)seen > limit - count)
            return SMEM_E_RELEASED;
    } while (!atomic_compare_exchange_weak(smem__units_of(semaphore), &seen, seen + count));
    SMEM__POINT("semaphore.released", "there are units, and those who wait sleep");
    if (atomic_load((_Atomic uint32_t *)&semaphore->waiters) > 0)
        smem__futex_wake(smem__value_word(semaphore), (int)count);
    return 0;
}

uint32_t smem_semaphore_value(const smem_semaphore *semaphore)
{
    return (uint32_t)atomic_load((const _Atomic uint64_t *)&semaphore->state);
}
