/*
 * Poorer kernels, fuller machines, and makers that die half-way: what the
 * system calls then say, and what becomes of it.
 *
 *   test_kernels posix|sysv [test...]
 */
#include "check.h"

#include "os/backend.h"
#include "os/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

static int backend;
static smem__syscalls real; /* the table as it is before a test changes it */

static const int64_t shape[] = {1000};

static int create_on(smem_context *ctx, int on, const char *name, unsigned flags,
                     smem_segment **out)
{
    smem_spec spec = {.name = name,
                      .backend = on,
                      .flags = flags,
                      .permissions = 0640,
                      .dtype = "'<f8'",
                      .itemsize = 8,
                      .ndim = 1,
                      .shape = shape};
    return smem_create(ctx, &spec, out);
}

/* Create, attach, replace, drop: all goes as on a better kernel. */
static void use_all(void)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *made, *found, *newer;
    CHECK_OK(create_on(ctx, backend, check_name("a"), 0, &made));
    *(double *)smem_data(made) = 5;
    CHECK_OK(smem_attach(other, check_name("a"), SMEM_READ_WRITE, &found));
    CHECK(*(double *)smem_data(found) == 5);
    smem_detach(found);
    CHECK_EQ(check_files('t'), 0);
    CHECK_OK(create_on(other, backend, check_name("a"), SMEM_REPLACE, &newer));
    CHECK_EQ(smem_is_current(newer), 1);
    CHECK_EQ(smem_is_current(made), 0);
    CHECK(*(double *)smem_data(made) == 5);
    smem_detach(newer);
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

/* Each test has a process of its own, so nothing is put back. */
static void keep_real(void)
{
    real = smem__sys;
}

/* ---- lack of room -------------------------------------------------------------- */

static int full_fallocate(int fd, int mode, off_t at, off_t size)
{
    (void)fd, (void)mode, (void)at, (void)size;
    errno = ENOSPC;
    return -1;
}

static int shmget_error;

static int full_shmget(key_t key, size_t size, int flags)
{
    if (!(flags & IPC_CREAT))
        return real.shmget(key, size, flags);
    errno = shmget_error;
    return -1;
}

/* A full /dev/shm is SMEM_E_NO_ROOM, never a later SIGBUS; so is a lack of memory on sysv. */
TEST(no_room_is_said)
{
    keep_real();
    smem_context *ctx = check_open(NULL);
    unsigned family = check_left(false); /* its files */
    smem_segment *segment;
    shmget_error = ENOMEM;
    smem__sys.fallocate = full_fallocate;
    smem__sys.shmget = full_shmget;
    CHECK_CODE(create_on(ctx, backend, check_name("a"), 0, &segment), SMEM_E_NO_ROOM);
    CHECK_CODE(create_on(ctx, SMEM_ANY, NULL, 0, &segment), SMEM_E_NO_ROOM);
    CHECK_EQ(check_left(false), family);
    smem_close(ctx);
}

/* Where any backend will do a full /dev/shm makes a sysv segment. */
TEST(no_room_on_posix_means_sysv)
{
    keep_real();
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    smem__sys.fallocate = full_fallocate;
    CHECK_OK(create_on(ctx, SMEM_ANY, check_name("a"), 0, &segment));
    CHECK_EQ(smem_info_of(segment)->backend, SMEM_SYSV);
    smem_detach(segment);
    smem_close(ctx);
}

/* The limit on the number of sysv segments has a code of its own. */
TEST(limit_is_said)
{
    keep_real();
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    shmget_error = ENOSPC;
    smem__sys.shmget = full_shmget;
    CHECK_CODE(create_on(ctx, SMEM_SYSV, check_name("a"), 0, &segment), SMEM_E_LIMIT);
    smem_close(ctx);
}

/* Full as long as there is what the dead left: the maker's family's file is no segment, nor are
   locks, nor what is being made. */
static bool is_full(void)
{
    return check_left(false) >
           check_files('f') + check_files('u') + check_files('l') + check_files('t');
}

static int fallocate_when_empty(int fd, int mode, off_t at, off_t size)
{
    return is_full() ? full_fallocate(fd, mode, at, size) : real.fallocate(fd, mode, at, size);
}

static int shmget_when_empty(key_t key, size_t size, int flags)
{
    return is_full() ? full_shmget(key, size, flags) : real.shmget(key, size, flags);
}

