/* Contract: idle segments and what is made of them. */
#include "contract.h"

#include "os/syscalls.h"
#include "segment/share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LARGE = 1 << 17 }; /* doubles: so large that header and data are mapped apart */

/* What the Python layer asks for: no name, known to nobody. */
static smem_segment *make(smem_context *ctx, const int64_t *count, unsigned flags)
{
    smem_spec spec = vector(NULL);
    smem_segment *segment;
    spec.backend = backend;
    spec.shape = count;
    spec.flags = flags | SMEM_UNPUBLISHED;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    return segment;
}

static smem_context *open_bounded(const char *family, const char *bound)
{
    CHECK_EQ(setenv("SHAREDMEM_CACHE", bound, 1), 0);
    smem_context *ctx = check_open(family);
    CHECK_EQ(unsetenv("SHAREDMEM_CACHE"), 0);
    return ctx;
}

/* A participant that may keep as much as it drops here. */
static smem_context *open_warm(const char *family)
{
    return open_bounded(family, "100000000");
}

static smem_statistics stats(smem_context *ctx)
{
    smem_statistics out;
    smem_stats(ctx, &out);
    return out;
}

static const int64_t sizes[] = {1000, LARGE};
enum { SIZES = 2 };

/* A segment that nobody was told of is made again without looking at the kernel. */
TEST(cache_private_is_reused)
{
    for (int i = 0; i < SIZES; i++) {
        smem_context *ctx = open_warm(NULL);
        smem_segment *segment = make(ctx, &sizes[i], 0);
        double *data = at(segment, 0);
        uint64_t nonce = smem_info_of(segment)->nonce;
        *at(segment, 7) = 7;
        smem_detach(segment);
        CHECK_EQ(stats(ctx).idle, 1);
        segment = make(ctx, &sizes[i], SMEM_UNINITIALIZED);
        CHECK(at(segment, 0) == data);
        CHECK(*at(segment, 7) == 7);
        CHECK_EQ(smem_info_of(segment)->nonce, nonce);
        CHECK_EQ(stats(ctx).reused, 1);
        smem_detach(segment);
        segment = make(ctx, &sizes[i], 0);
        CHECK(*at(segment, 7) == 0); /* zeros are zeros */
        smem_detach(segment);
        smem_close(ctx);
    }
}

/* What was told of a segment does not lead to the one that was made of it. */
TEST(cache_published_gets_another_identity)
{
    check_skip_in_valgrind("it loses count of a file's name when a mapping's first page is mapped anew");
    for (int i = 0; i < SIZES; i++) {
        smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
        smem_segment *segment = make(ctx, &sizes[i], 0), *again, *attached;
        smem_publish(segment);
        smem_info info = facts(segment);
        *at(segment, 0) = 5;
        smem_detach(segment);
        CHECK_EQ(stats(ctx).idle, backend == SMEM_POSIX);
        check_no_name(other, info.name);
        again = make(ctx, &sizes[i], 0);
        if (backend == SMEM_POSIX)
            CHECK_EQ(smem_info_of(again)->kernel_id, info.kernel_id);
        CHECK(smem_info_of(again)->nonce != info.nonce);
        smem_publish(again);
        check_no_name(other, info.name);
        CHECK_CODE(receive(other, &info, SMEM_READ_WRITE, 0, &attached), SMEM_E_NOT_FOUND);
        attached = attach(other, smem_info_of(again)->name, SMEM_READ_WRITE);
        CHECK(*at(attached, 0) == 0);
        smem_detach(attached);
        smem_detach(again);
        smem_close(ctx);
        smem_close(other);
    }
}

/* Nobody attaches what is not published, used or idle. */
TEST(cache_private_is_not_found)
{
    smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
    smem_segment *segment = make(ctx, &sizes[0], 0), *attached;
    smem_info info = facts(segment);
    for (int idle = 0; idle < 2; idle++) {
        for (int mode = SMEM_READ_WRITE; mode <= SMEM_COPY_ON_WRITE; mode++) {
            CHECK_CODE(smem_attach(other, info.name, mode, &attached), SMEM_E_NOT_FOUND);
            CHECK_CODE(receive(other, &info, mode, 0, &attached), SMEM_E_NOT_FOUND);
        }
        CHECK_OK(smem_reclaim(other, NULL));
        CHECK(check_exists(&info));
        if (!idle)
            smem_detach(segment);
    }
    smem_close(ctx);
    CHECK(!check_exists(&info));
    smem_close(other);
}

/* What somebody else maps, or will, is left to them. */
TEST(cache_leaves_what_others_use)
{
    check_skip_in_valgrind("it loses count of a file's name when a mapping's first page is mapped anew");
    for (int i = 0; i < SIZES; i++) {
        smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
        smem_segment *segment = make(ctx, &sizes[i], 0), *attached;
        smem_info info;
        uint64_t ticket;
        smem_publish(segment);
        *at(segment, 0) = 5;
        attached = attach(other, smem_info_of(segment)->name, SMEM_READ_WRITE);
        smem_detach(segment);
        CHECK_EQ(stats(ctx).idle, 0);
        CHECK(*at(attached, 0) == 5);
        info = facts(attached);
        CHECK_OK(smem_ticket_issue(attached, &ticket));
        smem_detach(attached);
        CHECK_EQ(stats(other).idle, 0);
        CHECK_OK(receive(ctx, &info, SMEM_READ_WRITE, ticket, &segment));
        CHECK(*at(segment, 0) == 5);
        smem_detach(segment); /* the last one: its user keeps it, whoever made it */
        CHECK_EQ(stats(ctx).idle, backend == SMEM_POSIX);
        CHECK_EQ(check_exists(&info), backend == SMEM_POSIX); /* idle, by another name */
        if (backend == SMEM_POSIX) {
            segment = make(ctx, &sizes[i], SMEM_UNINITIALIZED);
            CHECK(*at(segment, 0) == 5); /* the same pages, though they may have been mapped anew */
            smem_publish(segment);
            CHECK_OK(smem_stat(other, smem_info_of(segment)->name, &info, NULL));
            CHECK_EQ(info.mapped, 1);
            smem_info_clear(&info);
            smem_detach(segment);
        }
        smem_close(ctx);
        smem_close(other);
        CHECK(!check_exists(&info));
    }
}

