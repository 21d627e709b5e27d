/* Contract: idle segments and what is made of them. */
#include "contract.h"

#include <stdlib.h>
#include <string.h>
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

/* A participant that may keep as much as it drops here. */
static smem_context *open_warm(const char *family)
{
    CHECK_EQ(setenv("SHAREDMEM_CACHE", "100000000", 1), 0);
    smem_context *ctx = check_open(family);
    CHECK_EQ(unsetenv("SHAREDMEM_CACHE"), 0);
    return ctx;
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
        smem_close(ctx);
        smem_close(other);
        CHECK(!check_exists(&info));
    }
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
    CHECK_EQ(setenv("SHAREDMEM_CACHE", "9000000", 1), 0);
    smem_context *ctx = check_open(NULL), *other = check_open(smem_family_name(ctx));
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
    CHECK_EQ(unsetenv("SHAREDMEM_CACHE"), 0);
    ctx = check_open(NULL);
    smem_detach(make(ctx, &sizes[0], 0));
    CHECK_EQ(stats(ctx).idle, 0);
    smem_close(ctx);
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
