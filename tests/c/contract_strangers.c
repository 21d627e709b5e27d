/* Contract: other users, and what is not ours or not as it was. */
#include "contract.h"

#include "os/backend.h"
#include "os/syscalls.h"
#include "segment/gate.h"
#include "segment/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- permissions ------------------------------------------------------------------- */

static unsigned kernel_permissions(const smem_info *info)
{
    struct shmid_ds segment;
    struct stat file;
    char path[512];
    if (info->backend == SMEM_SYSV) {
        CHECK_EQ(shmctl((int)info->kernel_id, IPC_STAT, &segment), 0);
        return segment.shm_perm.mode & 0777;
    }
    snprintf(path, sizeof path, "%s/smem.%u.s.%s", check_directory(), (unsigned)geteuid(),
             info->name);
    CHECK_EQ(stat(path, &file), 0);
    return file.st_mode & 07777;
}

/* Segments are private unless made otherwise, whatever the umask is. */
TEST(permissions_are_what_was_asked)
{
    smem_context *ctx = check_open(NULL);
    const unsigned asked[] = {0, 0600, 0644, 0666, 0700, 0777};
    const mode_t masks[] = {0, 077, 0777};
    for (size_t m = 0; m < 3; m++)
        for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
            smem_spec spec = vector(check_name("permissions"));
            smem_segment *segment;
            spec.permissions = asked[i];
            mode_t before = umask(masks[m]);
            CHECK_OK(smem_create(ctx, &spec, &segment));
            umask(before);
            unsigned want = asked[i] ? asked[i] : 0600;
            CHECK_EQ(kernel_permissions(smem_info_of(segment)), want);
            CHECK_EQ(smem_info_of(segment)->permissions, want);
            smem_detach(segment);
        }
    smem_close(ctx);
}

enum { NOBODY = 65534 };

/* Child: another user, who attaches what its permissions allow. */
static void visit_as_nobody(check_peer *parent, void *arg)
{
    uint32_t owner = (uint32_t)((const job *)arg)->number;
    smem_segment *segment;
    uint64_t ticket;
    CHECK_EQ(setresgid(NOBODY, NOBODY, NOBODY), 0);
    CHECK_EQ(setresuid(NOBODY, NOBODY, NOBODY), 0);
    smem_context *ctx = check_open("visitors");
    CHECK_CODE(smem_attach_owned(ctx, check_name("private"), SMEM_READ_ONLY, owner, &segment),
               -EACCES);
    check_no_name(ctx, check_name("readable")); /* not without naming the owner */
    CHECK_CODE(smem_attach_owned(ctx, check_name("readable"), SMEM_READ_WRITE, owner, &segment),
               -EACCES);
    CHECK_OK(smem_attach_owned(ctx, check_name("readable"), SMEM_COPY_ON_WRITE, owner, &segment));
    CHECK(*at(segment, 0) == 42);
    smem_detach(segment);
    CHECK_OK(smem_attach_owned(ctx, check_name("readable"), SMEM_READ_ONLY, owner, &segment));
    CHECK_EQ(smem_info_of(segment)->owner, owner);
    CHECK_CODE(smem_ticket_issue(segment, &ticket), SMEM_E_UNLINKED);
    check_tell(parent, 1);
    check_hear(parent); /* the owner has dropped it */
    CHECK(*at(segment, 0) == 42);
    smem_detach(segment);
    smem_close(ctx);
}

/* Another user attaches by naming the owner, as the bits permit, and keeps the memory. */
TEST(another_user_visits)
{
    if (geteuid() != 0)
        check_skip("only root can become another user");
    smem_context *ctx = check_open(NULL);
    smem_segment *private = create(ctx, check_name("private")), *readable;
    smem_spec spec = vector(check_name("readable"));
    job todo = {.number = geteuid()};
    spec.permissions = 0644;
    CHECK_OK(smem_create(ctx, &spec, &readable));
    *at(readable, 0) = 42;
    check_peer child = check_fork(visit_as_nobody, &todo);
    check_hear(&child);
    smem_detach(readable);
    smem_detach(private);
    finish(&child);
    CHECK_OK(smem_reclaim(ctx, NULL));
    check_no_name(ctx, check_name("readable"));
    smem_close(ctx);
}

