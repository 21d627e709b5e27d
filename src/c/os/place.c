/* Where the files of a user are, and which boot and namespaces that is. */
#include "os/backend.h"

#include "base/point.h"
#include "os/syscalls.h"
#include "sharedmem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SMEM__PREFIX_MAX = 32 };

/* What fails now and would not at another time: nothing follows from it. */
static int smem__lack(void)
{
    return errno == ENOMEM || errno == EMFILE || errno == ENFILE || errno == EIO ? -errno : 0;
}

static int smem__namespace(const char *path, uint64_t *out)
{
    struct stat st;
    int rc = smem__sys.stat(path, &st) == 0 ? 1 : smem__lack();
    *out = rc == 1 ? st.st_ino : 0;
    return rc < 0 ? rc : 0;
}

int smem__ipc_space(uint64_t *out)
{
    return smem__namespace("/proc/thread-self/ns/ipc", out);
}

/* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"; zeros where /proc is not mounted. */
static int smem__boot_id(uint8_t out[16])
{
    char text[37] = "";
    memset(out, 0, 16);
    int fd = smem__sys.open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return smem__lack();
    ssize_t n;
    do
        n = smem__sys.pread(fd, text, 36, 0);
    while (n < 0 && errno == EINTR);
    int rc = n < 0 ? -errno : 0;
    smem__sys.close(fd);
    for (ssize_t i = 0, digit = 0; i < n; i++) {
        unsigned value;
        char hex[2] = {text[i], '\0'};
        if (text[i] != '-' && sscanf(hex, "%x", &value) == 1 && digit < 32) {
            out[digit / 2] = (uint8_t)(out[digit / 2] << 4 | value);
            digit++;
        }
    }
    return rc;
}

/* The text of a small file of the kernel's; empty where it cannot be read. */
static void smem__read_text(const char *path, char *text, size_t size)
{
    ssize_t n = -1;
    int fd = smem__sys.open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) {
        n = smem__sys.pread(fd, text, size - 1, 0);
        smem__sys.close(fd);
    }
    text[n < 0 ? 0 : n] = '\0';
}

/* A line of /proc/meminfo in bytes. */
static bool smem__meminfo(const char *text, const char *key, uint64_t *out)
{
    unsigned long long kib;
    const char *line = strstr(text, key);
    if (!line || sscanf(line, "%*s %llu", &kib) != 1)
        return false;
    *out = kib * 1024;
    return true;
}

uint64_t smem__memory_available(void)
{
    char text[4096];
    uint64_t memory, swap = 0;
    smem__read_text("/proc/meminfo", text, sizeof text);
    if (!smem__meminfo(text, "MemAvailable:", &memory))
        return UINT64_MAX;
    smem__meminfo(text, "SwapFree:", &swap);
    return memory + swap;
}

