/*
 * What others may do to our files and segments meanwhile: put something else
 * there, cut them off, write into them, take our fds away. Whatever they do, no
 * call crashes, reads outside an object, or frees what somebody uses.
 *
 *   test_hostile posix|sysv [test...]
 */
#include "check.h"

#include "os/backend.h"
#include "os/syscalls.h"
#include "segment/layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int backend;
static smem__syscalls real; /* each test has a process of its own: nothing is put back */

enum { ELEMENTS = 1000,
       NOBODY = 65534 };

static const int64_t shape[] = {ELEMENTS};

static int create_on(smem_context *ctx, int on, const char *name, smem_segment **out)
{
    smem_spec spec = {
        .name = name, .backend = on, .dtype = "'<f8'", .itemsize = 8, .ndim = 1, .shape = shape};
    return smem_create(ctx, &spec, out);
}

static smem_segment *create(smem_context *ctx, const char *name)
{
    smem_segment *segment;
    CHECK_OK(create_on(ctx, backend, name, &segment));
    *(double *)smem_data(segment) = 42;
    return segment;
}

static smem__layout *header_of(smem_segment *segment)
{
    return (smem__layout *)(void *)((char *)smem_data(segment) -
                                    smem_info_of(segment)->data_offset);
}

static const char *path_of(char kind, const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/smem.%u.%c.%s", check_directory(), (unsigned)geteuid(), kind,
             name);
    return path;
}

/* ---- strange files ---------------------------------------------------------------- */

enum strange { LINK,
               DANGLING,
               DIRECTORY,
               FIFO,
               FOREIGN,
               EMPTY,
               NOISE,
               ENDLESS,
               STRANGE };

static uint64_t state = 88172645463325252u; /* the seed */

static uint64_t random_word(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1du;
}

static void make_file(const char *path, enum strange kind)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    CHECK(fd >= 0);
    for (int i = 0; kind == NOISE && i < 1000; i++) {
        uint64_t word = random_word();
        CHECK_EQ(write(fd, &word, sizeof word), sizeof word);
    }
    if (kind == ENDLESS) /* 8 EiB, as far as the file system goes */
        for (off_t size = INT64_MAX; ftruncate(fd, size) != 0; size /= 2)
            CHECK(size > 0);
    close(fd);
    if (kind == FOREIGN)
        CHECK_EQ(chown(path, NOBODY, NOBODY), 0);
}

/* False: this user cannot make one. */
static bool make_strange(const char *path, enum strange kind)
{
    char target[512];
    snprintf(target, sizeof target, "%s/target", check_directory());
    switch (kind) {
    case LINK: make_file(target, EMPTY); /* fall through */
    case DANGLING: CHECK_EQ(symlink(target, path), 0); return true;
    case DIRECTORY: CHECK_EQ(mkdir(path, 0700), 0); return true;
    case FIFO: CHECK_EQ(mkfifo(path, 0600), 0); return true;
    case FOREIGN:
        if (geteuid() != 0)
            return false; /* fall through */
    default: make_file(path, kind); return true;
    }
}

/* It is as it was made. */
static void remove_strange(const char *path, enum strange kind)
{
    char target[512];
    struct stat st;
    snprintf(target, sizeof target, "%s/target", check_directory());
    if (kind == LINK) {
        CHECK_EQ(stat(target, &st), 0);
        CHECK_EQ(st.st_size, 0);
        CHECK_EQ(remove(target), 0);
    }
    CHECK_EQ(access(target, F_OK), -1);
    CHECK_EQ(remove(path), 0);
}

static bool is_refusal(int rc)
{
    return rc == SMEM_E_JOURNAL || rc == SMEM_E_FORMAT;
}

/* A family whose file is something else is not joined, and harms nobody who looks at all of them. */
TEST(strange_families)
{
    smem_options options = {.family = "strange", .directory = check_directory()};
    smem_context *ctx = check_open(NULL), *other;
    for (enum strange kind = 0; kind < STRANGE; kind++) {
        unsigned alive, dead;
        if (!make_strange(path_of('f', "strange"), kind))
            continue;
        int rc = smem_open(&options, &other);
        CHECK_CODE(rc, kind < EMPTY ? SMEM_E_SECURITY : SMEM_E_FORMAT);
        CHECK_OK(smem_families(ctx, &alive, &dead));
        CHECK_EQ(dead, 0);
        smem_detach(create(ctx, NULL));
        CHECK_OK(smem_reclaim(ctx, NULL));
        remove_strange(path_of('f', "strange"), kind);
    }
    smem_close(ctx);
}

