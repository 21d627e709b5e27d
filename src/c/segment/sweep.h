/*
 * The sweep: every segment of the user that nobody maps, that no valid ticket
 * holds and that is not persistent is freed, whatever family made it; then the
 * files of dead families. Participants do it every so often, so that what the
 * dead left is gone without anybody's asking.
 */
#ifndef SMEM_SWEEP_H
#define SMEM_SWEEP_H

#include "segment/context.h"
#include "segment/gate.h"

int smem__sweep(smem_context *ctx, smem_reclaimed *out);

/* At most once a second, and never more than a fiftieth of the time. */
void smem__sweep_sometimes(smem_context *ctx);

/* What the journal is to say of a SysV segment. */
int smem__journal_entry(const smem_context *ctx, const char *name, unsigned candidate,
                        uint64_t nonce, uint64_t size, int64_t since, smem__entry *out);

/* The journal may have been removed by somebody else: enter our own living
   SysV segments again when its file is another one than last time. */
void smem__journal_renew(smem_context *ctx, const smem__gate *gate);

#endif
