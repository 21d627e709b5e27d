/*
 * A lock that outlives its holder.
 *
 * [state] (holder.h) is 0 when free. Uncontended, taking and giving back are one
 * compare-and-swap each. Who has to wait sets SMEM__WAITERS and sleeps on the
 * half of the state that changes with it; who gives it back then wakes one, who
 * takes it with SMEM__WAITERS set again, since there may be more.
 *
 * The death of the holder is found by those who wait: after each slice of sleep
 * they ask the kernel whether the holder lives (holder.h). The state of the dead is replaced
 * by one compare-and-swap, so one of them gets it, and never from a living one.
 * It keeps SMEM__DAMAGED until smem_lock_recover(): who gives it back before
 * that gives it back damaged, and the next is told as well. (POSIX makes such a
 * mutex useless for ever, ENOTRECOVERABLE: one that is found by its name would
 * have to be replaced in all processes.)
 *
 * The holder is the process: what it holds any of its threads may give back, as
 * with threading.Lock. For the recursive functions it is a thread of it.
 *
 * Order: taking acquires, giving back releases; what the dead holder wrote
 * before its death is seen, since the kernel's own locks lie in between.
 */
#include "segment/lock.h"

#include "base/point.h"
#include "segment/holder.h"

#include <errno.h>

typedef _Atomic uint64_t smem__state;

static smem__state *smem__state_of(smem_lock *lock)
{
    return (smem__state *)&lock->state;
}

/* The half with number and flags, which is what futexes are as wide as. */
static _Atomic uint32_t *smem__word_of(smem_lock *lock)
{
    _Atomic uint32_t *halves = (_Atomic uint32_t *)&lock->state;
    return &halves[__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 1];
}

/* Whose it is (holder.h): said after the lock is had, so until then, and where the
   holder dies before that, nothing is said. */
static _Atomic uint32_t *smem__process_of(const smem_lock *lock)
{
    return (_Atomic uint32_t *)&lock->process;
}

static int smem__lives(smem_context *ctx, const smem_lock *lock, uint64_t seen)
{
    return smem__holder_lives(ctx, seen,
                              atomic_load_explicit(smem__process_of(lock), memory_order_relaxed));
}

int smem__sleep(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline, int64_t *slice,
                bool *looked)
{
    int64_t now = smem__monotonic_ns();
    *looked = false;
    if (now >= deadline)
        return -ETIMEDOUT;
    int64_t end = deadline - now < *slice ? deadline : now + *slice;
    int rc = smem__futex_wait(word, expected, end);
    *looked = rc == -ETIMEDOUT;
    if (*looked && *slice < SMEM__SLICE_LONGEST)
        *slice *= 2;
    return rc == -ETIMEDOUT || rc == SMEM__WOKEN ? 0 : rc;
}

/* ---- taking ----------------------------------------------------------------- */

/* One try to replace [*seen] by this holder's; 0: it is held. -EBUSY. */
static int smem__take(smem_context *ctx, smem_lock *lock, uint64_t *seen, uint64_t flags)
{
    atomic_fetch_add(&ctx->held, 1); /* before [holder] is read: smem__holder_retire() */
    uint64_t self = atomic_load(&ctx->holder);
    if (self && atomic_compare_exchange_strong_explicit(smem__state_of(lock), seen, self | flags,
                                                        memory_order_acquire,
                                                        memory_order_relaxed)) {
        SMEM__POINT("lock.taking", "a lock is held, and does not say by which process");
        uint32_t process = atomic_load_explicit(&ctx->process, memory_order_relaxed);
        atomic_store_explicit(smem__process_of(lock), process, memory_order_relaxed);
        SMEM__POINT("lock.taken", "a lock is held");
        return flags & SMEM__DAMAGED ? SMEM_E_OWNER_DIED : 0;
    }
    atomic_fetch_sub(&ctx->held, 1);
    return self ? -EBUSY : -ENOLCK;
}