/* ---- locks of other users ------------------------------------------------------------ */

static smem__syscalls real;
static unsigned tries; /* to lock anything */

static int count_fcntl(int fd, int command, struct flock *lock)
{
    tries++;
    return real.fcntl_lock(fd, command, lock);
}

static int count_flock(int fd, int operation)
{
    tries++;
    return real.flock(fd, operation);
}

static void count_tries(void)
{
    if (geteuid() != 0 || backend != SMEM_POSIX)
        check_skip("only root can become another user, and only files have locks");
    real = smem__sys;
    smem__sys.fcntl_lock = count_fcntl;
    smem__sys.flock = count_flock;
}

/* How many since the last time; one who waits makes thousands. */
static unsigned tried(void)
{
    unsigned n = tries;
    tries = 0;
    return n;
}

/* Child: another user, who opens the job's file as he may, and locks each byte of it. */
static void lock_as_nobody(check_peer *parent, void *arg)
{
    const job *todo = arg;
    bool writes = todo->number == F_WRLCK;
    struct flock all = {.l_type = (short)todo->number, .l_whence = SEEK_SET};
    CHECK_EQ(setresgid(NOBODY, NOBODY, NOBODY), 0);
    CHECK_EQ(setresuid(NOBODY, NOBODY, NOBODY), 0);
    int fd = open(todo->name, writes ? O_RDWR : O_RDONLY);
    CHECK(fd >= 0);
    if (fcntl(fd, F_OFD_SETLK, &all) != 0) /* a kernel without */
        CHECK_EQ(flock(fd, writes ? LOCK_EX : LOCK_SH), 0);
    check_tell(parent, 1);
    check_hear(parent);
}

static check_peer let_lock(const char *name, short type)
{
    static char path[512];
    static job todo;
    snprintf(path, sizeof path, "%s/smem.%u.s.%s", check_directory(), (unsigned)geteuid(), name);
    todo = (job){.name = path, .number = (uint64_t)type};
    check_peer child = check_fork(lock_as_nobody, &todo);
    CHECK_EQ(check_hear(&child), 1);
    tried();
    return child;
}

static smem_segment *create_for(smem_context *ctx, const char *name, uint32_t permissions,
                                unsigned flags)
{
    smem_spec spec = vector(name);
    smem_segment *segment;
    spec.permissions = permissions;
    spec.flags = flags;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    return segment;
}

/* Who may read a segment can keep its memory by a lock, and nothing else: its owner waits for
   nobody when he takes the name, gives it to another, drops the segment, sweeps or leaves. */
TEST(readers_locks_are_not_waited_for)
{
    count_tries();
    smem_context *ctx = check_open(NULL);
    smem_segment *one = create_for(ctx, check_name("locked"), 0644, 0), *two, *three;
    check_peer first = let_lock(smem_info_of(one)->name, F_RDLCK);
    CHECK_OK(smem_unlink(ctx, smem_info_of(one)->name));
    CHECK(tried() < 50);
    two = create_for(ctx, smem_info_of(one)->name, 0644, 0);
    check_peer second = let_lock(smem_info_of(two)->name, F_RDLCK);
    three = create_for(ctx, smem_info_of(two)->name, 0644, SMEM_REPLACE);
    CHECK(tried() < 50);
    CHECK(smem_is_current(three));
    check_peer third = let_lock(smem_info_of(three)->name, F_RDLCK);
    smem_info left = facts(three);
    smem_detach(one);
    smem_detach(two);
    smem_detach(three);
    CHECK_OK(smem_reclaim(ctx, NULL));
    smem_close(ctx);
    CHECK(tried() < 100);
    CHECK(check_exists(&left));
    finish(&first);
    finish(&second);
    finish(&third);
    ctx = check_open(NULL);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK(!check_exists(&left));
    smem_close(ctx);
}