/* [count] segments of another's are attached together, then dropped. */
static void come_and_go(smem_context *maker, smem_context *user, int count)
{
    smem_segment *attached[4];
    for (int i = 0; i < count; i++) {
        smem_segment *made = make(maker, &sizes[0], 0);
        smem_publish(made);
        attached[i] = attach(user, smem_info_of(made)->name, SMEM_READ_WRITE);
        smem_detach(made);
        smem_trim(maker, 0);
    }
    while (count--)
        smem_detach(attached[count]);
}

/* What others make is kept as far as it was in use at once, however often it comes. */
TEST(cache_does_not_gather)
{
    smem_context *maker = open_warm(NULL), *user = open_warm(NULL);
    const uint64_t kept = backend == SMEM_POSIX;
    for (int i = 0; i < 5; i++) {
        come_and_go(maker, user, 1);
        CHECK_EQ(stats(user).idle, kept);
    }
    for (int i = 0; i < 3; i++) {
        come_and_go(maker, user, 3);
        CHECK_EQ(stats(user).idle, 3 * kept);
    }
    smem_segment *own[6]; /* made here, of idle memory and anew: displaces nothing, and stays */
    for (int i = 0; i < 6; i++)
        own[i] = make(user, &sizes[0], 0);
    for (int i = 0; i < 6; i++)
        smem_detach(own[i]);
    come_and_go(maker, user, 1);
    come_and_go(maker, user, 1);
    CHECK_EQ(stats(user).idle, 6 + kept);
    smem_close(maker);
    smem_close(user);
}

/* Child: one that it attached itself is idle when it drops the inherited one. */
static void gather_inherited(check_peer *parent, void *arg)
{
    const job *todo = arg;
    smem_context *maker = open_warm(NULL);
    check_hear(parent); /* it has dropped it */
    come_and_go(maker, todo->ctx, 1);
    smem_detach(todo->segment);
    CHECK_EQ(stats(todo->ctx).idle, backend == SMEM_POSIX ? 2 : 0);
    smem_close(maker);
    smem_leave(todo->ctx);
}

/* What became idle in a child was in use beside all that the child has inherited. */
TEST(cache_does_not_gather_in_a_child)
{
    smem_context *maker = open_warm(NULL), *user = open_warm(NULL);
    for (int i = 0; i < 5; i++)
        come_and_go(maker, user, 1);
    smem_segment *made = make(maker, &sizes[0], 0);
    smem_publish(made);
    job todo = {user, NULL, attach(user, smem_info_of(made)->name, SMEM_READ_WRITE), 0};
    smem_detach(made);
    check_peer child = check_fork(gather_inherited, &todo);
    smem_detach(todo.segment);
    check_tell(&child, 0);
    CHECK_EQ(check_wait(&child), 0);
    smem_close(maker);
    smem_close(user);
}

static void keep_inherited(check_peer *parent, void *arg)
{
    const job *todo = arg;
    smem_segment *segment = todo->segment;
    check_hear(parent);
    CHECK(*at(segment, 0) == 5);
    CHECK_EQ(stats(todo->ctx).idle, 0); /* a child begins with none */
    check_tell(parent, 1);
    check_hear(parent);
    CHECK(*at(segment, 0) == 5);
    smem_detach(segment);
}

/* What a forked child has inherited is not given out again while it has it. */
TEST(cache_and_fork)
{
    for (int i = 0; i < SIZES; i++) {
        smem_context *ctx = open_warm(NULL);
        smem_segment *segment = make(ctx, &sizes[i], 0), *idle = make(ctx, &sizes[i], 0), *again;
        job todo = {ctx, NULL, segment, 0};
        *at(segment, 0) = 5;
        double *data = at(idle, 0);
        smem_detach(idle);
        check_peer child = check_fork(keep_inherited, &todo);
        check_tell(&child, 0);
        check_hear(&child);
        smem_detach(segment);
        CHECK_EQ(stats(ctx).idle, 1); /* the one that was idle before */
        again = make(ctx, &sizes[i], 0);
        CHECK(at(again, 0) == data);
        *at(again, 0) = 6;
        check_tell(&child, 0);
        CHECK_EQ(check_wait(&child), 0);
        CHECK(*at(again, 0) == 6);
        smem_detach(again);
        smem_close(ctx);
    }
}

static void publish_and_end(check_peer *parent, void *arg)
{
    const job *todo = arg;
    uint64_t ticket;
    CHECK_OK(smem_ticket_issue(todo->segment, &ticket));
    check_tell(parent, ticket);
    _exit(0);
}

/* A child may send what it inherited before its parent told anybody of it. */
TEST(cache_child_publishes)
{
    smem_context *ctx = open_warm(NULL), *other = open_warm(smem_family_name(ctx));
    smem_segment *segment = make(ctx, &sizes[0], 0), *received;
    smem_info info = facts(segment);
    job todo = {ctx, NULL, segment, 0};
    *at(segment, 0) = 5;
    check_peer child = check_fork(publish_and_end, &todo);
    uint64_t ticket = check_hear(&child);
    CHECK_EQ(check_wait(&child), 0);
    smem_detach(segment);
    CHECK_EQ(stats(ctx).idle, 0);
    CHECK_OK(receive(other, &info, SMEM_READ_WRITE, ticket, &received));
    CHECK(*at(received, 0) == 5);
    smem_detach(received);
    smem_close(ctx);
    smem_close(other);
}

/* Only what was made without a name, for its owner alone, with its pages, is kept. */
TEST(cache_refuses)
{
    smem_context *ctx = open_warm(NULL);
    smem_spec spec = vector(NULL);
    smem_segment *segment;
    spec.backend = backend;
    const struct {
        const char *name;
        unsigned flags, permissions;
    } no[] = {
        {check_name("cache"), 0, 0}, {NULL, SMEM_NO_RESERVE, 0}, {NULL, 0, 0660}};
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        spec.name = no[i].name;
        spec.flags = no[i].flags | SMEM_UNPUBLISHED;
        spec.permissions = no[i].permissions;
        CHECK_OK(smem_create(ctx, &spec, &segment));
        smem_detach(segment);
        CHECK_EQ(stats(ctx).idle, 0);
    }
    segment = make(ctx, &sizes[0], 0);
    CHECK_OK(smem_unlink_segment(segment));
    smem_detach(segment);
    CHECK_EQ(stats(ctx).idle, 0);
    smem_close(ctx);
}

