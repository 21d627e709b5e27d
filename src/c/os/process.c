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
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return t.tv_sec;
}

uint64_t smem__monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
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

/* Fields 3 (state), 4 (parent) and 22 (start time) of /proc/<pid>/stat; the
   command in field 2 may hold anything, so they are counted from its last ')'. */
static int smem__proc_stat(int pid, char *state, int *parent, uint64_t *start)
{
    char buf[1024];
    int rc = smem__proc_read(pid, "stat", buf, sizeof buf);
    if (rc < 0)
        return rc == -ENOENT ? -ESRCH : rc;
    char *p = strrchr(buf, ')');
    if (!p || sscanf(p + 1,
                     " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                     "%*d %*d %" SCNu64,
                     state, parent, start) != 3)
        return -ESRCH;
    return 0;
}

int smem__process_parent(int pid)
{
    char state;
    int parent;
    uint64_t start;
    int rc = smem__proc_stat(pid, &state, &parent, &start);
    return rc ? rc : parent;
}

int smem__process_find(const smem__place *place, int pid, smem__process *out)
{
    char state;
    int parent;
    *out = (smem__process){.pid = pid, .pid_space = place->pid_space};
    int rc = smem__proc_stat(pid, &state, &parent, &out->start);
    if (rc == 0 && (state == 'Z' || state == 'X'))
        rc = -ESRCH;
    return rc;
}

bool smem__process_alive(const smem__place *place, const smem__process *process)
{
    smem__process now;
    if (process->pid_space != place->pid_space)
        return true;
    int rc = smem__process_find(place, (int)process->pid, &now);
    return rc == 0 ? now.start == process->start : rc != -ESRCH;
}

/* Call visit for each line of /proc/<pid>/maps; stops at not 0. */
typedef int smem__visit_line(void *arg, char *line);

static int smem__maps_each(int pid, smem__visit_line *visit, void *arg)
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

static int smem__maps_match_removed(void *arg, char *line)
{
    const char *prefix = arg;
    const char *path = strchr(line, '/');
    return path && strncmp(path, prefix, strlen(prefix)) == 0 && strstr(path, " (deleted)");
}

int smem__removed_is_mapped(const smem__place *place, char kind)
{
    char prefix[SMEM__PATH_MAX];
    int rc = smem__place_path(place, place->uid, kind, "", prefix);
    DIR *proc = rc == 0 ? smem__sys.opendir("/proc") : NULL;
    if (!proc)
        return rc ? rc : -errno;
    for (struct dirent *entry; rc <= 0 && (entry = readdir(proc));)
        if (isdigit((unsigned char)entry->d_name[0]))
            rc = smem__maps_each(atoi(entry->d_name), smem__maps_match_removed, prefix);
    closedir(proc);
    return rc == 1; /* not all can be read */
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
