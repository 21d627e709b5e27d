/* The table of system calls (os/syscalls.h), member by member. */
#ifndef CALLS_H
#define CALLS_H

#include "os/syscalls.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/vfs.h>

/* X(member, result type, its failure, parameters, arguments) */
#define CALLS(X)                                                                               \
    X(open, int, -1, (const char *path, int flags, mode_t mode), (path, flags, mode))          \
    X(close, int, -1, (int fd), (fd))                                                          \
    X(fstat, int, -1, (int fd, struct stat *out), (fd, out))                                   \
    X(lstat, int, -1, (const char *path, struct stat *out), (path, out))                       \
    X(stat, int, -1, (const char *path, struct stat *out), (path, out))                        \
    X(fstatfs, int, -1, (int fd, struct statfs *out), (fd, out))                               \
    X(fchmod, int, -1, (int fd, mode_t mode), (fd, mode))                                      \
    X(fchown, int, -1, (int fd, uid_t owner, gid_t group), (fd, owner, group))                 \
    X(ftruncate, int, -1, (int fd, off_t size), (fd, size))                                    \
    X(fallocate, int, -1, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))      \
    X(fcntl_lock, int, -1, (int fd, int command, struct flock *lock), (fd, command, lock))     \
    X(flock, int, -1, (int fd, int operation), (fd, operation))                                \
    X(linkat, int, -1, (int from, const char *old, int to, const char *path, int flags),       \
      (from, old, to, path, flags))                                                            \
    X(readlink, ssize_t, -1, (const char *path, char *buf, size_t size), (path, buf, size))    \
    X(rename, int, -1, (const char *old, const char *path), (old, path))                       \
    X(unlink, int, -1, (const char *path), (path))                                             \
    X(pread, ssize_t, -1, (int fd, void *buf, size_t size, off_t at), (fd, buf, size, at))     \
    X(pwrite, ssize_t, -1, (int fd, const void *buf, size_t size, off_t at),                   \
      (fd, buf, size, at))                                                                     \
    X(mmap, void *, MAP_FAILED, (void *to, size_t size, int prot, int flags, int fd, off_t at), \
      (to, size, prot, flags, fd, at))                                                         \
    X(munmap, int, -1, (void *at, size_t size), (at, size))                                    \
    X(mremap, void *, MAP_FAILED,                                                              \
      (void *at, size_t size, size_t new_size, int flags, void *to),                           \
      (at, size, new_size, flags, to))                                                         \
    X(mprotect, int, -1, (void *at, size_t size, int prot), (at, size, prot))                  \
    X(madvise, int, -1, (void *at, size_t size, int advice), (at, size, advice))               \
    X(shmget, int, -1, (key_t key, size_t size, int flags), (key, size, flags))                \
    X(shmat, void *, (void *)-1, (int id, const void *at, int flags), (id, at, flags))         \
    X(shmdt, int, -1, (const void *at), (at))                                                  \
    X(shmctl, int, -1, (int id, int command, struct shmid_ds *buf), (id, command, buf))        \
    X(opendir, DIR *, NULL, (const char *path), (path))                                        \
    X(readdir, struct dirent *, NULL, (DIR * directory), (directory))                          \
    X(access, int, -1, (const char *path, int mode), (path, mode))                             \
    X(kill, int, -1, (pid_t pid, int number), (pid, number))                                   \
    X(getrandom, ssize_t, -1, (void *buf, size_t size, unsigned flags), (buf, size, flags))    \
    X(futex, long, -1,                                                                         \
      (const _Atomic uint32_t *word, int operation, uint32_t value,                            \
       const struct timespec *timeout, uint32_t bits),                                         \
      (word, operation, value, timeout, bits))                                                 \
    X(clock_gettime, int, -1, (clockid_t clock, struct timespec *out), (clock, out))           \
    X(nap, int, -1, (const struct timespec *length), (length))                                 \
    X(sched_yield, int, -1, (void), ())                                                        \
    X(spawn, int, armed.error, (pid_t *pid, const char *path, char *const arguments[]),        \
      (pid, path, arguments))                                                                  \
    X(waitpid, pid_t, -1, (pid_t pid, int *status, int options), (pid, status, options))       \
    X(fork, pid_t, -1, (void), ())                                                             \
    X(setsid, pid_t, -1, (void), ())                                                           \
    X(chdir, int, -1, (const char *path), (path))                                              \
    X(setpriority, int, -1, (int nice), (nice))                                                \
    X(inotify_init, int, -1, (int flags), (flags))                                             \
    X(inotify_add_watch, int, -1, (int fd, const char *path, uint32_t mask), (fd, path, mask)) \
    X(pidfd_open, int, -1, (pid_t pid, unsigned flags), (pid, flags))                          \
    X(read, ssize_t, -1, (int fd, void *buf, size_t size), (fd, buf, size))                    \
    X(poll, int, -1, (struct pollfd * fds, unsigned long count, int timeout_ms),               \
      (fds, count, timeout_ms))

#endif
