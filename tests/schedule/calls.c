/* The table of system calls of an actor: each is a step, and none blocks. */
#include "schedule.h"

#include "../c/calls.h"
#include "../c/errnos.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static smem__syscalls real;

/* Every call by the kernel's own, after a step. */
#define STEP(name, type, bad, parameters, arguments)   \
    static type step_##name parameters                 \
    {                                                  \
        int error = schedule_stop_in_call(#name);      \
        if (error) {                                   \
            errno = error;                             \
            return bad;                                \
        }                                              \
        return real.name arguments;                    \
    }
#define armed ((struct { int error; }){error})
CALLS(STEP)
#undef armed

/* ---- how calls fail ------------------------------------------------------------------- */

enum how { LASTS,
           ONCE,
           RETRY,
           TELLS };

/* What a directory is, it is for all processes. One that alone was told something else would
   have its files elsewhere. A lack is no answer. */
static bool is_of_the_path(const char *call, int error)
{
    bool looks = strcmp(call, "access") == 0 || strcmp(call, "stat") == 0;
    return looks && error != EIO && error != ENOMEM;
}

/* Not those by which the kernel says that something is not as it was: they would be lies. */
int schedule_error_of(const char *call, unsigned which)
{
    static const struct {
        const char *call;
        int error;
        enum how how;
    } rows[] = {
#define ROW(name, error, how, results) {#name, error, how},
        ERRNOS(ROW)
#undef ROW
    };
    int fitting[32];
    unsigned count = 0;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows && count < 32; i++)
        if (rows[i].how != TELLS && strcmp(rows[i].call, call) == 0 &&
            !is_of_the_path(call, rows[i].error))
            fitting[count++] = rows[i].error;
    return count ? fitting[which % count] : 0;
}

/* ---- what others may wait for --------------------------------------------------------- */

/* All locks of the machine: how often it is read again depends on what others do there. */
static _Thread_local int locks_fd = -1;

static int step_but_locks_open(const char *path, int flags, mode_t mode)
{
    if (strcmp(path, "/proc/locks") != 0)
        return step_open(path, flags, mode);
    locks_fd = real.open(path, flags, mode);
    return locks_fd;
}

static int step_then_change_close(int fd)
{
    if (fd == locks_fd) {
        locks_fd = -1;
        return real.close(fd);
    }
    schedule_stop("close"); /* it does its work even when it fails */
    int rc = real.close(fd);
    schedule_changed();
    return rc;
}

static int changing_lock(int fd, int command, struct flock *lock)
{
    int error = command == F_OFD_GETLK || lock->l_type == F_UNLCK
                    ? (schedule_stop("fcntl_lock"), 0)
                    : schedule_stop_in_call("fcntl_lock");
    if (error && error != EAGAIN) {
        errno = error;
        return -1;
    }
    for (;;) {
        int rc = real.fcntl_lock(fd, command == F_OFD_SETLKW ? F_OFD_SETLK : command, lock);
        if (lock->l_type == F_UNLCK)
            schedule_changed();
        if (rc == 0 || command != F_OFD_SETLKW || (errno != EAGAIN && errno != EACCES))
            return rc;
        schedule_wait(ON_CHANGE, INT64_MAX);
        schedule_stop("fcntl_lock again");
    }
}

static int changing_poll(struct pollfd *fds, unsigned long n, int timeout_ms)
{
    int64_t end = timeout_ms < 0 ? INT64_MAX : shown->now + (int64_t)timeout_ms * 1000000;
    schedule_stop("poll");
    for (;;) {
        int rc = real.poll(fds, n, 0);
        if (rc != 0 || !schedule_wait(ON_CHANGE, end))
            return rc;
    }
}

/* ---- memory ------------------------------------------------------------------------------ */

static void *noting_mmap(void *to, size_t size, int prot, int flags, int fd, off_t at)
{
    struct stat st;
    void *base = step_mmap(to, size, prot, flags, fd, at);
    if (base == MAP_FAILED)
        return base;
    if (fd >= 0 && flags & MAP_SHARED && fstat(fd, &st) == 0)
        mapped_add(base, size, st.st_dev, st.st_ino, (uint64_t)at);
    else
        mapped_remove(base, size);
    schedule_changed();
    return base;
}

static int noting_munmap(void *at, size_t size)
{
    schedule_stop("munmap");
    int rc = real.munmap(at, size);
    mapped_remove(at, size);
    schedule_changed();
    return rc;
}

static void *noting_mremap(void *at, size_t size, size_t new_size, int flags, void *to)
{
    uint64_t device = 0, inode = 0, offset = 0;
    void *base = step_mremap(at, size, new_size, flags, to);
    if (base == MAP_FAILED)
        return base;
    bool known = mapped_find(at, &device, &inode, &offset);
    mapped_remove(at, size);
    if (known)
        mapped_add(base, new_size, device, inode, offset);
    return base;
}

static size_t size_of_attached(int id)
{
    struct shmid_ds st;
    return shmctl(id, IPC_STAT, &st) == 0 ? st.shm_segsz : 0;
}

static void *noting_shmat(int id, const void *at, int flags)
{
    void *base = step_shmat(id, at, flags);
    if (base != (void *)-1)
        mapped_add(base, size_of_attached(id), 0, (uint64_t)id, 0);
    return base;
}

static int noting_shmdt(const void *at)
{
    uint64_t device, inode, offset;
    schedule_stop("shmdt");
    if (mapped_find(at, &device, &inode, &offset))
        mapped_remove(at, size_of_attached((int)inode));
    int rc = real.shmdt(at);
    schedule_changed();
    return rc;
}

