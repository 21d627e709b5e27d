/*
 * A table of system calls (os/syscalls.h) in which any of them can be made to
 * fail, and operations to do it in.
 */
#ifndef FAILING_H
#define FAILING_H

#include "check.h"

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

enum call {
#define NUMBER(name, type, bad, parameters, arguments) CALL_##name,
    CALLS(NUMBER)
#undef NUMBER
        CALL_COUNT
};

_Static_assert(sizeof(smem__syscalls) / sizeof(void (*)(void)) == CALL_COUNT,
               "each member of the table can fail");

typedef struct fault {
    enum call call;
    unsigned at;  /* the first one is 1; 0: none */
    int error;
    bool for_good;
    bool on; /* calls are counted */
} fault;

extern fault armed;

/* Shared with what an operation forks. */
typedef struct fault_log {
    bool fired;
    unsigned made[CALL_COUNT]; /* while armed, whether with a fault or without */
} fault_log;

extern fault_log *logged;

void replace_table(void);

/* ---- operations -------------------------------------------------------------- */

/* [ctx] does what may fail; [other] is a participant beside it. */
typedef struct scene {
    smem_context *ctx, *other;
    smem_segment *held;   /* other's; it begins with a 5 */
    smem_segment *result; /* ctx's, of the operation or for it */
    uint64_t ticket;
    smem_info info; /* of what is stale or was kept */
} scene;

typedef struct operation {
    const char *name;
    void (*prepare)(scene *s);
    int (*act)(scene *s);
    void (*judge)(scene *s, int rc); /* whether what it returned is true */
    void (*finish)(scene *s);        /* what [prepare] began */
    bool any_code;                   /* what it returns reaches nobody but the reaper */
} operation;

extern int backend; /* of this run */

/* Let it fail at each place in each way. */
void fail_in(const operation *op);

#endif