/* The holder's death is proved for [seen] alone: that very state is replaced. */
static int smem__take_from_dead(smem_context *ctx, smem_lock *lock, uint64_t seen)
{
    if (!(seen & SMEM__NUMBER) || smem__lives(ctx, lock, seen) != SMEM__DEAD)
        return -EBUSY;
    SMEM__POINT("lock.dead-found", "one who waits knows that the holder is dead");
    return smem__take(ctx, lock, &seen, SMEM__DAMAGED | SMEM__WAITERS);
}

/* What follows a try that failed: -EBUSY asks for another one. */
static int smem__become_holder(smem_context *ctx, int rc)
{
    uint64_t ignored;
    if (rc != -ENOLCK)
        return rc;
    rc = smem__holder_self(ctx, &ignored);
    return rc ? rc : -EBUSY;
}

/* [seen] is held by somebody: sleep a slice, then see whether he lives. */
static int smem__await(smem_context *ctx, smem_lock *lock, uint64_t seen, int64_t deadline,
                       int64_t *slice)
{
    bool looked = deadline == SMEM_NO_WAIT;
    if (!looked) {
        if (!(seen & SMEM__WAITERS) &&
            !atomic_compare_exchange_strong_explicit(smem__state_of(lock), &seen,
                                                     seen | SMEM__WAITERS, memory_order_relaxed,
                                                     memory_order_relaxed))
            return -EBUSY;
        SMEM__POINT("lock.waits", "one who waits is announced in the lock");
        int rc = smem__sleep(smem__word_of(lock), (uint32_t)(seen | SMEM__WAITERS), deadline,
                             slice, &looked);
        SMEM__POINT("lock.woken", "one who waited is awake and holds nothing");
        if (rc != 0)
            return rc;
        seen = atomic_load_explicit(smem__state_of(lock), memory_order_relaxed);
    }
    return looked ? smem__become_holder(ctx, smem__take_from_dead(ctx, lock, seen)) : -EBUSY;
}

static int smem__wait_and_take(smem_context *ctx, smem_lock *lock, int64_t deadline)
{
    uint64_t waited = 0;
    int64_t slice = SMEM__SLICE_FIRST;
    for (;;) {
        uint64_t seen = atomic_load_explicit(smem__state_of(lock), memory_order_relaxed);
        int rc;
        if (!(seen & SMEM__NUMBER)) {
            rc = smem__take(ctx, lock, &seen, (seen & (SMEM__DAMAGED | SMEM__WAITERS)) | waited);
            rc = smem__become_holder(ctx, rc);
        } else {
            rc = smem__await(ctx, lock, seen, deadline, &slice);
            waited = SMEM__WAITERS;
            if (rc == -EBUSY && deadline == SMEM_NO_WAIT)
                rc = -ETIMEDOUT;
        }
        if (rc != -EBUSY)
            return rc;
    }
}

int smem_lock_try(smem_segment *segment, smem_lock *lock)
{
    uint64_t seen = 0;
    int rc = smem__may_change(segment, lock, sizeof *lock);
    return rc ? rc : smem__take(segment->ctx, lock, &seen, 0);
}

int smem_lock_acquire(smem_segment *segment, smem_lock *lock, int64_t deadline)
{
    int rc = smem_lock_try(segment, lock);
    if (rc == -EBUSY || rc == -ENOLCK)
        rc = smem__wait_and_take(segment->ctx, lock, deadline);
    return rc;
}

/* ---- giving back ------------------------------------------------------------- */

static bool smem__is_mine(const smem_context *ctx, uint64_t state)
{
    return state & SMEM__NUMBER && (state & SMEM__HOLDER) == atomic_load(&ctx->holder);
}

