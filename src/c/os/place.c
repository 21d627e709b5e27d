/* Where the files of a user are, and which boot and namespaces that is. */
#include "os/backend.h"

#include "os/syscalls.h"
#include "sharedmem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SMEM__PREFIX_MAX = 32 };

static uint64_t smem__namespace(const char *path)
{
    struct stat st;
    return smem__sys.stat(path, &st) == 0 ? st.st_ino : 0;
}

/* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"; zeros where /proc is not mounted. */
static void smem__boot_id(uint8_t out[16])
{
    char text[37] = "";
    memset(out, 0, 16);
    int fd = smem__sys.open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    ssize_t n = smem__sys.pread(fd, text, 36, 0);
    smem__sys.close(fd);
    for (ssize_t i = 0, digit = 0; i < n; i++) {
        unsigned value;
        char hex[2] = {text[i], '\0'};
        if (text[i] != '-' && sscanf(hex, "%x", &value) == 1 && digit < 32) {
            out[digit / 2] = (uint8_t)(out[digit / 2] << 4 | value);
            digit++;
        }
    }
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

uint64_t smem__place_size(const smem__place *place)
{
    struct statfs system;
    int fd = place->has_posix ? smem__sys.open(place->directory, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (fd < 0)
        return UINT64_MAX;
    int rc = smem__sys.fstatfs(fd, &system);
    smem__sys.close(fd);
    return rc == 0 && system.f_blocks ? (uint64_t)system.f_blocks * (uint64_t)system.f_bsize
                                      : UINT64_MAX;
}

static bool smem__usable_directory(const char *path, uint64_t *device)
{
    struct stat st;
    if (smem__sys.stat(path, &st) != 0 || !S_ISDIR(st.st_mode) ||
        smem__sys.access(path, W_OK | X_OK) != 0)
        return false;
    *device = st.st_dev;
    return true;
}

/* Without /dev/shm only the lock files need a directory. */
static bool smem__fall_back_directory(smem__place *place)
{
    const char *choices[] = {smem__environment("XDG_RUNTIME_DIR"), smem__environment("TMPDIR"),
                             "/tmp"};
    for (size_t i = 0; i < 3; i++)
        if (choices[i] && strlen(choices[i]) < sizeof place->directory &&
            smem__usable_directory(choices[i], &place->device)) {
            strcpy(place->directory, choices[i]);
            return true;
        }
    return false;
}

int smem__place_find(smem__place *place, const char *directory)
{
    *place = (smem__place){.uid = geteuid(), .page = (size_t)sysconf(_SC_PAGESIZE)};
    if (!directory)
        directory = "/dev/shm";
    if (strlen(directory) >= sizeof place->directory)
        return SMEM_E_PLACE;
    strcpy(place->directory, directory);
    place->has_posix = smem__usable_directory(directory, &place->device);
    if (!place->has_posix && !smem__fall_back_directory(place))
        return SMEM_E_PLACE;
    const char *huge = smem__environment("SHAREDMEM_HUGE");
    place->huge = !(huge && strcmp(huge, "0") == 0);
    smem__boot_id(place->boot);
    place->ipc = smem__namespace("/proc/self/ns/ipc");
    place->pid_space = smem__namespace("/proc/self/ns/pid");
    return 0;
}

void smem__place_after_fork(smem__place *place)
{
    place->pid_space = smem__namespace("/proc/self/ns/pid");
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
