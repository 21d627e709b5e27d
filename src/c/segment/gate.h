/*
 * The user's file: gates of names, and the journal of SysV segments.
 *
 * One file per user, smem.<uid>.u.journal. It exists while somebody is inside
 * a gate or a SysV segment is journalled, and goes with the last of both.
 *
 * Lock bytes of the file:
 *   0        shared: held by everybody inside; exclusive: the right to remove it
 *   1        exclusive: the right to read and change the journal
 *   16 + g   gate g of a name (smem__name_gate): shared to attach, exclusive to
 *            create, unlink, replace and drop (posix: drop what others may write to)
 *
 * Each entry opens the file anew: a lock does not exclude threads that share
 * the open file.
 */
#ifndef SMEM_GATE_H
#define SMEM_GATE_H

#include "os/backend.h"

typedef struct smem__gate {
    smem__file file;
    char path[SMEM__PATH_MAX];
} smem__gate;

/* SMEM_E_BUSY when the holder does not leave in time. */
int smem__gate_enter(const smem__place *place, uint32_t gate, enum smem__lock lock,
                     enum smem__patience patience, smem__gate *out);
/* Enter without any name's gate: for the journal only. Not [make]: -ENOENT when
   there is no file, thus nothing journalled. */
int smem__gate_enter_journal(const smem__place *place, bool make, smem__gate *out);
void smem__gate_leave(smem__gate *gate);

/* ---- journal ------------------------------------------------------------ */

/*
 * A SysV segment that exists or is about to: written before shmget(), so that
 * one whose maker died at once is found. Slots are 64 bytes from byte 0 on;
 * one whose gate_plus_1 is 0 is free. An empty journal is an empty file.
 */
typedef struct smem__entry {
    uint64_t gate_plus_1;
    uint64_t nonce;
    uint64_t ipc;     /* the IPC namespace in which the key means it */
    uint64_t size;    /* of the segment; tells a half-made one from a stranger */
    int64_t since;    /* seconds since 1970: a half-made one is not older */
    int32_t key;
    uint32_t spare[5];
} smem__entry;

_Static_assert(sizeof(smem__entry) == 64, "slots are 64 bytes");

/* All of these need an entered gate. */
int smem__journal_add(const smem__gate *gate, const smem__entry *entry, uint32_t *slot);
/* Free [slot] if it is still this nonce's, and cut free slots off the end. */
int smem__journal_remove(const smem__gate *gate, uint32_t slot, uint64_t nonce);
/* A private copy of all entries; free() it. */
int smem__journal_read(const smem__gate *gate, smem__entry **out, uint32_t *count);

#endif