/* Change times are told in virtual time, as the core's own clock is. */
static int scheduled_shmget(key_t key, size_t size, int flags)
{
    int id = step_shmget(key, size, flags);
    if (id >= 0 && flags & IPC_CREAT)
        shown->changed[(unsigned)id % ENTRIES] = shown->now + shown->wall;
    return id;
}

static int scheduled_shmctl(int id, int command, struct shmid_ds *buf)
{
    int rc = step_shmctl(id, command, buf);
    if (rc >= 0 && command == IPC_STAT)
        buf->shm_ctime = shown->changed[(unsigned)id % ENTRIES] / 1000000000;
    else if (rc >= 0 && (command == IPC_RMID || command == IPC_SET))
        shown->changed[(unsigned)id % ENTRIES] = shown->now + shown->wall;
    return rc;
}

/* ---- sleeping on a word -------------------------------------------------------------------- */

static long wake(const _Atomic uint32_t *word, uint32_t most)
{
    uint64_t device, inode, offset;
    long woken = 0;
    WHEN(!mapped_find(word, &device, &inode, &offset), "a wake on memory that is not shared");
    for (int i = 0, first = (int)(shown->steps % ACTORS); i < ACTORS && woken < (long)most; i++) {
        actor *one = &shown->actors[(first + i) % ACTORS];
        if (one->state == ON_FUTEX && !one->woken && one->inode == inode &&
            one->offset == offset && one->device == device) {
            one->woken = true;
            woken++;
        }
    }
    return woken;
}

static long scheduled_futex(const _Atomic uint32_t *word, int operation, uint32_t value,
                            const struct timespec *timeout, uint32_t bits)
{
    (void)bits;
    schedule_stop("futex");
    if (operation == FUTEX_WAKE)
        return wake(word, value);
    if (__atomic_load_n((const uint32_t *)word, __ATOMIC_SEQ_CST) != value) {
        errno = EAGAIN;
        return -1;
    }
    int64_t end = timeout ? (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec : INT64_MAX;
    WHEN(!mapped_find(word, &me->device, &me->inode, &me->offset), "a wait on memory that is not shared");
    if (schedule_wait(ON_FUTEX, end))
        return 0;
    errno = ETIMEDOUT;
    return -1;
}

/* ---- time, chance ---------------------------------------------------------------------------- */

static int scheduled_clock(clockid_t clock, struct timespec *out)
{
    int64_t t = clock == CLOCK_MONOTONIC ? shown->now : shown->now + shown->wall;
    out->tv_sec = t / 1000000000;
    out->tv_nsec = t % 1000000000;
    return 0;
}

static int scheduled_nap(const struct timespec *time)
{
    schedule_stop("nap");
    schedule_wait(ASLEEP, shown->now + (int64_t)time->tv_sec * 1000000000 + time->tv_nsec);
    return 0;
}

static int scheduled_yield(void)
{
    schedule_stop("sched_yield");
    schedule_wait(YIELDED, INT64_MAX);
    return 0;
}

static ssize_t scheduled_random(void *buf, size_t size, unsigned flags)
{
    (void)flags;
    for (size_t done = 0; done < size; done += 8) {
        uint64_t r = random_next(&me->random);
        memcpy((char *)buf + done, &r, size - done < 8 ? size - done : 8);
    }
    return (ssize_t)size;
}

/* ---- processes -------------------------------------------------------------------------------- */

/* The reaper comes from the controller, as a program would: it inherits nothing. */
static int scheduled_spawn(pid_t *pid, const char *path, char *const arguments[])
{
    (void)path;
    *pid = 1;
    schedule_stop("spawn");
    for (int i = 0; i < 2; i++)
        snprintf(shown->reaper_arguments[i], sizeof shown->reaper_arguments[i], "%s", arguments[1 + i]);
    schedule_ask(TO_START_REAPER, 0);
    return 0;
}

static pid_t scheduled_waitpid(pid_t pid, int *status, int options)
{
    (void)options;
    schedule_stop("waitpid");
    *status = 0;
    return pid;
}

static pid_t no_fork(void) /* the reaper's: it is on its own already */
{
    schedule_stop("fork");
    return 0;
}

static pid_t no_setsid(void)
{
    return getpid();
}

static int no_chdir(const char *path)
{
    (void)path;
    return 0;
}

void schedule_table(void)
{
    real = smem__sys;
#define SET(name, type, bad, parameters, arguments) smem__sys.name = step_##name;
    CALLS(SET)
#undef SET
    smem__sys.read = real.read; /* of /proc, whose texts have another length each time */
    smem__sys.open = step_but_locks_open;
    smem__sys.close = step_then_change_close;
    smem__sys.fcntl_lock = changing_lock;
    smem__sys.poll = changing_poll;
    smem__sys.mmap = noting_mmap;
    smem__sys.munmap = noting_munmap;
    smem__sys.mremap = noting_mremap;
    smem__sys.shmat = noting_shmat;
    smem__sys.shmdt = noting_shmdt;
    smem__sys.shmget = scheduled_shmget;
    smem__sys.shmctl = scheduled_shmctl;
    smem__sys.futex = scheduled_futex;
    smem__sys.clock_gettime = scheduled_clock;
    smem__sys.nap = scheduled_nap;
    smem__sys.sched_yield = scheduled_yield;
    smem__sys.getrandom = scheduled_random;
    smem__sys.spawn = scheduled_spawn;
    smem__sys.waitpid = scheduled_waitpid;
    smem__sys.fork = no_fork;
    smem__sys.setsid = no_setsid;
    smem__sys.chdir = no_chdir;
}