/* Another shape and dtype that fit take the place; what does not fit is made anew. */
TEST(cache_fits)
{
    smem_context *ctx = open_warm(NULL);
    smem_segment *segment = make(ctx, &sizes[1], 0);
    const int64_t shape[] = {3, 5, 7}, fewer[] = {LARGE - 8192}, half[] = {LARGE / 2};
    double *data = at(segment, 0);
    smem_detach(segment);
    segment = make(ctx, half, 0); /* would waste too much */
    CHECK(at(segment, 0) != data);
    smem_detach(segment);
    segment = make(ctx, fewer, 0);
    CHECK(at(segment, 0) == data);
    CHECK_EQ(smem_info_of(segment)->nbytes, 8 * (LARGE - 8192));
    smem_detach(segment);
    segment = make(ctx, &sizes[0], 0);
    smem_detach(segment);
    smem_spec spec = {.dtype = "'|u1'", .itemsize = 1, .ndim = 3, .shape = shape, .backend = backend, .flags = SMEM_UNPUBLISHED, .nbytes = 5000};
    CHECK_OK(smem_create(ctx, &spec, &segment));
    smem_publish(segment);
    smem_info info;
    CHECK_OK(smem_stat(ctx, smem_info_of(segment)->name, &info, NULL));
    CHECK_STR(info.dtype, "'|u1'");
    CHECK_EQ(info.ndim, 3);
    CHECK_EQ(info.shape[2], 7);
    CHECK_EQ(info.strides[0], 35);
    CHECK_EQ(info.nbytes, 5000);
    CHECK_EQ(stats(ctx).reused, 2);
    smem_info_clear(&info);
    smem_detach(segment);
    smem_close(ctx);
}

/* Trimming frees the oldest first; leaving frees all; the bound is kept. */
TEST(cache_bound)
{
    smem_context *ctx = open_bounded(NULL, "9000000");
    smem_context *other = open_bounded(smem_family_name(ctx), "9000000");
    smem_segment *made[12];
    for (int i = 0; i < 12; i++)
        made[i] = make(i < 11 ? ctx : other, &sizes[1], 0);
    smem_info oldest = facts(made[0]), newest = facts(made[10]);
    for (int i = 0; i < 11; i++)
        smem_detach(made[i]);
    smem_statistics now = stats(ctx);
    CHECK(now.idle_bytes <= 9000000 && now.idle >= 7);
    CHECK_EQ(now.evicted, 11 - now.idle);
    CHECK(!check_exists(&oldest) && check_exists(&newest));
    smem_detach(made[11]); /* the family has all that it may have */
    CHECK_EQ(stats(other).idle, 0);
    CHECK(smem_trim(ctx, 3000000) > 0);
    CHECK(stats(ctx).idle_bytes <= 3000000 && check_exists(&newest));
    smem_detach(make(other, &sizes[1], 0));
    CHECK_EQ(stats(other).idle, 1);
    smem_leave(ctx);
    CHECK(!check_exists(&newest));
    smem_close(ctx);
    smem_close(other);
    ctx = open_bounded(NULL, "100000"); /* less than a share is asked for at once */
    smem_detach(make(ctx, &sizes[0], 0));
    CHECK_EQ(stats(ctx).idle, 1);
    smem_close(ctx);
    const char *nothing[] = {"0", "much", "1x"};
    for (int i = 0; i < 3; i++) {
        ctx = open_bounded(NULL, nothing[i]);
        smem_detach(make(ctx, &sizes[0], 0));
        CHECK_EQ(stats(ctx).bound, 0);
        CHECK_EQ(stats(ctx).idle, 0);
        smem_close(ctx);
    }
}

static void keep_and_wait(check_peer *parent, void *arg)
{
    (void)arg;
    smem_context *ctx = open_warm(NULL);
    smem_segment *segment = make(ctx, &sizes[1], 0);
    smem_publish(segment);
    smem_detach(segment);
    smem_detach(make(ctx, &sizes[0], 0));
    check_tell(parent, stats(ctx).idle);
    check_hear(parent);
}

/* What a killed process had idle goes like all that it had. */
TEST(cache_of_the_dead)
{
    smem_context *ctx = open_warm(NULL);
    check_peer child = check_fork(keep_and_wait, NULL);
    CHECK_EQ(check_hear(&child), 1 + (backend == SMEM_POSIX));
    CHECK_OK(smem_reclaim(ctx, NULL));
    check_kill(&child);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_EQ(check_files('s'), 0);
    smem_close(ctx);
}

static long faults(void)
{
    struct rusage use;
    CHECK_EQ(getrusage(RUSAGE_SELF, &use), 0);
    return use.ru_minflt;
}

static double sum(smem_segment *segment)
{
    double all = 0;
    for (int i = 0; i < LARGE; i += 512)
        all += *at(segment, i);
    return all;
}

/* What was dropped while others have it, or will, is mapped where it was when it comes
   again, with all its pages; under whatever name it comes. */
TEST(cache_away_comes_back)
{
    if (access("/proc/self/fd", X_OK) != 0)
        check_skip("a file is opened again by way of /proc");
    smem_context *ctx = open_warm(NULL), *other = open_warm(smem_family_name(ctx));
    smem_segment *segment = make(ctx, &sizes[1], 0), *received;
    uint64_t ticket;
    smem_publish(segment);
    for (int i = 0; i < LARGE; i += 512)
        *at(segment, i) = 1;
    received = attach(other, smem_info_of(segment)->name, SMEM_READ_WRITE);
    double *data = at(received, 0);
    CHECK_EQ(sum(received), LARGE / 512);
    smem_detach(received);
    CHECK_EQ(stats(other).idle, 0);
    CHECK_EQ(stats(other).away, backend == SMEM_POSIX);
    if (backend == SMEM_POSIX) {
        /* gone and made again by its owner, it has another name */
        smem_detach(segment);
        CHECK_EQ(stats(ctx).idle, 1);
        segment = make(ctx, &sizes[1], 0);
        smem_publish(segment);
        *at(segment, 0) = 5;
        smem_info info = facts(segment);
        /* sent, and dropped before it is received */
        CHECK_OK(smem_ticket_issue(segment, &ticket));
        double *sent = at(segment, 0);
        smem_detach(segment);
        CHECK_EQ(stats(ctx).away, 1);
        long before = faults();
        CHECK_OK(receive(other, &info, SMEM_READ_WRITE, ticket, &received));
        CHECK(at(received, 0) == data);
        CHECK_EQ(sum(received), 5);
        CHECK(faults() - before < 32 || check_in_valgrind()); /* of 256 pages; valgrind has its own */
        CHECK_EQ(stats(other).returned, 1);
        CHECK_OK(smem_ticket_issue(received, &ticket));
        smem_detach(received);
        CHECK_OK(receive(ctx, &info, SMEM_READ_WRITE, ticket, &segment));
        CHECK(at(segment, 0) == sent && *sent == 5);
    }
    smem_detach(segment);
    smem_close(ctx);
    smem_close(other);
    CHECK_EQ(check_files('s'), 0);
}

