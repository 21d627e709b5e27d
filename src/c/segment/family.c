#include "segment/family.h"

#include "base/point.h"
#include "segment/holder.h"
#include "segment/record.h"
#include "segment/share.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* [file] holds the shared lock: become a member by mapping it. */
static int smem__family_enter(const smem__place *place, const smem__file *file,
                              const smem__record *record, smem__family *out)
{
    out->tag = record->tag;
    out->edition = record->edition;
    out->device = file->device;
    out->inode = file->inode;
    out->slot = smem__share_claim(file, 0);
    out->number = smem__holder_claim(place, file);
    int rc = smem__file_page(file, place->page, &out->pin);
    SMEM__POINT("family.joined", "a participant: a page of the file is mapped with its lock");
    return rc;
}

static int smem__new_tag(uint32_t *tag)
{
    int rc = smem__random(tag, sizeof *tag);
    *tag += *tag == 0;
    return rc;
}

/* The file of a family; [made] keeps it alive until somebody has joined. */
static int smem__family_make(const smem__place *place, const char *path, uint32_t tag,
                             uint32_t edition, smem__file *made)
{
    smem__record record = {.tag = tag, .edition = edition};
    memcpy(record.magic, SMEM__FAMILY_MAGIC, sizeof record.magic);
    int rc = smem__file_make(place, 0600, made);
    if (rc != 0)
        return rc;
    rc = smem__file_resize(made, place->page);
    if (rc == 0)
        rc = smem__file_write(made, &record, sizeof record, 0);
    SMEM__POINT("family.written", "a family's file, complete and locked, without its name");
    if (rc == 0) /* with the shared lock on byte 0, since it was made */
        rc = smem__file_publish(made, path);
    if (rc != 0)
        smem__file_discard(made);
    return rc;
}

/* -EAGAIN: it is being ended or was replaced, look again. */
static int smem__family_join_file(const smem__place *place, const char *path, int parent,
                                  smem__file *file, smem__family *out)
{
    smem__record record;
    int rc = smem__record_is_dead(place, file, NULL, &record);
    if (rc == 1) {
        SMEM__POINT("family.found-dead", "who joins holds the exclusive lock of a dead family");
        if (smem__file_is_at(file, path) == 1)
            smem__path_unlink(path);
        SMEM__POINT("family.cleared", "the dead family's file is gone, the new one not made");
        return -EAGAIN;
    }
    if (rc == 0)
        rc = smem__record_read(file, &record);
    if (rc == 0)
        rc = smem__record_hold(place, file, &record);
    if (rc == 0) {
        SMEM__POINT("family.locked", "the shared lock is held by an fd, not by a mapping yet");
        rc = smem__file_is_at(file, path);
        rc = rc == 1 ? 0 : rc == 0 ? -EAGAIN
                                   : rc;
    }
    if (rc == 0)
        rc = smem__record_add_honorary(place, file, parent);
    return rc ? rc : smem__family_enter(place, file, &record, out);
}

/* A file that was made and is gone before it could be joined may have members by then. So
   the next one is made anew like any whose file was removed: of another edition. */
static int smem__family_join(const smem__place *place, const char *name, int parent,
                             smem__family *out)
{
    enum { TURNS = 10000 };
    char path[SMEM__PATH_MAX];
    uint32_t tag, edition;
    int rc = smem__place_path(place, place->uid, 'f', name, path);
    if (rc != 0 || strlen(name) > SMEM_NAME_MAX || strchr(name, '/') || !*name)
        return rc ? rc : SMEM_E_NAME;
    snprintf(out->name, sizeof out->name, "%s", name);
    rc = smem__new_tag(&tag);
    edition = tag;
    if (rc != 0)
        return rc;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        smem__file file;
        smem__file made = {.fd = -1};
        rc = smem__file_open(path, place->uid, true, &file);
        if (rc == -ENOENT && (rc = smem__family_make(place, path, tag, edition, &made)) == -ENOENT)
            return SMEM_E_PLACE; /* no directory, or no way to name a file in it */
        if (made.fd >= 0)
            /* Mapped from a file opened by name: /proc/PID/maps goes on showing
               the name that a file without one was mapped under. */
            rc = smem__file_open(path, place->uid, true, &file);
        if (rc == 0) {
            rc = smem__family_join_file(place, path, parent, &file, out);
            smem__file_close(&file);
        }
        bool again = rc == -EAGAIN || rc == -EEXIST || rc == -ENOENT;
        int drawn = again && made.fd >= 0 ? smem__new_tag(&edition) : 0;
        smem__file_close(&made);
        if (!again || drawn != 0)
            return again ? drawn : rc;
        smem__backoff(turn);
    }
    return SMEM_E_BUSY;
}

/* The nearest ancestor that is a participant. */
static int smem__family_of_ancestor(const smem__place *place, char *name, size_t size)
{
    enum { GENERATIONS = 64 };
    int pid = smem__process_self();
    for (int i = 0; i < GENERATIONS; i++) {
        pid = smem__process_parent(pid);
        if (pid <= 0)
            break;
        if (smem__process_maps(place, pid, 'f', name, size) == 0)
            return 0;
    }
    return -ENOENT;
}