/* Who may write it can bar it from being attached or freed, not its owner from its name. */
TEST(writers_locks_do_not_keep_a_name)
{
    count_tries();
    smem_context *ctx = check_open(NULL);
    const unsigned flags[] = {0, SMEM_REPLACE};
    for (int i = 0; i < 2; i++) {
        smem_segment *made = create_for(ctx, check_name("locked"), 0666, SMEM_PERSISTENT), *found;
        smem_info info = facts(made);
        smem_detach(made);
        check_peer child = let_lock(info.name, F_WRLCK);
        CHECK_CODE(smem_attach(ctx, info.name, SMEM_READ_WRITE, &found), SMEM_E_BUSY);
        CHECK(tried() < (smem__byte_locks() ? 1000 : 10000)); /* flock is tried several times */
        CHECK_CODE(try_create(ctx, info.name, 0, &found), SMEM_E_EXISTS);
        CHECK_OK(smem_reclaim(ctx, NULL));
        CHECK(check_exists(&info));
        if (flags[i])
            smem_detach(create_for(ctx, info.name, 0666, flags[i]));
        else
            CHECK_OK(smem_unlink(ctx, info.name));
        CHECK(tried() < 200);
        check_no_name(ctx, info.name);
        finish(&child);
    }
    smem_close(ctx);
}

static bool refused;

/* Somebody else is in the gate at the first try. */
static int fcntl_after_another(int fd, int command, struct flock *lock)
{
    if (!refused && lock->l_start >= 16 && lock->l_type == F_WRLCK) {
        refused = true;
        errno = EAGAIN;
        return -1;
    }
    return real.fcntl_lock(fd, command, lock);
}

