/*
 * Conditions: a notification is a permit to go on, or is for all who wait.
 *
 * [counts] is generation << 48 | waiting << 24 | permits. Notifying fewer than wait adds
 * permits; going on takes one permit and one waiter at once, in one compare-and-swap. So a
 * notification that woke a process that died before it went on is still there, and whoever
 * looks next (lock.h: at the latest after a slice) takes it.
 *
 * Nobody takes a permit that was there before it came: a waiter has a ticket, from [next],
 * and may go on only when a notification came after, which sets [mark] to [next].
 *
 * Notifying all who wait sets [all] to [next]: those with earlier tickets go on, whatever
 * comes later, and change no count. Permits for each of them would not do: the next
 * notification moves [mark], and those that began to wait in between could take them. The
 * counts begin anew, in the next generation, so that a waiter that looked at them before
 * and is counted no more fails to change them: counts first, then [all].
 *
 * [next], [mark] and [all] change under the lock that guards what is waited for.
 *
 * A process that dies while it waits stays in the count until all are notified. Until then
 * a notification may let one more go on than was asked for; those who wait must look at
 * what they wait for in any case.
 */
#include "base/point.h"
#include "segment/lock.h"

#include <errno.h>

typedef _Atomic uint64_t smem__word64;
typedef _Atomic uint32_t smem__word32;

static const uint64_t smem__one_waiting = (uint64_t)1 << 24;
static const uint64_t smem__generation = (uint64_t)1 << 48;

static smem__word64 *smem__condition_counts(smem_condition *condition)
{
    return (smem__word64 *)&condition->counts;
}

static uint32_t smem__waiting(uint64_t counts)
{
    return (uint32_t)(counts >> 24) & 0xffffff;
}

static uint32_t smem__permits(uint64_t counts)
{
    return (uint32_t)counts & 0xffffff;
}

static bool smem__is_before(uint64_t ticket, const uint64_t *mark)
{
    return ticket < atomic_load((const smem__word64 *)mark);
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

/* All who waited then were notified, or a permit is taken that is meant for this wait. */
static bool smem__goes_on(smem_condition *condition, const smem_wait *wait)
{
    uint64_t counts = atomic_load(smem__condition_counts(condition));
    do {
        if (smem__is_before(wait->ticket, &condition->all))
            return true;
        if (smem__permits(counts) == 0 || !smem__is_before(wait->ticket, &condition->mark))
            return false;
    } while (!atomic_compare_exchange_weak(smem__condition_counts(condition), &counts,
                                           counts - smem__one_waiting - 1));
    return true;
}

/*
 * A waiter that is notified and gives up at the same time was notified: the permit that it
 * left would be nobody's, since those that came later may not have it, and would let one go on with the
 * next notification. The counts before the marks: a notification that comes after the look
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
        if (smem__is_before(wait->ticket, &condition->all))
            return 1;
        notified = smem__permits(counts) > 0 && smem__is_before(wait->ticket, &condition->mark);
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
        if (smem__goes_on(condition, wait)) {
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

/* Let [count] go on, or all who wait. */
static void smem__permit(smem_condition *condition, uint64_t counts, uint32_t count)
{
    uint64_t next = atomic_load((smem__word64 *)&condition->next), changed;
    bool all;
    do {
        all = count >= smem__waiting(counts) - smem__permits(counts);
        atomic_store((smem__word64 *)(all ? &condition->all : &condition->mark), next);
        SMEM__POINT("condition.marked", "those who wait may go on by a count that is yet to change");
        changed = all ? (counts & ~(smem__generation - 1)) + smem__generation : counts + count;
    } while (!atomic_compare_exchange_weak(smem__condition_counts(condition), &counts, changed));
}

/* What lets go on before the wake-up: one that is woken must find it. */
int smem_condition_notify(smem_segment *segment, smem_condition *condition, uint32_t count)
{
    int rc = smem__may_change(segment, condition, sizeof *condition);
    if (rc != 0)
        return rc;
    uint64_t counts = atomic_load(smem__condition_counts(condition));
    if (smem__waiting(counts) == 0 || count == 0)
        return 0;
    smem__permit(condition, counts, count);
    SMEM__POINT("condition.permitted", "there are permits, and those who wait sleep");
    smem__word32 *word = (smem__word32 *)&condition->word;
    atomic_fetch_add(word, 1);
    SMEM__POINT("condition.notified", "there are permits, and those who sleep were not woken");
    smem__futex_wake(word, count > INT32_MAX ? INT32_MAX : (int)count);
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
