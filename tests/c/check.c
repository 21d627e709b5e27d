#include "check.h"

#include "os/syscalls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIME_LIMIT = 60,
       SKIPPED = 77,
       IDS = 1 << 16 };

static check_test *first, **last = &first;
static char directory[64];

/* Ids of the SysV segments that the test and its children made. */
typedef struct made_ids {
    atomic_uint count;
    int ids[IDS];
} made_ids;

static made_ids *made;
static char *skip_reason; /* 128 bytes, shared with the test's process */

void check_add(check_test *test)
{
    *last = test;
    last = &test->next;
}

/* ---- checks -------------------------------------------------------------- */

static _Noreturn void fail(void)
{
    fflush(stderr);
    _exit(EXIT_FAILURE);
}

void check_equal(const char *file, int line, const char *what, int64_t got, int64_t want)
{
    if (got == want)
        return;
    fprintf(stderr, "%s:%d: %s: got %lld, want %lld\n", file, line, what, (long long)got,
            (long long)want);
    fail();
}

void check_code(const char *file, int line, const char *what, int got, int want)
{
    if (got == want)
        return;
    fprintf(stderr, "%s:%d: %s: got %d (%s, %s), want %d (%s)\n", file, line, what, got,
            smem_error_name(got), smem_error_text(got), want, smem_error_name(want));
    fail();
}

void check_text(const char *file, int line, const char *what, const char *got, const char *want)
{
    if (strcmp(got, want) == 0)
        return;
    fprintf(stderr, "%s:%d: %s: got \"%s\", want \"%s\"\n", file, line, what, got, want);
    fail();
}

void check_true(const char *file, int line, const char *what, bool got)
{
    if (got)
        return;
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    fail();
}

void check_skip(const char *why)
{
    strncpy(skip_reason, why, 127);
    exit(SKIPPED);
}

bool check_in_valgrind(void)
{
    return getenv("SMEM_TEST_VALGRIND") != NULL;
}

void check_skip_in_valgrind(const char *why)
{
    if (check_in_valgrind())
        check_skip(why);
}

/* ---- where a test works -------------------------------------------------- */

static int watched_shmget(key_t key, size_t size, int flags)
{
    int id = shmget(key, size, flags);
    if (id >= 0 && flags & IPC_CREAT) {
        unsigned at = atomic_fetch_add(&made->count, 1);
        if (at < IDS)
            made->ids[at] = id;
    }
    return id;
}

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer knows mmap() but not shmat(), and takes new memory for what was
   at the same address before: so it is shown a mapping there first. */
