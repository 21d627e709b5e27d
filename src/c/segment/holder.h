/*
 * Holders: how a lock's word says who holds it, and how others know that it lives.
 *
 * A participant has a number of 30 bits, half of it random. Byte
 * SMEM__BYTE_HOLDERS + number of its family's file is locked exclusively by the
 * open file that its pin is mapped from, so the kernel takes that lock away when
 * the process ends, however it ends, and no two of a family that live have one
 * number. A lock's state is
 *
 *   edition of the holder's file << 32 | SMEM__WAITERS | SMEM__DAMAGED | number
 *
 * The edition is the file's own: a family's file that somebody removed is made
 * anew with the same tag and another edition, and who moves there keeps what
 * stands in the locks that it holds, the number and the edition it is from.
 *
 * Whoever waits asks for what proves a death, or a life (smem__holder_lives()):
 *
 *   1  in one PID namespace the pid, which stands in the lock's [process] bound to
 *      that very holder: a process that is gone holds nothing, though a child that
 *      could not become a member by itself keeps its byte locked.
 *   2  The file of that edition, across PID namespaces. Nobody has the byte: dead,
 *      unless the holder has moved to another file, which is looked for afterwards,
 *      since a move locks the new byte before it gives up the old one.
 *   3  No such file, since it went with its last member or somebody removed it: the
 *      kernel's list of all locks, where it is to be had.
 *
 * What none of them shows lives, until smem_lock_break().
 *
 * A number is not given again but by chance, and then the lock of the dead waits
 * for the process that got it. A forked child has a number of its own: it holds nothing
 * that its parent holds.
 */
#ifndef SMEM_HOLDER_H
#define SMEM_HOLDER_H

#include "segment/context.h"

#define SMEM__NUMBER ((uint64_t)0x3fffffff)
#define SMEM__DAMAGED ((uint64_t)1 << 30) /* a holder died, nobody has recovered it */
#define SMEM__WAITERS ((uint64_t)1 << 31)
#define SMEM__HOLDER (~(SMEM__DAMAGED | SMEM__WAITERS))

/* Lock a number's byte by [file], which is to be pinned. 0: none could be had. */
uint32_t smem__holder_claim(const smem__place *place, const smem__file *file);

/* The same for the number that there is. -EAGAIN. */
int smem__holder_keep(const smem__file *file, uint32_t number);

/* Say what the family's number is, after it changed. Caller holds fork_lock. */
void smem__holder_publish(smem_context *ctx);

/* Have none any more. False, and nothing is changed, while locks are held. */
bool smem__holder_retire(smem_context *ctx);

/* This process as a holder, joining where need be; 0 never. -ENOLCK. */
int smem__holder_self(smem_context *ctx, uint64_t *out);

/* The holder's pid, or 0 where it is not known to be of this PID namespace. */
int smem__holder_pid(const smem__place *place, uint64_t state, uint32_t process);

enum { SMEM__DEAD = 0,
       SMEM__LIVES = 1,
       SMEM__UNSEEN = 2 };

/* Does the holder in this state live? An error counts as SMEM__UNSEEN. */
int smem__holder_lives(smem_context *ctx, uint64_t state, uint32_t process);

#endif