static void smem__family_name_of(const smem__process *process, char *name, size_t size)
{
    snprintf(name, size, "p%" PRId64 ".%" PRIx64 ".%" PRIx64, process->pid, process->start,
             process->pid_space);
}

/* The name that multiprocessing siblings agree on without their parent's help. */
static int smem__family_named_after(const smem__place *place, int pid, char *name, size_t size)
{
    smem__process process;
    int rc = smem__process_find(place, pid, &process);
    if (rc == 0)
        smem__family_name_of(&process, name, size);
    return rc;
}

static bool smem__family_exists(const smem__place *place, const char *name)
{
    char path[SMEM__PATH_MAX];
    smem__file file;
    if (smem__place_path(place, place->uid, 'f', name, path) != 0 ||
        smem__file_open(path, place->uid, false, &file) != 0)
        return false;
    smem__file_close(&file);
    return true;
}

/* The one that children have named after this process, from whom it may be hidden. */
static bool smem__family_of_children(const smem__place *place, char *name, size_t size)
{
    smem__process self;
    if (smem__process_find(place, smem__process_self(), &self) != 0)
        return false;
    smem__family_name_of(&self, name, size);
    if (smem__family_exists(place, name))
        return true;
    self.start = 0;
    smem__family_name_of(&self, name, size);
    return smem__family_exists(place, name);
}

int smem__family_find(const smem__place *place, const char *name, int parent, smem__family *out)
{
    char found[SMEM_NAME_MAX + 1];
    *out = (smem__family){0};
    if (!name || !*name)
        name = smem__environment("SHAREDMEM_FAMILY");
    if (name && *name)
        return smem__family_join(place, name, parent, out);
    if (smem__family_of_ancestor(place, found, sizeof found) == 0)
        return smem__family_join(place, found, parent, out);
    if (parent && smem__family_named_after(place, parent, found, sizeof found) == 0)
        return smem__family_join(place, found, parent, out);
    if (smem__family_of_children(place, found, sizeof found))
        return smem__family_join(place, found, parent, out);
    int rc = smem__random_name(found);
    return rc ? rc : smem__family_join(place, found, parent, out);
}

/* Open the file of [family], if it is still under its name. */
static int smem__family_open(const smem__place *place, const smem__family *family, smem__file *out)
{
    char path[SMEM__PATH_MAX];
    int rc = smem__place_path(place, place->uid, 'f', family->name, path);
    if (rc == 0)
        rc = smem__file_open(path, place->uid, true, out);
    if (rc == 0 && (out->inode != family->inode || out->device != family->device)) {
        smem__file_close(out);
        rc = -ENOENT;
    }
    return rc;
}

void smem__family_renew(const smem__place *place, smem__family *family)
{
    smem__file file;
    void *own = NULL;
    family->slot = -1; /* the parent's */
    family->share = 0;
    family->number = 0;
    if (!family->pin || smem__family_open(place, family, &file) != 0)
        return; /* the inherited mapping goes on to count */
    smem__record record;
    bool held = smem__record_read(&file, &record) == 0 &&
                smem__record_hold(place, &file, &record) == 0;
    /* Before the pin, which is to carry them. */
    int slot = held ? smem__share_claim(&file, 0) : -1;
    uint32_t number = held ? smem__holder_claim(place, &file) : 0;
    if (held && smem__file_page(&file, place->page, &own) == 0) {
        SMEM__POINT("family.renewing", "a forked child has its own page and its parent's");
        family->slot = slot;
        family->edition = record.edition;
        family->number = number;
        smem__unpin(family->pin, place->page);
        SMEM__POINT("family.renewed", "a forked child is a member by itself");
        family->pin = own;
    }
    smem__file_close(&file);
}

/* A number to hold locks by in this file: the one that there is, which may stand in
   locks, under the edition that it is from; else a new one. 0: a new one was not to
   be had. -EAGAIN: the old one was not. */
static int smem__family_number(const smem__place *place, const smem__file *file,
                               const smem__record *record, smem__family *family)
{
    if (family->number)
        return smem__holder_keep(file, family->number);
    family->edition = record->edition;
    family->number = smem__holder_claim(place, file);
    return 0;
}

/* A member by this file, in the place of one that is gone. */
static void smem__family_move(const smem__place *place, const smem__file *file, int parent,
                              smem__family *family)
{
    smem__record record;
    void *pin;
    if (smem__record_read(file, &record) != 0 || record.tag != family->tag ||
        smem__record_hold(place, file, &record) != 0 ||
        smem__record_add_honorary(place, file, parent) != 0)
        return;
    int slot = smem__share_claim(file, family->share);
    smem__family moved = *family;
    if (smem__family_number(place, file, &record, &moved) != 0 ||
        smem__file_page(file, place->page, &pin) != 0)
        return; /* a member by the old one, whose locks prove as much */
    smem__unpin(family->pin, place->page);
    SMEM__POINT("family.restored", "a member by the new file");
    family->pin = pin;
    family->slot = slot;
    family->edition = moved.edition;
    family->number = moved.number;
    family->inode = file->inode;
    family->device = file->device;
}

