/*
 * Holders: how a lock's word says who holds it, and how others know that he lives.
 *
 * A participant has a random number of 30 bits. Byte SMEM__BYTE_HOLDERS + number
 * of its family's file is locked exclusively by the open file that its pin is
 * mapped from, so the kernel takes that lock away when the process ends, however
 * it ends, and no two of a family that live have one number. A lock's state is
 *
 *   tag of the holder's family << 32 | SMEM__WAITERS | SMEM__DAMAGED | number
 *
 * and whoever waits may ask, by F_OFD_GETLK, whether the holder lives: across PID
 * namespaces, without a pid that could be used again. A number is not given
 * again but by chance (1 in 2^30), and then the lock of the dead waits for the
 * one who got it.
 *
 * A forked child has a number of its own: it holds nothing that its parent holds.
 */
#ifndef SMEM_HOLDER_H
#define SMEM_HOLDER_H

#include "segment/context.h"

#define SMEM__NUMBER ((uint64_t)0x3fffffff)
#define SMEM__DAMAGED ((uint64_t)1 << 30) /* a holder died, nobody has recovered it */
#define SMEM__WAITERS ((uint64_t)1 << 31)
#define SMEM__HOLDER (~(SMEM__DAMAGED | SMEM__WAITERS))

/* Lock a number's byte by [file], which is to be pinned. [wish]: the number that
   it had in a file that was removed, or 0. 0: none could be had. */
uint32_t smem__holder_claim(const smem__file *file, uint32_t wish);

/* Say what the family's number is, after it changed. Caller holds fork_lock. */
void smem__holder_publish(smem_context *ctx);

/* Have none any more. False, and nothing is changed, while locks are held. */
bool smem__holder_retire(smem_context *ctx);

/* This process as a holder, joining where need be; 0 never. -ENOLCK. */
int smem__holder_self(smem_context *ctx, uint64_t *out);

/* Does the holder in this state live? 1, 0 or an error, which counts as 1. */
int smem__holder_lives(smem_context *ctx, uint64_t state);

#endif