static void create_and_wait(check_peer *parent, void *arg)
{
    (void)arg;
    smem_segment *segment;
    CHECK_OK(create_on(check_open("killed"), backend, check_name("dead"), 0, &segment));
    check_tell(parent, 1);
    check_hear(parent);
}

/* Memory that the dead hold is freed for a new segment, however late the last sweep was. */
TEST(no_room_until_the_dead_are_swept)
{
    const int errors[] = {ENOMEM, ENOSPC};
    keep_real();
    smem_context *ctx = check_open(NULL);
    for (int i = 0; i < 2; i++) {
        smem_segment *segment;
        shmget_error = errors[i];
        check_peer child = check_fork(create_and_wait, NULL);
        check_hear(&child);
        CHECK_OK(smem_reclaim(ctx, NULL));
        CHECK_OK(create_on(ctx, backend, NULL, 0, &segment)); /* sweeps, if any is due */
        smem_detach(segment);
        check_kill(&child);
        smem__sys.fallocate = fallocate_when_empty;
        smem__sys.shmget = shmget_when_empty;
        CHECK_OK(create_on(ctx, backend, i ? NULL : check_name("a"), 0, &segment));
        smem__sys.fallocate = real.fallocate;
        smem__sys.shmget = real.shmget;
        smem_detach(segment);
    }
    smem_close(ctx);
}

/* ---- what a kernel does not know --------------------------------------------------- */

static int open_without_tmpfile(const char *path, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) != O_TMPFILE)
        return real.open(path, flags, mode);
    errno = EOPNOTSUPP;
    return -1;
}

static int open_and_be_swept(const char *path, int flags, mode_t mode)
{
    static bool swept;
    int fd = open_without_tmpfile(path, flags, mode);
    if (fd >= 0 && flags & O_EXCL && !swept)
        swept = real.unlink(path) == 0;
    return fd;
}

static int link_without_proc(int from, const char *old, int to, const char *path, int flags)
{
    if (strncmp(old, "/proc/", 6) != 0)
        return real.linkat(from, old, to, path, flags);
    errno = ENOENT;
    return -1;
}

static int no_fallocate(int fd, int mode, off_t at, off_t size)
{
    (void)fd, (void)mode, (void)at, (void)size;
    errno = EOPNOTSUPP;
    return -1;
}

/* Without O_TMPFILE files have a temporary name until they are complete, and not after. */
TEST(no_tmpfile)
{
    keep_real();
    smem__sys.open = open_without_tmpfile;
    use_all();
}

static int lock_without_bytes(int fd, int command, struct flock *lock)
{
    (void)fd, (void)command, (void)lock;
    errno = EINVAL;
    return -1;
}

/* Without locks on bytes all goes as with them, in other processes too. */
TEST(no_byte_locks)
{
    keep_real();
    smem__sys.fcntl_lock = lock_without_bytes;
    use_all();
    CHECK(!smem__byte_locks());
}

/* As overlayfs does: what is mapped is another file than the one that is open. */
static void *map_another_file(void *to, size_t size, int prot, int flags, int fd, off_t at)
{
    return fd < 0 ? real.mmap(to, size, prot, flags, fd, at)
                  : real.mmap(to, size, prot, flags | MAP_ANONYMOUS, -1, 0);
}

/* Where no directory's mappings carry a lock nobody takes part, and nothing is left there. */
TEST(no_lock_in_a_mapping)
{
    smem_options options = {.directory = check_directory()};
    smem_context *ctx;
    keep_real();
    smem__sys.mmap = map_another_file;
    CHECK_CODE(smem_open(&options, &ctx), SMEM_E_PLACE);
    CHECK_EQ(check_files('t'), 0);
    options.observe = 1;
    CHECK_CODE(smem_open(&options, &ctx), SMEM_E_PLACE);
}

static int find_no_room(const char *path, int flags, mode_t mode)
{
    if (!(flags & O_CREAT))
        return real.open(path, flags, mode);
    errno = ENOSPC;
    return -1;
}

