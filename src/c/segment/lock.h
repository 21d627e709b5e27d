/* What may be locked here, and how long a wait is. */
#ifndef SMEM_LOCK_H
#define SMEM_LOCK_H

#include "segment/context.h"
#include "sharedmem.h"

#include <errno.h>

/*
 * A wake-up goes to one process, which may die before it does anything with it;
 * and nobody is told of a holder's death. So no sleep is for ever: who waits
 * looks again after [slice], which grows from one look to the next.
 */
enum { SMEM__SLICE_FIRST = 1000000,
       SMEM__SLICE_LONGEST = 64000000 }; /* ns */

/* Do [size] bytes at [what] lie where a lock and its relatives may? -EACCES: elsewhere,
   unaligned, beyond the end. */
static inline int smem__is_within(const smem_segment *segment, const void *what, size_t size)
{
    const smem__layout *header = segment->mapping.base;
    uintptr_t data = (uintptr_t)header + (uintptr_t)segment->info.data_offset, at = (uintptr_t)what;
    if (what == &header->lock || what == &header->writer)
        return 0;
    return at % 8 == 0 && at >= data && size <= segment->info.nbytes &&
                   at - data <= segment->info.nbytes - size
               ? 0
               : -EACCES;
}

/* And may this process change them, for others to see, and can it see whether they
   live? Not in another /dev/shm than its families have. */
static inline int smem__may_change(const smem_segment *segment, const void *what, size_t size)
{
    const char *data = (const char *)segment->mapping.base + segment->info.data_offset;
    if (!segment->mapping.shares || segment->info.owner != segment->ctx->place.uid)
        return -EACCES;
    if (segment->info.elsewhere)
        return SMEM_E_PLACE;
    return segment->mode == SMEM_READ_ONLY && (const char *)what >= data
               ? -EACCES
               : smem__is_within(segment, what, size);
}

/* Sleep while [word] is [expected], for at most a slice. 0; -ETIMEDOUT: [deadline]
   is over; -EINTR. [looked]: the slice is over. */
int smem__sleep(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline, int64_t *slice,
                bool *looked);

/* Has nobody who lives this lock? Asks the kernel; false where that cannot be seen. */
bool smem__is_abandoned(const smem_segment *segment, const smem_lock *lock);

#endif
