/*
 * Warm memory: what is dropped keeps its pages for the next array.
 *
 * New pages are what shared memory costs: the kernel zeroes and maps each one.
 * So a dropped segment may be kept, idle, and be given out again under the same
 * mapping. Kept is only what its living owner dropped, what was made without a
 * name, 0600, and by the owner's own uid (SMEM__RECYCLABLE), and what nobody
 * else can have mapped or can map:
 *
 *   never published, and no fork since it was made: by construction. Nobody
 *     attaches a private segment, and nobody inherited this one. No system call.
 *   else the kernel must say so (posix): the mapping's lock is given up while
 *     it stays mapped (loosen), the segment is claimed by a fresh open file,
 *     which any other mapping refuses, an inherited one too; under the claim it
 *     gets another nonce and name and becomes private, so that nothing that was
 *     ever told of it leads there; then the mapping takes its lock back (join).
 *   On sysv, where a key cannot be changed, only the first kind is kept.
 *
 * What the dead left is freed, never kept. An idle segment is mapped and locked
 * like any other: nobody else can claim it, and it goes with its process. A
 * forked child unmaps the idle ones that it inherited before it does anything.
 *
 * Away is what somebody else uses or will: the mapping stays, with its pages at
 * hand for the next time the segment is received, and holds nothing. So it keeps
 * nobody from freeing the segment, from recycling it, or from giving it another
 * name. It is known again by the nonce that stands in its header now, which whoever
 * recycles it changes there. Who frees a segment empties it, for a mapping that
 * is away would keep its pages. Nothing of one that is away is read but the header.
 * It counts against the bound like what is idle: one that lost its name while it
 * was used is emptied by nobody, and unmapped at this process's next look.
 *
 * What others make and this process drops, as results of workers, would gather here up
 * to the bound if nothing here is made of it. So one that becomes idle displaces one of
 * its like, made by others and about as large, that was idle already when it was
 * attached: in all that time nobody needed both.
 */
#ifndef SMEM_CACHE_H
#define SMEM_CACHE_H

#include "segment/lookup.h"

/* How much may be kept: $SHAREDMEM_CACHE in bytes; a part of what there is when it is
   not set. To be called when the place is known. */
void smem__cache_open(smem_context *ctx);

/*
 * To be asked about a segment that was taken out of the table. 1: kept. 0: not;
 * drop it. SMEM__IN_FLIGHT or an error: not, and it was tested: unmap it, unless
 * smem__cache_send_away() takes it.
 */
enum { SMEM__IN_FLIGHT = 2 };
int smem__cache_keep(smem_context *ctx, smem_segment *segment);

/* Keep the mapping of what was found to be used by others. */
bool smem__cache_send_away(smem_context *ctx, smem_segment *segment);

/* The mapping of what was [found], if one is away. The caller joins or unmaps it. */
bool smem__cache_return(smem_context *ctx, const smem__found *found, smem__mapping *out);

/*
 * An idle segment made into what [spec] wants, or NULL. Its bytes are zero
 * unless SMEM_UNINITIALIZED. It is not in the table.
 */
smem_segment *smem__cache_reuse(smem_context *ctx, const smem_spec *spec, int backend);

/* Free idle segments, the oldest first, until [keep] bytes are left. Returns
   how many bytes were freed. */
uint64_t smem__cache_trim(smem_context *ctx, uint64_t keep);

/* The list that idle ones of this size are on. */
static inline unsigned smem__cache_bin(uint64_t size)
{
    unsigned bin = 63 - (unsigned)__builtin_clzll(size | 1);
    return bin < SMEM__CACHE_BINS ? bin : SMEM__CACHE_BINS - 1;
}

/* For away.c: put on and take off the list (caller holds table_lock); may it be kept
   at all; is there room, perhaps by giving up older ones? */
void smem__cache_link(smem__cache *cache, smem_segment *segment);
void smem__cache_unlink(smem__cache *cache, smem_segment *segment);
bool smem__cache_wants(const smem_context *ctx, const smem_segment *segment);
bool smem__cache_make_room(smem_context *ctx, uint64_t size);

/* Note that somebody else's segment was attached; take the idle one off the list that it
   displaces, or NULL, when it becomes idle itself (caller holds table_lock). */
void smem__cache_attached(smem_context *ctx, smem_segment *segment);
smem_segment *smem__cache_displace(smem__cache *cache, const smem_segment *segment);

/* Only system calls: in the child's fork handler. */
void smem__cache_after_fork(smem_context *ctx);

#endif
