/*
 * One bound on idle memory for a whole family.
 *
 * The family's page has a ledger behind its record: a slot for each participant
 * that keeps idle segments, with the bytes that it may keep. A slot is its
 * participant's as long as the lock on the slot's byte lasts, which the
 * participant's pin carries, so it comes free with the participant. What a dead
 * one had written there is cleared by the next one that takes the slot, and by
 * the reaper; until then the others keep less than they might. Memory is asked
 * for in steps. Every participant has the page mapped, so that costs no system call
 * (and wakes no reaper, as the end of an opening for writing would).
 */
#ifndef SMEM_SHARE_H
#define SMEM_SHARE_H

#include "os/backend.h"

enum { SMEM__BYTE_SHARES = 64,
       SMEM__SHARES = 256 };

/* Lock a free slot by [file]'s open file, which is to be pinned, and let it say
   [bytes]; -1: none free. */
int smem__share_claim(const smem__file *file, uint64_t bytes);

/*
 * Let [slot] of the mapped [page] have [bytes], if all together then have no more
 * than [bound]. 0 or a negative code: it has what it had. Of two that ask at once
 * both may be refused; never are both given what is there for one.
 */
int smem__share_set(void *page, int slot, uint64_t bytes, uint64_t bound);

/* Clear what the dead have left in theirs; [file] holds no slot. */
void smem__share_tidy(const smem__file *file);

#endif