/* What others can write to is gone when it was dropped, though the gate was in use. */
TEST(the_gate_is_waited_for_briefly)
{
    smem_context *ctx = check_open(NULL);
    if (!smem__byte_locks()) {
        smem_close(ctx);
        check_skip("gates are no locks on bytes here");
    }
    smem_segment *made = create_for(ctx, check_name("exposed"), 0666, 0);
    smem_info info = facts(made);
    real = smem__sys;
    smem__sys.fcntl_lock = fcntl_after_another;
    smem_detach(made);
    smem__sys = real;
    CHECK(refused);
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

/* Child: another user, whose key somebody has taken. */
static void create_as_nobody(check_peer *parent, void *arg)
{
    (void)parent;
    (void)arg;
    CHECK_EQ(setresgid(NOBODY, NOBODY, NOBODY), 0);
    CHECK_EQ(setresuid(NOBODY, NOBODY, NOBODY), 0);
    smem_context *ctx = check_open("visitors");
    check_no_name(ctx, check_name("mine"));
    smem_detach(create(ctx, check_name("mine")));
    smem_close(ctx);
}

/* Another user's segment that may not even be looked at does not bar the name whose key it has. */
TEST(a_stranger_on_the_key)
{
    if (geteuid() != 0)
        check_skip("only root can become another user");
    int id = shmget(smem__sysv_key(NOBODY, check_name("mine"), 0), 4096, IPC_CREAT | 0600);
    CHECK(id >= 0);
    check_peer child = check_fork(create_as_nobody, NULL);
    CHECK_EQ(check_wait(&child), 0);
    CHECK_EQ(shmctl(id, IPC_RMID, NULL), 0);
}

/* ---- what is not ours ---------------------------------------------------------------- */

/* A segment whose header is damaged is not attached, and harms nobody who looks. */
TEST(damaged_headers_are_refused)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *made = create(ctx, check_name("damaged")), *found;
    smem__layout *header = header_of(made), whole;
    memcpy(&whole, header, sizeof whole);
    for (int i = 0; i < 6; i++) {
        smem_info info;
        seen all = {.ctx = other};
        switch (i) {
        case 0: memset(header->magic, 0, 8); break;
        case 1: header->version++; break;
        case 2: header->size += 4096; break;
        case 3: header->data_offset = 0; break;
        case 4: header->shape[0]++; break;
        case 5: header->name_length = 201; break;
        }
        int rc = smem_attach(other, check_name("damaged"), SMEM_READ_WRITE, &found);
        CHECK(rc == SMEM_E_FORMAT || rc == SMEM_E_VERSION || rc == SMEM_E_NOT_FOUND);
        CHECK(smem_stat(other, check_name("damaged"), &info, NULL) == rc);
        CHECK_OK(smem_list(other, see, &all));
        CHECK_EQ(all.count, 0);
        CHECK_OK(smem_reclaim(other, NULL));
        memcpy(header, &whole, sizeof whole);
    }
    found = attach(other, check_name("damaged"), SMEM_READ_WRITE);
    smem_detach(found);
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

/* A link, directory, FIFO or foreign file under our name is never followed, opened or removed. */
TEST(strange_files_are_refused)
{
    if (backend != SMEM_POSIX)
        check_skip("files are posix's");
    smem_context *ctx = check_open(NULL);
    char path[512], target[512];
    smem_segment *segment;
    struct stat st;
    snprintf(path, sizeof path, "%s/smem.%u.s.strange", check_directory(), (unsigned)geteuid());
    snprintf(target, sizeof target, "%s/target", check_directory());
    for (int i = 0; i < 5; i++) {
        int want = SMEM_E_SECURITY;
        switch (i) {
        case 0: CHECK_EQ(symlink(target, path), 0); break;
        case 1: CHECK_EQ(mkdir(path, 0700), 0); break;
        case 2: CHECK_EQ(mkfifo(path, 0600), 0); break;
        case 3: /* too short for a header */
        case 4:
            close(open(path, O_CREAT | O_WRONLY, 0600));
            want = SMEM_E_FORMAT;
            if (i == 4) {
                if (geteuid() != 0)
                    continue;
                CHECK_EQ(chown(path, NOBODY, NOBODY), 0);
                want = SMEM_E_SECURITY;
            }
        }
        CHECK_CODE(smem_attach(ctx, "strange", SMEM_READ_ONLY, &segment), want);
        CHECK_CODE(try_create(ctx, "strange", 0, &segment), want);
        CHECK_CODE(smem_unlink(ctx, "strange"), want);
        CHECK_OK(smem_reclaim(ctx, NULL));
        CHECK_EQ(lstat(path, &st), 0);
        CHECK_EQ(access(target, F_OK), -1);
        CHECK_EQ(remove(path), 0);
    }
    smem_close(ctx);
}

/* Segments of other programs on a name's first keys are neither used nor touched. */
TEST(strangers_on_our_keys)
{
    if (backend != SMEM_SYSV)
        check_skip("keys are sysv's");
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    int ids[2];
    for (unsigned i = 0; i < 2; i++) {
        ids[i] = shmget(smem__sysv_key(geteuid(), check_name("key"), i), 8192,
                        IPC_CREAT | IPC_EXCL | 0600);
        CHECK(ids[i] >= 0);
    }
    check_no_name(ctx, check_name("key"));
    smem_segment *made = create(ctx, check_name("key"));
    smem_segment *found = attach(other, check_name("key"), SMEM_READ_WRITE);
    CHECK_EQ(smem_info_of(found)->nonce, smem_info_of(made)->nonce);
    CHECK(smem_info_of(found)->kernel_id != ids[0] && smem_info_of(found)->kernel_id != ids[1]);
    smem_detach(made);
    smem_detach(found);
    CHECK_OK(smem_reclaim(ctx, NULL));
    for (int i = 0; i < 2; i++) {
        struct shmid_ds st;
        CHECK_EQ(shmctl(ids[i], IPC_STAT, &st), 0);
        CHECK_EQ(st.shm_nattch, 0);
        CHECK_EQ(shmctl(ids[i], IPC_RMID, NULL), 0);
    }
    smem_close(other);
    smem_close(ctx);
}

static smem__place here;
static smem__entry entry;
static uint32_t slot;
static int stranger;
static int (*called_shmget)(key_t key, size_t size, int flags);

static void journal(bool add)
{
    smem__gate gate;
    CHECK_OK(smem__gate_enter_journal(&here, add, &gate));
    CHECK_OK(add ? smem__journal_add(&gate, &entry, &slot)
                 : smem__journal_remove(&gate, slot, entry.nonce));
    smem__gate_leave(&gate);
}

/* The maker came to an end after the sweep had read the journal, and its key is another's. */
static int shmget_after_maker(key_t key, size_t size, int flags)
{
    if (key == entry.key && stranger < 0) {
        journal(false);
        stranger = shmget(key, (size_t)entry.size, IPC_CREAT | IPC_EXCL | 0600);
    }
    return called_shmget(key, size, flags);
}

/* What is half-made is swept, but not another program's new segment on a key that a maker had. */
TEST(strangers_on_a_former_key)
{
    if (backend != SMEM_SYSV)
        check_skip("keys are sysv's");
    struct shmid_ds st;
    smem_context *ctx = check_open(NULL);
    const char *name = check_name("former");
    CHECK_OK(smem__place_find(&here, check_directory()));
    entry = (smem__entry){.gate_plus_1 = 1 + (uint64_t)smem__name_gate(name),
                          .nonce = 5,
                          .ipc = here.ipc,
                          .size = 8192,
                          .since = smem__now(),
                          .key = smem__sysv_key(geteuid(), name, 0)};
    called_shmget = smem__sys.shmget;
    for (int ended = 0; ended < 2; ended++) {
        journal(true);
        stranger = ended ? -1 : shmget(entry.key, (size_t)entry.size, IPC_CREAT | IPC_EXCL | 0600);
        smem__sys.shmget = shmget_after_maker;
        CHECK_OK(smem_reclaim(ctx, NULL));
        smem__sys.shmget = called_shmget;
        CHECK(stranger >= 0);
        CHECK_EQ(shmctl(stranger, IPC_STAT, &st), ended ? 0 : -1);
    }
    CHECK_EQ(shmctl(stranger, IPC_RMID, NULL), 0);
    smem_close(ctx);
}

/* Files that somebody removes take names away, but no memory and no other segment's name. */
TEST(vanished_files)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *a = create(ctx, check_name("vanish-a")), *found;
    char path[512];
    uint64_t ticket;
    *at(a, 0) = 4;
    if (backend == SMEM_POSIX)
        snprintf(path, sizeof path, "%s/smem.%u.s.%s", check_directory(), (unsigned)geteuid(),
                 smem_info_of(a)->name);
    else
        snprintf(path, sizeof path, "%s/smem.%u.u.journal", check_directory(),
                 (unsigned)geteuid());
    CHECK_EQ(unlink(path), 0);
    smem_segment *b = create(ctx, check_name("vanish-b"));
    seen all = {.ctx = ctx};
    CHECK_OK(smem_list(ctx, see, &all));
    if (backend == SMEM_POSIX) {
        CHECK_EQ(all.count, 1);
        CHECK_EQ(smem_is_current(a), 0);
        CHECK_CODE(smem_ticket_issue(a, &ticket), SMEM_E_UNLINKED);
    } else { /* the journal was made anew with both */
        CHECK_EQ(all.count, 2);
        found = attach(ctx, check_name("vanish-a"), SMEM_READ_WRITE);
        CHECK(found == a);
        smem_detach(found);
    }
    CHECK(*at(a, 0) == 4);
    smem_detach(a);
    smem_detach(b);
    smem_close(ctx);
}

/* Without a place for files posix segments are refused, and sysv's are made instead. */
TEST(no_place_for_files)
{
    smem_options options = {.directory = "/nonexistent/directory"};
    smem_context *ctx;
    smem_segment *segment;
    CHECK_OK(smem_open(&options, &ctx));
    smem_spec spec = vector(check_name("place"));
    int rc = smem_create(ctx, &spec, &segment);
    CHECK_CODE(rc, backend == SMEM_POSIX ? SMEM_E_PLACE : 0);
    if (rc == 0)
        smem_detach(segment);
    spec.backend = SMEM_ANY;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    CHECK_EQ(smem_info_of(segment)->backend, SMEM_SYSV);
    smem_detach(segment);
    check_no_name(ctx, check_name("place"));
    smem_close(ctx);
}
