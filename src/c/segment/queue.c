#include "segment/queue.h"

#include "base/point.h"
#include "os/backend.h"
#include "segment/lock.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* A sleeper that was woken and killed before it looked leaves the item to those
   who sleep on: they look again by themselves after this time. */
static const int64_t SMEM__LOOK_AGAIN = 1000000000;

static smem__queue *smem__queue_of(const smem_queue *queue)
{
    return smem_data(queue->segment);
}

static unsigned char *smem__queue_items(const smem_queue *queue)
{
    return (unsigned char *)(smem__queue_of(queue)->slots + queue->slots);
}

/* ---- the tape --------------------------------------------------------------- */

static smem__queue_slot *smem__slot_of(const smem_queue *queue, uint64_t number)
{
    return &smem__queue_of(queue)->slots[number & (queue->slots - 1)];
}

/* Where item [number] ends. Relaxed: ordered by the positions. */
static uint64_t smem__end_of(const smem_queue *queue, uint64_t number)
{
    return atomic_load_explicit(&smem__slot_of(queue, number)->end, memory_order_relaxed);
}

/* What it and all before it were charged. */
static uint64_t smem__charged_to(const smem_queue *queue, uint64_t number)
{
    return atomic_load_explicit(&smem__slot_of(queue, number)->charged, memory_order_relaxed);
}

static void smem__tape_write(const smem_queue *queue, uint64_t at, const void *item, uint64_t length)
{
    if (length == 0)
        return; /* then the other side may be NULL, too */
    unsigned char *items = smem__queue_items(queue);
    size_t begin = (size_t)(at & (queue->room - 1)), n = (size_t)length;
    size_t first = queue->room - begin < n ? (size_t)(queue->room - begin) : n;
    memcpy(items + begin, item, first);
    memcpy(items, (const unsigned char *)item + first, n - first);
}

static void smem__tape_read(const smem_queue *queue, uint64_t at, void *out, uint64_t length)
{
    if (length == 0)
        return; /* then the other side may be NULL, too */
    const unsigned char *items = smem__queue_items(queue);
    size_t begin = (size_t)(at & (queue->room - 1)), n = (size_t)length;
    size_t first = queue->room - begin < n ? (size_t)(queue->room - begin) : n;
    memcpy(out, items + begin, first);
    memcpy((unsigned char *)out + first, items, n - first);
}

/* ---- waiting ---------------------------------------------------------------- */

/*
 * A dead holder's lock is taken over as it is: queue.h says why nothing is to mend. A
 * living one gives it back in a moment, which who does not want to wait for items
 * waits for, but for no longer than it may take if it was stopped there.
 */
static int smem__side_enter(const smem_queue *queue, smem__queue_side *side, int64_t deadline)
{
    int code = smem_lock_acquire(queue->segment, &side->lock, SMEM_NO_WAIT);
    if (code == -ETIMEDOUT) {
        int64_t until = deadline == SMEM_NO_WAIT ? smem_deadline(SMEM__LOOK_AGAIN) : deadline;
        code = smem_lock_acquire(queue->segment, &side->lock, until);
        if (code == -ETIMEDOUT && deadline == SMEM_NO_WAIT)
            code = -EAGAIN;
    }
    return code == SMEM_E_OWNER_DIED ? smem_lock_recover(queue->segment, &side->lock) : code;
}

/* -EBUSY: one has to wait, if only to find out whether the holder lives. */
static int smem__side_try(const smem_queue *queue, smem__queue_side *side)
{
    int code = smem_lock_try(queue->segment, &side->lock);
    return code == -ENOLCK ? -EBUSY : code;
}

static void smem__side_exit(const smem_queue *queue, smem__queue_side *side)
{
    smem_lock_release(queue->segment, &side->lock);
}

/* A microsecond: in a burst the next item comes sooner. A longer look is in the way of
   an answer, where both sides share a core: with 200 turns a round trip took twice as long. */
enum { SMEM__QUEUE_TURNS = 40 };