/* A mapping that is away keeps no memory of what was freed, and goes at the next look. */
TEST(cache_away_is_emptied)
{
    if (access("/proc/self/fd", X_OK) != 0)
        check_skip("a file is opened again by way of /proc");
    for (int by_hand = 0; by_hand < 2 && backend == SMEM_POSIX; by_hand++) {
        smem_context *ctx = open_bounded(NULL, "0"), *other = open_warm(NULL);
        smem_segment *segment = make(ctx, &sizes[1], 0), *received;
        unsigned char resident = 1;
        smem_publish(segment);
        received = attach(other, smem_info_of(segment)->name, SMEM_READ_WRITE);
        double *page = at(received, 0);
        *page = 1;
        smem_detach(received);
        CHECK_EQ(stats(other).away, 1);
        if (by_hand)
            CHECK_OK(smem_unlink_segment(segment));
        smem_detach(segment);
        CHECK_EQ(check_files('s'), 0);
        CHECK_EQ(mincore(page, 1, &resident), 0);
        CHECK_EQ(resident & 1, by_hand); /* counted against the bound */
        segment = make(other, &sizes[1], 0);
        smem_publish(segment);
        received = attach(ctx, smem_info_of(segment)->name, SMEM_READ_WRITE);
        smem_detach(segment);
        CHECK_EQ(stats(other).away, 1); /* this one, not the other */
        smem_detach(received);
        smem_close(other);
        smem_close(ctx);
        CHECK_EQ(check_files('s'), 0);
    }
}

/* Who leaves takes the name of what only it uses, and leaves its bytes as they are. */
TEST(cache_use_outlasts_leaving)
{
    for (int i = 0; i < SIZES; i++) {
        smem_context *ctx = open_warm(NULL);
        smem_segment *segment = make(ctx, &sizes[i], 0);
        *at(segment, 0) = *at(segment, (int)sizes[i] - 1) = 7;
        smem_leave(ctx);
        CHECK_EQ(check_files('s'), 0);
        CHECK(*at(segment, 0) == 7 && *at(segment, (int)sizes[i] - 1) == 7);
        smem_detach(segment);
        smem_close(ctx);
    }
}

static smem_context *sweeping;
static int (*called_open)(const char *path, int flags, mode_t mode);

/* Somebody else's sweep whenever a file is opened: also between the end of the leaving
   one's locks and its own test. */
static int open_after_sweep(const char *path, int flags, mode_t mode)
{
    smem_context *other = sweeping;
    sweeping = NULL; /* which opens files itself */
    if (other)
        CHECK_OK(smem_reclaim(other, NULL));
    sweeping = other;
    return called_open(path, flags, mode);
}

/* Who leaves while another sweeps keeps the bytes that it uses, in each mode. */
TEST(cache_use_outlasts_leaving_beside_a_sweep)
{
    for (int mode = SMEM_READ_WRITE; mode <= SMEM_COPY_ON_WRITE; mode++) {
        smem_context *ctx = open_warm(NULL), *other = check_open("other");
        smem_segment *made = make(ctx, &sizes[1], 0), *used;
        *at(made, 0) = *at(made, LARGE - 1) = 7;
        smem_publish(made);
        CHECK_OK(smem_attach(ctx, smem_info_of(made)->name, mode, &used));
        if (mode != SMEM_READ_WRITE)
            smem_detach(made);
        called_open = smem__sys.open;
        sweeping = other;
        smem__sys.open = open_after_sweep;
        smem_leave(ctx);
        smem__sys.open = called_open;
        CHECK(*at(used, 0) == 7 && *at(used, LARGE - 1) == 7);
        smem_detach(used);
        if (mode == SMEM_READ_WRITE)
            smem_detach(made);
        smem_close(ctx);
        smem_close(other);
    }
}

/* What somebody else does to a segment just before the next claim of it, once. */
static struct {
    int64_t kernel_id;
    void (*act)(void);
    smem__syscalls real;
} claimed;

static void act_before_claim(int fd)
{
    struct stat file;
    void (*act)(void) = claimed.act;
    if (!act || claimed.real.fstat(fd, &file) != 0 || (int64_t)file.st_ino != claimed.kernel_id)
        return;
    claimed.act = NULL; /* which claims it, too */
    act();
}

static int lock_after_others(int fd, int command, struct flock *lock)
{
    if (lock->l_type == F_WRLCK && lock->l_start == 0)
        act_before_claim(fd);
    return claimed.real.fcntl_lock(fd, command, lock);
}

static int flock_after_others(int fd, int operation)
{
    if (operation & LOCK_EX)
        act_before_claim(fd);
    return claimed.real.flock(fd, operation);
}

static void leave_after_others(smem_context *ctx, int64_t kernel_id, void (*act)(void))
{
    claimed.kernel_id = kernel_id;
    claimed.act = act;
    claimed.real = smem__sys;
    smem__sys.fcntl_lock = lock_after_others;
    smem__sys.flock = flock_after_others;
    smem_leave(ctx);
    smem__sys = claimed.real;
    CHECK(claimed.act == NULL);
}

static struct {
    smem_context *ctx, *leaver; /* who drops; who leaves and comes back meanwhile, or NULL */
    smem_segment *held, *left, *next;
    const int64_t *size;
} dropper;

/* The last but for those that leave drops it, and makes the next one. */
static void drop_and_make(void)
{
    if (dropper.leaver)
        smem_leave(dropper.leaver); /* the dropper has it, so it is locked again */
    smem_detach(dropper.left);
    smem_detach(dropper.held);
    dropper.next = make(dropper.ctx, dropper.size, 0);
    *at(dropper.next, 1) = 1;
}

