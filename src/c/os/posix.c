/*
 * POSIX segments: files in /dev/shm, opened by path (shm_open does the same
 * and knows neither O_TMPFILE nor our prefix).
 *
 * The lock on byte 0 of a segment's file is
 *   shared: held by every mapping, and by who attaches it or takes its name in the
 *      gate of the name;
 *   exclusive: proof that nobody maps it (the claim).
 *
 * A name is taken away by who has the claim, or by who is in the name's gate and holds
 * the shared lock. Byte 0 excludes the first from each other and from the second, the
 * gate excludes the second from each other and from who makes a segment of the name. So
 * either, having found the inode under the name, may unlink the name: nobody can have
 * put a newer segment there.
 *
 * The kernel does not tell whose a lock is. Who may only read the file can refuse
 * claims by it, as if he mapped the segment, and nobody waits for that. Who may write
 * it can claim it, too: there who takes a name in the gate does not need the shared
 * lock, and who has claimed it must be in the gate as well (smem__others_can_lock).
 *
 * The gate may not be to be had, while somebody else's file stands in the place of the
 * user's (smem__without_gate). So where nobody else can lock it (0600), who takes a name
 * locks byte 1 exclusively as well, which excludes those who would be in the gate.
 */
#include "os/posix.h"

#include "base/checked.h"
#include "base/point.h"
#include "os/syscalls.h"
#include "sharedmem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/vfs.h>

static int smem__room_code(int rc)
{
    switch (-rc) {
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
        return SMEM_E_NO_ROOM;
    case EFBIG:
    case EOVERFLOW:
        return SMEM_E_SIZE;
    default:
        return rc;
    }
}

/*
 * fallocate makes the file as long as it reserves. In one call first: only then
 * is a size that the file system can never hold refused before memory is taken.
 * After a signal in pieces: a kernel that undoes an interrupted call would never
 * get through a large one.
 */
static int smem__posix_reserve(const smem__file *file, uint64_t size)
{
    uint64_t piece = size;
    /* A file system may be as large as the memory, and its reservation is not
       refused for want of memory: somebody is killed for it. */
    if (size >= (uint64_t)64 << 20 && size > smem__memory_available())
        return -ENOMEM;
    for (uint64_t at = 0; at < size;) {
        uint64_t n = size - at < piece ? size - at : piece;
        if (smem__sys.fallocate(file->fd, 0, (off_t)at, (off_t)n) == 0)
            at += n;
        else if (errno != EINTR)
            return -errno;
        else
            piece = (uint64_t)64 << 20;
    }
    return 0;
}

/* Before the rest is reserved, which then costs little; whatever fails here fails
   there, too, or is small pages. */
static bool smem__posix_reserve_huge(const smem__place *place, const smem__file *file,
                                     size_t size)
{
    void *base;
    if (!smem__huge_is_worth(place, size) || size > smem__memory_available() ||
        smem__file_resize(file, size) != 0 ||
        smem__map_aligned(size, PROT_READ | PROT_WRITE, file->fd, &base) != 0)
        return false;
    bool all = smem__huge_populate(base, size) == 0;
    smem__sys.munmap(base, size);
    return all;
}

/*
 * A sysv segment is journalled in a file of the same file system. The last pages
 * are left to that journal, 64 bytes for each of 4096 segments: else
 * there would be no falling back just where it is needed.
 */
enum { SMEM__JOURNAL_PAGES = 64 };

static bool smem__posix_leaves_room(const smem__file *file)
{
    struct statfs system;
    if (smem__sys.fstatfs(file->fd, &system) != 0 || system.f_blocks == 0)
        return true; /* unbounded */
    uint64_t keep = system.f_blocks / 64 + 1;
    if (keep > SMEM__JOURNAL_PAGES)
        keep = SMEM__JOURNAL_PAGES;
    return system.f_bavail >= keep && (system.f_files == 0 || system.f_ffree > 0);
}

