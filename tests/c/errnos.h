/*
 * Every system call of the library (os/syscalls.h) and every errno that its man
 * page lists for the way in which we call it. test_syscalls.c makes each fail
 * with each, in each operation.
 *
 *   X(call, errno, how, results)
 *
 * [how]
 *   LASTS  once, and from then on for ever
 *   ONCE   once only: a second way or a retry is right, and would be tried for ever
 *   RETRY  once only, and nobody may notice
 *   TELLS  once only: it is the kernel's word that something is not as it was (the
 *          name is gone, the id is no segment's). Here it is a lie, so what the
 *          operation says of the segment need not be true; but nothing may be
 *          harmed or leaked
 * [results]  what an operation may return that does not succeed all the same, so
 *   many that no other exception is raised; SAME is -errno.
 *
 * Left out of each page: what only a wrong argument of ours can cause (EBADF,
 * EFAULT, EINVAL of flags), and what needs a feature that we do not use.
 */
#ifndef ERRNOS_H
#define ERRNOS_H

#include "sharedmem.h"

#include <errno.h>

#define SAME 1 /* no result code is positive */
#define NO_ROOM SMEM_E_NO_ROOM
#define SECURITY SMEM_E_SECURITY
#define JOURNAL SMEM_E_JOURNAL
#define NOT_FOUND SMEM_E_NOT_FOUND