/* A tmpfs that is full is not left for another directory. */
TEST(no_room_to_try_a_lock)
{
    smem_context *ctx = check_open(NULL), *other;
    smem_options options = {.directory = check_directory()};
    struct statfs system;
    CHECK_EQ(statfs(check_directory(), &system), 0);
    bool known = system.f_type == TMPFS_MAGIC;
    smem_segment *made, *found;
    keep_real();
    CHECK_OK(create_on(ctx, SMEM_POSIX, check_name("a"), 0, &made));
    options.observe = 1; /* a member may need a file of its own */
    smem__sys.open = find_no_room;
    CHECK_CODE(smem_open(&options, &other), known ? 0 : SMEM_E_NO_ROOM);
    if (known) {
        CHECK_OK(smem_attach(other, check_name("a"), SMEM_READ_WRITE, &found));
        smem_detach(found);
        smem_close(other);
    }
    smem_detach(made);
    smem__sys.open = real.open;
    smem_close(ctx);
}

static void hold_until_killed(check_peer *parent, void *arg)
{
    smem_segment *segment;
    (void)arg;
    smem_context *ctx = check_open(NULL);
    CHECK_OK(smem_attach(ctx, check_name("a"), SMEM_READ_WRITE, &segment));
    check_tell(parent, 1);
    check_hear(parent);
}

/* Without them, too, a mapping keeps a segment whose fds are closed, until it is gone. */
TEST(no_byte_locks_and_a_holder)
{
    keep_real();
    smem__sys.fcntl_lock = lock_without_bytes;
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    CHECK_OK(create_on(ctx, backend, check_name("a"), 0, &segment));
    check_peer child = check_fork(hold_until_killed, NULL);
    check_hear(&child);
    smem_detach(segment);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_OK(smem_attach(ctx, check_name("a"), SMEM_READ_WRITE, &segment));
    smem_detach(segment);
    check_kill(&child);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_CODE(smem_attach(ctx, check_name("a"), SMEM_READ_WRITE, &segment), SMEM_E_NOT_FOUND);
    smem_close(ctx);
}

/* A sweep that comes before the temporary file is locked takes it; another one is made. */
TEST(swept_before_it_is_locked)
{
    keep_real();
    smem__sys.open = open_and_be_swept;
    use_all();
}

/* Where /proc does not name the file it is linked by its fd. */
TEST(no_proc)
{
    if (geteuid() != 0)
        check_skip("linking by fd needs CAP_DAC_READ_SEARCH");
    keep_real();
    smem__sys.linkat = link_without_proc;
    use_all();
}

/* Where pages cannot be reserved segments are made all the same. */
TEST(fallocate_is_not_supported)
{
    keep_real();
    smem__sys.fallocate = no_fallocate;
    use_all();
}

/* ---- what others claim just then --------------------------------------------------- */

static unsigned shared_locks, refused_lock;

/* One of the attempts to hold a segment comes while a dropper or the sweep claims it. */
static int lock_refused_once(int fd, int command, struct flock *lock)
{
    bool holds = command == F_OFD_SETLK && lock->l_type == F_RDLCK && lock->l_start == 0;
    if (!holds || ++shared_locks != refused_lock)
        return real.fcntl_lock(fd, command, lock);
    errno = EAGAIN;
    return -1;
}

/* Whichever attempt meets a claim, who replaces waits for its end. */
TEST(replace_waits_for_who_claims)
{
    keep_real();
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *old, *newer;
    for (refused_lock = 1; refused_lock <= 6; refused_lock++) {
        CHECK_OK(create_on(other, SMEM_POSIX, check_name("a"), 0, &old));
        shared_locks = 0;
        smem__sys.fcntl_lock = lock_refused_once;
        CHECK_OK(create_on(ctx, backend, check_name("a"), SMEM_REPLACE, &newer));
        smem__sys.fcntl_lock = real.fcntl_lock;
        CHECK_EQ(smem_is_current(newer), 1);
        CHECK_EQ(smem_is_current(old), 0);
        smem_detach(newer);
        smem_detach(old);
    }
    smem_close(other);
    smem_close(ctx);
}

/* ---- dying half-way ------------------------------------------------------------------ */

static int link_and_die(int from, const char *old, int to, const char *path, int flags)
{
    (void)from, (void)old, (void)to, (void)path, (void)flags;
    _exit(EXIT_SUCCESS);
}

static int shmget_and_die(key_t key, size_t size, int flags)
{
    int id = real.shmget(key, size, flags);
    if (flags & IPC_CREAT)
        _exit(EXIT_SUCCESS);
    return id;
}