/* The journal is SysV's. */
static void use_posix_names(smem_context *ctx)
{
    smem_info info;
    smem_segment *made, *found;
    smem_spec spec = {.name = check_name("p"),
                      .dtype = "'<f8'",
                      .itemsize = 8,
                      .ndim = 1,
                      .shape = shape};
    CHECK_CODE(smem_attach(ctx, check_name("p"), SMEM_READ_WRITE, &found), SMEM_E_NOT_FOUND);
    CHECK_CODE(smem_stat(ctx, check_name("p"), &info, NULL), SMEM_E_NOT_FOUND);
    CHECK_CODE(smem_unlink(ctx, check_name("p")), SMEM_E_NOT_FOUND);
    CHECK_OK(smem_create(ctx, &spec, &made));
    CHECK_EQ(smem_info_of(made)->backend, SMEM_POSIX);
    CHECK_CODE(smem_create(ctx, &spec, &found), SMEM_E_EXISTS);
    spec.flags = SMEM_REPLACE;
    CHECK_OK(smem_create(ctx, &spec, &found));
    CHECK_EQ(smem_is_current(made), 0);
    CHECK_OK(smem_unlink(ctx, check_name("p")));
    smem_detach(found);
    smem_detach(made);
}

/* A SysV segment that has the name, though its journal was lost, keeps it. */
TEST(strange_journal_and_a_living_name)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *sysv, *refused;
    CHECK_OK(create_on(ctx, SMEM_SYSV, check_name("a"), &sysv));
    CHECK_EQ(unlink(path_of('u', "journal")), 0);
    CHECK(make_strange(path_of('u', "journal"), FIFO));
    CHECK_CODE(create_on(other, SMEM_POSIX, check_name("a"), &refused), SMEM_E_JOURNAL);
    CHECK_CODE(smem_attach(other, check_name("a"), SMEM_READ_WRITE, &refused), SMEM_E_JOURNAL);
    CHECK_CODE(smem_unlink(other, check_name("a")), SMEM_E_JOURNAL);
    remove_strange(path_of('u', "journal"), FIFO);
    CHECK_OK(smem_attach(other, check_name("a"), SMEM_READ_WRITE, &refused));
    smem_detach(refused);
    smem_detach(sysv);
    smem_close(other);
    smem_close(ctx);
}

/* What stands where the user's journal belongs is refused by who needs it, and left alone. */
TEST(strange_journals)
{
    smem_context *ctx = check_open(NULL);
    for (enum strange kind = 0; kind < STRANGE; kind++) {
        smem_segment *made, *found;
        if (!make_strange(path_of('u', "journal"), kind))
            continue;
        int rc = create_on(ctx, SMEM_SYSV, check_name("a"), &made);
        if (kind == EMPTY || kind == NOISE) /* nothing in it is of this namespace */
            CHECK_OK(rc);
        else
            CHECK_CODE(rc, kind == ENDLESS ? SMEM_E_FORMAT : SMEM_E_JOURNAL);
        if (rc == 0) {
            CHECK_OK(smem_attach(ctx, check_name("a"), SMEM_READ_ONLY, &found));
            smem_detach(found);
            smem_detach(made);
        }
        CHECK_OK(create_on(ctx, SMEM_POSIX, NULL, &made)); /* needs no gate */
        smem_detach(made);
        use_posix_names(ctx);
        rc = smem_reclaim(ctx, NULL);
        CHECK(rc == 0 || is_refusal(rc));
        if (kind == EMPTY) /* as ever: gone when nothing is in it */
            CHECK_EQ(access(path_of('u', "journal"), F_OK), -1);
        else
            remove_strange(path_of('u', "journal"), kind);
    }
    smem_close(ctx);
}

static smem_context *second; /* another process, as far as it matters */

