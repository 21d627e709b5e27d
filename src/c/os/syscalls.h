/*
 * Every system call of the library goes through this table, so that a test can
 * make each one fail at each place. Members have the kernel's own signatures,
 * set errno, and are called as smem__sys.open(...).
 *
 * [smem__sys] is mutable file-scope state on purpose: a fault test replaces a
 * member before it starts threads and puts it back; nothing else writes to it.
 */
#ifndef SMEM_SYSCALLS_H
#define SMEM_SYSCALLS_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

struct flock;
struct pollfd;
struct statfs;

typedef struct smem__syscalls {
    int (*open)(const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    int (*fstat)(int fd, struct stat *out);
    int (*lstat)(const char *path, struct stat *out);
    int (*stat)(const char *path, struct stat *out);
    int (*fstatfs)(int fd, struct statfs *out);
    int (*fchmod)(int fd, mode_t mode);
    int (*fchown)(int fd, uid_t owner, gid_t group);
    int (*ftruncate)(int fd, off_t size);
    int (*fallocate)(int fd, int mode, off_t offset, off_t size);
    int (*fcntl_lock)(int fd, int command, struct flock *lock);
    int (*flock)(int fd, int operation);
    int (*linkat)(int olddir, const char *oldpath, int newdir, const char *newpath, int flags);
    ssize_t (*readlink)(const char *path, char *buf, size_t size);
    int (*rename)(const char *oldpath, const char *newpath);
    int (*unlink)(const char *path);
    ssize_t (*pread)(int fd, void *buf, size_t size, off_t offset);
    ssize_t (*pwrite)(int fd, const void *buf, size_t size, off_t offset);
    void *(*mmap)(void *addr, size_t size, int prot, int flags, int fd, off_t offset);
    int (*munmap)(void *addr, size_t size);
    void *(*mremap)(void *addr, size_t size, size_t new_size, int flags, void *to);
    int (*mprotect)(void *addr, size_t size, int prot);
    int (*madvise)(void *addr, size_t size, int advice);
    int (*shmget)(key_t key, size_t size, int flags);
    void *(*shmat)(int id, const void *addr, int flags);
    int (*shmdt)(const void *addr);
    int (*shmctl)(int id, int command, struct shmid_ds *buf);
    DIR *(*opendir)(const char *path);
    struct dirent *(*readdir)(DIR *directory);
    int (*access)(const char *path, int mode);
    int (*kill)(pid_t pid, int signal);
    ssize_t (*getrandom)(void *buf, size_t size, unsigned flags);
    long (*futex)(const _Atomic uint32_t *word, int operation, uint32_t value,
                  const struct timespec *timeout, uint32_t bits);
    int (*clock_gettime)(clockid_t clock, struct timespec *out);
    int (*nap)(const struct timespec *length);
    int (*sched_yield)(void);
    /* the reaper's, and how it is started */
    /* all signals blocked, no environment; returns the error */
    int (*spawn)(pid_t *pid, const char *path, char *const arguments[]);
    pid_t (*waitpid)(pid_t pid, int *status, int options);
    pid_t (*fork)(void);
    pid_t (*setsid)(void);
    int (*chdir)(const char *path);
    int (*setpriority)(int nice); /* of this process */
    int (*inotify_init)(int flags);
    int (*inotify_add_watch)(int fd, const char *path, uint32_t mask);
    int (*pidfd_open)(pid_t pid, unsigned flags);
    ssize_t (*read)(int fd, void *buf, size_t size);
    int (*poll)(struct pollfd *fds, unsigned long count, int timeout_ms);
} smem__syscalls;

extern smem__syscalls smem__sys;

#endif