#define ERRNOS(X)                                                                              \
    /* open(2), O_NONBLOCK and O_NOFOLLOW: files of ours by name, made (O_CREAT, O_EXCL) or    \
       without a name (O_TMPFILE); /proc; /dev/null */                                         \
    X(open, EMFILE, LASTS, (SAME))                                                             \
    X(open, ENFILE, LASTS, (SAME))                                                             \
    X(open, ENOMEM, LASTS, (SAME, NO_ROOM))                                                    \
    X(open, EACCES, LASTS, (SAME, SECURITY, JOURNAL))                                          \
    X(open, EPERM, LASTS, (SAME))                                                              \
    X(open, EROFS, LASTS, (SAME))                                                              \
    X(open, ENOSPC, LASTS, (NO_ROOM))                                                          \
    X(open, EDQUOT, LASTS, (NO_ROOM))                                                          \
    X(open, EOVERFLOW, LASTS, (SAME, SMEM_E_SIZE))                                             \
    X(open, ENAMETOOLONG, LASTS, (SAME))                                                       \
    X(open, ENOTDIR, LASTS, (SAME))                                                            \
    X(open, ELOOP, LASTS, (SAME, SECURITY, JOURNAL))                                           \
    X(open, ENXIO, LASTS, (SAME, SECURITY, JOURNAL))                                           \
    X(open, ENODEV, LASTS, (SAME, SECURITY, JOURNAL))                                          \
    X(open, EISDIR, ONCE, (SAME, SECURITY, JOURNAL))                                           \
    X(open, EOPNOTSUPP, ONCE, (SAME))                                                          \
    X(open, EINVAL, ONCE, (SAME))                                                              \
    X(open, EAGAIN, ONCE, (SAME)) /* a lease is broken */                                      \
    X(open, EEXIST, ONCE, (SAME, SMEM_E_LIMIT))                                                \
    X(open, ENOENT, TELLS, (NOT_FOUND, SMEM_E_PLACE, SMEM_E_UNLINKED, SMEM_E_EXISTS))          \
    X(open, EINTR, RETRY, ())                                                                  \
    /* close(2): the fd is closed whatever it says */                                          \
    X(close, EINTR, LASTS, ())                                                                 \
    X(close, EIO, LASTS, ())                                                                   \
    X(close, ENOSPC, LASTS, ())                                                                \
    X(close, EDQUOT, LASTS, ())                                                                \
    /* fstat(2) */                                                                             \
    X(fstat, ENOMEM, LASTS, (SAME, NO_ROOM))                                                   \
    X(fstat, EOVERFLOW, LASTS, (SAME, SMEM_E_SIZE))                                            \
    /* lstat(2): what a path of ours leads to */                                               \
    X(lstat, ENOMEM, LASTS, (SAME, NO_ROOM, SMEM_E_UNLINKED))                                  \
    X(lstat, EACCES, LASTS, (SAME, SMEM_E_UNLINKED))                                           \
    X(lstat, ELOOP, LASTS, (SAME, SMEM_E_UNLINKED))                                            \
    X(lstat, ENAMETOOLONG, LASTS, (SAME, SMEM_E_UNLINKED))                                     \
    X(lstat, ENOTDIR, LASTS, (SAME, SMEM_E_UNLINKED))                                          \
    X(lstat, EOVERFLOW, LASTS, (SAME, SMEM_E_SIZE, SMEM_E_UNLINKED))                           \
    X(lstat, ENOENT, TELLS, (NOT_FOUND, SMEM_E_UNLINKED, SMEM_E_EXISTS))                       \
    /* stat(2): the directory, namespaces. In another directory nothing is found */                                                   \
    X(stat, ENOMEM, LASTS, (SAME, NOT_FOUND))                                                  \
    X(stat, EACCES, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                          \
    X(stat, ELOOP, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                           \
    X(stat, ENAMETOOLONG, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                    \
    X(stat, ENOENT, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                          \
    X(stat, ENOTDIR, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                         \
    X(stat, EOVERFLOW, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                       \
    /* fstatfs(2): how much room is left; unknown is taken for enough */                       \
    X(fstatfs, EIO, LASTS, ())                                                                 \
    X(fstatfs, ENOMEM, LASTS, ())                                                              \
    X(fstatfs, ENOSYS, LASTS, ())                                                              \
    X(fstatfs, EOVERFLOW, LASTS, ())                                                           \
    X(fstatfs, EINTR, LASTS, ())                                                               \
    /* fchmod(2) */                                                                            \
    X(fchmod, EPERM, LASTS, (SAME))                                                            \
    X(fchmod, EROFS, LASTS, (SAME))                                                            \
    X(fchmod, EIO, LASTS, (SAME))                                                              \
    /* fchown(2), without /proc: whether the kernel knows a uid */                             \
    X(fchown, EINVAL, LASTS, ())                                                               \
    X(fchown, EPERM, LASTS, ())                                                                \
    X(fchown, EROFS, LASTS, ())                                                                \
    X(fchown, EIO, LASTS, ())                                                                  \
    /* ftruncate(2): a segment that is not reserved; the journal */                            \
    X(ftruncate, EFBIG, LASTS, (SAME, SMEM_E_SIZE))                                            \
    X(ftruncate, EINVAL, LASTS, (SAME)) /* larger than the file system holds */                \
    X(ftruncate, EIO, LASTS, (SAME))                                                           \
    X(ftruncate, EPERM, LASTS, (SAME))                                                         \
    X(ftruncate, ENOSPC, LASTS, (NO_ROOM))                                                     \
    X(ftruncate, EINTR, RETRY, ())                                                             \
    /* fallocate(2); ENOMEM is not on the page, and tmpfs says it */                           \
    X(fallocate, ENOSPC, LASTS, (NO_ROOM))                                                     \
    X(fallocate, EDQUOT, LASTS, (NO_ROOM))                                                     \
    X(fallocate, ENOMEM, LASTS, (NO_ROOM))                                                     \
    X(fallocate, EFBIG, LASTS, (SMEM_E_SIZE))                                                  \
    X(fallocate, EIO, LASTS, (SAME))                                                           \
    X(fallocate, ENODEV, LASTS, (SAME))                                                        \
    X(fallocate, EPERM, LASTS, (SAME))                                                         \
    X(fallocate, EOPNOTSUPP, LASTS, ())                                                        \
    X(fallocate, ENOSYS, LASTS, ())                                                            \
    X(fallocate, EINTR, RETRY, ())                                                             \
    /* fcntl(2), F_OFD_SETLK and F_OFD_GETLK */                                                \
    X(fcntl_lock, ENOLCK, LASTS, (SAME))                                                       \
    X(fcntl_lock, ENOMEM, LASTS, (SAME, NO_ROOM))                                              \
    X(fcntl_lock, EAGAIN, ONCE, (SAME, SMEM_E_BUSY, SMEM_E_EXISTS))                            \
    X(fcntl_lock, EACCES, ONCE, (-EAGAIN, SMEM_E_BUSY, SMEM_E_EXISTS))                         \
    X(fcntl_lock, EINTR, RETRY, ())                                                            \
    /* flock(2), in the place of the former */                                                 \
    X(flock, ENOLCK, LASTS, (SAME))                                                            \
    X(flock, EWOULDBLOCK, ONCE, (SAME, SMEM_E_BUSY, SMEM_E_EXISTS))                            \
    X(flock, EINTR, RETRY, ())                                                                 \
    /* link(2): a file without a name, or of kind 't', gets its own */                         \
    X(linkat, ENOSPC, LASTS, (NO_ROOM))                                                        \
    X(linkat, EDQUOT, LASTS, (NO_ROOM))                                                        \
    X(linkat, ENOMEM, LASTS, (SAME, NO_ROOM))                                                  \
    X(linkat, EACCES, LASTS, (SAME))                                                           \
    X(linkat, EPERM, LASTS, (SAME))                                                            \
    X(linkat, EROFS, LASTS, (SAME))                                                            \
    X(linkat, EIO, LASTS, (SAME))                                                              \
    X(linkat, ELOOP, LASTS, (SAME))                                                            \
    X(linkat, EMLINK, LASTS, (SAME))                                                           \
    X(linkat, ENAMETOOLONG, LASTS, (SAME))                                                     \
    X(linkat, ENOTDIR, LASTS, (SAME))                                                          \
    X(linkat, EXDEV, LASTS, (SAME))                                                            \
    X(linkat, ENOENT, ONCE, (SMEM_E_PLACE))                                                    \
    X(linkat, EEXIST, TELLS, (SMEM_E_EXISTS))                                                  \
    /* readlink(2): where a file of kind 't' is; what directory the file of a lock is in */    \
    X(readlink, ENOMEM, LASTS, (SAME, NO_ROOM))                                                \
    X(readlink, EACCES, LASTS, (SAME))                                                         \
    X(readlink, EIO, LASTS, (SAME))                                                            \
    X(readlink, ELOOP, LASTS, (SAME))                                                          \
    X(readlink, ENAMETOOLONG, LASTS, (SAME))                                                   \
    X(readlink, ENOENT, LASTS, (SMEM_E_PLACE))                                                 \
    X(readlink, ENOTDIR, LASTS, (SAME))                                                        \
    /* rename(2): a new segment into the place of an old one */                                \
    X(rename, ENOSPC, LASTS, (NO_ROOM))                                                        \
    X(rename, EDQUOT, LASTS, (NO_ROOM))                                                        \
    X(rename, ENOMEM, LASTS, (SAME, NO_ROOM))                                                  \
    X(rename, EACCES, LASTS, (SAME))                                                           \
    X(rename, EPERM, LASTS, (SAME))                                                            \
    X(rename, EROFS, LASTS, (SAME))                                                            \
    X(rename, EBUSY, LASTS, (SAME))                                                            \
    X(rename, EISDIR, LASTS, (SAME))                                                           \
    X(rename, ELOOP, LASTS, (SAME))                                                            \
    X(rename, EMLINK, LASTS, (SAME))                                                           \
    X(rename, ENAMETOOLONG, LASTS, (SAME))                                                     \
    X(rename, ENOTDIR, LASTS, (SAME))                                                          \
    X(rename, EXDEV, LASTS, (SAME))                                                            \
    X(rename, ENOENT, TELLS, (SMEM_E_PLACE))                                                   \
    /* unlink(2) */                                                                            \
    X(unlink, EACCES, LASTS, (SAME))                                                           \
    X(unlink, EPERM, LASTS, (SAME))                                                            \
    X(unlink, EROFS, LASTS, (SAME))                                                            \
    X(unlink, EBUSY, LASTS, (SAME, SMEM_E_EXISTS, SMEM_E_BUSY))                                 \
    X(unlink, EIO, LASTS, (SAME))                                                              \
    X(unlink, EISDIR, LASTS, (SAME))                                                           \
    X(unlink, ELOOP, LASTS, (SAME))                                                            \
    X(unlink, ENAMETOOLONG, LASTS, (SAME))                                                     \
    X(unlink, ENOMEM, LASTS, (SAME, NO_ROOM))                                                  \
    X(unlink, ENOTDIR, LASTS, (SAME))                                                          \
    X(unlink, ENOENT, TELLS, (NOT_FOUND, SMEM_E_UNLINKED, SMEM_E_EXISTS))                      \
    /* pread(2), of regular files and of /proc; ENOMEM from both, ESRCH from /proc */          \
    X(pread, EIO, LASTS, (SAME))                                                               \
    X(pread, ENOMEM, LASTS, (SAME, NO_ROOM))                                                   \
    X(pread, EOVERFLOW, LASTS, (SAME, SMEM_E_SIZE))                                            \
    X(pread, ESRCH, TELLS, (SAME))                                                             \
    X(pread, EINTR, RETRY, ())                                                                 \
    /* pwrite(2) */                                                                            \
    X(pwrite, ENOSPC, LASTS, (NO_ROOM))                                                        \
    X(pwrite, EDQUOT, LASTS, (NO_ROOM))                                                        \
    X(pwrite, ENOMEM, LASTS, (SAME, NO_ROOM))                                                  \
    X(pwrite, EFBIG, LASTS, (SAME, SMEM_E_SIZE))                                               \
    X(pwrite, EIO, LASTS, (SAME))                                                              \
    X(pwrite, EPERM, LASTS, (SAME))                                                            \
    X(pwrite, EINTR, RETRY, ())                                                                \
    /* mmap(2), MAP_SHARED, MAP_PRIVATE, MAP_FIXED; EAGAIN: after mlockall() the limit of      \
       locked memory is reached */                                                             \
    X(mmap, ENOMEM, LASTS, (SAME, NO_ROOM))                                                    \
    X(mmap, EAGAIN, LASTS, (-ENOMEM, NO_ROOM))                                                 \
    X(mmap, EACCES, LASTS, (SAME))                                                             \
    X(mmap, EPERM, LASTS, (SAME))                                                              \
    X(mmap, ENFILE, LASTS, (SAME))                                                             \
    X(mmap, ENODEV, LASTS, (SAME))                                                             \
    X(mmap, EOVERFLOW, LASTS, (SAME, SMEM_E_SIZE))                                             \
    /* munmap(2): where it would split one mapping too many */                                 \
    X(munmap, ENOMEM, LASTS, (SAME, NO_ROOM))                                                  \
    /* mremap(2) */                                                                            \
    X(mremap, ENOMEM, LASTS, (SAME, NO_ROOM))                                                  \
    X(mremap, EAGAIN, LASTS, (SAME))                                                           \
    /* mprotect(2) */                                                                          \
    X(mprotect, ENOMEM, LASTS, (SAME, NO_ROOM))                                                \
    X(mprotect, EACCES, LASTS, (SAME))                                                         \
    /* madvise(2), POPULATE_WRITE and COLLAPSE: huge pages are a favour. (Populating tmpfs     \
       that is full is EFAULT; the reservation that follows says that it is full.) */         \
    X(madvise, EAGAIN, LASTS, ())                                                              \
    X(madvise, EBUSY, LASTS, ())                                                               \
    X(madvise, EFAULT, LASTS, ())                                                              \
    X(madvise, EHWPOISON, LASTS, ())                                                           \
    X(madvise, EINVAL, LASTS, ())                                                              \
    X(madvise, EIO, LASTS, ())                                                                 \
    X(madvise, ENOMEM, LASTS, ())                                                              \
    X(madvise, EPERM, LASTS, ())                                                               \
    X(madvise, EINTR, LASTS, ())                                                               \
    /* shmget(2), to make (IPC_EXCL) and to find */                                            \
    X(shmget, ENOMEM, LASTS, (SAME, NO_ROOM))                                                  \
    X(shmget, ENOSPC, LASTS, (SAME, SMEM_E_LIMIT))                                             \
    X(shmget, ENFILE, LASTS, (SAME))                                                           \
    X(shmget, EACCES, LASTS, (SAME))                                                           \
    X(shmget, EPERM, LASTS, (SAME))                                                            \
    X(shmget, EINVAL, LASTS, (SAME, SMEM_E_SIZE))                                              \
    X(shmget, EEXIST, LASTS, (SAME, SMEM_E_LIMIT))                                             \
    X(shmget, ENOENT, TELLS, (SAME, NOT_FOUND, SMEM_E_UNLINKED))                               \
    /* shmat(2), SHM_RDONLY, SHM_REMAP */                                                      \
    X(shmat, ENOMEM, LASTS, (SAME, NO_ROOM))                                                   \
    X(shmat, EACCES, LASTS, (SAME))                                                            \
    X(shmat, EIDRM, TELLS, (SAME, NOT_FOUND, SMEM_E_UNLINKED))                                 \
    X(shmat, EINVAL, TELLS, (-EIDRM, NOT_FOUND, SMEM_E_UNLINKED))                              \
    /* shmdt(2): nothing is attached there */                                                  \
    X(shmdt, EINVAL, LASTS, (SMEM_E_EXISTS)) /* what stays attached is in use */               \
    /* shmctl(2), IPC_STAT and IPC_RMID */                                                     \
    X(shmctl, EPERM, LASTS, (SAME, SMEM_E_UNLINKED))                                           \
    X(shmctl, ENOMEM, LASTS, (SAME, NO_ROOM, SMEM_E_UNLINKED))                                 \
    X(shmctl, EOVERFLOW, LASTS, (SAME, SMEM_E_SIZE, SMEM_E_UNLINKED))                          \
    X(shmctl, EACCES, TELLS, (SAME, NOT_FOUND, SECURITY, SMEM_E_UNLINKED))                     \
    X(shmctl, EIDRM, TELLS, (NOT_FOUND, SMEM_E_UNLINKED))                                      \
    X(shmctl, EINVAL, TELLS, (NOT_FOUND, SMEM_E_UNLINKED))                                     \
    /* opendir(3) */                                                                           \
    X(opendir, EMFILE, LASTS, (SAME))                                                          \
    X(opendir, ENFILE, LASTS, (SAME))                                                          \
    X(opendir, EACCES, LASTS, (SAME))                                                          \
    X(opendir, ENOMEM, LASTS, (SAME, NO_ROOM))                                                 \
    X(opendir, ENOTDIR, LASTS, (SAME))                                                         \
    X(opendir, ENOENT, ONCE, (SAME, NOT_FOUND))                                                \
    /* kill(2) with signal 0: is there such a process? SMEM_E_NOT_FOUND: the dead owner of a   \
       lock, in lock_in_vain() */                                                              \
    X(kill, EPERM, LASTS, ())                                                                  \
    X(kill, ESRCH, TELLS, (SAME, SMEM_E_OWNER_DIED, SMEM_E_NOT_FOUND))                         \
    /* readdir(3) lists EBADF only; the kernel's call says these */                            \
    X(readdir, EIO, LASTS, (SAME))                                                             \
    X(readdir, ENOENT, LASTS, (SAME, NOT_FOUND))                                               \
    /* access(2): may files be made in the directory? */                                       \
    X(access, EACCES, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                        \
    X(access, EROFS, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                         \
    X(access, EIO, LASTS, (SAME, NOT_FOUND))                                                   \
    X(access, ELOOP, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                         \
    X(access, ENAMETOOLONG, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                  \
    X(access, ENOENT, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                        \
    X(access, ENOMEM, LASTS, (SAME, NOT_FOUND))                                                \
    X(access, ENOTDIR, LASTS, (SMEM_E_PLACE, NOT_FOUND))                                       \
    /* getrandom(2); without it /dev/urandom is read */                                        \
    X(getrandom, ENOSYS, LASTS, ())                                                            \
    X(getrandom, EPERM, LASTS, ()) /* not on the page: a filter of system calls */             \
    X(getrandom, EINTR, RETRY, ())                                                             \
    /* futex(2), FUTEX_WAIT_BITSET and FUTEX_WAKE. ETIMEDOUT is a lie here: the deadline is    \
       looked at; EFAULT: there is no memory for a page that was never touched */              \
    X(futex, EFAULT, LASTS, (SAME))                                                            \
    X(futex, EACCES, LASTS, (SAME))                                                            \
    X(futex, EINVAL, LASTS, (SAME))                                                            \
    X(futex, ENOSYS, LASTS, (SAME))                                                            \
    X(futex, EPERM, LASTS, (SAME)) /* not on the page: a filter of system calls */             \
    X(futex, EAGAIN, RETRY, ())                                                                \
    X(futex, ETIMEDOUT, RETRY, ())                                                             \
    X(futex, EINTR, ONCE, (SAME))                                                              \
    /* posix_spawn(3): those of fork(2) and of execve(2). The reaper's; nobody waits for it */ \
    X(spawn, EAGAIN, LASTS, ())                                                                \
    X(spawn, ENOMEM, LASTS, ())                                                                \
    X(spawn, ENOENT, LASTS, ())                                                                \
    X(spawn, EACCES, LASTS, ())                                                                \
    X(spawn, EPERM, LASTS, ())                                                                 \
    X(spawn, ENOEXEC, LASTS, ())                                                               \
    X(spawn, ETXTBSY, LASTS, ())                                                               \
    X(spawn, ENOSYS, LASTS, ())                                                                \
    /* waitpid(2) */                                                                           \
    X(waitpid, ECHILD, LASTS, ())                                                              \
    X(waitpid, EINTR, RETRY, ())                                                               \
    /* fork(2): the reaper gives up */                                                         \
    X(fork, EAGAIN, LASTS, ())                                                                 \
    X(fork, ENOMEM, LASTS, ())                                                                 \
    X(fork, ENOSYS, LASTS, ())                                                                 \
    /* setsid(2), chdir(2) */                                                                  \
    X(setsid, EPERM, LASTS, ())                                                                \
    X(chdir, EACCES, LASTS, ())                                                                \
    X(chdir, EIO, LASTS, ())                                                                   \
    X(chdir, ENOMEM, LASTS, ())                                                                \
    /* setpriority(2): it stays as it is */                                                    \
    X(setpriority, EACCES, LASTS, ())                                                          \
    X(setpriority, EPERM, LASTS, ())                                                           \
    /* inotify_init1(2), inotify_add_watch(2) */                                               \
    X(inotify_init, EMFILE, LASTS, (SAME))                                                     \
    X(inotify_init, ENFILE, LASTS, (SAME))                                                     \
    X(inotify_init, ENOMEM, LASTS, (SAME))                                                     \
    X(inotify_init, ENOSYS, LASTS, (SAME))                                                     \
    X(inotify_add_watch, ENOSPC, LASTS, (SAME))                                                \
    X(inotify_add_watch, ENOMEM, LASTS, (SAME))                                                \
    X(inotify_add_watch, EACCES, LASTS, (SAME))                                                \
    X(inotify_add_watch, ENOENT, LASTS, (SAME))                                                \
    /* pidfd_open(2) */                                                                        \
    X(pidfd_open, EMFILE, LASTS, ())                                                           \
    X(pidfd_open, ENFILE, LASTS, ())                                                           \
    X(pidfd_open, ENOMEM, LASTS, ())                                                           \
    X(pidfd_open, ENODEV, LASTS, ())                                                           \
    X(pidfd_open, ENOSYS, LASTS, ())                                                           \
    X(pidfd_open, ESRCH, LASTS, ())                                                            \
    /* read(2), of an inotify fd that does not block, and of /dev/urandom */                   \
    X(read, EAGAIN, LASTS, (SAME))                                                             \
    X(read, EIO, LASTS, (SAME))                                                                \
    /* poll(2) */                                                                              \
    X(poll, ENOMEM, LASTS, (SAME))                                                             \
    X(poll, EINTR, RETRY, ())

#endif
