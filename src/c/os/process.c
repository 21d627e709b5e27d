/* Facts about processes: who lives, who maps what, which namespaces. */
#include "os/backend.h"

#include "os/syscalls.h"
#include "sharedmem.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static int smem__random_device(char *buf, size_t size)
{
    int fd = smem__sys.open("/dev/urandom", O_RDONLY | O_CLOEXEC, 0);
    int rc = fd < 0 ? -errno : 0;
    for (size_t done = 0; rc == 0 && done < size;) {
        ssize_t n = smem__sys.read(fd, buf + done, size - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            rc = n == 0 ? -EIO : -errno;
    }
    if (fd >= 0)
        smem__sys.close(fd);
    return rc;
}

/* Without getrandom (a filter of system calls) the
   device says the same. */
int smem__random(void *buf, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = smem__sys.getrandom((char *)buf + done, size - done, 0);
        if (n < 0 && errno != EINTR)
            return smem__random_device(buf, size);
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

int smem__random_identity(char out[SMEM__RANDOM_NAME], uint64_t *nonce)
{
    uint64_t random[3];
    int rc = smem__random(random, sizeof random);
    snprintf(out, SMEM__RANDOM_NAME, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
    *nonce = random[2];
    return rc;
}

int smem__random_name(char out[SMEM__RANDOM_NAME])
{
    uint64_t ignored;
    return smem__random_identity(out, &ignored);
}

/* The clock that shm_ctime is taken from: the finer one runs ahead of it, by up to
   a tick, and what was made just now would seem older than its journal entry. */
bool smem__start_beside(void *(*function)(void *), void *arg, pthread_t *out)
{
    cpu_set_t processors;
    sigset_t all, before;
    if (sched_getaffinity(0, sizeof processors, &processors) != 0 || CPU_COUNT(&processors) < 2)
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(out, NULL, function, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

int64_t smem__now(void)
{
    struct timespec t;
    smem__sys.clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return t.tv_sec;
}

uint64_t smem__monotonic_us(void)
{
    struct timespec t;
    smem__sys.clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

const char *smem__environment(const char *name)
{
    return secure_getenv(name); /* whoever starts a program of another user's chooses nothing in it */
}

int smem__process_self(void)
{
    return getpid();
}

/* Read /proc/<pid>/<what> into buf, NUL-terminated. Returns its length. */
static int smem__proc_read(int pid, const char *what, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    int fd = smem__sys.open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    ssize_t n = smem__sys.pread(fd, buf, size - 1, 0);
    int rc = n < 0 ? -errno : (int)n;
    smem__sys.close(fd);
    buf[n < 0 ? 0 : n] = '\0';
    return rc;
}

/*
 * Does this process count the time since the boot from another moment than the
 * machine? Its children's namespace is told, which is its own unless it has made one
 * for them: then nobody knows.
 */
static bool smem__boot_is_shifted(void)
{
    char text[256], *boottime;
    struct stat own, childrens;
    long long seconds = 0, ns = 0;
    if (smem__sys.stat("/proc/self/ns/time", &own) != 0 ||
        smem__sys.stat("/proc/self/ns/time_for_children", &childrens) != 0)
        return false; /* a kernel without */
    if (own.st_ino != childrens.st_ino)
        return true;
    int rc = (int)smem__proc_read(getpid(), "timens_offsets", text, sizeof text);
    if (rc < 0)
        return rc != -ENOENT; /* it is not known just now */
    boottime = strstr(text, "boottime");
    return boottime && sscanf(boottime, "boottime %lld %lld", &seconds, &ns) == 2 &&
           (seconds || ns);
}

/* Does /proc number the processes as this one's PID namespace does? A namespace
   that mounts none of its own has its parent's, where a pid is another process. */
static bool smem__proc_is_own(void)
{
    char text[16];
    ssize_t n = smem__sys.readlink("/proc/self", text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    return n > 0 && atoi(text) == getpid();
}

typedef struct smem__stat {
    char state;
    int parent, threads;
    uint64_t start;
} smem__stat;

/*
 * Fields 3 (state), 4 (parent), 20 (threads) and 22 (start time) of
 * /proc/<pid>/stat; the command in field 2 may hold anything, so they are counted
 * from its last ')'. -ESRCH is no proof of a death: /proc may hide it (hidepid), or
 * be another PID namespace's.
 */
static int smem__proc_stat(int pid, smem__stat *out)
{
    char buf[1024];
    int rc = smem__proc_is_own() ? smem__proc_read(pid, "stat", buf, sizeof buf) : -ENOENT;
    if (rc < 0)
        return rc == -ENOENT ? -ESRCH : rc;
    char *p = strrchr(buf, ')');
    if (!p || sscanf(p + 1,
                     " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                     "%d %*d %" SCNu64,
                     &out->state, &out->parent, &out->threads, &out->start) != 4)
        return -ESRCH;
    return 0;
}

/* The first thread may have ended before the others: then it looks like a zombie. */
static bool smem__has_ended(const smem__stat *stat)
{
    return (stat->state == 'Z' || stat->state == 'X') && stat->threads <= 1;
}

int smem__process_parent(int pid)
{
    smem__stat stat;
    int rc = smem__proc_stat(pid, &stat);
    return rc ? rc : stat.parent;
}

bool smem__process_is_gone(int pid)
{
    smem__stat stat;
    if (smem__sys.kill(pid, 0) != 0 && errno == ESRCH)
        return true;
    return smem__proc_stat(pid, &stat) == 0 && smem__has_ended(&stat);
}

int smem__process_find(const smem__place *place, int pid, smem__process *out)
{
    smem__stat stat = {0};
    *out = (smem__process){.pid = pid, .pid_space = place->pid_space};
    if (!place->pid_space)
        return -ESRCH; /* whose number it is could not be said */
    int rc = smem__proc_stat(pid, &stat);
    if (rc == -ESRCH && !smem__process_is_gone(pid))
        rc = 0; /* hidden */
    /* In a time namespace it is counted from another moment than elsewhere. */
    out->start = rc == 0 && !smem__boot_is_shifted() ? stat.start : 0;
    return rc == 0 && smem__has_ended(&stat) ? -ESRCH : rc;
}

bool smem__process_is(const smem__process *one, const smem__process *other)
{
    return one->pid == other->pid && one->pid_space == other->pid_space &&
           (one->start == other->start || !one->start || !other->start);
}

bool smem__process_alive(const smem__place *place, const smem__process *process)
{
    smem__process now;
    if (process->pid_space != place->pid_space)
        return true;
    int rc = smem__process_find(place, (int)process->pid, &now);
    return rc == 0 ? smem__process_is(&now, process) : rc != -ESRCH;
}

/* Call visit for each line of /proc/<pid>/maps; stops at not 0. */
typedef int smem__visit_line(void *arg, char *line);

static int smem__maps_read(int pid, smem__visit_line *visit, void *arg)
{
    char path[64], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    int fd = smem__sys.open(path, O_RDONLY | O_CLOEXEC, 0);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    if (!f) {
        int rc = -errno;
        if (fd >= 0)
            smem__sys.close(fd);
        return rc;
    }
    int rc = 0;
    while (rc == 0 && getline(&line, &room, f) >= 0)
        rc = visit(arg, line);
    free(line);
    fclose(f);
    return rc;
}

static int smem__maps_each(int pid, smem__visit_line *visit, void *arg)
{
    int before = smem__no_cancel(); /* stdio calls the kernel by itself */
    int rc = smem__maps_read(pid, visit, arg);
    smem__cancel_as(before);
    return rc;
}

typedef struct smem__maps_query {
    const char *prefix; /* of the path */
    char *name;
    size_t size;
} smem__maps_query;

static int smem__maps_match_name(void *arg, char *line)
{
    smem__maps_query *query = arg;
    char *path = strchr(line, '/');
    size_t length = strlen(query->prefix);
    if (!path || strncmp(path, query->prefix, length) != 0)
        return 0;
    path[strcspn(path, "\n")] = '\0';
    if (strstr(path, " (deleted)") || strlen(path + length) >= query->size)
        return 0;
    strcpy(query->name, path + length);
    return 1;
}

int smem__process_maps(const smem__place *place, int pid, char kind, char *name, size_t size)
{
    char prefix[SMEM__PATH_MAX];
    int rc = smem__place_path(place, place->uid, kind, "", prefix);
    if (rc != 0)
        return rc;
    smem__maps_query query = {prefix, name, size};
    rc = smem__maps_each(pid, smem__maps_match_name, &query);
    return rc == 1 ? 0 : rc < 0 ? rc
                                : -ENOENT;
}

/* All of /proc/locks, to be freed. [pieces]: in how many calls it came. */
static int smem__locks_read(char **out, unsigned *pieces)
{
    enum { PIECE = 1 << 16 }; /* the kernel's are pages */
    size_t size = 0;
    ssize_t n = -1;
    *out = NULL;
    *pieces = 0;
    int fd = smem__sys.open("/proc/locks", O_RDONLY | O_CLOEXEC, 0);
    int rc = fd < 0 ? -errno : 0;
    while (rc == 0 && n != 0) {
        char *more = realloc(*out, size + PIECE + 1);
        *out = more ? more : *out;
        n = more ? smem__sys.read(fd, more + size, PIECE) : -1;
        if (n < 0)
            rc = !more ? -ENOMEM : errno == EINTR ? 0
                                                  : -errno;
        else
            more[size += (size_t)n] = '\0';
        *pieces += n > 0;
    }
    if (fd >= 0)
        smem__sys.close(fd);
    return rc;
}

/* 2: [byte] is there, 1: [known] only, 0: not even that. */
static int smem__locks_find(char *text, enum smem__lock lock, uint64_t byte, uint64_t known)
{
    const char *wanted = lock == SMEM__SHARED ? "READ" : "WRITE";
    bool found = false, complete = known == SMEM__UNKNOWN_BYTE;
    char kind[8], *rest = NULL;
    uint64_t start;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (sscanf(line, "%*d: OFDLCK %*s %7s %*d %*x:%*x:%*u %" SCNu64, kind, &start) == 2) {
            found = found || (start == byte && strcmp(kind, wanted) == 0);
            complete = complete || start == known;
        }
    return found ? 2 : complete;
}

/*
 * The kernel shows such locks to every PID namespace. What comes in one piece is so at
 * one moment; between two pieces the list may move, and a lock that stands first in one
 * be missed when one before it goes. So what is there is believed at once, what is not
 * there after so many looks.
 */
int smem__byte_is_listed(enum smem__lock lock, uint64_t byte, uint64_t known)
{
    enum { LOOKS = 8 };
    unsigned pieces = 2;
    int found = 1;
    for (int look = 0; found == 1 && pieces > 1 && look < LOOKS; look++) {
        char *text;
        int rc = smem__locks_read(&text, &pieces);
        if (rc == 0)
            found = text ? smem__locks_find(text, lock, byte, known) : 0;
        free(text);
        if (rc != 0)
            return rc;
    }
    return found == 2 ? 1 : found == 1 ? 0
                                       : -ENODATA;
}

typedef struct smem__mapping_query {
    uint64_t device;
    int pid;
    char command[64]; /* empty until the first mapping was found */
    smem__visit_mapping *visit;
    void *arg;
    int rc; /* of the visitor */
} smem__mapping_query;

static void smem__process_command(int pid, char *command, size_t size)
{
    if (smem__proc_read(pid, "comm", command, size) < 0)
        strcpy(command, "?");
    command[strcspn(command, "\n")] = '\0';
}

/* address perms offset major:minor inode path: the inode of a SysV segment is
   its id, its path "/SYSV<key>". */
static int smem__maps_visit(void *arg, char *line)
{
    smem__mapping_query *query = arg;
    uint64_t inode;
    unsigned major, minor;
    int path = 0;
    if (sscanf(line, "%*s %*s %*s %x:%x %" SCNu64 " %n", &major, &minor, &inode, &path) != 3 ||
        path == 0)
        return 0;
    bool sysv = strncmp(line + path, "/SYSV", 5) == 0;
    if (!sysv && makedev(major, minor) != query->device)
        return 0;
    if (!*query->command)
        smem__process_command(query->pid, query->command, sizeof query->command);
    query->rc = query->visit(query->arg, sysv ? SMEM_SYSV : SMEM_POSIX, (int64_t)inode,
                             query->pid, query->command);
    return query->rc;
}

int smem__process_each_mapping(const smem__place *place, smem__visit_mapping *visit, void *arg)
{
    DIR *proc = smem__sys.opendir("/proc");
    if (!proc)
        return -errno;
    int rc = 0;
    while (rc == 0) {
        smem__mapping_query query = {.device = place->device, .visit = visit, .arg = arg};
        errno = 0;
        struct dirent *entry = smem__sys.readdir(proc);
        if (!entry) {
            rc = -errno; /* 0 at the end */
            break;
        }
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        query.pid = atoi(entry->d_name);
        smem__maps_each(query.pid, smem__maps_visit, &query); /* not all can be read */
        rc = query.rc;
    }
    closedir(proc);
    return rc;
}