/* Just after the first one has replaced what had the name the second one does. */
static int rename_then_replace(const char *from, const char *to)
{
    smem_spec spec = {.name = check_name("p"),
                      .flags = SMEM_REPLACE,
                      .dtype = "'<f8'",
                      .itemsize = 8,
                      .ndim = 1,
                      .shape = shape};
    smem_segment *last;
    int rc = real.rename(from, to);
    smem__sys.rename = real.rename;
    CHECK_OK(smem_create(second, &spec, &last));
    return rc;
}

/* Of two that replace without a gate the later one has the name afterwards, not nobody. */
TEST(strange_journal_and_two_that_replace)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *made, *found;
    smem_spec spec = {.name = check_name("p"),
                      .flags = SMEM_REPLACE,
                      .dtype = "'<f8'",
                      .itemsize = 8,
                      .ndim = 1,
                      .shape = shape};
    real = smem__sys;
    second = check_open(NULL);
    CHECK(make_strange(path_of('u', "journal"), FIFO));
    CHECK_OK(smem_create(ctx, &spec, &found));
    smem__sys.rename = rename_then_replace;
    CHECK_OK(smem_create(ctx, &spec, &made));
    CHECK_EQ(smem_is_current(made), 0);
    smem_detach(found);
    CHECK_OK(smem_attach(ctx, check_name("p"), SMEM_READ_WRITE, &found));
    CHECK_OK(smem_unlink(ctx, check_name("p")));
    smem_detach(found);
    smem_detach(made);
    smem_close(second);
    smem_close(ctx);
    remove_strange(path_of('u', "journal"), FIFO);
}

static sem_t come; /* the second one was refused, or has done it */

static int lock_and_tell(int fd, int command, struct flock *lock)
{
    int rc = real.fcntl_lock(fd, command, lock);
    if (rc != 0 && lock->l_start == 1) /* the right to take the name (posix.c) */
        sem_post(&come);
    return rc;
}

static void *replace_beside(void *out)
{
    smem_spec spec = {.name = check_name("p"),
                      .flags = SMEM_REPLACE,
                      .dtype = "'<f8'",
                      .itemsize = 8,
                      .ndim = 1,
                      .shape = shape};
    CHECK_OK(smem_create(second, &spec, out));
    sem_post(&come);
    return NULL;
}

static pthread_t beside;
static smem_segment *newer;

/* When the first one has found its segment under the name the second one replaces it. */
static int unlink_late(const char *path)
{
    smem__sys.unlink = real.unlink;
    smem__sys.fcntl_lock = lock_and_tell;
    CHECK_EQ(pthread_create(&beside, NULL, replace_beside, &newer), 0);
    while (sem_wait(&come) != 0)
        ;
    return real.unlink(path);
}

/* Without a gate, too, an unlink that comes late takes no newer segment's name. */
TEST(strange_journal_and_a_late_unlink)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *made;
    smem_spec spec = {
        .name = check_name("p"), .dtype = "'<f8'", .itemsize = 8, .ndim = 1, .shape = shape};
    real = smem__sys;
    second = check_open(NULL);
    CHECK_EQ(sem_init(&come, 0, 0), 0);
    CHECK(make_strange(path_of('u', "journal"), FIFO));
    CHECK_OK(smem_create(ctx, &spec, &made));
    smem__sys.unlink = unlink_late;
    CHECK_OK(smem_unlink_segment(made));
    CHECK_EQ(pthread_join(beside, NULL), 0);
    smem__sys = real;
    CHECK_EQ(smem_is_current(newer), 1);
    smem_detach(newer);
    smem_detach(made);
    smem_close(second);
    smem_close(ctx);
    remove_strange(path_of('u', "journal"), FIFO);
}