static void leave_beside_a_drop(int size, int mode, bool made_there, bool two)
{
    smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
    smem_context *third = two ? open_warm(NULL) : NULL;
    smem_segment *made = make(made_there ? other : ctx, &sizes[size], 0), *used, *held;
    const char *name = smem_info_of(made)->name;
    *at(made, 0) = *at(made, 1) = 7;
    smem_publish(made);
    CHECK_OK(smem_attach(ctx, name, mode, &used));
    CHECK_OK(smem_attach(other, name, SMEM_READ_WRITE, &held));
    dropper.left = two ? attach(third, name, SMEM_READ_WRITE) : NULL;
    dropper.ctx = other;
    dropper.leaver = third;
    dropper.held = held;
    dropper.size = &sizes[size];
    smem_detach(made);
    leave_after_others(ctx, smem_info_of(used)->kernel_id, drop_and_make);
    CHECK(*at(used, 0) == 7 && *at(used, 1) == 7);
    CHECK(smem_info_of(dropper.next)->kernel_id != smem_info_of(used)->kernel_id);
    if (mode != SMEM_READ_ONLY)
        *at(used, 1) = 66;
    CHECK(*at(dropper.next, 0) == 0 && *at(dropper.next, 1) == 1);
    smem_detach(used);
    smem_detach(dropper.next);
    smem_close(ctx);
    smem_close(other);
    smem_close(third);
}

/* Who leaves keeps what it uses though the other user drops it in between and makes another
   array, and though a third one comes back from leaving meanwhile. */
TEST(cache_use_outlasts_leaving_beside_a_drop)
{
    check_skip_in_valgrind("it loses count of a file's name when a mapping's first page is mapped anew");
    if (backend != SMEM_POSIX)
        return; /* there the kernel counts who leaves, too */
    for (int i = 0; i < 8 * SIZES; i++)
        for (int mode = SMEM_READ_WRITE; mode <= SMEM_COPY_ON_WRITE; mode++)
            if (i / SIZES % 2 == 0 || mode == SMEM_READ_WRITE)
                leave_beside_a_drop(i % SIZES, mode, i / SIZES & 2, i / SIZES & 1);
}

static int open_nothing(const char *path, int flags, mode_t mode)
{
    (void)path, (void)flags, (void)mode;
    errno = EMFILE;
    return -1;
}

/* Who cannot say that it leaves does not: its use counts until the process has ended. */
TEST(cache_use_outlasts_leaving_without_a_file)
{
    check_skip_in_valgrind("it loses count of a file's name when a mapping's first page is mapped anew");
    for (int i = 0; i < SIZES; i++) {
        smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
        smem_segment *made = make(other, &sizes[i], 0), *used, *next;
        *at(made, 0) = 7;
        smem_publish(made);
        CHECK_OK(smem_attach(ctx, smem_info_of(made)->name, SMEM_COPY_ON_WRITE, &used));
        smem__syscalls before = smem__sys;
        smem__sys.open = open_nothing;
        smem_leave(ctx);
        smem__sys = before;
        smem_detach(made);
        next = make(other, &sizes[i], 0);
        CHECK(*at(used, 0) == 7);
        smem_detach(used);
        smem_detach(next);
        smem_close(ctx);
        CHECK_OK(smem_reclaim(other, NULL));
        smem_close(other);
    }
}

/* What could not be locked again is used on, but not as if it were: it has no name, and
   who attaches it anew has another mapping. */
TEST(cache_return_without_a_file)
{
    check_needs_proc(); /* else it is not mapped apart from its lock, and keeps it */
    smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
    smem_segment *made = make(ctx, &sizes[1], 0), *held, *again;
    uint64_t ticket;
    *at(made, 0) = 7;
    smem_publish(made);
    held = attach(other, smem_info_of(made)->name, SMEM_READ_WRITE);
    smem__syscalls before = smem__sys;
    smem__sys.open = open_nothing;
    smem_leave(ctx);
    smem__sys = before;
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK(*at(made, 0) == 7);
    if (backend == SMEM_POSIX) {
        CHECK_EQ(smem_is_current(made), 0);
        CHECK_CODE(smem_ticket_issue(made, &ticket), SMEM_E_UNLINKED);
        CHECK_CODE(smem_persist(made), SMEM_E_UNLINKED);
    }
    again = attach(ctx, smem_info_of(made)->name, SMEM_READ_WRITE);
    CHECK_EQ(again == made, backend == SMEM_SYSV); /* whose attachments count as ever */
    smem_detach(made);
    smem_detach(held);
    CHECK_EQ(smem_is_current(again), 1);
    CHECK(*at(again, 0) == 7);
    smem_detach(again);
    CHECK_EQ(check_files('s'), stats(ctx).idle);
    smem_close(ctx);
    smem_close(other);
}

/* Child: with its parent's use that holds no lock, which it locks for itself. */
static void come_back(check_peer *parent, void *arg)
{
    smem_context *ctx = arg;
    (void)parent;
    CHECK_OK(smem_reclaim(ctx, NULL)); /* a participant again */
    smem_leave(ctx);
}

/* A child that has its lock again speaks for itself, not for the parent, which has none. */
TEST(cache_use_without_a_lock_outlasts_a_child)
{
    check_needs_proc();
    check_skip_in_valgrind("it loses count of a file's name when a mapping's first page is mapped anew");
    if (backend != SMEM_POSIX)
        return; /* an attachment counts as ever */
    smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
    smem_segment *made = make(ctx, &sizes[1], 0), *held, *next;
    *at(made, 0) = 7;
    smem_publish(made);
    held = attach(other, smem_info_of(made)->name, SMEM_READ_WRITE);
    smem__syscalls before = smem__sys;
    smem__sys.open = open_nothing;
    smem_leave(ctx);
    smem__sys = before;
    check_peer child = check_fork(come_back, ctx);
    CHECK_EQ(check_wait(&child), 0);
    smem_detach(held);
    next = make(other, &sizes[1], 0);
    CHECK(*at(made, 0) == 7);
    smem_detach(next);
    smem_detach(made);
    smem_close(ctx);
    smem_close(other);
}

/* What is made persistent stays so, whoever had attached it before and drops it. */
TEST(cache_persists_though_attached_before)
{
    check_skip_in_valgrind("it loses count of a file's name when a mapping's first page is mapped anew");
    for (int i = 0; i < 2 * SIZES; i++) {
        smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
        smem_segment *made = make(ctx, &sizes[i / 2], 0), *held, *next;
        smem_publish(made);
        smem_info info = facts(made), found;
        *at(made, 0) = 7;
        held = attach(other, info.name, SMEM_READ_WRITE);
        CHECK_OK(smem_persist(i % 2 ? held : made));
        smem_detach(i % 2 ? held : made);
        smem_detach(i % 2 ? made : held); /* who has not made it so */
        CHECK_OK(smem_stat(ctx, info.name, &found, NULL));
        CHECK_EQ(found.flags, SMEM_PERSISTENT);
        CHECK_EQ(found.nonce, info.nonce);
        smem_info_clear(&found);
        next = make(i % 2 ? ctx : other, &sizes[i / 2], 0);
        held = attach(ctx, info.name, SMEM_READ_WRITE);
        CHECK(*at(held, 0) == 7);
        CHECK_OK(smem_unlink(ctx, info.name));
        smem_detach(held);
        smem_detach(next);
        smem_close(ctx);
        smem_close(other);
    }
}