int smem_lock_release(smem_segment *segment, smem_lock *lock)
{
    smem_context *ctx = segment->ctx;
    if (smem__is_within(segment, lock, sizeof *lock) != 0)
        return -EACCES;
    smem__state *state = smem__state_of(lock);
    uint64_t seen = atomic_load_explicit(state, memory_order_relaxed);
    if (!smem__is_mine(ctx, seen))
        return SMEM_E_NOT_HELD;
    atomic_store_explicit(smem__process_of(lock), 0, memory_order_relaxed);
    do {
        if (!smem__is_mine(ctx, seen))
            return SMEM_E_NOT_HELD; /* it was broken */
    } while (!atomic_compare_exchange_weak_explicit(state, &seen, seen & SMEM__DAMAGED,
                                                    memory_order_release, memory_order_relaxed));
    atomic_fetch_sub(&ctx->held, 1);
    if (seen & SMEM__WAITERS) {
        SMEM__POINT("lock.given-back", "a lock is free, and those who wait sleep");
        smem__futex_wake(smem__word_of(lock), 1);
    }
    return 0;
}

int smem_lock_recover(smem_segment *segment, smem_lock *lock)
{
    if (smem__is_within(segment, lock, sizeof *lock) != 0)
        return -EACCES;
    uint64_t seen = atomic_load_explicit(smem__state_of(lock), memory_order_relaxed);
    if (!smem__is_mine(segment->ctx, seen))
        return SMEM_E_NOT_HELD;
    atomic_fetch_and_explicit(smem__state_of(lock), ~SMEM__DAMAGED, memory_order_relaxed);
    return 0;
}

int smem_lock_state(const smem_segment *segment, const smem_lock *lock)
{
    if (smem__is_within(segment, lock, sizeof *lock) != 0)
        return -EACCES;
    uint64_t seen = atomic_load_explicit((const smem__state *)&lock->state, memory_order_relaxed);
    if (!(seen & SMEM__NUMBER))
        return SMEM_LOCK_FREE;
    return smem__is_mine(segment->ctx, seen) ? SMEM_LOCK_HERE : SMEM_LOCK_ELSEWHERE;
}

bool smem__is_abandoned(const smem_segment *segment, const smem_lock *lock)
{
    if (smem__may_change(segment, lock, sizeof *lock) != 0)
        return false;
    uint64_t seen = atomic_load((const smem__state *)&lock->state);
    return !(seen & SMEM__NUMBER) || smem__lives(segment->ctx, lock, seen) == SMEM__DEAD;
}

/* [seen]: the state that the answer is of. */
static int smem__lock_judge(smem_segment *segment, const smem_lock *lock, uint64_t *seen, int *pid)
{
    int rc = smem__may_change(segment, lock, sizeof *lock);
    if (rc != 0)
        return rc;
    *seen = atomic_load((const smem__state *)&lock->state);
    if (!(*seen & SMEM__NUMBER))
        return SMEM_HOLDER_NONE;
    *pid = smem__holder_pid(&segment->ctx->place, *seen, atomic_load(smem__process_of(lock)));
    rc = smem__lives(segment->ctx, lock, *seen);
    return rc == SMEM__DEAD ? SMEM_HOLDER_DEAD : rc == SMEM__LIVES ? SMEM_HOLDER_LIVES
                                                                   : SMEM_HOLDER_UNSEEN;
}

int smem_lock_holder(smem_segment *segment, const smem_lock *lock, int *pid)
{
    uint64_t seen;
    *pid = 0;
    return smem__lock_judge(segment, lock, &seen, pid);
}

/* As if the holder had died. It is judged again with each state that is replaced. */
int smem_lock_break(smem_segment *segment, smem_lock *lock)
{
    uint64_t seen;
    int pid, rc;
    do {
        rc = smem__lock_judge(segment, lock, &seen, &pid);
        if (rc == SMEM_HOLDER_NONE)
            return SMEM_E_NOT_HELD;
        if (rc < 0 || rc == SMEM_HOLDER_LIVES)
            return rc < 0 ? rc : -EBUSY;
    } while (!atomic_compare_exchange_strong(smem__state_of(lock), &seen, SMEM__DAMAGED));
    SMEM__POINT("lock.broken", "a lock was taken from a holder that nobody sees");
    smem__futex_wake(smem__word_of(lock), INT32_MAX);
    return 0;
}