/* Files of odd, long and empty names beside ours, and what a dead maker may leave, are passed over. */
TEST(strange_names)
{
    smem_context *ctx = check_open(NULL);
    char name[256];
    const char *const odd[] = {"", "\n", "\xff\xfe", " ", "%s%n", "..", "-rf", "\x1b[31m"};
    smem_segment *segment = create(ctx, check_name("a"));
    for (const char *kind = "sft"; *kind; kind++)
        for (size_t i = 0; i <= sizeof odd / sizeof odd[0]; i++) {
            struct stat st;
            unsigned alive, dead;
            bool is_long = i == sizeof odd / sizeof odd[0];
            memset(name, 'x', sizeof name);
            name[255 - strlen("smem.65534.f.")] = '\0';
            const char *path = path_of(*kind, is_long ? name : odd[i]);
            make_file(path, NOISE);
            CHECK_OK(smem_reclaim(ctx, NULL));
            CHECK_OK(smem_families(ctx, &alive, &dead));
            if (*kind == 't') /* nobody holds it: its maker has died */
                CHECK_EQ(lstat(path, &st), -1);
            else
                CHECK_EQ(remove(path), 0);
        }
    CHECK_EQ(smem_is_current(segment), 1);
    smem_detach(segment);
    smem_close(ctx);
}

/* ---- truncated ---------------------------------------------------------------------- */

/* Child: its family has a living member and a segment in flight, and no mapping. */
static void send_and_stay(check_peer *parent, void *arg)
{
    uint64_t ticket;
    smem_context *ctx = check_open(arg);
    smem_segment *segment = create(ctx, check_name("sent"));
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    check_tell(parent, smem_info_of(segment)->nonce);
    check_tell(parent, ticket);
    smem_detach(segment);
    check_tell(parent, 0);
    check_hear(parent);
}

static void damage(const char *path, int how)
{
    if (how == 0)
        CHECK_EQ(truncate(path, 0), 0);
    else if (how == 1)
        CHECK_EQ(truncate(path, 20), 0);
    else { /* the same length, and nothing of what it said */
        int fd = open(path, O_WRONLY);
        static const char zero[4096];
        CHECK_EQ(write(fd, zero, sizeof zero), sizeof zero);
        close(fd);
    }
}

/* What is in flight in a family whose file was damaged is kept, while it lives and after. */
TEST(damaged_family_keeps_what_is_in_flight)
{
    static char family[] = "damaged";
    smem_context *ctx = check_open(NULL);
    for (int how = 0; how < 3; how++) {
        smem_segment *segment;
        check_peer child = check_fork(send_and_stay, family);
        uint64_t nonce = check_hear(&child), ticket = check_hear(&child);
        check_hear(&child);
        damage(path_of('f', family), how);
        CHECK_OK(smem_reclaim(ctx, NULL));
        check_kill(&child);
        CHECK_OK(smem_reclaim(ctx, NULL)); /* an honorary member might live */
        CHECK_OK(smem_receive(ctx, backend, check_name("sent"), nonce, SMEM_READ_WRITE, ticket,
                              &segment));
        CHECK(*(double *)smem_data(segment) == 42);
        smem_detach(segment);
        CHECK_CODE(smem_attach(ctx, check_name("sent"), SMEM_READ_ONLY, &segment),
                   SMEM_E_NOT_FOUND);
        CHECK_EQ(remove(path_of('f', family)), 0);
    }
    smem_close(ctx);
}

static const char *unreadable; /* while there is no fd, as it seems */

static int open_but_one(const char *path, int flags, mode_t mode)
{
    if (strcmp(path, unreadable) == 0) {
        errno = EMFILE;
        return -1;
    }
    return real.open(path, flags, mode);
}

/* What the kernel cannot be asked at the moment is no death: neither of a family whose file
   somebody has removed. */
TEST(removed_family_keeps_what_is_in_flight_without_fds)
{
    static char family[] = "removed";
    smem_context *ctx = check_open(NULL);
    smem_reclaimed reclaimed;
    smem_segment *segment;
    check_peer child = check_fork(send_and_stay, family);
    uint64_t nonce = check_hear(&child), ticket = check_hear(&child);
    check_hear(&child);
    CHECK_EQ(remove(path_of('f', family)), 0);
    real = smem__sys;
    smem__sys.open = open_but_one;
    unreadable = "/proc/locks";
    CHECK_OK(smem_reclaim(ctx, &reclaimed));
    smem__sys = real;
    CHECK_EQ(reclaimed.segments, 0);
    CHECK_OK(smem_receive(ctx, backend, check_name("sent"), nonce, SMEM_READ_WRITE, ticket,
                          &segment));
    CHECK(*(double *)smem_data(segment) == 42);
    smem_detach(segment);
    check_kill(&child);
    smem_close(ctx);
}

