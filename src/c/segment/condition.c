/*
 * Conditions: a notification is a permit to go on.
 *
 * [counts] is waiting << 32 | permits. Notifying adds permits, never more than
 * there are who wait; going on takes one permit and one who waits at once, in
 * one compare-and-swap. So a notification that woke somebody who died before he
 * went on is still there, and whoever looks next (lock.h: at the latest after a
 * slice) takes it.
 *
 * Nobody takes a permit that was there before he came: who waits has a ticket,
 * from [next], and may go on only when a notification came after, which sets
 * [mark] to [next]. [next] and [mark] change under the lock that guards what is
 * waited for.
 *
 * Who dies while he waits stays in the count. A later notification may then let
 * one more go on than was asked for; those who wait must look at what they wait
 * for in any case.
 */
#include "base/point.h"
#include "segment/lock.h"

#include <errno.h>

typedef _Atomic uint64_t smem__word64;
typedef _Atomic uint32_t smem__word32;

static const uint64_t smem__one_waiting = (uint64_t)1 << 32;

static smem__word64 *smem__condition_counts(smem_condition *condition)
{
    return (smem__word64 *)&condition->counts;
}

static uint32_t smem__waiting(uint64_t counts)
{
    return (uint32_t)(counts >> 32);
}

static uint32_t smem__permits(uint64_t counts)
{
    return (uint32_t)counts;
}

int smem_condition_begin(smem_segment *segment, smem_condition *condition, smem_wait *wait)
{
    int rc = smem__may_change(segment, condition, sizeof *condition);
    if (rc != 0)
        return rc;
    smem__word64 *next = (smem__word64 *)&condition->next;
    wait->ticket = atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
    wait->word = atomic_load((smem__word32 *)&condition->word);
    wait->slice = SMEM__SLICE_FIRST;
    atomic_fetch_add(smem__condition_counts(condition), smem__one_waiting);
    SMEM__POINT("condition.waits", "one more waits than there will be");
    return 0;
}

/* Take a permit that is meant for this wait; false: there is none. */
static bool smem__take_permit(smem_condition *condition, const smem_wait *wait)
{
    uint64_t counts = atomic_load(smem__condition_counts(condition));
    if (wait->ticket >= atomic_load((smem__word64 *)&condition->mark))
        return false;
    while (smem__permits(counts) > 0)
        if (atomic_compare_exchange_weak(smem__condition_counts(condition), &counts,
                                         counts - smem__one_waiting - 1))
            return true;
    return false;
}

/*
 * A waiter that is notified and gives up at the same time was notified: the permit that it
 * left would be nobody's, since those that came later may not have it, and would let one go on with the
 * next notification. The counts before the mark: a notification that comes after the look
 * changes them. (Should others meanwhile have changed them back, a permit stays after
 * all, as one of the dead's does.)
 */
int smem_condition_cancel(smem_segment *segment, smem_condition *condition, const smem_wait *wait)
{
    int rc = smem__is_within(segment, condition, sizeof *condition);
    if (rc != 0)
        return rc;
    uint64_t counts = atomic_load(smem__condition_counts(condition));
    bool notified;
    do {
        notified = smem__permits(counts) > 0 &&
                   wait->ticket < atomic_load((smem__word64 *)&condition->mark);
    } while (!atomic_compare_exchange_weak(smem__condition_counts(condition), &counts,
                                           counts - smem__one_waiting - notified));
    return notified;
}

int smem_condition_sleep(smem_segment *segment, smem_condition *condition, smem_wait *wait,
                         int64_t deadline)
{
    int within = smem__is_within(segment, condition, sizeof *condition);
    if (within != 0)
        return within;
    const smem__word32 *word = (const smem__word32 *)&condition->word;
    for (;;) {
        bool looked;
        if (smem__take_permit(condition, wait)) {
            SMEM__POINT("condition.taken", "a notification was taken, the lock was not");
            return 0;
        }
        int rc = smem__sleep(word, wait->word, deadline, &wait->slice, &looked);
        SMEM__POINT("condition.woken", "one who waited is awake and has no permit yet");
        if (rc == -ETIMEDOUT)
            return smem_condition_cancel(segment, condition, wait) == 1 ? 0 : rc;
        if (rc != 0)
            return rc;
        wait->word = atomic_load(word);
    }
}

/* The permits before the wake-up: who is woken must find his. */
int smem_condition_notify(smem_segment *segment, smem_condition *condition, uint32_t count)
{
    int rc = smem__may_change(segment, condition, sizeof *condition);
    if (rc != 0)
        return rc;
    smem__word64 *mark = (smem__word64 *)&condition->mark;
    uint64_t counts = atomic_load(smem__condition_counts(condition)), more;
    if (smem__waiting(counts) == 0)
        return 0;
    atomic_store(mark, atomic_load((smem__word64 *)&condition->next));
    SMEM__POINT("condition.marked", "those who wait may take permits; there is none yet");
    do {
        uint32_t room = smem__waiting(counts) - smem__permits(counts);
        more = count < room ? count : room;
    } while (!atomic_compare_exchange_weak(smem__condition_counts(condition), &counts, counts + more));
    SMEM__POINT("condition.permitted", "there are permits, and those who wait sleep");
    smem__word32 *word = (smem__word32 *)&condition->word;
    atomic_fetch_add(word, 1);
    SMEM__POINT("condition.notified", "there are permits, and those who sleep were not woken");
    /* As many permits as wait: one may have been left, and this is the one whose it is now. */
    uint32_t woken = more ? more : count;
    smem__futex_wake(word, woken > INT32_MAX ? INT32_MAX : (int)woken);
    return 0;
}

int smem_condition_wait(smem_segment *segment, smem_condition *condition, smem_lock *lock,
                        int64_t deadline)
{
    smem_wait wait;
    int taken, rc = smem_condition_begin(segment, condition, &wait);
    if (rc == 0 && (rc = smem_lock_release(segment, lock)) != 0)
        smem_condition_cancel(segment, condition, &wait);
    if (rc != 0)
        return rc;
    rc = smem_condition_sleep(segment, condition, &wait, deadline);
    if (rc == -EINTR && smem_condition_cancel(segment, condition, &wait) == 1)
        rc = 0;
    do
        taken = smem_lock_acquire(segment, lock, SMEM_FOREVER);
    while (taken == -EINTR);
    return taken ? taken : rc;
}