static int smem__posix_fill(const smem__place *place, const smem__file *file, uint64_t size,
                            bool reserve, bool *resident)
{
    *resident = reserve && smem__posix_reserve_huge(place, file, (size_t)size);
    int rc = reserve ? smem__posix_reserve(file, size) : -EOPNOTSUPP;
    if (rc == -EOPNOTSUPP || rc == -ENOSYS)
        return smem__file_resize(file, size);
    return rc == 0 && !smem__posix_leaves_room(file) ? -ENOSPC : rc;
}

static int smem__posix_create(const smem__place *place, const char *name, unsigned candidate,
                              uint64_t size, uint32_t mode, bool reserve, smem__object *out)
{
    (void)name;
    (void)candidate;
    if (!place->has_posix)
        return SMEM_E_PLACE;
    int rc = smem__file_make(place, mode, &out->file);
    if (rc != 0)
        return smem__room_code(rc);
    rc = smem__posix_fill(place, &out->file, size, reserve, &out->resident);
    if (rc != 0) {
        smem__file_discard(&out->file);
        return smem__room_code(rc);
    }
    SMEM__POINT("posix.reserved", "zero bytes without a name, locked");
    out->size = size;
    out->kernel_id = (int64_t)out->file.inode;
    out->writable = true;
    return 0;
}

static int smem__posix_exclude_takers(smem__file *file)
{
    if (file->mode & 077 || !smem__byte_locks())
        return 0;
    int rc = smem__file_lock(file, SMEM__EXCLUSIVE, SMEM__BYTE_TAKE);
    if (rc != 0)
        smem__file_close(file);
    return rc;
}

/* Open what is under the name so that nobody with a claim takes that away, or puts
   anything else there; the caller is in the gate, if there is one. -EAGAIN: somebody
   has claimed it, or is about to take its name without a gate. */
static int smem__posix_open_to_take(const char *path, uint32_t uid, smem__file *out)
{
    int rc = smem__file_hold(path, uid, true, out);
    if (rc == 0)
        return smem__posix_exclude_takers(out);
    if (rc != -EAGAIN)
        return rc;
    rc = smem__file_open(path, uid, true, out);
    if (rc == 0 && !smem__others_can_lock(out)) {
        smem__file_close(out);
        rc = -EAGAIN;
    }
    return rc;
}

/* In the gate. -ENOENT when there is none; -EAGAIN. */
static int smem__posix_put_in_place(const smem__place *place, const char *path, smem__file *file)
{
    smem__file old;
    int rc = smem__posix_open_to_take(path, place->uid, &old);
    if (rc != 0)
        return rc == -ENOENT ? smem__file_publish(file, path) : rc;
    SMEM__POINT("posix.name-held", "who replaces holds the old segment");
    rc = smem__file_replace(place, file, path);
    smem__file_close(&old);
    return rc;
}

static int smem__posix_publish(const smem__place *place, const char *name, bool replace,
                               smem__object *object)
{
    char path[SMEM__PATH_MAX];
    int rc = smem__place_path(place, place->uid, 's', name, path);
    if (rc != 0 || !replace)
        return rc ? rc : smem__room_code(smem__file_publish(&object->file, path));
    for (unsigned turn = 0; turn < SMEM__LONG; turn++) {
        rc = smem__posix_put_in_place(place, path, &object->file);
        if (rc != -EEXIST && rc != -EAGAIN)
            return smem__room_code(rc);
        smem__backoff(turn);
    }
    return SMEM_E_BUSY;
}

static int smem__posix_discard(smem__object *object)
{
    smem__file_discard(&object->file);
    return 0;
}

static void smem__posix_close(smem__object *object)
{
    smem__file_close(&object->file);
}

/* An exclusive lock is somebody's claim: he has proved that nobody maps it. */
static int smem__posix_look(smem__object *object)
{
    int lock = smem__file_locked(&object->file, SMEM__BYTE_MAP);
    object->mapped = lock == SMEM__SHARED;
    return lock < 0 ? lock : 0;
}

