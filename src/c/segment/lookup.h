/* From a name to a kernel object with a checked header. */
#ifndef SMEM_LOOKUP_H
#define SMEM_LOOKUP_H

#include "segment/context.h"
#include "segment/gate.h"
#include "segment/name.h"

typedef struct smem__found {
    const smem__backend *backend;
    unsigned candidate;
    smem__object object; /* open: the caller closes it */
    union {
        smem__layout header; /* a checked private copy */
        char page[4096];     /* as it was read: most dtype texts are in it */
    };
    char *dtype; /* header.dtype_length bytes, in [page] or allocated */
} smem__found;

/* Read and check the header of an open or claimed object. */
int smem__found_read(smem__found *found);
void smem__found_close(smem__found *found);
int smem__found_info(smem_context *ctx, const smem__found *found, smem_info *out);

bool smem__has_name(const smem__layout *header, const char *name);

/* What stands on [out]->candidate of [out]->backend, if it has this name.
   -ENOENT: nothing of ours. SMEM_E_BUSY: its claim is held and not given back. */
int smem__find_candidate(smem_context *ctx, const char *name, uint32_t owner, enum smem__reach reach,
                         smem__found *out);

/* All candidates of one backend. -ENOENT: none. */
int smem__find_on(smem_context *ctx, const smem__backend *backend, const char *name,
                  uint32_t owner, enum smem__reach reach, smem__found *out);

/*
 * Find the segment of this name. A backend that needs the gate is looked at
 * only when [gate] is held (not NULL) or the owner is another user.
 * SMEM_E_NOT_FOUND, SMEM_E_FORMAT, SMEM_E_VERSION, SMEM_E_SECURITY, -EACCES.
 */
int smem__find(smem_context *ctx, const smem__name *name, uint32_t owner, enum smem__reach reach,
               const smem__gate *gate, smem__found *out);

/* smem__find() first without the gate, then within it. [gate] stays entered
   (gate->file.fd >= 0) when the backend needs it: smem__found_release(). */
int smem__find_any(smem_context *ctx, const smem__name *name, uint32_t owner, enum smem__reach reach,
                   smem__gate *gate, smem__found *out);
/*
 * What follows from a gate that was not entered, by its code. SMEM_E_JOURNAL, somebody
 * else's file in the place of the user's, costs SysV segments only: 0 when none has the
 * name, and all goes on without a gate. On posix those who take a name exclude each other
 * by a lock on the segment as well (posix.c), unless others may lock that.
 */
int smem__without_gate(smem_context *ctx, const smem__name *name, int rc);
void smem__found_release(smem__found *found, smem__gate *gate);

/* smem_stat() within an operation. */
int smem__stat(smem_context *ctx, const smem__name *name, smem_info *info, smem_flight *flight);

#endif