/* Nor is a moment of its start that would be another one in a time namespace. */
TEST(start_of_a_process_without_fds)
{
    char path[64];
    smem__place place = {.pid_space = 1};
    smem__process self;
    if (access("/proc/self/timens_offsets", F_OK) != 0)
        check_skip("the kernel has no time namespaces");
    snprintf(path, sizeof path, "/proc/%d/timens_offsets", (int)getpid());
    real = smem__sys;
    smem__sys.open = open_but_one;
    unreadable = path;
    CHECK_OK(smem__process_find(&place, (int)getpid(), &self));
    smem__sys = real;
    CHECK_EQ(self.start, 0);
}

/* Those that an honorary member keeps. */
static void remove_families(void)
{
    DIR *all = opendir(check_directory());
    for (struct dirent *one; (one = readdir(all));) {
        const char *kind = strstr(one->d_name, ".f.");
        if (kind)
            CHECK_EQ(remove(path_of('f', kind + 3)), 0);
    }
    closedir(all);
}

/* Child: a member by the side of its parent, which it cannot look at. */
static void send_for_a_parent(check_peer *parent, void *arg)
{
    char path[64];
    uint64_t ticket;
    smem_context *ctx;
    smem_options options = {
        .family = arg, .parent = (int)getppid(), .directory = check_directory()};
    snprintf(path, sizeof path, "/proc/%d/stat", options.parent);
    real = smem__sys;
    smem__sys.open = open_but_one;
    unreadable = path;
    CHECK_OK(smem_open(&options, &ctx));
    smem__sys = real;
    smem_segment *segment = create(ctx, check_name("sent"));
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    check_tell(parent, smem_info_of(segment)->nonce);
    check_tell(parent, ticket);
    _exit(0);
}

/* A parent that cannot be looked at when its child joins keeps what that sent, as ever. */
TEST(parent_keeps_what_is_in_flight_without_fds)
{
    static char family[] = "parent";
    smem_context *ctx = check_open(NULL);
    smem_reclaimed reclaimed;
    smem_segment *segment;
    check_peer child = check_fork(send_for_a_parent, family);
    uint64_t nonce = check_hear(&child), ticket = check_hear(&child);
    CHECK_EQ(check_wait(&child), 0);
    CHECK_OK(smem_reclaim(ctx, &reclaimed));
    CHECK_EQ(reclaimed.segments, 0);
    CHECK_OK(smem_receive(ctx, backend, check_name("sent"), nonce, SMEM_READ_WRITE, ticket,
                          &segment));
    CHECK(*(double *)smem_data(segment) == 42);
    smem_detach(segment);
    smem_close(ctx);
    CHECK_EQ(remove(path_of('f', family)), 0);
}

/* Nor is it forgotten where the family would have been named after it. */
TEST(parent_keeps_what_is_in_flight_without_fds_and_names)
{
    smem_reclaimed reclaimed;
    smem_segment *segment;
    CHECK_EQ(unsetenv("SHAREDMEM_FAMILY"), 0);
    check_peer child = check_fork(send_for_a_parent, NULL);
    uint64_t nonce = check_hear(&child), ticket = check_hear(&child);
    CHECK_EQ(check_wait(&child), 0);
    smem_context *ctx = check_open("another");
    CHECK_OK(smem_reclaim(ctx, &reclaimed));
    CHECK_EQ(reclaimed.segments, 0);
    CHECK_OK(smem_receive(ctx, backend, check_name("sent"), nonce, SMEM_READ_WRITE, ticket,
                          &segment));
    CHECK(*(double *)smem_data(segment) == 42);
    smem_detach(segment);
    smem_close(ctx);
    remove_families();
}

/* With the damaged file removed by hand what was in flight in that family is freed. */
TEST(damaged_family_that_is_removed_keeps_nothing)
{
    static char family[] = "damaged";
    smem_context *ctx = check_open(NULL);
    smem_reclaimed reclaimed;
    check_peer child = check_fork(send_and_stay, family);
    for (int i = 0; i < 3; i++)
        check_hear(&child);
    check_kill(&child);
    damage(path_of('f', family), 0);
    CHECK_OK(smem_reclaim(ctx, &reclaimed));
    CHECK_EQ(reclaimed.segments, 0);
    CHECK_EQ(remove(path_of('f', family)), 0);
    CHECK_OK(smem_reclaim(ctx, &reclaimed));
    CHECK_EQ(reclaimed.segments, 1);
    smem_close(ctx);
}

