#include "os/syscalls.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* the same on every architecture */
#endif

/* open and fcntl are variadic: a pointer to them has another calling contract. */
static int smem__open_call(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static void *smem__mremap_call(void *addr, size_t size, size_t new_size, int flags, void *to)
{
    return mremap(addr, size, new_size, flags, to);
}

static int smem__lock_call(int fd, int command, struct flock *lock)
{
    return fcntl(fd, command, lock);
}

static int smem__spawn_call(pid_t *pid, const char *path, char *const arguments[])
{
    static char *const nothing[] = {NULL};
    posix_spawnattr_t attributes;
    sigset_t all;
    sigfillset(&all);
    int rc = posix_spawnattr_init(&attributes);
    if (rc != 0)
        return rc;
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &all);
    rc = posix_spawn(pid, path, NULL, &attributes, arguments, nothing);
    posix_spawnattr_destroy(&attributes);
    return rc;
}

static int smem__pidfd_call(pid_t pid, unsigned flags)
{
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

/* A 32-bit system with 64-bit time has a call of its own for it. */
#ifdef SYS_futex_time64
#define SMEM__FUTEX (sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex)
#else
#define SMEM__FUTEX SYS_futex
#endif

static long smem__futex_call(const _Atomic uint32_t *word, int operation, uint32_t value,
                             const struct timespec *timeout, uint32_t bits)
{
    return syscall(SMEM__FUTEX, word, operation, value, timeout, NULL, bits);
}

static int smem__poll_call(struct pollfd *fds, unsigned long count, int timeout_ms)
{
    return poll(fds, count, timeout_ms);
}

smem__syscalls smem__sys = {
    .open = smem__open_call,
    .close = close,
    .fstat = fstat,
    .lstat = lstat,
    .stat = stat,
    .fstatfs = fstatfs,
    .fchmod = fchmod,
    .fchown = fchown,
    .ftruncate = ftruncate,
    .fallocate = fallocate,
    .fcntl_lock = smem__lock_call,
    .flock = flock,
    .linkat = linkat,
    .readlink = readlink,
    .rename = rename,
    .unlink = unlink,
    .pread = pread,
    .pwrite = pwrite,
    .mmap = mmap,
    .munmap = munmap,
    .mremap = smem__mremap_call,
    .mprotect = mprotect,
    .madvise = madvise,
    .shmget = shmget,
    .shmat = shmat,
    .shmdt = shmdt,
    .shmctl = shmctl,
    .opendir = opendir,
    .readdir = readdir,
    .access = eaccess, /* the effective uid is the one that opens */
    .getrandom = getrandom,
    .futex = smem__futex_call,
    .spawn = smem__spawn_call,
    .waitpid = waitpid,
    .fork = fork,
    .setsid = setsid,
    .chdir = chdir,
    .inotify_init = inotify_init1,
    .inotify_add_watch = inotify_add_watch,
    .pidfd_open = smem__pidfd_call,
    .read = read,
    .poll = smem__poll_call,
};