static int smem__posix_reach(const char *path, uint32_t uid, enum smem__reach reach,
                             smem__object *out)
{
    if (reach == SMEM__TAKE)
        return smem__posix_open_to_take(path, uid, &out->file);
    if (reach != SMEM__LOOK)
        return smem__file_hold(path, uid, reach == SMEM__WRITE, &out->file);
    int rc = smem__file_open(path, uid, false, &out->file);
    if (rc == 0 && (rc = smem__posix_look(out)) != 0)
        smem__file_close(&out->file);
    return rc;
}

static int smem__posix_open(const smem__place *place, const char *name, unsigned candidate,
                            uint32_t uid, enum smem__reach reach, smem__object *out)
{
    (void)candidate;
    char path[SMEM__PATH_MAX];
    if (!place->has_posix)
        return -ENOENT;
    out->mapped = false;
    int rc = smem__place_path(place, uid, 's', name, path);
    if (rc == 0)
        rc = smem__posix_reach(path, uid, reach, out);
    if (rc != 0)
        return rc;
    SMEM__POINT("posix.opened", "the segment is locked by an fd, not by a mapping yet");
    out->size = out->file.size;
    out->kernel_id = (int64_t)out->file.inode;
    out->writable = reach >= SMEM__WRITE;
    return 0;
}

static int smem__posix_read(const smem__object *object, void *buf, size_t size, uint64_t offset)
{
    return smem__file_read(&object->file, buf, size, offset);
}

static int smem__posix_poke(const smem__object *object, const void *buf, size_t size,
                            uint64_t offset)
{
    return smem__file_write(&object->file, buf, size, offset);
}

static int smem__posix_open_own(const smem__place *place, const char *name, smem__object *out)
{
    char path[SMEM__PATH_MAX];
    if (!place->has_posix)
        return -ENOENT;
    int rc = smem__place_path(place, place->uid, 's', name, path);
    return rc ? rc : smem__file_open(path, place->uid, true, &out->file);
}

/* Lock what was opened, or close it. */
static int smem__posix_claim_open(smem__object *out)
{
    int rc = smem__file_lock(&out->file, SMEM__EXCLUSIVE, SMEM__BYTE_MAP);
    if (rc != 0) {
        smem__file_close(&out->file);
        return rc == -EAGAIN ? -EBUSY : rc;
    }
    SMEM__POINT("posix.claimed", "nobody maps it, and nobody can");
    out->size = out->file.size;
    out->kernel_id = (int64_t)out->file.inode;
    out->writable = true;
    return 0;
}

static int smem__posix_claim(const smem__place *place, const char *name, unsigned candidate,
                             smem__mapping *mapping, unsigned own, smem__object *out)
{
    (void)candidate;
    (void)own;
    int rc = smem__posix_open_own(place, name, out);
    if (rc == 0 && mapping && !smem__posix_is_mapped(&out->file, mapping)) {
        smem__file_close(&out->file);
        rc = -ENOENT;
    }
    return rc ? rc : smem__posix_claim_open(out);
}

/*
 * What was made here is laid over itself from the file that claims it: so it holds the
 * segment again as soon as that gives the claim up for the shared lock. That takes as long
 * as three other calls: what others probably use is unmapped, and mapped again if nobody
 * does.
 */
static int smem__posix_claim_mapped(const smem__place *place, const char *name,
                                    smem__mapping *mapping, smem__object *out)
{
    bool again = !mapping->apart && mapping->visits;
    smem__posix_part(mapping);
    int rc = smem__posix_open_own(place, name, out);
    if (rc != 0)
        return rc;
    if (!smem__posix_is_mapped(&out->file, mapping))
        rc = -ENOENT;
    else if (!mapping->apart && !again)
        rc = smem__posix_lay(out->file.fd, mapping);
    SMEM__POINT("posix.parted", "what is mapped holds no lock");
    if (rc != 0)
        smem__file_close(&out->file);
    if (rc == 0)
        rc = smem__posix_claim_open(out);
    if (rc != 0 || !again)
        return rc;
    rc = smem__posix_map_again(out->file.fd, mapping);
    if (rc != 0)
        smem__file_close(&out->file);
    return rc;
}