/* A journal that was cut off loses no living segment, and the last one out frees it as ever. */
TEST(truncated_journal)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *made, *found;
    for (off_t size = 0; size < 65; size += 32) {
        CHECK_OK(create_on(ctx, SMEM_SYSV, check_name("a"), &made));
        CHECK_EQ(truncate(path_of('u', "journal"), size), 0);
        CHECK_OK(smem_reclaim(ctx, NULL));
        CHECK_OK(smem_reclaim(other, NULL));
        CHECK_OK(smem_attach(other, check_name("a"), SMEM_READ_ONLY, &found));
        smem_detach(made);
        CHECK_EQ(smem_is_current(found), 1);
        smem_detach(found);
        CHECK_CODE(smem_attach(other, check_name("a"), SMEM_READ_ONLY, &found), SMEM_E_NOT_FOUND);
        unlink(path_of('u', "journal")); /* 32 bytes are no entry, and not nothing */
    }
    smem_close(other);
    smem_close(ctx);
}

/* Child: its journal is cut off; it sweeps, and is killed. */
static void create_and_sweep(check_peer *parent, void *arg)
{
    (void)arg;
    smem_segment *segment;
    smem_context *ctx = check_open("swept");
    CHECK_OK(create_on(ctx, SMEM_SYSV, check_name("a"), &segment));
    CHECK_EQ(truncate(path_of('u', "journal"), 0), 0);
    CHECK_OK(smem_reclaim(ctx, NULL));
    check_tell(parent, 1);
    check_hear(parent);
}

/* What stood in a journal that was cut off is journalled again at its user's next sweep, and found after his death. */
TEST(truncated_journal_is_completed)
{
    smem_context *ctx = check_open(NULL);
    smem_reclaimed reclaimed;
    check_peer child = check_fork(create_and_sweep, NULL);
    check_hear(&child);
    check_kill(&child);
    CHECK_OK(smem_reclaim(ctx, &reclaimed));
    CHECK_EQ(reclaimed.segments, 1);
    smem_close(ctx);
}

static const char *victim;       /* a path */
static unsigned steps, cut_at;   /* calls on it; which one it is cut off before */

static void maybe_cut(void)
{
    if (victim && ++steps == cut_at)
        CHECK_EQ(truncate(victim, 0), 0);
}

static int cutting_open(const char *path, int flags, mode_t mode)
{
    if (victim && strcmp(path, victim) == 0)
        maybe_cut();
    return real.open(path, flags, mode);
}

static int cutting_fstat(int fd, struct stat *out)
{
    maybe_cut();
    return real.fstat(fd, out);
}

static int cutting_lock(int fd, int command, struct flock *lock)
{
    maybe_cut();
    return real.fcntl_lock(fd, command, lock);
}

static ssize_t cutting_pread(int fd, void *buf, size_t size, off_t at)
{
    maybe_cut();
    return real.pread(fd, buf, size, at);
}

static void *cutting_mmap(void *to, size_t size, int prot, int flags, int fd, off_t at)
{
    maybe_cut();
    return real.mmap(to, size, prot, flags, fd, at);
}

static void watch_for_cutting(void)
{
    real = smem__sys;
    smem__sys.open = cutting_open;
    smem__sys.fstat = cutting_fstat;
    smem__sys.fcntl_lock = cutting_lock;
    smem__sys.pread = cutting_pread;
    smem__sys.mmap = cutting_mmap;
}

