#include "os/syscalls.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* open and fcntl are variadic: a pointer to them has another calling contract. */
static int smem__open_call(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static int smem__lock_call(int fd, int command, struct flock *lock)
{
    return fcntl(fd, command, lock);
}

smem__syscalls smem__sys = {
    .open = smem__open_call,
    .close = close,
    .fstat = fstat,
    .lstat = lstat,
    .stat = stat,
    .fchmod = fchmod,
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
    .mprotect = mprotect,
    .shmget = shmget,
    .shmat = shmat,
    .shmdt = shmdt,
    .shmctl = shmctl,
    .opendir = opendir,
    .getrandom = getrandom,
};