static smem_segment *persisted;
static smem__syscalls called_before;

/* The last moment after its header was read. */
static ssize_t read_before_persist(int fd, void *buf, size_t size, off_t offset)
{
    struct stat file;
    ssize_t got = called_before.pread(fd, buf, size, offset);
    if (persisted && called_before.fstat(fd, &file) == 0 &&
        (int64_t)file.st_ino == smem_info_of(persisted)->kernel_id) {
        CHECK_OK(smem_persist(persisted));
        persisted = NULL;
    }
    return got;
}

typedef struct persisting {
    smem_segment *segment;
    pthread_t thread;
    _Atomic int tid;
    int rc;
} persisting;

static persisting meanwhile;

static void *persist_meanwhile(void *arg)
{
    (void)arg;
    atomic_store(&meanwhile.tid, (int)syscall(SYS_gettid));
    meanwhile.rc = smem_persist(meanwhile.segment);
    return NULL;
}

/* Does it sleep, as for a lock, or has it ended? */
static bool has_come(void)
{
    char path[64], text[128] = "";
    int tid = atomic_load(&meanwhile.tid);
    if (!tid)
        return false;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return true;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *state = n > 0 ? strrchr(text, ')') : NULL;
    return !state || strchr("SZX", state[2]);
}

/* The mapping is laid over itself: it loses its lock in the next moment. */
static void *map_while_persisted(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    smem__sys.mmap = called_before.mmap;
    CHECK_EQ(pthread_create(&meanwhile.thread, NULL, persist_meanwhile, NULL), 0);
    while (!has_come())
        usleep(100);
    return called_before.mmap(at, size, prot, flags, fd, offset);
}

/* What a process gives up when it leaves is not made persistent by another thread, as far
   as that is told. */
TEST(cache_persists_or_says_that_it_is_gone)
{
    check_needs_proc();
    if (backend != SMEM_POSIX)
        return; /* an attachment counts as ever */
    smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
    smem_segment *made = make(ctx, &sizes[0], 0);
    smem_info found;
    meanwhile = (persisting){.segment = made};
    called_before = smem__sys;
    smem__sys.mmap = map_while_persisted;
    smem_leave(ctx);
    smem__sys = called_before;
    CHECK_EQ(pthread_join(meanwhile.thread, NULL), 0);
    CHECK_CODE(smem_stat(other, smem_info_of(made)->name, &found, NULL), SMEM_E_NOT_FOUND);
    CHECK_CODE(meanwhile.rc, SMEM_E_UNLINKED);
    smem_detach(made);
    smem_close(ctx);
    smem_close(other);
}

/* Nobody who leaves takes back that it is persistent, in no mode. */
TEST(cache_persists_though_somebody_leaves)
{
    if (backend != SMEM_POSIX)
        return; /* a copy is nobody's use there */
    for (int i = 0; i < SIZES; i++) {
        smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
        smem_segment *made = make(ctx, &sizes[i], 0), *used;
        smem_publish(made);
        smem_info info = facts(made), found;
        CHECK_OK(smem_attach(other, info.name, SMEM_COPY_ON_WRITE, &used));
        called_before = smem__sys;
        persisted = made;
        smem__sys.pread = read_before_persist;
        smem_leave(other);
        smem__sys = called_before;
        CHECK(!persisted);
        smem_detach(used);
        smem_detach(made);
        CHECK_OK(smem_stat(ctx, info.name, &found, NULL));
        CHECK_EQ(found.flags, SMEM_PERSISTENT);
        smem_info_clear(&found);
        CHECK_OK(smem_unlink(ctx, info.name));
        smem_close(ctx);
        smem_close(other);
    }
}

/* What others were let in to since it was made is freed at once, and not kept. */
TEST(cache_permissions_changed)
{
    if (backend != SMEM_POSIX)
        return;
    for (int i = 0; i < SIZES; i++) {
        char path[512];
        smem_context *ctx = open_warm(NULL);
        smem_segment *segment = make(ctx, &sizes[i], 0);
        smem_publish(segment);
        smem_info info = facts(segment);
        snprintf(path, sizeof path, "%s/smem.%u.s.%s", check_directory(), (unsigned)geteuid(),
                 info.name);
        CHECK_EQ(chmod(path, 0640), 0);
        smem_detach(segment);
        CHECK_EQ(stats(ctx).idle, 0);
        CHECK_EQ(check_files('s'), 0);
        smem_close(ctx);
    }
}

/* Trimming unmaps what is away, too; it is bounded like what is idle. */
TEST(cache_away_is_bounded)
{
    if (access("/proc/self/fd", X_OK) != 0)
        check_skip("a file is opened again by way of /proc");
    smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
    smem_segment *made[40];
    for (int i = 0; i < 40; i++) {
        made[i] = make(ctx, &sizes[1], 0);
        smem_publish(made[i]);
        smem_detach(attach(other, smem_info_of(made[i])->name, SMEM_READ_WRITE));
    }
    CHECK_EQ(stats(other).away, backend == SMEM_POSIX ? 32 : 0);
    smem_trim(other, 3000000);
    CHECK_EQ(stats(other).away, backend == SMEM_POSIX ? 2 : 0);
    CHECK(stats(other).away_bytes <= 3000000);
    for (int i = 0; i < 40; i++)
        smem_detach(made[i]);
    smem_close(ctx);
    smem_close(other);
}

/* An idle segment stands in the journal, also when that was lost and made anew. */
TEST(cache_idle_is_journalled_again)
{
    if (backend != SMEM_SYSV)
        check_skip("journals are sysv's");
    smem_context *ctx = open_warm(NULL);
    char path[512];
    snprintf(path, sizeof path, "%s/smem.%u.u.journal", check_directory(), (unsigned)geteuid());
    smem_detach(make(ctx, &sizes[0], 0));
    CHECK_EQ(stats(ctx).idle, 1);
    CHECK_EQ(unlink(path), 0);
    smem_segment *segment = create(ctx, check_name("journal"));
    seen all = {.ctx = ctx};
    CHECK_OK(smem_list(ctx, see, &all));
    CHECK_EQ(all.count, 2);
    smem_detach(segment);
    smem_close(ctx);
}