/* Let the other thread of this core, and the memory, have their way. */
static void smem__turn(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__ || (defined __arm__ && __ARM_ARCH >= 7)
    __asm__ volatile("yield");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static bool smem__side_watch(const smem__queue_side *side, uint32_t seen)
{
    for (int turn = 0; turn < SMEM__QUEUE_TURNS; turn++) {
        if (atomic_load_explicit(&side->event, memory_order_relaxed) != seen)
            return true;
        smem__turn();
    }
    return false;
}

/*
 * Sleep until [side]'s event is no longer [seen]. The count goes up before the
 * last look at the event (which the kernel takes), and who changes the event looks
 * at the count afterwards: one of the two sees the other.
 */
static int smem__side_sleep(smem__queue_side *side, uint32_t seen, int64_t deadline)
{
    int64_t again = smem__monotonic_ns() + SMEM__LOOK_AGAIN;
    bool last = deadline <= again;
    atomic_fetch_add(&side->sleepers, 1);
    int code = smem__futex_wait(&side->event, seen, last ? deadline : again);
    if (code == SMEM__WOKEN)
        return 0;
    atomic_fetch_sub(&side->sleepers, 1);
    return code == -ETIMEDOUT && !last ? 0 : code;
}

/*
 * 0: look again. A signal may have come between the wake-up and the first step after
 * it, on a busy machine long after: the call that gives way is told as if it had cut the sleep short.
 */
static int smem__side_await(const smem_queue *queue, smem__queue_side *side, uint32_t seen,
                            int64_t deadline)
{
    if (deadline == SMEM_NO_WAIT)
        return -EAGAIN;
    if (smem__side_watch(side, seen))
        return 0;
    int code = smem__side_sleep(side, seen, deadline);
    return code == 0 && queue->gives_way ? -EINTR : code;
}

/* Called by the holder of the lock, who alone changes both words. */
static void smem__side_advance(smem__queue_side *side)
{
    uint64_t position = atomic_load_explicit(&side->position, memory_order_relaxed);
    atomic_store_explicit(&side->position, position + 1, memory_order_release);
    SMEM__POINT("queue.moved", "an item was put or taken; nobody was woken for it");
    atomic_store(&side->event, atomic_load_explicit(&side->event, memory_order_relaxed) + 1);
}

/* Who wakes takes those whom it woke off the count: until they run, nobody else makes
   a system call for them. */
static void smem__side_rouse(smem__queue_side *side, int count)
{
    int woken = smem__futex_wake(&side->event, count);
    if (woken > 0)
        atomic_fetch_sub(&side->sleepers, (uint32_t)woken);
}

/* An item is for one, and so is a slot; but bytes that are too few for who is woken
   may be enough for another. */
static void smem__side_wake(smem__queue_side *side, int count)
{
    if (atomic_load(&side->sleepers) != 0)
        smem__side_rouse(side, count);
}

/* ---- put -------------------------------------------------------------------- */

static uint64_t smem__position(const smem__queue_side *side)
{
    return atomic_load_explicit(&side->position, memory_order_acquire);
}

/* Where the other side was at the last look, or is. */
static uint64_t smem__far(smem__queue_side *side, const smem__queue_side *other, bool look)
{
    if (look)
        atomic_store_explicit(&side->far, smem__position(other), memory_order_relaxed);
    return atomic_load_explicit(&side->far, memory_order_relaxed);
}

/* By the holder of the put side's lock; not in the queue before the position moves. */
static void smem__queue_write(const smem_queue *queue, uint64_t put, const void *item,
                              uint64_t length, uint64_t charged)
{
    smem__queue_slot *slot = smem__slot_of(queue, put);
    uint64_t begin = smem__end_of(queue, put - 1);
    smem__tape_write(queue, begin, item, length);
    SMEM__POINT("queue.written", "an item's bytes are on the tape; it is not in the queue");
    atomic_store_explicit(&slot->charged, charged, memory_order_relaxed);
    atomic_store_explicit(&slot->end, begin + length, memory_order_relaxed);
    SMEM__POINT("queue.ended", "its slot says where it ends; it is not in the queue");
}

/*
 * One try, by the holder of the put side's lock. The consumers move their position
 * only forwards meanwhile: what is free stays free.
 */
static int smem__queue_append(const smem_queue *queue, const void *item, uint64_t length, bool look)
{
    smem__queue *shared = smem__queue_of(queue);
    if (atomic_load(&shared->shut))
        return SMEM_E_SHUT;
    uint64_t put = atomic_load_explicit(&shared->put.position, memory_order_relaxed);
    uint64_t count = put - smem__far(&shared->put, &shared->get, look);
    if (count == queue->limit)
        return -EAGAIN;
    uint64_t charged = smem__charged_to(queue, put - 1);
    uint64_t used = charged - smem__charged_to(queue, put - count - 1);
    if (count > queue->limit || used > queue->room)
        return SMEM_E_FORMAT;
    uint64_t free = queue->room - used, kept = (queue->limit - count - 1) * queue->spare;
    uint64_t charge = length > queue->spare ? length : queue->spare;
    if (charge > free || free - charge < kept)
        return queue->spare != 0 || length > queue->room ? SMEM_E_LENGTH : -EAGAIN;
    smem__queue_write(queue, put, item, length, charged + charge);
    smem__side_advance(&shared->put);
    return 0;
}

/* By the holder, who gives the lock back here. [seen] is for smem__side_await(). */
static int smem__queue_put(const smem_queue *queue, const void *item, uint64_t length,
                           uint32_t *seen)
{
    smem__queue *shared = smem__queue_of(queue);
    int code = smem__queue_append(queue, item, length, false);
    if (code != 0 && code != SMEM_E_SHUT) {
        *seen = atomic_load(&shared->get.event); /* before the look at what is free */
        code = smem__queue_append(queue, item, length, true);
    }
    smem__side_exit(queue, &shared->put);
    if (code == 0)
        smem__side_wake(&shared->put, 1);
    return code;
}

int smem_queue_put(const smem_queue *queue, const void *item, uint64_t length, int64_t deadline)
{
    smem__queue *shared = smem__queue_of(queue);
    for (;;) {
        uint32_t seen;
        int code = smem__side_enter(queue, &shared->put, deadline);
        if (code != 0)
            return code;
        code = smem__queue_put(queue, item, length, &seen);
        if (code != -EAGAIN)
            return code;
        code = smem__side_await(queue, &shared->get, seen, deadline);
        if (code != 0)
            return code;
    }
}

int smem_queue_try_put(const smem_queue *queue, const void *item, uint64_t length)
{
    uint32_t seen;
    int code = smem__side_try(queue, &smem__queue_of(queue)->put);
    return code ? code : smem__queue_put(queue, item, length, &seen);
}

/* ---- get -------------------------------------------------------------------- */

/* One try, by the holder of the get side's lock. */
static int smem__queue_first(const smem_queue *queue, void *buffer, uint64_t capacity,
                             uint64_t *length, bool look)
{
    smem__queue *shared = smem__queue_of(queue);
    bool shut = look && atomic_load(&shared->shut); /* before the look at what is there */
    uint64_t taken = atomic_load_explicit(&shared->get.position, memory_order_relaxed);
    uint64_t count = smem__far(&shared->get, &shared->put, look) - taken;
    if (count == 0)
        return shut ? SMEM_E_SHUT : -EAGAIN;
    uint64_t begin = smem__end_of(queue, taken - 1);
    *length = smem__end_of(queue, taken) - begin;
    if (count > queue->limit || *length > queue->room)
        return SMEM_E_FORMAT;
    if (*length > capacity)
        return SMEM_E_LENGTH;
    smem__tape_read(queue, begin, buffer, *length);
    SMEM__POINT("queue.read", "an item was copied out; it is still the first one");
    smem__side_advance(&shared->get);
    return 0;
}

/* By the holder, who gives the lock back here. [seen] is for smem__side_await(). */
static int smem__queue_take(const smem_queue *queue, void *buffer, uint64_t capacity,
                            uint64_t *length, uint32_t *seen)
{
    smem__queue *shared = smem__queue_of(queue);
    int code = smem__queue_first(queue, buffer, capacity, length, false);
    if (code == -EAGAIN) {
        *seen = atomic_load(&shared->put.event);
        code = smem__queue_first(queue, buffer, capacity, length, true);
    }
    smem__side_exit(queue, &shared->get);
    if (code == 0)
        smem__side_wake(&shared->get, queue->spare != 0 ? 1 : INT_MAX);
    return code;
}

/*
 * A producer that looked at [shut] before it was set may be about to put. It holds
 * its lock from that look on: who had the lock since has seen what the last one put.
 */
static int smem__queue_settle(const smem_queue *queue, int64_t deadline)
{
    smem__queue_side *side = &smem__queue_of(queue)->put;
    int code = smem__side_enter(queue, side, deadline);
    if (code == 0)
        smem__side_exit(queue, side);
    return code;
}

int smem_queue_get(const smem_queue *queue, void *buffer, uint64_t capacity, uint64_t *length,
                   int64_t deadline)
{
    smem__queue *shared = smem__queue_of(queue);
    bool settled = false;
    for (;;) {
        uint32_t seen = 0;
        int code = smem__side_enter(queue, &shared->get, deadline);
        if (code != 0)
            return code;
        code = smem__queue_take(queue, buffer, capacity, length, &seen);
        if (code == SMEM_E_SHUT && !settled) {
            settled = true;
            code = smem__queue_settle(queue, deadline);
            if (code == 0)
                continue;
        }
        if (code != -EAGAIN)
            return code;
        code = smem__side_await(queue, &shared->put, seen, deadline);
        if (code != 0)
            return code;
    }
}

int smem_queue_try_get(const smem_queue *queue, void *buffer, uint64_t capacity, uint64_t *length)
{
    uint32_t seen;
    int code = smem__side_try(queue, &smem__queue_of(queue)->get);
    if (code == 0)
        code = smem__queue_take(queue, buffer, capacity, length, &seen);
    return code == SMEM_E_SHUT ? -EBUSY : code; /* one has to wait for producers to know */
}

/* ---- the rest --------------------------------------------------------------- */

uint32_t smem_queue_count(const smem_queue *queue)
{
    const smem__queue *shared = smem__queue_of(queue);
    uint64_t taken = smem__position(&shared->get); /* first: it is never ahead of the other */
    uint64_t count = smem__position(&shared->put) - taken;
    return count < queue->limit ? (uint32_t)count : queue->limit;
}

/*
 * Change [side]'s event, so that its sleepers look again. Without the lock: the
 * holder's own change may overwrite this one, and is as good.
 */
static void smem__side_interrupt(smem__queue_side *side)
{
    atomic_fetch_add(&side->event, 1);
    smem__side_rouse(side, INT_MAX);
}

void smem_queue_pass_on(const smem_queue *queue)
{
    smem__queue *shared = smem__queue_of(queue);
    smem__side_wake(&shared->put, 1);
    smem__side_wake(&shared->get, 1);
}

void smem_queue_shut(const smem_queue *queue)
{
    smem__queue *shared = smem__queue_of(queue);
    atomic_store(&shared->shut, 1);
    SMEM__POINT("queue.shut", "no more puts; those who wait were not woken");
    smem__side_interrupt(&shared->put);
    smem__side_interrupt(&shared->get);
}

int smem_queue_done(const smem_queue *queue)
{
    smem__queue *shared = smem__queue_of(queue);
    uint32_t done = atomic_load(&shared->done);
    do
        if (done == (uint32_t)smem__position(&shared->put))
            return SMEM_E_ARGUMENT;
    while (!atomic_compare_exchange_weak(&shared->done, &done, done + 1));
    if (done + 1 == (uint32_t)smem__position(&shared->put))
        smem__futex_wake(&shared->done, INT_MAX);
    return 0;
}

int smem_queue_join(const smem_queue *queue, int64_t deadline)
{
    smem__queue *shared = smem__queue_of(queue);
    for (;;) {
        uint32_t done = atomic_load(&shared->done);
        if (done == (uint32_t)smem__position(&shared->put))
            return 0;
        int64_t again = smem__monotonic_ns() + SMEM__LOOK_AGAIN;
        int code = smem__futex_wait(&shared->done, done, deadline < again ? deadline : again);
        if (code < 0 && (code != -ETIMEDOUT || deadline < again))
            return code;
    }
}