static void *watched_shmat(int id, const void *at, int flags)
{
    struct shmid_ds st;
    if (at || shmctl(id, IPC_STAT, &st) != 0)
        return shmat(id, at, flags);
    void *room = mmap(NULL, st.shm_segsz, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return room == MAP_FAILED ? shmat(id, NULL, flags) : shmat(id, room, flags | SHM_REMAP);
}
#endif

static void *shared_memory(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static void make_directory(void)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(directory, sizeof directory, "%s/check.XXXXXX", parent);
    CHECK(mkdtemp(directory) != NULL);
    CHECK_EQ(chmod(directory, 01777), 0);
}

/* Visit the entries of the directory but "." and ".."; returns how many. */
static unsigned each_file(void (*visit)(const char *path, const char *name))
{
    unsigned count = 0;
    DIR *d = opendir(directory);
    CHECK(d != NULL);
    for (struct dirent *entry; (entry = readdir(d));) {
        char path[sizeof directory + sizeof entry->d_name];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (visit)
            visit(path, entry->d_name);
        count++;
    }
    closedir(d);
    return count;
}

static void say_file(const char *path, const char *name)
{
    (void)name;
    fprintf(stderr, "left behind: %s\n", path);
}

static void remove_file(const char *path, const char *name)
{
    (void)name;
    remove(path);
}

static unsigned each_id(bool say, bool and_remove)
{
    unsigned left = 0;
    for (unsigned i = 0; i < atomic_load(&made->count) && i < IDS; i++) {
        struct shmid_ds st;
        if (shmctl(made->ids[i], IPC_STAT, &st) != 0)
            continue;
        left++;
        if (say)
            fprintf(stderr, "left behind: SysV segment %d (%lu attached%s)\n", made->ids[i],
                    (unsigned long)st.shm_nattch, st.shm_perm.mode & SHM_DEST ? ", no key" : "");
        if (and_remove)
            shmctl(made->ids[i], IPC_RMID, NULL);
    }
    return left;
}

unsigned check_left(bool say)
{
    unsigned segments = each_id(say, false);
    if (segments == 0)
        atomic_store(&made->count, 0); /* none of those comes back */
    return each_file(say ? say_file : NULL) + segments;
}

void check_remove_segments(void)
{
    each_id(false, true);
}

const char *check_directory(void)
{
    return directory;
}

const char *check_name(const char *what)
{
    static char names[8][SMEM_NAME_MAX + 1];
    static unsigned next;
    char *name = names[next++ % 8];
    snprintf(name, sizeof names[0], "check%s.%s", strrchr(directory, '.'), what);
    return name;
}

smem_context *check_open(const char *family)
{
    smem_options options = {.family = family, .directory = directory};
    smem_context *ctx;
    CHECK_OK(smem_open(&options, &ctx));
    return ctx;
}

static char counted_kind;
static unsigned counted;

static void count_kind(const char *path, const char *name)
{
    char prefix[32];
    (void)path;
    snprintf(prefix, sizeof prefix, "smem.%u.%c.", (unsigned)geteuid(), counted_kind);
    counted += strncmp(name, prefix, strlen(prefix)) == 0;
}

unsigned check_files(char kind)
{
    counted_kind = kind;
    counted = 0;
    each_file(count_kind);
    return counted;
}

static int64_t sought_inode;
static bool inode_found;

static void match_inode(const char *path, const char *name)
{
    struct stat st;
    (void)name;
    inode_found |= lstat(path, &st) == 0 && (int64_t)st.st_ino == sought_inode;
}

bool check_exists(const smem_info *info)
{
    struct shmid_ds st;
    if (info->backend == SMEM_SYSV)
        return shmctl((int)info->kernel_id, IPC_STAT, &st) == 0 && !(st.shm_perm.mode & SHM_DEST);
    sought_inode = info->kernel_id;
    inode_found = false;
    each_file(match_inode);
    return inode_found;
}

unsigned check_fds(void)
{
    enum { FDS = 1024 };
    unsigned count = 0;
    for (int fd = 0; fd < FDS; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* The linker leads all calls of pthread_create() here (--wrap). */
static _Atomic unsigned threads;
/* NOLINTBEGIN(*-reserved-identifier,cert-dcl*): the linker's names */
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
    threads++;
    return __real_pthread_create(out, attributes, start, arg);
}
/* NOLINTEND(*-reserved-identifier,cert-dcl*) */

unsigned check_threads(void)
{
    return threads;
}

uint32_t check_offered;

long check_note_wakes(const _Atomic uint32_t *word, int operation, uint32_t value,
                      const struct timespec *timeout, uint32_t bits)
{
    (void)word, (void)timeout, (void)bits;
    check_offered = operation == FUTEX_WAKE ? value : 0;
    return 0;
}

void check_needs_proc(void)
{
    if (access("/proc/self/stat", R_OK) != 0)
        check_skip("no /proc here");
}

/* ---- other processes ----------------------------------------------------- */

check_peer check_fork(check_body *body, void *arg)
{
    int down[2], up[2];
    CHECK_EQ(pipe2(down, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(up, O_CLOEXEC), 0);
    fflush(stderr);
    check_peer peer = {fork(), up[0], down[1]};
    CHECK(peer.pid >= 0);
    if (peer.pid == 0) {
        check_peer parent = {getppid(), down[0], up[1]};
        close(down[1]);
        close(up[0]);
        body(&parent, arg);
        _exit(EXIT_SUCCESS);
    }
    close(down[0]);
    close(up[1]);
    return peer;
}

void check_tell(check_peer *peer, uint64_t word)
{
    CHECK_EQ(write(peer->out, &word, sizeof word), sizeof word);
}

static ssize_t hear(check_peer *peer, uint64_t *word)
{
    ssize_t n;
    do
        n = read(peer->in, word, sizeof *word);
    while (n < 0 && errno == EINTR);
    return n;
}

uint64_t check_hear(check_peer *peer)
{
    uint64_t word;
    CHECK_EQ(hear(peer, &word), sizeof word);
    return word;
}

int check_wait(check_peer *child)
{
    int status;
    CHECK_EQ(waitpid(child->pid, &status, 0), child->pid);
    close(child->in);
    if (child->out >= 0)
        close(child->out);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void check_end(check_peer *child)
{
    close(child->out);
    child->out = -1;
    CHECK_EQ(check_wait(child), 0);
}

void check_kill(check_peer *child)
{
    CHECK_EQ(kill(child->pid, SIGKILL), 0);
    CHECK_EQ(check_wait(child), 128 + SIGKILL);
}

/* ---- running ------------------------------------------------------------- */

static _Noreturn void run_in_child(const check_test *test)
{
    setpgid(0, 0);
    alarm(TIME_LIMIT);
    unsigned fds = check_fds();
    test->run();
    CHECK_EQ(check_fds(), fds);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1); /* every child was waited for */
    exit(EXIT_SUCCESS);
}

static bool run_one(const check_test *test, unsigned number)
{
    int status;
    make_directory();
    atomic_store(&made->count, 0);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        run_in_child(test);
    setpgid(pid, pid);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    kill(-pid, SIGKILL); /* what a failed test left running */
    bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED;
    bool passed = skipped || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (passed && check_left(true) != 0)
        passed = false;
    each_file(remove_file);
    each_id(false, true);
    rmdir(directory);
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: ended by signal %d%s\n", test->name, WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? ", the time limit" : "");
    printf("%s %u - %s%s%s\n", passed ? "ok" : "not ok", number, test->name,
           skipped ? " # SKIP " : "", skipped ? skip_reason : "");
    return passed;
}

static bool is_chosen(const check_test *test, int argc, char **argv)
{
    bool chosen = argc <= 1;
    for (int i = 1; i < argc; i++)
        chosen |= strcmp(argv[i], test->name) == 0;
    return chosen;
}

int check_main(int argc, char **argv)
{
    unsigned count = 0, failed = 0;
    made = shared_memory(sizeof *made);
    skip_reason = shared_memory(128);
    smem__sys.shmget = watched_shmget;
#ifdef __SANITIZE_THREAD__
    smem__sys.shmat = watched_shmat;
#endif
    unsetenv("SHAREDMEM_FAMILY");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (const check_test *test = first; test; test = test->next)
        if (is_chosen(test, argc, argv))
            failed += !run_one(test, ++count);
    printf("1..%u\n", count);
    return failed || count == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int check_main_on_backend(int argc, char **argv, int *backend)
{
    *backend = SMEM_ANY;
    if (argc > 1 && strcmp(argv[1], "posix") == 0)
        *backend = SMEM_POSIX;
    else if (argc > 1 && strcmp(argv[1], "sysv") == 0)
        *backend = SMEM_SYSV;
    if (*backend)
        return check_main(argc - 1, argv + 1);
    fprintf(stderr, "usage: %s posix|sysv [test...]\n", argv[0]);
    return 2;
}
