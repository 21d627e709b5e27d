/*
 * When a segment's memory is freed, and by whom.
 *
 * The last one out frees it. Who drops a mapping unmaps it, then claims the
 * segment afresh. The claim is refused while anybody else maps it, and nobody
 * can attach it while it is claimed; so under the claim the tickets can be
 * read at rest, and if none is valid the name goes.
 *
 * Nothing that is written in a segment or a file can cause a free by itself:
 * the claim is the kernel's word, and it is asked last.
 */
#ifndef SMEM_LIFETIME_H
#define SMEM_LIFETIME_H

#include "segment/context.h"
#include "segment/gate.h"
#include "segment/lookup.h"
#include "segment/ticket.h"

/* Which segment is meant, by a name that may lead elsewhere by now. */
typedef struct smem__target {
    const smem__backend *backend;
    unsigned candidate;
    const char *name;
    int64_t kernel_id;      /* 0: any */
    uint64_t nonce;         /* 0: any */
    smem__mapping *mapping; /* at exit: loosened, it does not count; else NULL */
    unsigned own;           /* how many such mappings of it this process has */
    bool give_up;           /* what is in flight to it, too */
} smem__target;

/*
 * Free the segment if nobody maps it, nothing valid is in flight and it is not
 * persistent. 1 freed, 0 not to be freed; -EBUSY somebody maps it; -ENOENT no
 * such segment; or an error, which may be that its name could not be taken away. [gate]: of the name, exclusive, where the backend
 * needs one.
 */
int smem__last_one_out(smem_context *ctx, const smem__target *target, const smem__gate *gate,
                       uint64_t *bytes);

/* Is it persistent, and the segment of its name? [under]: the name that it was
   found under. The caller has it claimed, in its gate. */
bool smem__is_kept(smem_context *ctx, const smem__found *found, const char *under);

/* A smem__family_judge; [arg] is the context. */
int smem__judge(void *arg, uint32_t family);

/* The test after a drop; enters the gate where needed, remembers a refusal. */
void smem__test(smem_context *ctx, const smem__target *target);

void smem__remember(smem_context *ctx, const smem__target *target);

/* Repeat refused tests that are older than [age_us]. */
void smem__retry_refused(smem_context *ctx, uint64_t age_us);

/* At exit: take the names of what nobody else can reach, though it is mapped. */
void smem__leave_segments(smem_context *ctx);

/* Unmap and free what is still in the table: nobody uses it any more. */
void smem__close_segments(smem_context *ctx);

/* Count what is in flight, dead families apart. */
void smem__count_flight(smem_context *ctx, const smem__layout *header, smem_flight *out);

/* Take the name of an open segment away. [gate]: of the name, exclusive. What
   others keep mapped though idle is told, by its header. */
int smem__take_name(smem_context *ctx, smem__found *found, const char *name,
                    const smem__gate *gate);

#endif