/* Child: become a participant, then die in the first linkat or making shmget. */
static void create_and_die(check_peer *parent, void *arg)
{
    smem_segment *segment;
    smem_context *ctx = check_open(NULL);
    (void)parent;
    (void)arg;
    smem__sys.linkat = link_and_die;
    smem__sys.shmget = shmget_and_die;
    create_on(ctx, backend, check_name("a"), 0, &segment);
    CHECK(false);
}

/* What was half-made when its maker died is not found by name, and is reclaimed. */
TEST(died_half_made)
{
    keep_real();
    smem_context *ctx = check_open(NULL);
    unsigned family = check_left(false); /* its files */
    smem_segment *segment;
    smem__sys.open = open_without_tmpfile;
    check_peer child = check_fork(create_and_die, NULL);
    CHECK_EQ(check_wait(&child), 0);
    CHECK(check_left(false) > family);
    CHECK_CODE(smem_attach(ctx, check_name("a"), SMEM_READ_WRITE, &segment), SMEM_E_NOT_FOUND);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_EQ(check_left(false), family);
    smem_close(ctx);
}

/* The finer clock has begun a second that the coarser one has not. */
static void wait_for_clocks_to_differ(void)
{
    struct timespec fine, coarse;
    do {
        clock_gettime(CLOCK_REALTIME, &fine);
        clock_gettime(CLOCK_REALTIME_COARSE, &coarse);
    } while (fine.tv_sec == coarse.tv_sec);
}

static void create_and_die_at_the_turn(check_peer *parent, void *arg)
{
    wait_for_clocks_to_differ();
    create_and_die(parent, arg);
}

/* What was half-made at the turn of a second is not taken for older than its entry. */
TEST(died_half_made_at_the_turn_of_a_second)
{
    keep_real();
    smem_context *ctx = check_open(NULL);
    unsigned family = check_left(false); /* its files */
    check_peer child = check_fork(create_and_die_at_the_turn, NULL);
    CHECK_EQ(check_wait(&child), 0);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_EQ(check_left(false), family);
    smem_close(ctx);
}

/* What was half-made is no obstacle to who creates the name next. */
TEST(create_after_a_half_made_one)
{
    keep_real();
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    check_peer child = check_fork(create_and_die, NULL);
    CHECK_EQ(check_wait(&child), 0);
    CHECK_OK(create_on(ctx, backend, check_name("a"), 0, &segment));
    smem_detach(segment);
    CHECK_OK(smem_reclaim(ctx, NULL));
    smem_close(ctx);
}

static int rename_and_die(const char *old, const char *path)
{
    (void)old, (void)path;
    _exit(EXIT_SUCCESS);
}

static int remove_and_die(int id, int command, struct shmid_ds *buf)
{
    if (command == IPC_RMID)
        _exit(EXIT_SUCCESS);
    return real.shmctl(id, command, buf);
}

/* Child: die when the new segment is complete and the old one still has its name. */
static void replace_and_die(check_peer *parent, void *arg)
{
    smem_segment *segment;
    smem_context *ctx = check_open(NULL);
    (void)parent;
    (void)arg;
    smem__sys.rename = rename_and_die;
    smem__sys.shmctl = remove_and_die;
    create_on(ctx, backend, check_name("a"), SMEM_REPLACE | SMEM_PERSISTENT, &segment);
    CHECK(false);
}

/* Who dies while replacing leaves no second segment of the name that persists. */
TEST(died_replacing)
{
    keep_real();
    smem_context *ctx = check_open(NULL);
    unsigned family = check_left(false); /* its files */
    smem_segment *old;
    CHECK_OK(create_on(ctx, backend, check_name("a"), 0, &old));
    check_peer child = check_fork(replace_and_die, NULL);
    CHECK_EQ(check_wait(&child), 0);
    CHECK_EQ(smem_is_current(old), 1);
    CHECK_OK(smem_reclaim(ctx, NULL));
    smem_detach(old);
    CHECK_EQ(check_left(false), family);
    smem_close(ctx);
}

/* Unlinking takes the name from both, when nobody has reclaimed in between. */
TEST(unlink_after_who_died_replacing)
{
    keep_real();
    smem_context *ctx = check_open(NULL);
    smem_segment *old, *found;
    CHECK_OK(create_on(ctx, backend, check_name("a"), 0, &old));
    check_peer child = check_fork(replace_and_die, NULL);
    CHECK_EQ(check_wait(&child), 0);
    CHECK_OK(smem_unlink(ctx, check_name("a")));
    CHECK_CODE(smem_attach(ctx, check_name("a"), SMEM_READ_WRITE, &found), SMEM_E_NOT_FOUND);
    smem_detach(old);
    CHECK_OK(smem_reclaim(ctx, NULL));
    smem_close(ctx);
}