void smem__family_restore(const smem__place *place, int parent, smem__family *family)
{
    char path[SMEM__PATH_MAX];
    smem__file file, made = {.fd = -1};
    smem__file known = {.device = family->device, .inode = family->inode};
    if (smem__place_path(place, place->uid, 'f', family->name, path) != 0 ||
        smem__file_is_at(&known, path) == 1)
        return;
    int rc = smem__file_open(path, place->uid, true, &file);
    uint32_t edition;
    if (rc == -ENOENT && smem__new_tag(&edition) == 0 &&
        smem__family_make(place, path, family->tag, edition, &made) == 0) {
        SMEM__POINT("family.remade", "the file that somebody removed is there with its tag");
        rc = smem__file_open(path, place->uid, true, &file);
    }
    if (rc == 0) {
        smem__family_move(place, &file, parent, family);
        smem__file_close(&file);
    }
    smem__file_close(&made);
}

bool smem__family_leave(const smem__place *place, smem__family *family, smem__file *file)
{
    smem__record record;
    smem__process self;
    /* One's children may have listed oneself as their honorary member. */
    bool known = smem__process_find(place, smem__process_self(), &self) == 0;
    smem__unpin(family->pin, place->page);
    SMEM__POINT("family.left", "a member no more, though its segments are mapped");
    family->pin = NULL;
    if (smem__family_open(place, family, file) != 0)
        return false;
    smem__record_let_go(place, file, family->slot);
    if (smem__record_is_dead(place, file, known ? &self : NULL, &record) == 1 &&
        !(smem__record_is_late(&record) && smem__member_is_listed(family->tag))) {
        SMEM__POINT("family.ended", "it was the last: the exclusive lock is held");
        return true;
    }
    smem__file_close(file);
    return false;
}

void smem__family_bury(const smem__place *place, const smem__family *family, smem__file *file)
{
    char path[SMEM__PATH_MAX];
    if (smem__place_path(place, place->uid, 'f', family->name, path) == 0 &&
        smem__file_is_at(file, path) == 1)
        smem__path_unlink(path);
    SMEM__POINT("family.buried", "its file is gone");
    smem__file_close(file);
}

int smem__family_set_share(smem__family *family, uint64_t bytes, uint64_t bound)
{
    if (!family->pin || family->slot < 0)
        return -ENOSPC;
    /* Less is kept before less is said, more said before more is kept. */
    if (bytes < family->share)
        family->share = bytes;
    int rc = smem__share_set(family->pin, family->slot, bytes, bound);
    if (rc == 0)
        family->share = bytes;
    return rc;
}

/* ---- the reaper's --------------------------------------------------------- */

int smem__family_is_guarded(const smem__place *place, const smem__family *family)
{
    char path[SMEM__PATH_MAX];
    smem__file file;
    int rc = smem__place_path(place, place->uid, 'f', family->name, path);
    if (rc == 0)
        rc = smem__file_open(path, place->uid, false, &file);
    if (rc != 0)
        return rc;
    rc = file.inode == family->inode ? smem__file_locked(&file, SMEM__BYTE_REAPER) : -ENOENT;
    smem__file_close(&file);
    return rc;
}

int smem__family_guard(const smem__place *place, const char *name, smem__family *out,
                       smem__file *file)
{
    char path[SMEM__PATH_MAX];
    smem__record record;
    *out = (smem__family){0};
    if (strlen(name) > SMEM_NAME_MAX)
        return SMEM_E_NAME;
    strcpy(out->name, name);
    int rc = smem__place_path(place, place->uid, 'f', name, path);
    if (rc == 0)
        rc = smem__file_open(path, place->uid, true, file);
    if (rc != 0)
        return rc;
    rc = smem__file_lock(file, SMEM__EXCLUSIVE, SMEM__BYTE_REAPER);
    if (rc == 0)
        rc = smem__record_read(file, &record);
    if (rc != 0) {
        smem__file_close(file);
        return rc;
    }
    out->tag = record.tag;
    out->device = file->device;
    out->inode = file->inode;
    return 0;
}

int smem__family_has_ended(const smem__place *place, const smem__family *family,
                           const smem__file *file, smem__watch *watch)
{
    char path[SMEM__PATH_MAX];
    smem__record record;
    int rc = smem__record_is_dead(place, file, NULL, &record);
    if (rc == 1) {
        SMEM__POINT("family.over", "the reaper holds the exclusive lock");
        rc = smem__place_path(place, place->uid, 'f', family->name, path);
        if (rc == 0)
            rc = smem__file_is_at(file, path);
        return rc == 0 ? -ENOENT : rc;
    }
    if (rc != 0)
        return rc;
    smem__file_lock(file, SMEM__UNLOCKED, SMEM__BYTE_MEMBER);
    smem__share_tidy(file);
    rc = smem__record_read(file, &record);
    if (rc == 0)
        smem__record_watch(place, file, &record, watch);
    return rc;
}

int smem__family_wait(const smem__file *file)
{
    return smem__file_lock_forever(file, SMEM__EXCLUSIVE, SMEM__BYTE_MEMBER);
}