/* ---- one bound for a family ---------------------------------------------------- */

enum { BOUND = 9000000 };

static smem_context *open_sharing(const char *family)
{
    char text[32];
    snprintf(text, sizeof text, "%d", BOUND);
    return open_bounded(family, text);
}

/* Make as many as the bound would hold, then drop them. */
static void keep_all_of_it(smem_context *ctx)
{
    smem_segment *made[BOUND / (8 * LARGE)];
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
        made[i] = make(ctx, &sizes[1], 0);
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
        smem_detach(made[i]);
}

static void check_bounded(smem_context *ctx, smem_context *other)
{
    CHECK(stats(ctx).idle_bytes + stats(other).idle_bytes <= BOUND);
    CHECK(stats(ctx).idle + stats(other).idle > 0);
}

static smem__syscalls real;
static struct {
    int skip; /* so many writes into the ledger are let pass */
    bool done;
    smem_context *ctx;
    void (*act)(smem_context *ctx);
} between;

static ssize_t write_after_others(int fd, const void *buf, size_t size, off_t offset)
{
    if (size == sizeof(uint64_t) && offset > 0 && !between.done && between.skip-- == 0) {
        between.done = true;
        between.act(between.ctx);
    }
    return real.pwrite(fd, buf, size, offset);
}

enum { ROUNDS = 3000,
       WANTED = 6,
       MOST = 10 };

static struct {
    _Alignas(uint64_t) char page[4096];
    _Atomic unsigned turn[2];
    _Atomic int got[2];
} ledger;

/* Round by round: meet the other, ask, say what came, meet again, give it back. */
static void meet(int who, unsigned turn)
{
    atomic_store(&ledger.turn[who], turn);
    while (atomic_load(&ledger.turn[!who]) < turn)
        sched_yield();
}

static void *ask_again_and_again(void *arg)
{
    int who = arg != NULL;
    for (unsigned round = 0; round < ROUNDS; round++) {
        meet(who, 3 * round + 1);
        ledger.got[who] = smem__share_set(ledger.page, who, WANTED, MOST) == 0;
        meet(who, 3 * round + 2);
        if (ledger.got[0] && ledger.got[1])
            return (void *)1;
        meet(who, 3 * round + 3);
        smem__share_set(ledger.page, who, 0, MOST);
    }
    return NULL;
}

/* Of two that ask at once for what is there for one, never do both get it. */
TEST(cache_bound_of_two_at_once)
{
    pthread_t other;
    void *both;
    CHECK_EQ(pthread_create(&other, NULL, ask_again_and_again, &ledger), 0);
    CHECK(ask_again_and_again(NULL) == NULL);
    CHECK_EQ(pthread_join(other, &both), 0);
    CHECK(both == NULL);
    smem_context *ctx = open_sharing(NULL), *second = open_sharing(smem_family_name(ctx));
    keep_all_of_it(ctx);
    keep_all_of_it(second);
    check_bounded(ctx, second);
    smem_close(ctx);
    smem_close(second);
}

/* A share belongs to a family: what was had in the last one counts in no other. */
TEST(cache_bound_of_another_family)
{
    for (int leaves = 0; leaves < 2; leaves++) {
        smem_context *ctx = open_sharing(NULL);
        smem_segment *made[BOUND / (8 * LARGE)];
        size_t count = sizeof made / sizeof made[0];
        keep_all_of_it(ctx);
        for (size_t i = 0; i < count; i++)
            made[i] = make(ctx, &sizes[1], 0);
        if (leaves) {
            smem_leave(ctx);
            CHECK_OK(smem_reclaim(ctx, NULL)); /* joins again */
        } else
            CHECK_OK(smem_new_family(ctx, NULL));
        smem_context *other = open_sharing(smem_family_name(ctx));
        keep_all_of_it(other);
        for (size_t i = 0; i < count; i++)
            smem_detach(made[i]);
        check_bounded(ctx, other);
        smem_close(ctx);
        smem_close(other);
    }
}

/* A family's file that was removed is made again with what each one keeps. */
TEST(cache_bound_without_file)
{
    char path[512];
    smem_context *ctx = open_sharing(NULL);
    keep_all_of_it(ctx);
    snprintf(path, sizeof path, "%s/smem.%u.f.%s", check_directory(), (unsigned)geteuid(),
             smem_family_name(ctx));
    CHECK_EQ(unlink(path), 0);
    CHECK_OK(smem_reclaim(ctx, NULL));
    smem_context *other = open_sharing(smem_family_name(ctx));
    keep_all_of_it(other);
    check_bounded(ctx, other);
    smem_close(ctx);
    smem_close(other);
}

static void keep_and_die(check_peer *parent, void *arg)
{
    smem_context *ctx = open_sharing(arg);
    smem_detach(make(ctx, &sizes[1], 0));
    check_tell(parent, stats(ctx).idle);
    check_hear(parent);
}

static smem_context *late;

static void join_late(smem_context *ctx)
{
    late = open_sharing(smem_family_name(ctx));
    keep_all_of_it(late);
}

/* The slot of a dead one is cleared, but not that of who has just taken it. */
TEST(cache_bound_when_tidied)
{
    char path[512];
    real = smem__sys;
    smem_context *ctx = open_sharing(NULL), *filler;
    char family[SMEM_NAME_MAX + 1];
    strcpy(family, smem_family_name(ctx));
    check_peer child = check_fork(keep_and_die, family);
    CHECK(check_hear(&child) > 0);
    check_kill(&child);
    filler = open_sharing(family); /* the child had two slots: the first is its context from here */
    smem__file file;
    snprintf(path, sizeof path, "%s/smem.%u.f.%s", check_directory(), (unsigned)geteuid(), family);
    CHECK_OK(smem__file_open(path, geteuid(), true, &file));
    between.skip = 0;
    between.done = false;
    between.ctx = ctx;
    between.act = join_late;
    smem__sys.pwrite = write_after_others;
    smem__share_tidy(&file);
    smem__sys = real;
    smem__file_close(&file);
    CHECK(between.done);
    CHECK(stats(late).idle > 0);
    keep_all_of_it(ctx);
    check_bounded(ctx, late);
    smem_close(late);
    smem_close(filler);
    smem_close(ctx);
}

