/*
 * Lockable files.
 *
 * An open-file-description lock lives as long as the open file, and a mapping
 * keeps the open file alive that it was made from. So open, lock, mmap, close
 * is a lock with the life of the mapping: it ends at the last munmap, at exec
 * and at SIGKILL, a forked child holds it without doing anything, and it costs
 * no fd.
 */
#include "os/backend.h"

#include "base/point.h"
#include "os/flock.h"
#include "os/syscalls.h"
#include "sharedmem.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* What errno says of a call that makes or fills a file. */
static int smem__fill_code(void)
{
    return errno == ENOSPC || errno == EDQUOT ? SMEM_E_NO_ROOM : -errno;
}

static int smem__open_retry(const char *path, int flags, mode_t mode)
{
    int fd;
    do
        fd = smem__sys.open(path, flags, mode);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? smem__fill_code() : fd;
}

int smem__file_stat(smem__file *file)
{
    struct stat st;
    if (smem__sys.fstat(file->fd, &st) != 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return SMEM_E_SECURITY;
    file->device = st.st_dev;
    file->inode = st.st_ino;
    file->links = st.st_nlink;
    file->size = (uint64_t)st.st_size;
    file->uid = st.st_uid;
    file->mode = st.st_mode & 07777;
    return 0;
}

static int smem__file_adopt(int fd, uint32_t uid, smem__file *out)
{
    *out = (smem__file){.fd = fd};
    int rc = smem__file_stat(out);
    if (rc == 0 && out->uid != uid)
        rc = SMEM_E_SECURITY;
    if (rc != 0)
        smem__file_close(out);
    return rc;
}

/* O_NONBLOCK: a FIFO under our name must not stop us; regular files ignore it. */
enum { SMEM__SAFE = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY };

static int smem__open_code(int rc)
{
    switch (-rc) {
    case ELOOP:  /* a symbolic link */
    case EISDIR:
    case ENXIO:  /* a FIFO nobody reads, a socket */
    case ENODEV:
        return SMEM_E_SECURITY;
    default:
        return rc;
    }
}

int smem__file_open(const char *path, uint32_t uid, bool writable, smem__file *out)
{
    int fd = smem__open_retry(path, (writable ? O_RDWR : O_RDONLY) | SMEM__SAFE, 0);
    if (fd < 0)
        return smem__open_code(fd);
    return smem__file_adopt(fd, uid, out);
}

/* One look at the file, after it is locked, tells whose it is and whether it has its
   name: a lock on somebody else's file harms nobody before it is closed. */
int smem__file_hold(const char *path, uint32_t uid, bool writable, smem__file *out)
{
    int fd = smem__open_retry(path, (writable ? O_RDWR : O_RDONLY) | SMEM__SAFE, 0);
    if (fd < 0)
        return smem__open_code(fd);
    *out = (smem__file){.fd = fd};
    int locked = smem__file_lock(out, SMEM__SHARED, 0);
    int rc = smem__file_adopt(fd, uid, out);
    if (rc == 0 && locked == 0 && out->links == 0)
        locked = -EAGAIN;
    if (rc == 0 && locked != 0)
        smem__file_close(out);
    return rc ? rc : locked;
}

/* Whatever the umask took. */
static int smem__file_set_mode(smem__file *file, uint32_t mode)
{
    if (file->mode == mode)
        return 0;
    if (smem__sys.fchmod(file->fd, mode) == 0) {
        file->mode = mode;
        return 0;
    }
    int rc = -errno;
    smem__file_close(file);
    return rc;
}

int smem__file_open_or_make(const char *path, uint32_t uid, smem__file *out)
{
    if (geteuid() != uid)
        return SMEM_E_SECURITY; /* it would be made for somebody else */
    int fd = smem__open_retry(path, O_RDWR | O_CREAT | SMEM__SAFE, 0600);
    if (fd == -ENOENT)
        return SMEM_E_PLACE; /* the directory is gone */
    if (fd < 0)
        return fd == -EACCES ? SMEM_E_SECURITY : smem__open_code(fd);
    SMEM__POINT("file.opened-or-made", "a file that may be empty is there, and not locked");
    int rc = smem__file_adopt(fd, uid, out);
    return rc ? rc : smem__file_set_mode(out, 0600);
}

/* An older kernel or a file system without it (ramfs). */
static bool smem__no_tmpfile(int rc)
{
    return rc == -EOPNOTSUPP || rc == -EISDIR || rc == -EINVAL || rc == -ENOENT;
}

static int smem__open_temporary(const smem__place *place)
{
    char name[SMEM__RANDOM_NAME], path[SMEM__PATH_MAX];
    int rc = smem__random_name(name);
    if (rc == 0)
        rc = smem__place_path(place, place->uid, 't', name, path);
    return rc ? rc : smem__open_retry(path, O_RDWR | O_CREAT | O_EXCL | SMEM__SAFE, 0600);
}

/* The name of kind 't' of an open file, if it has one, is where /proc says. */
static void smem__unlink_temporary(const smem__file *file)
{
    char self[64], path[SMEM__PATH_MAX];
    if (file->links == 0)
        return; /* O_TMPFILE: it never had one */
    snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
    ssize_t n = smem__sys.readlink(self, path, sizeof path - 1);
    if (n <= 0)
        return;
    path[n] = '\0';
    if (smem__file_is_at(file, path) == 1)
        smem__sys.unlink(path);
}

static int smem__file_make_once(const smem__place *place, smem__file *out)
{
    int fd = smem__open_retry(place->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    bool named = smem__no_tmpfile(fd);
    if (named)
        fd = smem__open_temporary(place);
    if (fd < 0)
        return fd;
    SMEM__POINT("file.made", "an empty file without a name, or of kind 't'; nothing locks it");
    int rc = smem__file_adopt(fd, place->uid, out);
    if (rc == 0)
        rc = smem__file_lock(out, SMEM__SHARED, 0);
    SMEM__POINT("file.locked", "as before, and it holds the shared lock");
    if (rc == 0 && named)
        rc = smem__file_stat(out);
    if (rc == 0 && named && out->links == 0)
        rc = -EAGAIN; /* a sweep took it for a dead one's before it was locked */
    if (rc != 0)
        smem__file_discard(out);
    return rc;
}

int smem__file_make(const smem__place *place, uint32_t mode, smem__file *out)
{
    int rc;
    unsigned turn = 0;
    while ((rc = smem__file_make_once(place, out)) == -EAGAIN && turn < 1000)
        smem__backoff(turn++);
    return rc ? rc : smem__file_set_mode(out, mode);
}

int smem__file_publish(smem__file *file, const char *path)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
    int rc = smem__sys.linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? smem__fill_code() : 0;
    if (rc == -ENOENT) /* no /proc here: works with CAP_DAC_READ_SEARCH */
        rc = smem__sys.linkat(file->fd, "", AT_FDCWD, path, AT_EMPTY_PATH) ? smem__fill_code() : 0;
    if (rc == 0) {
        SMEM__POINT("file.linked", "the file has its name; one of kind 't' has that one, too");
        smem__unlink_temporary(file);
        SMEM__POINT("file.published", "the file has its name only");
    }
    return rc;
}

void smem__file_discard(smem__file *file)
{
    if (file->fd >= 0)
        smem__unlink_temporary(file);
    smem__file_close(file);
}

/* A crash between link and rename leaves a segment under the temporary name;
   nobody maps it then, and the sweep takes it like any other. */
int smem__file_replace(const smem__place *place, smem__file *file, const char *path)
{
    char name[SMEM__RANDOM_NAME], temporary[SMEM__PATH_MAX];
    int rc = smem__random_name(name);
    if (rc == 0)
        rc = smem__place_path(place, place->uid, 's', name, temporary);
    if (rc == 0)
        rc = smem__file_publish(file, temporary);
    if (rc != 0)
        return rc;
    SMEM__POINT("file.replacement-linked", "the new segment is complete under a random name");
    if (smem__sys.rename(temporary, path) == 0) {
        SMEM__POINT("file.replaced", "the name leads to the new segment, the old one has none");
        return 0;
    }
    rc = smem__fill_code();
    smem__sys.unlink(temporary);
    return rc;
}

void smem__file_close(smem__file *file)
{
    if (file->fd < 0)
        return;
    smem__flock_release(file);
    smem__sys.close(file->fd); /* EINTR: on Linux it is closed all the same */
    file->fd = -1;
}

/* l_pid must be 0. */
static struct flock smem__lock_request(enum smem__lock lock, uint64_t byte)
{
    static const short types[] = {F_UNLCK, F_RDLCK, F_WRLCK};
    return (struct flock){.l_type = types[lock],
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)byte,
                          .l_len = 1};
}