/* ---- by one thread, several times ---------------------------------------------- */

/*
 * A thread of one holder. It is written by who holds the lock and taken away
 * before the lock is given back; one that a dead holder left does not equal that
 * of any thread here, since the holder's number is in it.
 */
static uint64_t smem__thread(const smem_context *ctx)
{
    return (uint64_t)(uintptr_t)pthread_self() ^
           atomic_load(&ctx->holder) * UINT64_C(0x9e3779b97f4a7c15);
}

static _Atomic uint64_t *smem__thread_of(smem_lock *lock)
{
    return (_Atomic uint64_t *)&lock->thread;
}

static bool smem__is_this_thread(const smem_context *ctx, smem_lock *lock)
{
    uint64_t seen = atomic_load_explicit(smem__state_of(lock), memory_order_relaxed);
    return smem__is_mine(ctx, seen) && atomic_load_explicit(smem__thread_of(lock),
                                                            memory_order_relaxed) ==
                                           smem__thread(ctx);
}

int smem_lock_is_mine(smem_segment *segment, smem_lock *lock)
{
    int rc = smem__is_within(segment, lock, sizeof *lock);
    return rc ? rc : smem__is_this_thread(segment->ctx, lock);
}

int smem_lock_enter(smem_segment *segment, smem_lock *lock, int64_t deadline)
{
    if (smem__is_within(segment, lock, sizeof *lock) != 0)
        return -EACCES;
    if (smem__is_this_thread(segment->ctx, lock)) {
        if (lock->depth == UINT32_MAX)
            return -EOVERFLOW;
        lock->depth++;
        return 0;
    }
    int rc = smem_lock_acquire(segment, lock, deadline);
    if (rc == 0 || rc == SMEM_E_OWNER_DIED) {
        lock->depth = 1;
        atomic_store_explicit(smem__thread_of(lock), smem__thread(segment->ctx),
                              memory_order_relaxed);
        SMEM__POINT("lock.entered", "a thread holds a lock by its own name");
    }
    return rc;
}

int smem_lock_exit(smem_segment *segment, smem_lock *lock)
{
    if (smem__is_within(segment, lock, sizeof *lock) != 0)
        return -EACCES;
    if (!smem__is_this_thread(segment->ctx, lock))
        return SMEM_E_NOT_HELD;
    if (--lock->depth > 0)
        return 0;
    atomic_store_explicit(smem__thread_of(lock), 0, memory_order_relaxed);
    return smem_lock_release(segment, lock);
}

int smem_lock_exit_all(smem_segment *segment, smem_lock *lock, uint32_t *depth)
{
    if (smem__is_within(segment, lock, sizeof *lock) != 0)
        return -EACCES;
    if (!smem__is_this_thread(segment->ctx, lock))
        return SMEM_E_NOT_HELD;
    *depth = lock->depth;
    lock->depth = 1;
    return smem_lock_exit(segment, lock);
}

int smem_lock_enter_again(smem_segment *segment, smem_lock *lock, uint32_t depth, int64_t deadline)
{
    int rc = smem_lock_enter(segment, lock, deadline);
    if (rc == 0 || rc == SMEM_E_OWNER_DIED)
        lock->depth = depth;
    return rc;
}

/* ---- an array's own ------------------------------------------------------------ */

smem_lock *smem_lock_of(smem_segment *segment)
{
    smem__layout *header = segment->mapping.base;
    return &header->lock;
}

int64_t smem_deadline(int64_t ns)
{
    int64_t now = smem__monotonic_ns();
    return ns <= 0 ? SMEM_NO_WAIT : ns > SMEM_FOREVER - now ? SMEM_FOREVER
                                                            : now + ns;
}
