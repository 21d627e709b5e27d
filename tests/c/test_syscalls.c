/*
 * Every system call of the library fails, at each place, once and for good.
 *
 *   test_syscalls posix|sysv [test...]
 *
 * An operation is run again and again, each time in a process of its own: first
 * its first call of open fails, then its second, and so on until a run had no
 * such call to fail; then the same with the next error, and the next system
 * call. Whatever fails, the operation returns success or an error code, what it
 * returns is true, and when all have left nothing is left.
 */
#include "check.h"

#include "os/syscalls.h"
#include "segment/family.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int backend;

/* ---- a table that fails ------------------------------------------------------ */

/* X(member, result type, its failure, parameters, arguments) */
#define CALLS(X)                                                                               \
    X(open, int, -1, (const char *path, int flags, mode_t mode), (path, flags, mode))          \
    X(close, int, -1, (int fd), (fd))                                                          \
    X(fstat, int, -1, (int fd, struct stat *out), (fd, out))                                   \
    X(lstat, int, -1, (const char *path, struct stat *out), (path, out))                       \
    X(stat, int, -1, (const char *path, struct stat *out), (path, out))                        \
    X(fchmod, int, -1, (int fd, mode_t mode), (fd, mode))                                      \
    X(ftruncate, int, -1, (int fd, off_t size), (fd, size))                                    \
    X(fallocate, int, -1, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))      \
    X(fcntl_lock, int, -1, (int fd, int command, struct flock *lock), (fd, command, lock))     \
    X(flock, int, -1, (int fd, int operation), (fd, operation))                                \
    X(linkat, int, -1, (int from, const char *old, int to, const char *path, int flags),       \
      (from, old, to, path, flags))                                                            \
    X(readlink, ssize_t, -1, (const char *path, char *buf, size_t size), (path, buf, size))    \
    X(rename, int, -1, (const char *old, const char *path), (old, path))                       \
    X(unlink, int, -1, (const char *path), (path))                                             \
    X(pread, ssize_t, -1, (int fd, void *buf, size_t size, off_t at), (fd, buf, size, at))     \
    X(pwrite, ssize_t, -1, (int fd, const void *buf, size_t size, off_t at),                   \
      (fd, buf, size, at))                                                                     \
    X(mmap, void *, MAP_FAILED, (void *to, size_t size, int prot, int flags, int fd, off_t at), \
      (to, size, prot, flags, fd, at))                                                         \
    X(munmap, int, -1, (void *at, size_t size), (at, size))                                    \
    X(mprotect, int, -1, (void *at, size_t size, int prot), (at, size, prot))                  \
    X(shmget, int, -1, (key_t key, size_t size, int flags), (key, size, flags))                \
    X(shmat, void *, (void *)-1, (int id, const void *at, int flags), (id, at, flags))         \
    X(shmdt, int, -1, (const void *at), (at))                                                  \
    X(shmctl, int, -1, (int id, int command, struct shmid_ds *buf), (id, command, buf))        \
    X(opendir, DIR *, NULL, (const char *path), (path))                                        \
    X(getrandom, ssize_t, -1, (void *buf, size_t size, unsigned flags), (buf, size, flags))    \
    X(futex, long, -1,                                                                         \
      (const _Atomic uint32_t *word, int operation, uint32_t value,                            \
       const struct timespec *timeout, uint32_t bits),                                         \
      (word, operation, value, timeout, bits))                                                 \
    X(spawn, int, armed.error, (pid_t *pid, const char *path, char *const arguments[]),        \
      (pid, path, arguments))                                                                  \
    X(waitpid, pid_t, -1, (pid_t pid, int *status, int options), (pid, status, options))       \
    X(fork, pid_t, -1, (void), ())                                                             \
    X(setsid, pid_t, -1, (void), ())                                                           \
    X(chdir, int, -1, (const char *path), (path))                                              \
    X(inotify_init, int, -1, (int flags), (flags))                                             \
    X(inotify_add_watch, int, -1, (int fd, const char *path, uint32_t mask), (fd, path, mask)) \
    X(pidfd_open, int, -1, (pid_t pid, unsigned flags), (pid, flags))                          \
    X(read, ssize_t, -1, (int fd, void *buf, size_t size), (fd, buf, size))                    \
    X(poll, int, -1, (struct pollfd * fds, unsigned long count, int timeout_ms),               \
      (fds, count, timeout_ms))