/* Is this what a kernel says that has no such locks, to the first one? */
static bool smem__lock_is_unknown(int rc)
{
    return (rc == -EINVAL || rc == -ENOSYS) && smem__flock_choose(false);
}

static int smem__lock_bytes(const smem__file *file, int command, struct flock *request)
{
    while (smem__sys.fcntl_lock(file->fd, command, request) != 0) {
        if (errno == EACCES)
            return -EAGAIN;
        if (errno != EINTR)
            return -errno;
    }
    smem__flock_choose(true);
    return 0;
}

static int smem__lock_by(const smem__file *file, int command, enum smem__lock lock, uint64_t byte)
{
    if (!smem__flock_needed()) {
        struct flock request = smem__lock_request(lock, byte);
        int rc = smem__lock_bytes(file, command, &request);
        if (!smem__lock_is_unknown(rc))
            return rc;
    }
    return smem__flock_lock(file, lock, byte, command == F_OFD_SETLKW);
}

int smem__file_lock(const smem__file *file, enum smem__lock lock, uint64_t byte)
{
    return smem__lock_by(file, F_OFD_SETLK, lock, byte);
}

int smem__file_lock_forever(const smem__file *file, enum smem__lock lock, uint64_t byte)
{
    return smem__lock_by(file, F_OFD_SETLKW, lock, byte);
}

