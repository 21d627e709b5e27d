#include "os/flock.h"

#include "base/point.h"
#include "os/syscalls.h"
#include "sharedmem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>

enum { SMEM__UNKNOWN,
       SMEM__BYTE_LOCKS,
       SMEM__FLOCK };

/* File-scope state: what the kernel knows is the same for all contexts. It is
   found out once, since locks of the two kinds do not see each other. */
static atomic_int smem__lock_kind;

bool smem__flock_needed(void)
{
    return atomic_load_explicit(&smem__lock_kind, memory_order_relaxed) == SMEM__FLOCK;
}

bool smem__flock_choose(bool byte_locks_work)
{
    int unknown = SMEM__UNKNOWN;
    if (atomic_load_explicit(&smem__lock_kind, memory_order_relaxed) == SMEM__UNKNOWN)
        atomic_compare_exchange_strong(&smem__lock_kind, &unknown,
                                       byte_locks_work ? SMEM__BYTE_LOCKS : SMEM__FLOCK);
    return smem__flock_needed();
}

bool smem__byte_locks(void)
{
    return !smem__flock_needed();
}

/* Locks on bytes need an open file of their kind, flock any that is open. */
bool smem__others_can_lock(const smem__file *file)
{
    return (file->mode & (smem__flock_needed() ? 066 : 022)) != 0;
}

static int smem__flock_try(int fd, int operation)
{
    while (smem__sys.flock(fd, operation) != 0)
        if (errno != EINTR)
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    return 0;
}

/*
 * Who only looks (smem__flock_locked) holds the exclusive lock for a moment,
 * and a shared one that was refused for it would be taken for more than that.
 */
static int smem__flock_share(int fd)
{
    int rc;
    for (unsigned turn = 0; (rc = smem__flock_try(fd, LOCK_SH | LOCK_NB)) == -EAGAIN; turn++) {
        if (turn == SMEM__BRIEFLY)
            return rc;
        smem__backoff(turn);
    }
    return rc;
}

/* A lock that is held and to be another one is lost when that is refused. */
static int smem__flock_file(int fd, enum smem__lock lock, bool wait)
{
    switch (lock) {
    case SMEM__UNLOCKED:
        return smem__flock_try(fd, LOCK_UN);
    case SMEM__SHARED:
        return wait ? smem__flock_try(fd, LOCK_SH) : smem__flock_share(fd);
    default:
        return smem__flock_try(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
    }
}

/* ---- bytes ------------------------------------------------------------------ */

/* Beside the file, wherever that was opened. */
static int smem__side_path(const smem__file *file, uint64_t byte, char out[SMEM__PATH_MAX])
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
    ssize_t n = smem__sys.readlink(self, out, SMEM__PATH_MAX - 1);
    if (n < 0)
        return errno == ENOENT ? SMEM_E_PLACE : -errno;
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    size_t room = slash ? (size_t)(SMEM__PATH_MAX - (slash - out)) : 0;
    int length = slash ? snprintf(slash, room, "/smem.%u.l.%" PRIx64 ".%" PRIx64, file->uid,
                                  file->inode, byte)
                       : 0;
    return length > 0 && (size_t)length < room ? 0 : SMEM_E_PLACE;
}

static int smem__side_find(const smem__file *file, uint64_t byte)
{
    for (int i = 0; i < SMEM__SIDES; i++)
        if (file->sides[i].fd_plus_1 && file->sides[i].byte == byte)
            return i;
    return -1;
}

static int smem__side_free(const smem__file *file)
{
    for (int i = 0; i < SMEM__SIDES; i++)
        if (!file->sides[i].fd_plus_1)
            return i;
    return -1;
}

/* -ESTALE: its last user has removed it meanwhile. */
static int smem__side_lock_once(smem__file *file, smem__side *out, enum smem__lock lock,
                                uint64_t byte)
{
    char path[SMEM__PATH_MAX];
    smem__file side;
    int rc = smem__side_path(file, byte, path);
    if (rc == 0)
        rc = smem__file_open_or_make(path, file->uid, &side);
    if (rc != 0)
        return rc;
    SMEM__POINT("flock.made", "the file of a lock is there, and not locked");
    rc = smem__flock_file(side.fd, lock, false);
    if (rc == 0) {
        SMEM__POINT("flock.locked", "the file of a lock is locked");
        rc = smem__file_is_at(&side, path);
        rc = rc == 1 ? 0 : rc == 0 ? -ESTALE
                                   : rc;
    }
    if (rc == 0)
        *out = (smem__side){.fd_plus_1 = side.fd + 1, .byte = byte};
    else
        smem__sys.close(side.fd);
    return rc;
}

static int smem__side_lock(smem__file *file, enum smem__lock lock, uint64_t byte)
{
    int free = smem__side_free(file), rc = free < 0 ? -ENOLCK : -ESTALE;
    for (unsigned turn = 0; rc == -ESTALE && turn < SMEM__BRIEFLY; turn++)
        rc = smem__side_lock_once(file, &file->sides[free], lock, byte);
    return rc == -ESTALE ? -EAGAIN : rc;
}