enum call {
#define NUMBER(name, type, bad, parameters, arguments) CALL_##name,
    CALLS(NUMBER)
#undef NUMBER
        CALL_COUNT
};

static const char *const call_names[] = {
#define NAME(name, type, bad, parameters, arguments) #name,
    CALLS(NAME)
#undef NAME
};

typedef struct fault {
    enum call call;
    unsigned at;  /* the first one is 1 */
    int error;
    bool for_good;
} fault;

static fault armed; /* at 0: none */
static unsigned calls_seen;
static bool *fired; /* shared with what the operation forks */
static smem__syscalls real;

static bool fails(enum call call)
{
    if (armed.at == 0 || call != armed.call)
        return false;
    calls_seen++;
    if (calls_seen != armed.at && !(armed.for_good && calls_seen > armed.at))
        return false;
    *fired = true;
    errno = armed.error;
    return true;
}

#define FAILING(name, type, bad, parameters, arguments)                       \
    static type failing_##name parameters                                     \
    {                                                                         \
        return fails(CALL_##name) ? bad : real.name arguments;                \
    }
CALLS(FAILING)
#undef FAILING

/* Whatever close says, on Linux the fd is closed. */
static int closing_close(int fd)
{
    int rc = real.close(fd);
    return fails(CALL_close) ? -1 : rc;
}

static void replace_table(void)
{
    real = smem__sys;
    fired = mmap(NULL, sizeof *fired, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(fired != MAP_FAILED);
#define REPLACE(name, type, bad, parameters, arguments) smem__sys.name = failing_##name;
    CALLS(REPLACE)
#undef REPLACE
    (void)failing_close;
    smem__sys.close = closing_close;
}

/* ---- what fails -------------------------------------------------------------- */

/*
 * What each call may really say of an object that is there. (EINVAL and EIDRM of
 * shmat and shmctl are not here: they say that the segment is gone.) Some come
 * once only, since a retry or another way is right, and would be tried for ever.
 */
static const struct {
    enum call call;
    bool for_good;
    int errors[4]; /* ends with 0 */
} plausible[] = {
    {CALL_open, true, {EMFILE, ENOMEM, EACCES}},
    {CALL_open, false, {EINTR}},
    {CALL_close, true, {EINTR, EIO}},
    {CALL_fstat, true, {ENOMEM}},
    {CALL_lstat, true, {ENOMEM, EACCES}},
    {CALL_stat, true, {ENOMEM, EACCES}},
    {CALL_fchmod, true, {EPERM}},
    {CALL_ftruncate, true, {ENOMEM, EFBIG}},
    {CALL_fallocate, true, {ENOSPC, ENOMEM, EOPNOTSUPP}},
    {CALL_fallocate, false, {EINTR}},
    {CALL_fcntl_lock, true, {ENOLCK, ENOMEM}},
    {CALL_fcntl_lock, false, {EINTR, EAGAIN}},
    {CALL_linkat, true, {ENOSPC, EACCES}},
    {CALL_linkat, false, {ENOENT}},
    {CALL_readlink, true, {ENOMEM}},
    {CALL_rename, true, {ENOSPC, EACCES}},
    {CALL_unlink, true, {EACCES, ENOMEM}},
    {CALL_pread, true, {EIO, ENOMEM}},
    {CALL_pread, false, {EINTR}},
    {CALL_pwrite, true, {ENOSPC, EIO}},
    {CALL_pwrite, false, {EINTR}},
    {CALL_mmap, true, {ENOMEM, EACCES}},
    {CALL_munmap, true, {ENOMEM}},
    {CALL_mprotect, true, {ENOMEM}},
    {CALL_shmget, true, {ENOSPC, ENOMEM, EACCES}},
    {CALL_shmat, true, {ENOMEM, EACCES}},
    {CALL_shmdt, true, {EINVAL}},
    {CALL_shmctl, true, {ENOMEM, EPERM}},
    {CALL_opendir, true, {EMFILE, EACCES}},
    {CALL_getrandom, true, {ENOSYS}},
    {CALL_getrandom, false, {EINTR}},
    {CALL_spawn, true, {EAGAIN, ENOMEM, ENOENT}},
    {CALL_waitpid, true, {ECHILD}},
    {CALL_waitpid, false, {EINTR}},
    {CALL_fork, true, {EAGAIN, ENOMEM}},
    {CALL_setsid, true, {EPERM}},
    {CALL_chdir, true, {EACCES}},
    {CALL_inotify_init, true, {EMFILE, ENOSYS}},
    {CALL_inotify_add_watch, true, {ENOSPC, ENOMEM}},
    {CALL_pidfd_open, true, {ENOSYS, EMFILE}},
    {CALL_read, true, {EAGAIN, EIO}},
    {CALL_poll, true, {ENOMEM}},
    {CALL_poll, false, {EINTR}},
};

/* ---- operations -------------------------------------------------------------- */

/* [ctx] does what may fail; [other] is a participant beside it. */
typedef struct scene {
    smem_context *ctx, *other;
    smem_segment *held;   /* other's */
    smem_segment *result; /* ctx's, of the operation or for it */
    uint64_t ticket;
} scene;

typedef struct operation {
    void (*prepare)(scene *s);
    int (*act)(scene *s);
    void (*judge)(scene *s, int rc); /* whether what it returned is true */
} operation;

static const int64_t shape[] = {1000};

static smem_spec spec_of(const char *name)
{
    return (smem_spec){.name = name,
                       .backend = backend,
                       .permissions = 0640,
                       .dtype = "'<f8'",
                       .itemsize = 8,
                       .ndim = 1,
                       .shape = shape};
}

static void hold(scene *s)
{
    smem_spec spec = spec_of(check_name("a"));
    CHECK_OK(smem_create(s->other, &spec, &s->held));
    *(double *)smem_data(s->held) = 5;
}

static void hold_and_attach(scene *s)
{
    hold(s);
    CHECK_OK(smem_attach(s->ctx, check_name("a"), SMEM_READ_WRITE, &s->result));
}

static void make(scene *s)
{
    smem_spec spec = spec_of(check_name("a"));
    CHECK_OK(smem_create(s->ctx, &spec, &s->result));
}

static void send(scene *s)
{
    hold(s);
    CHECK_OK(smem_ticket_issue(s->held, &s->ticket));
}

static void send_and_drop(scene *s)
{
    make(s);
    CHECK_OK(smem_ticket_issue(s->result, &s->ticket));
}

static void make_stale(scene *s)
{
    smem_spec spec = spec_of(check_name("a"));
    (void)s;
    fflush(stderr);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        smem_context *ctx = check_open(NULL);
        smem_segment *segment;
        CHECK_OK(smem_create(ctx, &spec, &segment));
        _exit(EXIT_SUCCESS);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

/* A segment that was made or attached is the one under its name, and can be used. */
static void usable(scene *s, int rc)
{
    smem_info info;
    if (rc != 0)
        return;
    if (smem_mode_of(s->result) == SMEM_READ_WRITE)
        *((double *)smem_data(s->result) + 999) = 1;
    CHECK_EQ(smem_is_current(s->result), 1);
    CHECK_OK(smem_stat(s->other, smem_info_of(s->result)->name, &info, NULL));
    CHECK_EQ(info.nonce, smem_info_of(s->result)->nonce);
    smem_info_clear(&info);
}

/* After a create that failed no such name is there. */
static void usable_or_nothing(scene *s, int rc)
{
    smem_info info;
    usable(s, rc);
    if (rc != 0) {
        CHECK_OK(smem_reclaim(s->other, NULL));
        CHECK_CODE(smem_stat(s->other, check_name("a"), &info, NULL), SMEM_E_NOT_FOUND);
    }
}

/* The held segment keeps its bytes, whatever befalls its name. */
static void unharmed(scene *s, int rc)
{
    usable(s, s->result ? rc : -1);
    CHECK(*(double *)smem_data(s->held) == 5);
}

static int create(scene *s)
{
    smem_spec spec = spec_of(check_name("a"));
    return smem_create(s->ctx, &spec, &s->result);
}

static int create_unnamed(scene *s)
{
    smem_spec spec = spec_of(NULL);
    return smem_create(s->ctx, &spec, &s->result);
}

static int create_unreserved(scene *s)
{
    smem_spec spec = spec_of(check_name("a"));
    spec.flags = SMEM_NO_RESERVE;
    return smem_create(s->ctx, &spec, &s->result);
}

static int create_anywhere(scene *s)
{
    smem_spec spec = spec_of(check_name("a"));
    spec.backend = SMEM_ANY;
    return smem_create(s->ctx, &spec, &s->result);
}

static int replace(scene *s)
{
    smem_spec spec = spec_of(check_name("a"));
    spec.flags = SMEM_REPLACE;
    return smem_create(s->ctx, &spec, &s->result);
}

static int attach_or_create(scene *s)
{
    int created;
    smem_spec spec = spec_of(check_name("a"));
    return smem_attach_or_create(s->ctx, &spec, &s->result, &created);
}

static int attach(scene *s)
{
    return smem_attach(s->ctx, check_name("a"), SMEM_READ_WRITE, &s->result);
}

static int attach_read_only(scene *s)
{
    return smem_attach(s->ctx, check_name("a"), SMEM_READ_ONLY, &s->result);
}

static int attach_copy(scene *s)
{
    return smem_attach(s->ctx, check_name("a"), SMEM_COPY_ON_WRITE, &s->result);
}

/* A private copy on sysv is not the segment under the name. */
static void copied(scene *s, int rc)
{
    if (rc == 0)
        CHECK(*(double *)smem_data(s->result) == 5);
    CHECK(*(double *)smem_data(s->held) == 5);
}

static int receive(scene *s)
{
    const smem_info *info = smem_info_of(s->held);
    return smem_receive(s->ctx, backend, info->name, info->nonce, SMEM_READ_WRITE, s->ticket,
                        &s->result);
}

static unsigned tickets_of(scene *s)
{
    smem_info info;
    smem_flight flight;
    CHECK_OK(smem_stat(s->other, check_name("a"), &info, &flight));
    smem_info_clear(&info);
    return flight.tickets;
}

/* The ticket is freed by who gets the segment, and by nobody else. */
static void received(scene *s, int rc)
{
    CHECK_EQ(tickets_of(s), rc != 0);
    usable(s, rc);
}

static int forget(scene *s)
{
    const smem_info *info = smem_info_of(s->held);
    return smem_forget(s->ctx, backend, info->name, info->nonce, s->ticket);
}

static void forgotten(scene *s, int rc)
{
    CHECK_EQ(tickets_of(s), rc != 0);
}

static int detach(scene *s)
{
    smem_detach(s->result);
    s->result = NULL;
    return 0;
}

/* A segment with a ticket in flight survives its last user, whatever fails. */
static void still_in_flight(scene *s, int rc)
{
    (void)rc;
    CHECK_EQ(tickets_of(s), 1);
}

static int issue(scene *s)
{
    return smem_ticket_issue(s->result, &s->ticket);
}

static void issued(scene *s, int rc)
{
    CHECK_EQ(tickets_of(s), rc == 0);
}

static int unlink_name(scene *s)
{
    return smem_unlink(s->ctx, check_name("a"));
}

static int unlink_segment(scene *s)
{
    return smem_unlink_segment(s->result);
}

/* Success means that the name is gone. */
static void unlinked(scene *s, int rc)
{
    if (rc == 0)
        CHECK_EQ(smem_is_current(s->held), 0);
    CHECK(*(double *)smem_data(s->held) == 5);
}

static int count_row(void *arg, const smem_info *info, const smem_flight *flight)
{
    CHECK(*info->name != '\0' && *info->dtype != '\0');
    CHECK_EQ(flight->tickets, 0);
    ++*(int *)arg;
    return 0;
}

static int list(scene *s)
{
    int rows = 0, rc = smem_list(s->ctx, count_row, &rows);
    CHECK(rows <= 1);
    return rc;
}

static int stat_name(scene *s)
{
    smem_info info;
    smem_flight flight;
    int rc = smem_stat(s->ctx, check_name("a"), &info, &flight);
    if (rc == 0)
        smem_info_clear(&info);
    return rc;
}

static int reclaim(scene *s)
{
    return smem_reclaim(s->ctx, NULL);
}

static int give_up(scene *s)
{
    int rc = smem_reclaim_segment(s->ctx, smem_info_of(s->held), 1);
    return rc == 1 ? SMEM_E_BUSY : rc; /* freed though it is held: no such result */
}

static int note_mapping(void *arg, int number, int64_t kernel_id, int pid, const char *command)
{
    CHECK(number == SMEM_POSIX || number == SMEM_SYSV);
    CHECK(kernel_id >= 0 && pid > 0 && *command != '\0');
    ++*(int *)arg;
    return 0;
}

static int look_around(scene *s)
{
    int rows = 0, rc = smem_mappings(s->ctx, note_mapping, &rows);
    unsigned alive = 1, dead = 0;
    if (rc == 0)
        rc = smem_families(s->ctx, &alive, &dead);
    CHECK(dead == 0 && (alive > 0 || rc != 0));
    return rc;
}

static int leave(scene *s)
{
    smem_leave(s->ctx);
    return 0;
}

static int new_family(scene *s)
{
    return smem_new_family(s->ctx, NULL);
}

static int open_another(scene *s)
{
    smem_options options = {.directory = check_directory()};
    smem_context *ctx;
    (void)s;
    int rc = smem_open(&options, &ctx);
    if (rc == 0)
        smem_close(ctx);
    return rc;
}

/* ---- the reaper's ---------------------------------------------------------------- */

static void reopen(smem_context **ctx, smem_options options)
{
    smem_close(*ctx);
    options.directory = check_directory();
    CHECK_OK(smem_open(&options, ctx));
}

static void with_reaper(scene *s)
{
    setenv("SHAREDMEM_REAPER", "1", 1);
    CHECK(getenv("SMEM_TEST_REAPER") != NULL); /* by tests/c/meson.build */
    reopen(&s->ctx, (smem_options){.reaper = getenv("SMEM_TEST_REAPER")});
}

/* Whether a reaper could be started is nothing to who creates. */
static void created_all_the_same(scene *s, int rc)
{
    if (armed.call == CALL_spawn || armed.call == CALL_waitpid)
        CHECK_OK(rc);
    usable_or_nothing(s, rc);
}

static pid_t honorary;

static void with_honorary(scene *s)
{
    fflush(stderr);
    honorary = fork();
    CHECK(honorary >= 0);
    if (honorary == 0)
        for (;;)
            pause();
    reopen(&s->other, (smem_options){.parent = honorary});
}

static void end_honorary(scene *s, int rc)
{
    (void)s;
    (void)rc;
    CHECK_EQ(kill(honorary, SIGKILL), 0);
    CHECK_EQ(waitpid(honorary, NULL, 0), honorary);
}

/* One look at a family that lives. */
static int guard(scene *s)
{
    smem__place place;
    smem__family family;
    smem__file file;
    smem__watch watch;
    char path[SMEM__PATH_MAX];
    const char *name = smem_family_name(s->other);
    int rc = smem__place_find(&place, check_directory());
    if (rc == 0)
        rc = smem__place_path(&place, place.uid, 'f', name, path);
    if (rc == 0)
        rc = smem__family_guard(&place, name, &family, &file);
    if (rc != 0)
        return rc;
    rc = smem__watch_open(path, &watch);
    if (rc == 0) {
        rc = smem__family_has_ended(&place, &family, &file, &watch);
        CHECK(rc != 1);
        if (rc == 0 && armed.call == CALL_pidfd_open)
            CHECK_EQ(watch.blind, *fired);
        if (rc == 0)
            rc = smem__watch_wait(&watch, 0);
        smem__watch_close(&watch);
    }
    smem__file_close(&file);
    return rc > 0 ? 0 : rc;
}

/* The reaper's first steps, which cannot be taken in this process. */
static int detach_from_parent(scene *s)
{
    int status;
    pid_t pid = fork();
    (void)s;
    CHECK(pid >= 0);
    if (pid == 0) {
        int rc = smem__detach_from_parent();
        _exit(rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status == 0 ? 0 : -ECHILD;
}

/* ---- running one operation with one fault --------------------------------------- */

static int run_armed(const operation *op, scene *s, const fault *what)
{
    smem_segment *before = s->result;
    calls_seen = 0;
    armed = *what;
    int rc = op->act(s);
    armed.at = 0;
    if (rc != 0)
        s->result = before; /* what a failed call wrote there means nothing */
    return rc;
}

static void run_scene(const operation *op, const fault *what)
{
    scene s = {check_open(NULL), check_open(NULL), NULL, NULL, 0};
    unsigned fds = check_fds();
    if (op->prepare)
        op->prepare(&s);
    int rc = run_armed(op, &s, what);
    CHECK(rc <= 0);
    if (*fired && what->error == EINTR && !what->for_good && what->call != CALL_close)
        CHECK_OK(rc);
    if (op->judge)
        op->judge(&s, rc);
    smem_detach(s.result);
    smem_detach(s.held);
    CHECK_OK(smem_reclaim(s.other, NULL));
    CHECK_EQ(check_fds(), fds);
    smem_close(s.ctx);
    smem_close(s.other);
}

enum { LIMIT = 30 };

/* Run it in a child. False: it failed. [out]: did the fault come to pass? */
static bool run_child(const operation *op, const fault *what, bool *out)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(LIMIT);
        *fired = false;
        run_scene(op, what);
        exit(EXIT_SUCCESS); /* not _exit: a leak checker has its say here */
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    while (waitpid(-1, NULL, 0) > 0) {
    } /* orphans come here: a reaper, which ends with its family */
    *out = *fired;
    if (WIFSIGNALED(status))
        fprintf(stderr, "ended by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

/* What a process leaves behind whose calls failed to the end is the next one's to take. */
static bool is_clean(void)
{
    if (check_left(false) == 0)
        return true;
    smem_context *ctx = check_open("cleaner");
    CHECK_OK(smem_reclaim(ctx, NULL));
    smem_close(ctx);
    return check_left(true) == 0;
}

static bool run_fault(const operation *op, const fault *what, bool *came)
{
    bool ok = run_child(op, what, came);
    ok = is_clean() && ok;
    if (!ok)
        fprintf(stderr, "... when %s number %u failed%s with %s\n", call_names[what->call],
                what->at, what->for_good ? " for good" : "", strerror(what->error));
    return ok;
}

static unsigned faults_run, faults_failed;

static void run_places(const operation *op, enum call call, int error, bool for_good)
{
    enum { MOST = 200 };
    bool came = true;
    for (unsigned at = 1; came && at < MOST; at++) {
        fault what = {call, at, error, for_good};
        faults_failed += !run_fault(op, &what, &came);
        faults_run += came;
    }
}

static void run_all(const operation *op)
{
    replace_table();
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    fault none = {CALL_COUNT, 0, 0, false};
    bool came;
    CHECK(run_fault(op, &none, &came));
    for (size_t i = 0; i < sizeof plausible / sizeof plausible[0]; i++)
        for (const int *error = plausible[i].errors; *error; error++) {
            run_places(op, plausible[i].call, *error, false);
            if (plausible[i].for_good)
                run_places(op, plausible[i].call, *error, true);
        }
    printf("# %u faults\n", faults_run);
    fflush(stdout);
    CHECK(faults_run > 0);
    CHECK_EQ(faults_failed, 0);
}

#define OPERATION(name, ...)                                                  \
    TEST(name)                                                                \
    {                                                                         \
        static const operation op = {__VA_ARGS__};                            \
        run_all(&op);                                                         \
    }

/* A create that fails has made nothing. */
OPERATION(create_named, NULL, create, usable_or_nothing)
/* So it is with a random name. */
OPERATION(create_random, NULL, create_unnamed, usable)
/* So it is where pages are not reserved. */
OPERATION(create_without_reserving, NULL, create_unreserved, usable_or_nothing)
/* So it is where either backend will do. */
OPERATION(create_on_any_backend, NULL, create_anywhere, usable_or_nothing)
/* A stale name is taken, or stays stale. */
OPERATION(create_over_stale, make_stale, create, usable)
/* A replacement that fails leaves the old segment's memory to its holders. */
OPERATION(replace_held, hold, replace, unharmed)
/* An attach that fails leaves the segment as it was. */
OPERATION(attach_existing, hold, attach, unharmed)
/* So it is with the data read-only. */
OPERATION(attach_for_reading, hold, attach_read_only, unharmed)
/* So it is with a private copy. */
OPERATION(attach_private, hold, attach_copy, copied)
/* Attach or create does one of them, or neither. */
OPERATION(attach_or_create_new, NULL, attach_or_create, usable_or_nothing)
/* A ticket is freed when its receiver has the segment, and only then. */
OPERATION(receive_sent, send, receive, received)
/* A ticket is forgotten, or an error says that it is not. */
OPERATION(forget_sent, send, forget, forgotten)
/* A ticket is issued, or an error says that it is not. */
OPERATION(issue_ticket, hold_and_attach, issue, issued)
/* A last detach that cannot free leaves the segment to the next sweep. */
OPERATION(detach_last, make, detach, NULL)
/* A detach never frees what somebody else maps. */
OPERATION(detach_shared, hold_and_attach, detach, unharmed)
/* A detach never frees what is in flight. */
OPERATION(detach_in_flight, send_and_drop, detach, still_in_flight)
/* A name that was unlinked without an error is gone; its holders have their memory. */
OPERATION(unlink_by_name, hold, unlink_name, unlinked)
/* So it is when the segment is unlinked by who has it. */
OPERATION(unlink_attached, hold_and_attach, unlink_segment, unlinked)
/* A listing shows what is there, or returns an error. */
OPERATION(list_all, hold, list, unharmed)
/* Looking at a segment changes nothing. */
OPERATION(stat_held, hold, stat_name, unharmed)
/* Reclaiming spares what is used. */
OPERATION(reclaim_beside_held, hold, reclaim, unharmed)
/* Reclaiming takes what is stale, now or next time. */
OPERATION(reclaim_stale, make_stale, reclaim, NULL)
/* One segment is not freed while somebody maps it, also when what is in flight is given up. */
OPERATION(give_up_held, hold, give_up, unharmed)
/* Looking at families and mappings changes nothing, and takes no living family for dead. */
OPERATION(look_at_all, hold, look_around, unharmed)
/* Leaving spares what others map. */
OPERATION(leave_with_shared, hold_and_attach, leave, NULL)
/* Leaving takes one's own names, or leaves them to the next sweep. */
OPERATION(leave_with_own, make, leave, NULL)
/* A family that could not be changed is the old one. */
OPERATION(change_family, hold, new_family, unharmed)
/* A participant that could not join has left nothing. */
OPERATION(join, hold, open_another, unharmed)

/* A create succeeds though its reaper could not be started. */
OPERATION(create_with_reaper, with_reaper, create, created_all_the_same)
/* A reaper that cannot look does not take a family for dead. */
OPERATION(guard_living, with_honorary, guard, end_honorary)
/* A reaper that cannot let go of its parent ends. */
OPERATION(reaper_starts, NULL, detach_from_parent, NULL)

int main(int argc, char **argv)
{
    return check_main_on_backend(argc, argv, &backend);
}