/* A container sees its own limit at the root of its control groups. */
uint64_t smem__memory_total(void)
{
    static const char *const limits[] = {"/sys/fs/cgroup/memory.max",
                                         "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    char text[4096];
    uint64_t total = UINT64_MAX;
    smem__read_text("/proc/meminfo", text, sizeof text);
    smem__meminfo(text, "MemTotal:", &total);
    for (size_t i = 0; i < 2; i++) {
        unsigned long long limit;
        smem__read_text(limits[i], text, sizeof text);
        if (sscanf(text, "%llu", &limit) == 1 && limit < total)
            total = limit;
    }
    return total;
}

static int smem__directory_statfs(const char *directory, struct statfs *out)
{
    int fd = smem__sys.open(directory, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = smem__sys.fstatfs(fd, out) == 0 ? 0 : -errno;
    smem__sys.close(fd);
    return rc;
}

uint64_t smem__place_size(const smem__place *place)
{
    struct statfs system;
    if (!place->has_posix || smem__directory_statfs(place->directory, &system) != 0)
        return UINT64_MAX;
    return system.f_blocks ? (uint64_t)system.f_blocks * (uint64_t)system.f_bsize : UINT64_MAX;
}

/* ---- users ------------------------------------------------------------------ */

/*
 * The uid as which the kernel shows every owner that this user namespace does not
 * map, UINT32_MAX where it maps them all. Not [known]: there is no /proc, and it is
 * what it is unless somebody has changed it.
 */
static uint32_t smem__uid_of_anybody(bool *known)
{
    char text[64];
    unsigned inside, outside, count, uid = 65534;
    smem__read_text("/proc/self/uid_map", text, sizeof text);
    *known = sscanf(text, "%u %u %u", &inside, &outside, &count) == 3;
    if (*known && count == UINT32_MAX)
        return UINT32_MAX;
    smem__read_text("/proc/sys/kernel/overflowuid", text, sizeof text);
    return sscanf(text, "%u", &uid) == 1 ? uid : 65534;
}

/* The same from the kernel's answer for an own file without a name: the last of all
   uids is looked for in the map before the right to give the file away is. */
static bool smem__maps_all_uids(int fd)
{
    return smem__sys.fchown(fd, UINT32_MAX - 1, (gid_t)-1) == 0 || errno != EINVAL;
}

/* ---- the directory ---------------------------------------------------------- */

/* 1: what is locked by [locked], mapped and closed is so for a process that has [other] open. 0: not. */
static int smem__mapping_carries(const smem__place *place, smem__file *locked,
                                 const smem__file *other)
{
    void *pin = NULL;
    int rc = smem__file_lock_wait(locked, SMEM__SHARED, 0, SMEM__BRIEFLY);
    if (rc == 0)
        rc = smem__file_pin(locked, place->page, &pin);
    smem__file_close(locked);
    if (rc == 0)
        rc = smem__file_locked(other, 0);
    smem__unpin(pin, place->page);
    return rc < 0 ? rc : rc != SMEM__UNLOCKED;
}

/* -ENOENT: a sweep took the file for a dead one's. */
static int smem__carries_once(smem__place *place, const char *path)
{
    smem__file one, same;
    int rc = smem__file_open_or_make(path, place->uid, &one);
    if (rc != 0)
        return rc;
    SMEM__POINT("place.probe-made", "an empty file of kind 't'; nothing locks it");
    rc = smem__file_open(path, place->uid, true, &same);
    smem__path_unlink(path);
    if (!place->has_uid_map && smem__maps_all_uids(one.fd))
        place->anybody = UINT32_MAX;
    if (rc == 0)
        rc = smem__mapping_carries(place, &same, &one);
    smem__file_close(&one);
    return rc;
}

/*
 * Does the lock of a file go with its mapping in this directory? Everything here
 * stands on that, and not every file system does it: overlayfs maps another file
 * than the one that was opened. So it is tried.
 *
 * A full directory must not be left for another one, in which nobody else of this
 * user is: there it is known of tmpfs.
 */
static int smem__place_carries(smem__place *place)
{
    char name[SMEM__RANDOM_NAME], path[SMEM__PATH_MAX];
    struct statfs system;
    int rc = smem__random_name(name);
    if (rc == 0)
        rc = smem__place_path(place, place->uid, 't', name, path);
    if (rc != 0)
        return rc;
    for (unsigned turn = 0; turn < SMEM__BRIEFLY; turn++)
        if ((rc = smem__carries_once(place, path)) != -ENOENT)
            break;
    if (rc == SMEM_E_NO_ROOM && smem__directory_statfs(place->directory, &system) == 0 &&
        system.f_type == TMPFS_MAGIC)
        return 1;
    return rc;
}

/* 1: our files go to [path]; 0: they cannot. A lack of memory is no reason for another
   directory, in which no other process of this user would be. */
static int smem__try_directory(smem__place *place, const char *path)
{
    struct stat st;
    if (smem__sys.stat(path, &st) != 0)
        return smem__lack();
    if (!S_ISDIR(st.st_mode))
        return 0;
    if (smem__sys.access(path, W_OK | X_OK) != 0)
        return smem__lack();
    strcpy(place->directory, path);
    place->device = st.st_dev;
    return smem__place_carries(place);
}

/*
 * Without /dev/shm only the lock files need a directory. It is the same for all
 * processes of the user, or their gates would not exclude each other: so nothing
 * that differs from one to the next may choose it, as $TMPDIR would, or a login,
 * as /run/user.
 */
static int smem__choose_directory(smem__place *place, const char *wish)
{
    const char *choices[] = {wish, "/tmp", "/var/tmp"};
    for (size_t i = 0; i < 3; i++) {
        int rc = smem__try_directory(place, choices[i]);
        place->has_posix = i == 0;
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
    return SMEM_E_PLACE;
}

int smem__place_find(smem__place *place, const char *directory)
{
    *place = (smem__place){.uid = geteuid(), .page = (size_t)sysconf(_SC_PAGESIZE)};
    place->anybody = smem__uid_of_anybody(&place->has_uid_map);
    if (!directory)
        directory = "/dev/shm";
    if (strlen(directory) >= sizeof place->directory)
        return SMEM_E_PLACE;
    int rc = smem__choose_directory(place, directory);
    if (rc == 0 && place->uid == place->anybody)
        rc = SMEM_E_UNMAPPED;
    if (rc != 0)
        return rc;
    const char *huge = smem__environment("SHAREDMEM_HUGE");
    place->huge = !(huge && strcmp(huge, "0") == 0);
    rc = smem__boot_id(place->boot);
    if (rc == 0)
        rc = smem__ipc_space(&place->ipc);
    return rc ? rc : smem__namespace("/proc/self/ns/pid", &place->pid_space);
}

void smem__place_after_fork(smem__place *place)
{
    smem__namespace("/proc/self/ns/pid", &place->pid_space); /* 0: it judges nobody by pids */
}

static char *smem__append(char *at, const char *end, const char *text)
{
    size_t length = strlen(text), room = (size_t)(end - at);
    length = length < room ? length : room;
    memcpy(at, text, length); /* NOLINT(*): the end is marked by who appends last */
    return at + length;
}

/* Without snprintf, which takes a third as long as the look that follows. */
static size_t smem__prefix(uint32_t uid, char kind, char out[SMEM__PREFIX_MAX])
{
    char digits[16], *at = digits + sizeof digits;
    *--at = '\0';
    *--at = '.';
    *--at = kind;
    *--at = '.';
    do
        *--at = (char)('0' + uid % 10);
    while (uid /= 10);
    char *end = smem__append(out, out + SMEM__PREFIX_MAX, "smem.");
    end = smem__append(end, out + SMEM__PREFIX_MAX, at);
    *end = '\0';
    return (size_t)(end - out);
}

int smem__place_path(const smem__place *place, uint32_t uid, char kind, const char *name,
                     char out[SMEM__PATH_MAX])
{
    char prefix[SMEM__PREFIX_MAX], *end = out + SMEM__PATH_MAX;
    smem__prefix(uid, kind, prefix);
    char *at = smem__append(out, end, place->directory);
    at = smem__append(at, end, "/");
    at = smem__append(at, end, prefix);
    at = smem__append(at, end, name);
    if (at == end)
        return SMEM_E_NAME;
    *at = '\0';
    return 0;
}

int smem__place_each(const smem__place *place, char kind, smem__visit_name *visit, void *arg)
{
    char prefix[SMEM__PREFIX_MAX];
    size_t length = smem__prefix(place->uid, kind, prefix);
    DIR *directory = smem__sys.opendir(place->directory);
    if (!directory)
        return -errno;
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        struct dirent *entry = smem__sys.readdir(directory);
        if (!entry) {
            rc = -errno; /* 0 at the end */
            break;
        }
        if (strncmp(entry->d_name, prefix, length) == 0)
            rc = visit(arg, entry->d_name + length);
    }
    closedir(directory);
    return rc;
}