/* ---- headers that change ----------------------------------------------------- */

static smem_segment *renamed;
static smem__layout *its_header;
static bool overtaken;

/* The last moment before a finder holds it: its owner drops it and makes it
   another one's, whose header it is just about to write. */
static void overtake(void)
{
    if (overtaken)
        return;
    overtaken = true;
    smem_detach(renamed);
    its_header->nbytes = 1; /* as a reader may find it */
}

static int lock_after_owner(int fd, int command, struct flock *lock)
{
    if (lock->l_type == F_RDLCK && lock->l_start == 0)
        overtake();
    return real.fcntl_lock(fd, command, lock);
}

static int flock_after_owner(int fd, int operation)
{
    if (operation & LOCK_SH)
        overtake();
    return real.flock(fd, operation);
}

/* Who finds a name that is just taken from its segment is told that there is no
   such segment, not that it is damaged. */
TEST(cache_late_finder)
{
    if (backend != SMEM_POSIX)
        return;
    real = smem__sys;
    smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
    smem_segment *attached;
    renamed = make(ctx, &sizes[0], 0);
    its_header = header_of(renamed);
    uint64_t nbytes = its_header->nbytes;
    smem_publish(renamed);
    smem_info info = facts(renamed);
    if (smem__byte_locks())
        smem__sys.fcntl_lock = lock_after_owner;
    else
        smem__sys.flock = flock_after_owner;
    CHECK_CODE(receive(other, &info, SMEM_READ_WRITE, 0, &attached), SMEM_E_NOT_FOUND);
    smem__sys = real;
    CHECK(overtaken);
    CHECK_EQ(stats(ctx).idle, 1);
    its_header->nbytes = nbytes;
    smem_close(ctx);
    smem_close(other);
}

/* Who leaves and comes back keeps what it drops then, as before. */
TEST(cache_after_return)
{
    check_skip_in_valgrind("it loses count of a file's name when a mapping's first page is mapped anew");
    if (backend != SMEM_POSIX)
        return;
    for (int i = 0; i < SIZES; i++) {
        smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
        smem_segment *segment = make(ctx, &sizes[i], 0), *attached;
        smem_publish(segment);
        attached = attach(other, smem_info_of(segment)->name, SMEM_READ_WRITE);
        smem_leave(ctx); /* it is used elsewhere, so its mapping is locked again */
        CHECK_OK(smem_reclaim(ctx, NULL));
        smem_detach(attached);
        smem_detach(segment);
        CHECK_EQ(stats(ctx).idle, 1);
        smem_close(ctx);
        smem_close(other);
    }
}

/* ---- many of them -------------------------------------------------------------- */

static unsigned open_fds(void)
{
    unsigned count = 0;
    DIR *all = opendir("/proc/self/fd");
    while (all && readdir(all)) /* without /proc nobody knows */
        count++;
    if (all)
        closedir(all);
    return count;
}

static smem__syscalls called;
static unsigned calls;

/* The calls that attaching and dropping make, counted. */
static int count_open(const char *path, int flags, mode_t mode)
{
    calls++;
    return called.open(path, flags, mode);
}

static int count_fstat(int fd, struct stat *out)
{
    calls++;
    return called.fstat(fd, out);
}

static int count_lstat(const char *path, struct stat *out)
{
    calls++;
    return called.lstat(path, out);
}

static int count_lock(int fd, int command, struct flock *lock)
{
    calls++;
    return called.fcntl_lock(fd, command, lock);
}

static void *count_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
    calls++;
    return called.mmap(addr, size, prot, flags, fd, offset);
}

static int count_shmctl(int id, int command, struct shmid_ds *buf)
{
    calls++;
    return called.shmctl(id, command, buf);
}

/* What it costs to attach this name and to drop it again. */
static unsigned visit(smem_context *ctx, const char *name)
{
    called = smem__sys;
    smem__sys.open = count_open;
    smem__sys.fstat = count_fstat;
    smem__sys.lstat = count_lstat;
    smem__sys.fcntl_lock = count_lock;
    smem__sys.mmap = count_mmap;
    smem__sys.shmctl = count_shmctl;
    calls = 0;
    smem_detach(attach(ctx, name, SMEM_READ_WRITE));
    smem__sys = called;
    return calls;
}

static unsigned least_of_some(smem_context *ctx, const char *name)
{
    unsigned least = UINT_MAX;
    for (int i = 0; i < 10; i++) { /* one of them may sweep */
        unsigned now = visit(ctx, name);
        least = now < least ? now : least;
    }
    return least;
}

/* No fd is kept for an array, and how many there are changes nothing for one more. */
TEST(cache_many_arrays)
{
    enum { MANY = 2000 };
    static smem_segment *all[MANY];
    smem_context *ctx = open_warm(NULL), *other = open_warm(NULL);
    smem_segment *segment = create(ctx, check_name("one-of-many"));
    unsigned fds = open_fds(), alone = least_of_some(other, check_name("one-of-many"));
    for (int i = 0; i < MANY; i++) {
        all[i] = make(other, &sizes[0], 0);
        smem_publish(all[i]);
    }
    CHECK_EQ(open_fds(), fds);
    CHECK_EQ(least_of_some(other, check_name("one-of-many")), alone);
    for (int i = 0; i < MANY; i++)
        smem_detach(all[i]);
    smem_detach(segment);
    smem_close(ctx);
    smem_close(other);
}

/* Nor does it matter how many processes have the same array. */
TEST(cache_many_processes)
{
    enum { MANY = 64 };
    check_peer peers[MANY];
    smem_context *ctx = open_warm(NULL);
    smem_segment *segment = create(ctx, check_name("of-many"));
    smem_context *other = open_warm(NULL);
    job todo = {NULL, check_name("of-many"), NULL, 0};
    unsigned fds = open_fds(), alone = least_of_some(other, check_name("of-many"));
    for (int i = 0; i < MANY; i++)
        peers[i] = check_fork(hold, &todo);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(begin(&peers[i]), smem_info_of(segment)->nonce);
    CHECK_EQ(least_of_some(other, check_name("of-many")), alone);
    for (int i = 0; i < MANY; i++)
        finish(&peers[i]);
    CHECK_EQ(open_fds(), fds);
    smem_detach(segment);
    smem_close(ctx);
    smem_close(other);
}