/* ---- another IPC namespace ------------------------------------------------------------ */

/* Child: goes on in a namespace of its own, uses the library there, and sweeps. */
static void leave_the_namespace(check_peer *parent, void *arg)
{
    smem_context *ctx = arg;
    smem_segment *made, *found;
    if (unshare(CLONE_NEWIPC) != 0) {
        check_tell(parent, 0);
        return;
    }
    CHECK_CODE(smem_attach(ctx, check_name("b"), SMEM_READ_WRITE, &found), SMEM_E_NOT_FOUND);
    CHECK_OK(create_on(ctx, SMEM_SYSV, check_name("a"), 0, &made));
    CHECK_OK(smem_reclaim(ctx, NULL));
    check_tell(parent, 1);
    check_hear(parent);
    CHECK_EQ(smem_is_current(made), 1);
    smem_detach(made);
}

/* Child: has what its parent has, and frees nothing. */
static void keep_until_killed(check_peer *parent, void *arg)
{
    (void)arg;
    check_tell(parent, 1);
    check_hear(parent);
}

/* A process that changes its IPC namespace sweeps that one, and leaves the other's journal alone. */
TEST(ipc_namespace_that_is_left)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *made, *received;
    smem_reclaimed freed;
    uint64_t ticket;
    CHECK_OK(create_on(ctx, SMEM_SYSV, check_name("b"), 0, &made));
    smem_info info = *smem_info_of(made);
    CHECK_OK(smem_ticket_issue(made, &ticket));
    smem_detach(made); /* in flight */
    check_peer child = check_fork(leave_the_namespace, ctx);
    if (check_hear(&child) == 0)
        check_skip("no IPC namespace");
    CHECK_OK(smem_reclaim(ctx, &freed));
    CHECK_EQ(freed.segments, 0);
    CHECK_OK(smem_receive(ctx, SMEM_SYSV, check_name("b"), info.nonce, SMEM_READ_WRITE, ticket,
                          &received));
    check_peer last = check_fork(keep_until_killed, ctx);
    CHECK_EQ(check_hear(&last), 1);
    smem_detach(received);
    check_kill(&last);
    CHECK_OK(smem_reclaim(ctx, &freed));
    CHECK_EQ(freed.segments, 1); /* it is journalled as ever */
    check_tell(&child, 1);
    CHECK_EQ(check_wait(&child), 0);
    smem_close(ctx);
}

static unsigned looks, looks_until_failure;
static int look_error;

static int stat_without_memory(const char *path, struct stat *out)
{
    if (strstr(path, "/ns/ipc") && ++looks == looks_until_failure) {
        errno = look_error;
        return -1;
    }
    return real.stat(path, out);
}

/* Child: makes a segment, but for the look at its namespace that fails, and is killed. */
static void make_without_memory(check_peer *parent, void *arg)
{
    smem_segment *made;
    smem__sys.stat = stat_without_memory;
    int rc = create_on(arg, SMEM_SYSV, check_name("a"), 0, &made);
    CHECK(rc == 0 || rc == -ENOMEM);
    check_tell(parent, rc == 0);
    check_hear(parent);
}

/* A namespace that cannot be looked at just now is not taken for another one: what is made
   then would be reclaimed by nobody. */
TEST(ipc_namespace_that_is_not_seen)
{
    keep_real();
    smem_context *ctx = check_open(NULL);
    unsigned family = check_left(false); /* its files */
    for (int i = 0; i < 6; i++) {
        looks_until_failure = 1 + (unsigned)i / 2;
        look_error = i % 2 ? ENOMEM : EACCES; /* or there is no /proc for the maker */
        check_peer child = check_fork(make_without_memory, ctx);
        check_hear(&child);
        check_kill(&child);
        CHECK_OK(smem_reclaim(ctx, NULL));
        CHECK_EQ(check_left(false), family);
    }
    smem_close(ctx);
}

int main(int argc, char **argv)
{
    return check_main_on_backend(argc, argv, &backend);
}