static int smem__posix_unlink(const smem__place *place, const char *name, smem__object *object)
{
    char path[SMEM__PATH_MAX];
    int rc = smem__place_path(place, place->uid, 's', name, path);
    if (rc == 0)
        rc = smem__file_stat(&object->file); /* the file that has the locks, not the one that was opened */
    if (rc == 0)
        rc = smem__file_is_at(&object->file, path);
    if (rc != 1)
        return rc == 0 ? -ENOENT : rc;
    SMEM__POINT("posix.unlink-owned", "nobody else may take the name, which is still there");
    rc = smem__path_unlink(path);
    SMEM__POINT("posix.unlinked", "the name is gone");
    return rc;
}

static int smem__posix_rename(const smem__place *place, const char *name, const char *to,
                              const smem__object *object)
{
    char path[SMEM__PATH_MAX], target[SMEM__PATH_MAX];
    int rc = smem__place_path(place, place->uid, 's', name, path);
    if (rc == 0)
        rc = smem__place_path(place, place->uid, 's', to, target);
    if (rc == 0)
        rc = smem__file_is_at(&object->file, path);
    if (rc != 1)
        return rc == 0 ? -ENOENT : rc;
    return smem__path_rename(path, target);
}

/* Pages of a file that idle mappings still show are freed by nothing else. */
static int smem__posix_empty(const smem__object *object, uint64_t data_offset)
{
    if (object->size < SMEM__APART_FROM)
        return 0;
    int rc = smem__sys.fallocate(object->file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 (off_t)data_offset, (off_t)(object->size - data_offset));
    if (rc == 0)
        return 0;
    /* No holes here: cut off. Of what idle mappings still show only the header, which
       stays, is ever looked at. */
    return smem__file_resize(&object->file, data_offset);
}

static bool smem__posix_is_at(const smem__place *place, const char *name,
                              const smem__object *object)
{
    char path[SMEM__PATH_MAX];
    return smem__place_path(place, object->file.uid, 's', name, path) == 0 &&
           smem__file_is_at(&object->file, path) == 1;
}

static bool smem__posix_is_current(const smem__place *place, const char *name, unsigned candidate,
                                   const smem__mapping *mapping)
{
    (void)candidate;
    char path[SMEM__PATH_MAX];
    smem__file file = {.device = mapping->device, .inode = (uint64_t)mapping->kernel_id};
    return smem__place_path(place, place->uid, 's', name, path) == 0 &&
           smem__file_is_at(&file, path) == 1;
}

const smem__backend smem__posix = {
    .name = "posix",
    .number = SMEM_POSIX,
    .candidates = 1,
    .needs_gate = false,
    .create = smem__posix_create,
    .publish = smem__posix_publish,
    .discard = smem__posix_discard,
    .open = smem__posix_open,
    .read = smem__posix_read,
    .poke = smem__posix_poke,
    .map = smem__posix_map,
    .close = smem__posix_close,
    .unmap = smem__posix_unmap,
    .part_from_parent = smem__posix_part_from_parent,
    .join = smem__posix_join,
    .empty = smem__posix_empty,
    .rename = smem__posix_rename,
    .is_at = smem__posix_is_at,
    .loosen = smem__posix_loosen,
    .tighten = smem__posix_tighten,
    .claim = smem__posix_claim,
    .claim_mapped = smem__posix_claim_mapped,
    .unlink = smem__posix_unlink,
    .is_current = smem__posix_is_current,
};