/* A segment that is cut off at any step of an attach is refused, or mapped and not looked into. */
TEST(truncated_during_attach)
{
    if (backend != SMEM_POSIX)
        check_skip("a sysv segment cannot be cut off");
    static char path[512];
    unsigned refused = 0, mapped = 0;
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    watch_for_cutting();
    for (cut_at = 1;; cut_at++) {
        smem_segment *made = create(ctx, check_name("a")), *found;
        strcpy(path, path_of('s', check_name("a")));
        steps = 0;
        victim = path;
        int rc = smem_attach(other, check_name("a"), SMEM_READ_WRITE, &found);
        unsigned taken = steps;
        victim = NULL;
        if (rc == 0)
            smem_detach(found);
        else
            CHECK_CODE(rc, SMEM_E_FORMAT);
        smem_detach(made);
        smem_info info;
        CHECK_OK(smem_reclaim(ctx, NULL));
        rc = smem_stat(ctx, check_name("a"), &info, NULL);
        CHECK(rc == SMEM_E_NOT_FOUND || rc == SMEM_E_FORMAT);
        if (rc == SMEM_E_FORMAT) /* nothing says any more what it was */
            CHECK_EQ(remove(path), 0);
        if (taken < cut_at)
            break;
        *(rc == SMEM_E_FORMAT ? &refused : &mapped) += 1;
    }
    CHECK(refused > 0);
    CHECK(cut_at > 4);
    smem_close(other);
    smem_close(ctx);
}

/* ---- written into ----------------------------------------------------------------- */

static void mutate(smem__layout *header)
{
    static const uint64_t special[] = {0, 1, 64, 65, 200,
                                       201, 4096, 8192, UINT32_MAX, INT64_MAX,
                                       UINT64_MAX, (uint64_t)1 << 62};
    uint64_t *words = (uint64_t *)(void *)header;
    size_t count = sizeof *header / sizeof *words;
    for (uint64_t n = 1 + random_word() % 4; n > 0; n--) {
        size_t at = (size_t)(random_word() % 2 ? random_word() % count : random_word() % 16);
        switch (random_word() % 3) {
        case 0: words[at] = random_word(); break;
        case 1: words[at] = special[random_word() % (sizeof special / sizeof *special)]; break;
        default: ((unsigned char *)header)[random_word() % sizeof *header] ^= (unsigned char)(random_word() & 0xff);
        }
    }
}

static int look_at(void *arg, const smem_info *info, const smem_flight *flight)
{
    (void)flight;
    CHECK(info->data_offset + info->nbytes <= info->size);
    CHECK(strlen(info->dtype) <= SMEM_DTYPE_MAX);
    ++*(unsigned *)arg;
    return 0;
}

/* As a stranger would: find it, look at it, attach it, send it, touch both ends of what it says it has. */
static void use_whatever_it_is(smem_context *ctx, const char *name)
{
    smem_segment *found;
    smem_info info;
    smem_flight flight;
    uint64_t ticket;
    unsigned count = 0;
    if (smem_stat(ctx, name, &info, &flight) == 0)
        smem_info_clear(&info);
    CHECK_OK(smem_list(ctx, look_at, &count));
    if (smem_attach(ctx, name, (int)(random_word() % 3), &found) != 0)
        return;
    const volatile char *data = smem_data(found);
    uint64_t nbytes = smem_info_of(found)->nbytes;
    if (nbytes > 0)
        (void)(data[0] + data[nbytes - 1]);
    if (smem_ticket_issue(found, &ticket) == 0)
        smem_ticket_free(found, ticket ^ (random_word() % 4 ? 0 : random_word()));
    smem_detach(found);
}

/* Thousands of headers at random, mutated and pure noise, in a segment that others find: no crash, and it stays. */
TEST(random_headers_in_a_segment)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *made = create(ctx, check_name("a"));
    smem__layout *header = header_of(made), whole;
    memcpy(&whole, header, sizeof whole);
    for (int i = 0; i < 5000; i++) {
        if (i % 4 == 0)
            for (size_t at = 0; at < sizeof *header; at += 8) {
                uint64_t word = random_word();
                memcpy((char *)header + at, &word, 8);
            }
        else
            mutate(header);
        if (i % 4 == 0 && i % 8 == 0)
            memcpy(header, &whole, 24); /* magic, version, stamp and order are ours */
        use_whatever_it_is(other, check_name("a"));
        if (i % 50 == 0)
            CHECK_OK(smem_reclaim(other, NULL));
        memcpy(header, &whole, sizeof whole);
        CHECK_EQ(smem_is_current(made), 1);
    }
    CHECK(*(double *)smem_data(made) == 42);
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