/* Nobody has locked it, if it can be locked. */
static void smem__side_remove(int fd, const char *path)
{
    smem__file side = {.fd = fd};
    if (smem__flock_try(fd, LOCK_EX | LOCK_NB) == 0 && smem__file_stat(&side) == 0 &&
        smem__file_is_at(&side, path) == 1) {
        smem__path_unlink(path);
        SMEM__POINT("flock.removed", "the file of the lock is gone");
    }
}

/* Given back before the exclusive lock is tried, as smem__gate_leave() does: of
   several that leave at once the last one removes the file. */
static void smem__side_unlock(smem__file *file, int at)
{
    char path[SMEM__PATH_MAX];
    int fd = file->sides[at].fd_plus_1 - 1;
    smem__flock_try(fd, LOCK_UN);
    SMEM__POINT("flock.unlocked", "the lock is given back, its file there");
    if (smem__side_path(file, file->sides[at].byte, path) == 0)
        smem__side_remove(fd, path);
    smem__sys.close(fd);
    file->sides[at].fd_plus_1 = 0;
}

void smem__flock_release(smem__file *file)
{
    for (int i = 0; i < SMEM__SIDES; i++) {
        if (file->sides[i].pinned)
            smem__sys.close(file->sides[i].fd_plus_1 - 1);
        else if (file->sides[i].fd_plus_1)
            smem__side_unlock(file, i);
        file->sides[i] = (smem__side){0};
    }
}

/* ---- pins -------------------------------------------------------------------- */

static int smem__pin_page(int fd, char *at, size_t page)
{
    void *base = smem__sys.mmap(at, page, PROT_NONE, MAP_SHARED | MAP_FIXED, fd, 0);
    return base == MAP_FAILED ? smem__map_code() : 0;
}

/* A page of the file, and behind it one for each lock that is a file by itself. */
int smem__flock_pin(const smem__file *file, size_t page, void **out)
{
    char *pin = smem__sys.mmap(NULL, SMEM__PIN_PAGES * page, PROT_NONE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pin == MAP_FAILED)
        return smem__map_code();
    int rc = smem__pin_page(file->fd, pin, page);
    for (int i = 0; rc == 0 && i < SMEM__SIDES; i++)
        if (file->sides[i].fd_plus_1)
            rc = smem__pin_page(file->sides[i].fd_plus_1 - 1, pin + (size_t)(i + 1) * page, page);
    if (rc != 0) {
        smem__sys.munmap(pin, SMEM__PIN_PAGES * page);
        return rc;
    }
    for (int i = 0; i < SMEM__SIDES; i++)
        ((smem__file *)file)->sides[i].pinned = file->sides[i].fd_plus_1 != 0;
    *out = pin;
    return 0;
}

/* ---- both -------------------------------------------------------------------- */

/* A lock is a matter of the open file, not of what is known of it: callers pass
   a file that they do not change. None of them is const where it is defined. */
int smem__flock_lock(const smem__file *file, enum smem__lock lock, uint64_t byte, bool wait)
{
    if (byte == 0)
        return smem__flock_file(file->fd, lock, wait);
    int at = smem__side_find(file, byte);
    if (at >= 0 && lock != SMEM__UNLOCKED)
        return smem__flock_file(file->sides[at].fd_plus_1 - 1, lock, false);
    if (lock != SMEM__UNLOCKED)
        return smem__side_lock((smem__file *)file, lock, byte);
    if (at >= 0)
        smem__side_unlock((smem__file *)file, at);
    return 0;
}

/* What can be had tells what others hold. */
static int smem__flock_look(int fd)
{
    enum smem__lock held = SMEM__UNLOCKED;
    int rc = smem__flock_try(fd, LOCK_EX | LOCK_NB);
    if (rc == -EAGAIN) {
        rc = smem__flock_try(fd, LOCK_SH | LOCK_NB);
        held = rc == 0 ? SMEM__SHARED : SMEM__EXCLUSIVE;
    }
    if (rc == 0)
        smem__flock_try(fd, LOCK_UN);
    return rc == 0 || rc == -EAGAIN ? (int)held : rc;
}

int smem__flock_locked(const smem__file *file, uint64_t byte)
{
    char path[SMEM__PATH_MAX];
    smem__file side;
    if (byte == 0)
        return smem__flock_look(file->fd);
    int rc = smem__side_path(file, byte, path);
    if (rc == 0)
        rc = smem__file_open(path, file->uid, false, &side);
    if (rc != 0)
        return rc == -ENOENT ? SMEM__UNLOCKED : rc;
    rc = smem__flock_look(side.fd);
    if (rc == SMEM__UNLOCKED) /* else its last user, refused for our sake, would leave it */
        smem__side_remove(side.fd, path);
    smem__sys.close(side.fd);
    return rc;
}
