/*
 * Families: trees of participants. A ticket is valid while its family lives.
 *
 * One file each, smem.<uid>.f.<name>, with a random tag. A participant maps its
 * page (record.h, share.h) from an open file that holds the shared lock on byte
 * 0, so the lock lives as long as the participant, whatever it does. Getting
 * the exclusive lock proves that no participant lives.
 *
 * The parent of a multiprocessing child counts too, as an honorary member, though
 * it has not imported the library. record.h says how, and lists the lock bytes.
 *
 * Who only looks opens the file for reading: the end of every opening for
 * writing wakes the reaper.
 *
 * A family that has died never comes back: who finds the file of a dead one
 * removes it and makes another, with another tag, under the same name.
 */
#ifndef SMEM_FAMILY_H
#define SMEM_FAMILY_H

#include "os/backend.h"
#include "sharedmem.h"

typedef struct smem__family {
    char name[SMEM_NAME_MAX + 1];
    uint32_t tag;
    uint64_t device, inode;
    void *pin; /* NULL: not a member */
    int slot;  /* share.h; -1: none */
    uint32_t edition, number; /* holder.h; number 0: none */
    uint64_t share; /* no more than the slot says; table_lock */
} smem__family;

/*
 * Find the family of this process: [name], $SHAREDMEM_FAMILY, the nearest
 * ancestor's, the one named after [parent] (0: none) or after this process by
 * its children, else a new one; and join it.
 */
int smem__family_find(const smem__place *place, const char *name, int parent, smem__family *out);

/*
 * The file may have been removed by somebody else, and then a stranger would
 * take the family for dead: make it again with the same tag, or move to the one
 * that another member has made.
 */
void smem__family_restore(const smem__place *place, int parent, smem__family *family);

/* A forked child takes a lock of its own, then gives the inherited one back. */
void smem__family_renew(const smem__place *place, smem__family *family);

/*
 * Stop being a member. True when nobody else is one: [file] then holds the
 * exclusive lock, nobody can join, and the caller frees what the family kept
 * before it calls smem__family_bury().
 */
bool smem__family_leave(const smem__place *place, smem__family *family, smem__file *file);
void smem__family_bury(const smem__place *place, const smem__family *family, smem__file *file);

/* smem__share_set() of this participant's slot. */
int smem__family_set_share(smem__family *family, uint64_t bytes, uint64_t bound);

/* Is there a reaper for it? 1, 0 or an error. */
int smem__family_is_guarded(const smem__place *place, const smem__family *family);

/*
 * The reaper's side. Open the file of the family [name] and hold its byte:
 * -EAGAIN when another reaper does. It does not become a member.
 */
int smem__family_guard(const smem__place *place, const char *name, smem__family *out,
                       smem__file *file);
/*
 * Has the family ended? 1: yes, and [file] holds the exclusive lock as after
 * smem__family_leave(). 0: no; honorary members are added to [watch]. -ENOENT:
 * its file was removed and nobody holds it: ended by its last member, or its
 * members have made another file.
 */
int smem__family_has_ended(const smem__place *place, const smem__family *family,
                           const smem__file *file, smem__watch *watch);

/* Sleep until no participant of it lives. */
int smem__family_wait(const smem__file *file);

/* Remove the files of families that have died. Returns how many. */
unsigned smem__family_bury_dead(const smem__place *place);

/* Count the user's families, changing nothing. */
int smem__family_count(const smem__place *place, unsigned *alive, unsigned *dead);

/*
 * Does the family with this tag live? 1, 0, or an error. To be asked after the
 * tag was read: a family born later would be missed by an older answer.
 */
int smem__family_lives(const smem__place *place, uint32_t tag);

#endif