/* Child: writes into the header for as long as it is let. */
static void rewrite(check_peer *parent, void *arg)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    _Atomic bool *enough = arg;
    CHECK_OK(smem_attach(ctx, check_name("a"), SMEM_READ_WRITE, &segment));
    smem__layout *header = header_of(segment), whole;
    memcpy(&whole, header, sizeof whole);
    check_tell(parent, 1);
    while (!atomic_load(enough)) {
        mutate(header);
        memcpy(header, &whole, sizeof whole);
    }
    smem_detach(segment);
    smem_close(ctx);
}

/* A header that changes while it is read is believed as it was read once, or refused. */
TEST(rewritten_during_attach)
{
    _Atomic bool *enough =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *made = create(ctx, check_name("a"));
    check_peer child = check_fork(rewrite, enough);
    check_hear(&child);
    for (int i = 0; i < 2000; i++)
        use_whatever_it_is(other, check_name("a"));
    atomic_store(enough, true);
    CHECK_EQ(check_wait(&child), 0);
    CHECK(*(double *)smem_data(made) == 42);
    CHECK_EQ(smem_is_current(made), 1);
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

/* ---- fds -------------------------------------------------------------------------- */

static int decoy = -1;

/* Another thread of the program closes the fd, and opens a file of its own in its place. */
static int lock_another_file(int fd, int command, struct flock *lock)
{
    if (decoy >= 0 && lock->l_type == F_WRLCK && lock->l_start == 0)
        CHECK_EQ(dup2(decoy, fd), fd);
    return real.fcntl_lock(fd, command, lock);
}

/* A program that lays its own files over our fds frees nothing that somebody uses. */
TEST(fds_taken_over)
{
    char path[512];
    snprintf(path, sizeof path, "%s/decoy", check_directory());
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *made = create(ctx, check_name("a")), *found;
    CHECK_OK(smem_attach(other, check_name("a"), SMEM_READ_WRITE, &found));
    real = smem__sys;
    smem__sys.fcntl_lock = lock_another_file;
    for (int i = 0; i < 2; i++) {
        decoy = open(path, O_RDWR | O_CREAT, 0600);
        if (i == 1) { /* even a copy of this very segment */
            size_t size = (size_t)smem_info_of(made)->size;
            CHECK_EQ(write(decoy, header_of(made), size), size);
        }
        smem_reclaim(ctx, NULL);
        close(decoy);
        decoy = -1;
        CHECK_EQ(remove(path), 0);
        CHECK_EQ(smem_is_current(found), 1);
    }
    smem_detach(made);
    CHECK_EQ(smem_is_current(found), 1);
    smem_detach(found);
    CHECK_OK(smem_reclaim(ctx, NULL));
    smem_close(other);
    smem_close(ctx);
}

/* ---- a program of another user's --------------------------------------------------- */

enum { NOT_SECURE = 77 };

static int heeds_its_starter(void)
{
    return getauxval(AT_SECURE) ? smem__environment("SHAREDMEM_FAMILY") != NULL : NOT_SECURE;
}

static void copy_self(const char *path)
{
    char piece[1 << 16];
    ssize_t n;
    int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_CREAT | O_WRONLY, 0755);
    CHECK(from >= 0 && to >= 0);
    while ((n = read(from, piece, sizeof piece)) > 0)
        CHECK_EQ(write(to, piece, (size_t)n), n);
    CHECK_EQ(fchown(to, NOBODY, NOBODY), 0);
    CHECK_EQ(fchmod(to, 04755), 0);
    close(from);
    close(to);
}

/* Who starts a program of another user's says nothing to it by the environment. */
TEST(environment_of_a_setuid_program)
{
    char path[512];
    int status;
    if (geteuid() != 0)
        check_skip("only root can make another user's program");
#ifdef __SANITIZE_ADDRESS__
    check_skip("the sanitizer ends a program that it may not trace");
#endif
    snprintf(path, sizeof path, "%s/setuid", check_directory());
    copy_self(path);
    pid_t pid = fork();
    if (pid == 0) {
        execle(path, path, "--heeds", NULL, (char *[]){"SHAREDMEM_FAMILY=starter", NULL});
        _exit(NOT_SECURE);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(unlink(path), 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_SECURE)
        check_skip("no program changes its user here (nosuid)");
    CHECK_EQ(status, 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--heeds") == 0)
        return heeds_its_starter();
    return check_main_on_backend(argc, argv, &backend);
}
