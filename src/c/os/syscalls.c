#include "os/syscalls.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* the same on every architecture */
#endif

/* Segments may be larger than what a process of 32 bits can map. */
_Static_assert(sizeof(off_t) == 8, "on a system of 32 bits compile with -D_FILE_OFFSET_BITS=64");

int smem__no_cancel(void)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

void smem__cancel_as(int before)
{
    pthread_setcancelstate(before, NULL);
}

/*
 * What POSIX calls a cancellation point is none here: a thread that was cancelled by
 * pthread_cancel() would end in the middle of an operation, and keep its locks and fds.
 */
#define SMEM__WHOLE(type, name, parameters, call)                             \
    static type smem__##name##_call parameters                                \
    {                                                                         \
        int before = smem__no_cancel();                                       \
        type rc = call;                                                       \
        smem__cancel_as(before);                                              \
        return rc;                                                            \
    }

SMEM__WHOLE(int, open, (const char *path, int flags, mode_t mode), open(path, flags, mode))
SMEM__WHOLE(int, close, (int fd), close(fd))
SMEM__WHOLE(int, lock, (int fd, int command, struct flock *lock), fcntl(fd, command, lock))
SMEM__WHOLE(int, flock, (int fd, int operation), flock(fd, operation))
SMEM__WHOLE(int, fallocate, (int fd, int mode, off_t at, off_t size), fallocate(fd, mode, at, size))
SMEM__WHOLE(ssize_t, pread, (int fd, void *buf, size_t size, off_t at), pread(fd, buf, size, at))
SMEM__WHOLE(ssize_t, pwrite, (int fd, const void *buf, size_t size, off_t at),
            pwrite(fd, buf, size, at))
SMEM__WHOLE(ssize_t, read, (int fd, void *buf, size_t size), read(fd, buf, size))
SMEM__WHOLE(ssize_t, getrandom, (void *buf, size_t size, unsigned flags),
            getrandom(buf, size, flags))
SMEM__WHOLE(pid_t, waitpid, (pid_t pid, int *status, int options), waitpid(pid, status, options))
SMEM__WHOLE(int, poll, (struct pollfd * fds, unsigned long count, int timeout_ms),
            poll(fds, count, timeout_ms))
SMEM__WHOLE(int, nap, (const struct timespec *length), nanosleep(length, NULL))

static void *smem__mremap_call(void *addr, size_t size, size_t new_size, int flags, void *to)
{
    return mremap(addr, size, new_size, flags, to);
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

static int smem__priority_call(int nice)
{
    return setpriority(PRIO_PROCESS, 0, nice);
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

smem__syscalls smem__sys = {
    .open = smem__open_call,
    .close = smem__close_call,
    .fstat = fstat,
    .lstat = lstat,
    .stat = stat,
    .fstatfs = fstatfs,
    .fchmod = fchmod,
    .fchown = fchown,
    .ftruncate = ftruncate,
    .fallocate = smem__fallocate_call,
    .fcntl_lock = smem__lock_call,
    .flock = smem__flock_call,
    .linkat = linkat,
    .readlink = readlink,
    .rename = rename,
    .unlink = unlink,
    .pread = smem__pread_call,
    .pwrite = smem__pwrite_call,
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
    .kill = kill,
    .getrandom = smem__getrandom_call,
    .futex = smem__futex_call,
    .clock_gettime = clock_gettime,
    .nap = smem__nap_call,
    .sched_yield = sched_yield,
    .spawn = smem__spawn_call,
    .waitpid = smem__waitpid_call,
    .fork = fork,
    .setsid = setsid,
    .chdir = chdir,
    .setpriority = smem__priority_call,
    .inotify_init = inotify_init1,
    .inotify_add_watch = inotify_add_watch,
    .pidfd_open = smem__pidfd_call,
    .read = smem__read_call,
    .poll = smem__poll_call,
};
