/*
 * The latest complete frame: a sequence lock in the array's header.
 *
 * [sequence] is odd while a frame is being written. The writer makes it odd before
 * its first byte and even after its last; a reader takes what it has copied only if
 * the sequence was even before, and the same after. Order (Boehm, "Can seqlocks get
 * along with programming language memory models?", 2012): a release fence after the
 * odd store keeps the writer's bytes behind it, an acquire fence before the second
 * look keeps the reader's before it. That the bytes themselves race is what a
 * sequence lock is; smem_frame_read() loads them atomically in words.
 *
 * [writer] is a lock like any other: one writes at a time, and a reader that finds
 * an odd sequence can know that nobody will make it even: SMEM_E_TORN.
 */
#include "base/point.h"
#include "segment/lock.h"

#include <errno.h>
#include <string.h>

static smem__layout *smem__header(const smem_segment *segment)
{
    return segment->mapping.base;
}

static _Atomic uint32_t *smem__sequence_word(smem__layout *header)
{
    _Atomic uint32_t *halves = (_Atomic uint32_t *)&header->sequence;
    return &halves[__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 1];
}

/* ---- writing ----------------------------------------------------------------------- */

int smem_frame_begin(smem_segment *segment, int64_t deadline)
{
    smem__layout *header = smem__header(segment);
    int rc = smem__may_change(segment, smem_data(segment), 0);
    if (rc == 0)
        rc = smem_lock_acquire(segment, &header->writer, deadline);
    if (rc == SMEM_E_OWNER_DIED) /* its frame is overwritten, or stays torn */
        rc = smem_lock_recover(segment, &header->writer);
    if (rc != 0)
        return rc;
    SMEM__POINT("frame.begun", "one may write, and has not said so");
    uint64_t seen = atomic_load_explicit(&header->sequence, memory_order_relaxed);
    atomic_store_explicit(&header->sequence, seen | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    SMEM__POINT("frame.writing", "a frame is half-written");
    return 0;
}

static int smem__frame_leave(smem_segment *segment)
{
    smem__layout *header = smem__header(segment);
    int rc = smem_lock_release(segment, &header->writer);
    SMEM__POINT("frame.left", "a frame is done, and those who wait for it sleep");
    if (rc == 0 && atomic_load(&header->viewers) > 0)
        smem__futex_wake(smem__sequence_word(header), INT32_MAX);
    return rc;
}

static bool smem__frame_is_written_here(const smem_segment *segment)
{
    return smem_lock_state(segment, &smem__header(segment)->writer) == SMEM_LOCK_HERE;
}

int smem_frame_end(smem_segment *segment)
{
    smem__layout *header = smem__header(segment);
    if (!smem__frame_is_written_here(segment))
        return SMEM_E_NOT_HELD;
    uint64_t seen = atomic_load_explicit(&header->sequence, memory_order_relaxed);
    atomic_store(&header->sequence, seen + 1); /* before [viewers] is looked at */
    SMEM__POINT("frame.complete", "a frame is complete, its writer still the writer");
    return smem__frame_leave(segment);
}

int smem_frame_give_up(smem_segment *segment)
{
    return smem__frame_is_written_here(segment) ? smem__frame_leave(segment) : SMEM_E_NOT_HELD;
}

/* ---- reading ----------------------------------------------------------------------- */

uint64_t smem_frame_number(const smem_segment *segment)
{
    return atomic_load(&smem__header(segment)->sequence) / 2;
}

/* Sleep until the sequence is not [seen] any more. Only who can write into the header
   is counted as a viewer; others look after each slice. */
static int smem__frame_sleep(smem_segment *segment, uint64_t seen, int64_t deadline, int64_t *slice,
                             bool *looked)
{
    smem__layout *header = smem__header(segment);
    bool counted = smem__may_change(segment, &header->writer, 0) == 0;
    if (counted)
        atomic_fetch_add(&header->viewers, 1);
    SMEM__POINT("frame.awaits", "one who waits for a frame is counted");
    int rc = smem__sleep(smem__sequence_word(header), (uint32_t)seen, deadline, slice, looked);
    if (counted)
        atomic_fetch_sub(&header->viewers, 1);
    return rc;
}

int smem_frame_wait(smem_segment *segment, uint64_t newer_than, int64_t deadline)
{
    int64_t slice = SMEM__SLICE_FIRST;
    for (;;) {
        bool looked;
        uint64_t seen = atomic_load(&smem__header(segment)->sequence);
        if (seen / 2 > newer_than)
            return 0;
        int rc = smem__frame_sleep(segment, seen, deadline, &slice, &looked);
        if (rc != 0)
            return rc;
    }
}

int smem_frame_read_begin(smem_segment *segment, uint64_t *number, int64_t deadline)
{
    smem__layout *header = smem__header(segment);
    int64_t slice = SMEM__SLICE_FIRST;
    for (;;) {
        bool looked = false;
        uint64_t seen = atomic_load_explicit(&header->sequence, memory_order_acquire);
        *number = seen / 2;
        if (!(seen & 1))
            return 0;
        int rc = smem__frame_sleep(segment, seen, deadline, &slice, &looked);
        /* Asked before the sequence is looked at again: who ends a frame does that
           before it gives the lock back. */
        if ((looked || rc == -ETIMEDOUT) && smem__is_abandoned(segment, &header->writer) &&
            atomic_load(&header->sequence) == seen)
            return SMEM_E_TORN;
        if (rc != 0)
            return rc;
    }
}

int smem_frame_read_end(const smem_segment *segment, uint64_t number)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&smem__header(segment)->sequence, memory_order_relaxed) ==
           number * 2;
}

/* The data are aligned to a page. */
static void smem__copy_words(void *out, const void *from, uint64_t nbytes)
{
    const _Atomic uint64_t *words = from;
    char *to = out;
    for (; nbytes >= sizeof *words; nbytes -= sizeof *words, to += sizeof *words) {
        uint64_t word = atomic_load_explicit(words++, memory_order_relaxed);
        memcpy(to, &word, sizeof word);
    }
    const _Atomic uint8_t *bytes = (const _Atomic uint8_t *)words;
    for (; nbytes; nbytes--)
        *to++ = (char)atomic_load_explicit(bytes++, memory_order_relaxed);
}

int smem_frame_read(smem_segment *segment, void *out, uint64_t *number, int64_t deadline)
{
    for (;;) {
        int rc = smem_frame_read_begin(segment, number, deadline);
        if (rc != 0)
            return rc;
        smem__copy_words(out, smem_data(segment), segment->info.nbytes);
        if (smem_frame_read_end(segment, *number))
            return 0;
        if (deadline != SMEM_FOREVER && smem__monotonic_ns() >= deadline)
            return -ETIMEDOUT;
    }
}
