/*
 * Barriers. All that changes, changes under [lock], which the last one to arrive
 * keeps until it opens the barrier: its death is that of a lock's holder, found by
 * those who wait, and breaks the barrier.
 *
 * Each opening or reset ends a phase. Those who wait compare the phase with the
 * one they came in; how it ended stands in [resets], a bit for each of the last
 * 64 phases, since somebody may wake late.
 */
#include "base/point.h"
#include "segment/lock.h"

#include <errno.h>

typedef _Atomic uint32_t smem__number;

static smem__number *smem__phase_of(smem_barrier *barrier)
{
    return (smem__number *)&barrier->phase;
}

static uint64_t smem__phase_bit(uint32_t phase)
{
    return (uint64_t)1 << (phase % 64);
}

/* The lock held. Wakes nobody: who sleeps is woken after the lock is free. */
static void smem__end_phase(smem_barrier *barrier, bool reset, bool broken)
{
    uint64_t bit = smem__phase_bit(barrier->phase);
    _Atomic uint64_t *resets = (_Atomic uint64_t *)&barrier->resets;
    if (reset)
        atomic_fetch_or(resets, bit);
    else
        atomic_fetch_and(resets, ~bit);
    atomic_store((smem__number *)&barrier->count, 0);
    atomic_store((smem__number *)&barrier->broken, broken);
    SMEM__POINT("barrier.ending", "how the phase ends is written, that it has ended is not");
    atomic_fetch_add(smem__phase_of(barrier), 1);
    SMEM__POINT("barrier.ended", "the phase has ended, and those who wait sleep");
}

static int smem__let_go(smem_segment *segment, smem_barrier *barrier)
{
    int rc = smem_lock_release(segment, &barrier->lock);
    smem__futex_wake(smem__phase_of(barrier), INT32_MAX);
    return rc;
}

/* One who had the lock died: whatever it was about, those who wait are told. */
static int smem__break_after_death(smem_segment *segment, smem_barrier *barrier)
{
    smem__end_phase(barrier, true, true);
    smem_lock_recover(segment, &barrier->lock);
    int rc = smem__let_go(segment, barrier);
    return rc ? rc : SMEM_E_BROKEN;
}

static int smem__barrier_lock(smem_segment *segment, smem_barrier *barrier, int64_t deadline)
{
    int rc = smem__is_within(segment, barrier, sizeof *barrier);
    if (rc == 0)
        rc = smem_lock_acquire(segment, &barrier->lock, deadline);
    return rc == SMEM_E_OWNER_DIED ? smem__break_after_death(segment, barrier) : rc;
}

int smem_barrier_start(smem_segment *segment, smem_barrier *barrier, uint32_t parties)
{
    int rc = smem__may_change(segment, barrier, sizeof *barrier);
    if (rc == 0 && (parties == 0 || parties > INT32_MAX))
        rc = SMEM_E_ARGUMENT;
    if (rc == 0)
        atomic_store((smem__number *)&barrier->parties, parties); /* all write the same */
    return rc;
}

int smem_barrier_arrive(smem_segment *segment, smem_barrier *barrier, uint32_t *phase,
                        int64_t deadline)
{
    int rc = smem__barrier_lock(segment, barrier, deadline);
    if (rc != 0)
        return rc;
    if (barrier->broken) {
        smem_lock_release(segment, &barrier->lock);
        return SMEM_E_BROKEN;
    }
    *phase = barrier->phase;
    uint32_t index = barrier->count;
    if (index + 1 < atomic_load((smem__number *)&barrier->parties)) {
        atomic_store((smem__number *)&barrier->count, index + 1);
        SMEM__POINT("barrier.arrived", "counted, though it may never wait");
        smem_lock_release(segment, &barrier->lock);
    }
    SMEM__POINT("barrier.last", "the last one is there and has not opened");
    return (int)index;
}

int smem_barrier_open(smem_segment *segment, smem_barrier *barrier, int broken)
{
    int rc = smem__is_within(segment, barrier, sizeof *barrier);
    if (rc != 0 || smem_lock_state(segment, &barrier->lock) != SMEM_LOCK_HERE)
        return rc ? rc : SMEM_E_NOT_HELD;
    smem__end_phase(barrier, broken, broken);
    return smem__let_go(segment, barrier);
}

static int smem__outcome(smem_barrier *barrier, uint32_t phase)
{
    uint64_t resets = atomic_load((_Atomic uint64_t *)&barrier->resets);
    return resets & smem__phase_bit(phase) ? SMEM_E_BROKEN : 0;
}

int smem_barrier_sleep(smem_segment *segment, smem_barrier *barrier, uint32_t phase,
                       int64_t deadline)
{
    int64_t slice = SMEM__SLICE_FIRST;
    int rc = smem__is_within(segment, barrier, sizeof *barrier);
    if (rc != 0)
        return rc;
    smem__number *word = smem__phase_of(barrier);
    while (atomic_load(word) == phase) {
        bool looked = false;
        rc = smem__sleep(word, phase, deadline, &slice, &looked);
        SMEM__POINT("barrier.woken", "one who waited at a barrier is awake");
        if (rc != 0 && atomic_load(word) == phase)
            return rc;
        /* Is the last one dead, who would open it? */
        if (looked && smem_lock_state(segment, &barrier->lock) != SMEM_LOCK_FREE) {
            rc = smem__barrier_lock(segment, barrier, SMEM_NO_WAIT);
            if (rc == 0)
                smem_lock_release(segment, &barrier->lock);
        }
    }
    return smem__outcome(barrier, phase);
}

int smem_barrier_give_up(smem_segment *segment, smem_barrier *barrier, uint32_t phase)
{
    int rc;
    do
        rc = smem__barrier_lock(segment, barrier, SMEM_FOREVER);
    while (rc == -EINTR);
    if (rc != 0)
        return rc;
    if (barrier->phase != phase) {
        smem_lock_release(segment, &barrier->lock);
        return smem__outcome(barrier, phase);
    }
    smem__end_phase(barrier, true, true);
    rc = smem__let_go(segment, barrier);
    return rc ? rc : SMEM_E_BROKEN;
}

static int smem__reset(smem_segment *segment, smem_barrier *barrier, bool broken)
{
    int rc = smem__barrier_lock(segment, barrier, SMEM_FOREVER);
    if (rc == SMEM_E_BROKEN) /* the lock's holder was dead; it is free now */
        rc = smem__barrier_lock(segment, barrier, SMEM_FOREVER);
    if (rc != 0)
        return rc;
    smem__end_phase(barrier, true, broken);
    return smem__let_go(segment, barrier);
}

int smem_barrier_abort(smem_segment *segment, smem_barrier *barrier)
{
    return smem__reset(segment, barrier, true);
}

int smem_barrier_reset(smem_segment *segment, smem_barrier *barrier)
{
    return smem__reset(segment, barrier, false);
}

int smem_barrier_waiting(const smem_barrier *barrier)
{
    if (atomic_load((const smem__number *)&barrier->broken))
        return SMEM_E_BROKEN;
    return (int)atomic_load((const smem__number *)&barrier->count);
}
