/*
 * What a family's file says, and what the locks on it prove.
 *
 * Lock bytes: 0 shared by every member, exclusive by who proves that none
 * lives; 1 the reaper's; 2 the honorary list; 64 to 319 the slots of share.h
 * (no PID namespace has so small a number); from 2^40 on the numbers of
 * holder.h; from 2^41 on the tags of families, shared by every member, so that the
 * kernel's list of locks shows those whose file was removed; from 16 on one for each PID
 * namespace, shared by the members in it, and by the reaper in it while an
 * honorary member from there lives.
 *
 * Honorary members are processes that have not imported the library but whose
 * multiprocessing children have: they hold no lock, and are judged by pid and
 * start time. The list only grows; a slot is written under its lock. From
 * another PID namespace they cannot be seen, and count as long as that
 * namespace's byte is held: a namespace that has ended, with all that is in
 * it, must not keep a family for ever.
 */
#ifndef SMEM_RECORD_H
#define SMEM_RECORD_H

#include "os/backend.h"

enum { SMEM__BYTE_MEMBER = 0,
       SMEM__BYTE_REAPER = 1,
       SMEM__HONORARY = 16 };

#define SMEM__FAMILY_MAGIC "\x93SMFAM1\n"

typedef struct smem__record {
    char magic[8];
    uint32_t tag;
    uint32_t edition; /* of the file, as holder.h says; 0: the tag */
    smem__process honorary[SMEM__HONORARY]; /* free slots have pid 0 */
} smem__record;

int smem__record_read(const smem__file *file, smem__record *out);

/* Take the locks of a member, which a mapping made afterwards carries. -EAGAIN. */
int smem__record_hold(const smem__place *place, const smem__file *file,
                      const smem__record *record);

/* Was the file made anew, so that members may live whom it says nothing of? */
static inline bool smem__record_is_late(const smem__record *record)
{
    return record->edition != record->tag;
}

/* Does a member of this family live by a file that was removed? 0 where the kernel does
   not list its locks; an error, which counts as 1, where the list cannot be read just now. */
int smem__member_is_listed(uint32_t tag);

/* Who was a member, and has given up its mapping, clears what that leaves. [slot]: of
   share.h, or -1. */
void smem__record_let_go(const smem__place *place, const smem__file *file, int slot);

/* Does an honorary member live, or seem to? [but]: one that does not count, or NULL. */
bool smem__honorary_lives(const smem__place *place, const smem__file *file,
                          const smem__record *record, const smem__process *but);

/* 1: no member lives, and [file] holds the proof, the exclusive lock. 0: one does. */
int smem__record_is_dead(const smem__place *place, const smem__file *file,
                         const smem__process *but, smem__record *record);

/* [pid] 0: nobody. */
int smem__record_add_honorary(const smem__place *place, const smem__file *file, int pid);

/* The reaper's: watch those that live, and let other namespaces know of them. */
void smem__record_watch(const smem__place *place, const smem__file *file,
                        const smem__record *record, smem__watch *watch);

#endif