static enum smem__lock smem__lock_seen(short type)
{
    return type == F_UNLCK ? SMEM__UNLOCKED : type == F_RDLCK ? SMEM__SHARED
                                                              : SMEM__EXCLUSIVE;
}

int smem__file_locked(const smem__file *file, uint64_t byte)
{
    if (!smem__flock_needed()) {
        struct flock request = smem__lock_request(SMEM__EXCLUSIVE, byte);
        int rc = smem__lock_bytes(file, F_OFD_GETLK, &request);
        if (!smem__lock_is_unknown(rc))
            return rc ? rc : (int)smem__lock_seen(request.l_type);
    }
    return smem__flock_locked(file, byte);
}

void smem__backoff(unsigned turn)
{
    if (turn < 8) {
        smem__sys.sched_yield();
        return;
    }
    struct timespec nap = {0, turn < 64 ? 50000 : 1000000};
    smem__sys.nap(&nap);
}

void smem__nap(unsigned ms)
{
    struct timespec nap = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    smem__sys.nap(&nap);
}

/* Locks are held for microseconds; who still holds one after seconds was
   stopped, and waiting on would stop us too. */
int smem__file_lock_wait(const smem__file *file, enum smem__lock lock, uint64_t byte,
                         enum smem__patience patience)
{
    for (unsigned turn = 0; turn < (unsigned)patience; turn++) {
        int rc = smem__file_lock(file, lock, byte);
        if (rc != -EAGAIN)
            return rc;
        smem__backoff(turn);
    }
    return SMEM_E_BUSY;
}

int smem__file_is_at(const smem__file *file, const char *path)
{
    struct stat st;
    if (smem__sys.lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : -errno;
    return st.st_dev == file->device && st.st_ino == file->inode;
}

int smem__file_read(const smem__file *file, void *buf, size_t size, uint64_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = smem__sys.pread(file->fd, (char *)buf + done, size - done,
                                    (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return SMEM_E_FORMAT; /* shorter than what it is read for */
        done += (size_t)n;
    }
    return 0;
}

int smem__file_write(const smem__file *file, const void *buf, size_t size, uint64_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = smem__sys.pwrite(file->fd, (const char *)buf + done, size - done,
                                     (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return smem__fill_code();
        done += (size_t)n;
    }
    return 0;
}

int smem__file_resize(const smem__file *file, uint64_t size)
{
    while (smem__sys.ftruncate(file->fd, (off_t)size) != 0)
        if (errno != EINTR)
            return smem__fill_code();
    return 0;
}

int smem__file_reopen(const smem__file *file, bool writable)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
    return smem__open_retry(self, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
}

/* EAGAIN: after mlockall() there may be no more locked memory. It would be taken
   for "try again". */
int smem__map_code(void)
{
    return errno == EAGAIN ? -ENOMEM : -errno;
}

int smem__file_pin(const smem__file *file, size_t page, void **out)
{
    if (smem__flock_needed())
        return smem__flock_pin(file, page, out);
    void *pin = smem__sys.mmap(NULL, page, PROT_NONE, MAP_SHARED, file->fd, 0);
    if (pin == MAP_FAILED)
        return smem__map_code();
    *out = pin;
    return 0;
}

int smem__file_page(const smem__file *file, size_t page, void **out)
{
    void *pin = NULL;
    int rc = smem__file_pin(file, page, &pin);
    if (rc == 0 && smem__sys.mprotect(pin, page, PROT_READ | PROT_WRITE) != 0) {
        rc = -errno;
        smem__unpin(pin, page);
    }
    if (rc == 0)
        *out = pin;
    return rc;
}

void smem__unpin(void *pin, size_t page)
{
    if (pin)
        smem__sys.munmap(pin, smem__flock_needed() ? SMEM__PIN_PAGES * page : page);
}

int smem__path_rename(const char *path, const char *to)
{
    return smem__sys.rename(path, to) == 0 ? 0 : -errno;
}

int smem__path_unlink(const char *path)
{
    return smem__sys.unlink(path) == 0 ? 0 : -errno;
}
