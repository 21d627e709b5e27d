/* Contract: looking, which changes nothing, and giving back one segment. */
#include "contract.h"

#include <string.h>
#include <unistd.h>

static smem_context *observe(void)
{
    smem_options options = {.directory = check_directory(), .observe = 1};
    smem_context *ctx;
    CHECK_OK(smem_open(&options, &ctx));
    return ctx;
}

static smem_info stat_of(smem_context *ctx, const char *name)
{
    smem_info info;
    CHECK_OK(smem_stat(ctx, name, &info, NULL));
    smem_info_clear(&info);
    return info;
}

/* A segment that a killed process has left, in a family that died with it. */
static smem_info left_by_the_dead(void)
{
    job todo = {.name = check_name("left")};
    check_peer child = check_fork(create_and_hold, &todo);
    check_hear(&child);
    check_kill(&child);
    smem_context *ctx = observe();
    smem_info info = stat_of(ctx, todo.name);
    smem_close(ctx);
    return info;
}

static int count_row(void *arg, const smem_info *info, const smem_flight *flight)
{
    CHECK_EQ(info->mapped, 0);
    CHECK_EQ(flight->tickets, 0);
    ++*(int *)arg;
    return 0;
}

/* An observer joins no family, and what is stale is stale when it has looked, read and left. */
TEST(observer_changes_nothing)
{
    smem_info info = left_by_the_dead();
    smem_context *ctx = observe();
    unsigned alive, dead;
    int rows = 0;
    CHECK_EQ(info.mapped, 0);
    CHECK_OK(smem_list(ctx, count_row, &rows));
    CHECK_EQ(rows, 1);
    for (int mode = SMEM_READ_WRITE; mode <= SMEM_COPY_ON_WRITE; mode++) {
        smem_segment *segment = attach(ctx, info.name, mode);
        CHECK(*at(segment, 0) == 42);
        smem_detach(segment);
    }
    CHECK_OK(smem_families(ctx, &alive, &dead));
    CHECK_EQ(alive, 0);
    CHECK_EQ(dead, 1);
    CHECK_STR(smem_family_name(ctx), "");
    smem_close(ctx);
    CHECK(check_exists(&info));
    CHECK_EQ(check_files('f'), 1);
    ctx = check_open(NULL); /* a participant reclaims */
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

/* What was in use when an observer attached it is freed by the observer, if that is the last. */
TEST(observer_frees_as_the_last_one)
{
    job todo = {.name = check_name("used")};
    check_peer child = check_fork(create_and_hold, &todo);
    check_hear(&child);
    smem_context *ctx = observe();
    smem_segment *segment = attach(ctx, todo.name, SMEM_READ_ONLY);
    smem_info info = facts(segment);
    finish(&child);
    CHECK(check_exists(&info));
    CHECK(*at(segment, 0) == 42);
    smem_detach(segment);
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

/* An observer is a participant from when it first creates something. */
TEST(observer_takes_part_when_it_creates)
{
    smem_info info = left_by_the_dead();
    smem_context *ctx = observe();
    smem_segment *segment = create(ctx, check_name("mine"));
    CHECK(!check_exists(&info));
    CHECK_EQ(smem_family_alive(ctx, smem_info_of(segment)->family), 1);
    CHECK_EQ(check_files('f'), 1);
    smem_detach(segment);
    smem_close(ctx);
}

/* An observer is a participant from when it issues a ticket. */
TEST(observer_takes_part_when_it_sends)
{
    job todo = {.name = check_name("theirs")};
    check_peer child = check_fork(create_and_hold, &todo);
    check_hear(&child);
    smem_context *ctx = observe();
    smem_segment *segment = attach(ctx, todo.name, SMEM_READ_WRITE);
    uint64_t ticket;
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    CHECK_EQ(flight_of(ctx, todo.name).tickets, 1);
    CHECK(*smem_family_name(ctx) != '\0');
    smem_ticket_free(segment, ticket);
    smem_detach(segment);
    smem_close(ctx);
    finish(&child);
}

static int note_mapped(void *arg, const smem_info *info, const smem_flight *flight)
{
    (void)flight;
    *(int *)arg = info->mapped;
    return 0;
}

/* Whether anybody maps a segment is the kernel's word, read when it is looked at. */
TEST(mapped_is_the_kernels_word)
{
    smem_context *ctx = check_open(NULL), *other = observe();
    smem_segment *segment;
    CHECK_OK(try_create(ctx, check_name("kept"), SMEM_PERSISTENT, &segment));
    CHECK_EQ(smem_info_of(segment)->mapped, 1);
    for (int mode = SMEM_READ_WRITE; mode <= SMEM_READ_ONLY; mode++) {
        CHECK_EQ(stat_of(other, check_name("kept")).mapped, 1);
        CHECK_EQ(stat_of(ctx, check_name("kept")).mapped, 1);
        int listed = -1;
        CHECK_OK(smem_list(other, note_mapped, &listed));
        CHECK_EQ(listed, 1);
        smem_detach(segment);
        CHECK_EQ(stat_of(other, check_name("kept")).mapped, 0);
        segment = attach(ctx, check_name("kept"), SMEM_READ_ONLY);
    }
    smem_detach(segment);
    CHECK_EQ(stat_of(ctx, check_name("kept")).elsewhere, 0);
    CHECK_OK(smem_unlink(ctx, check_name("kept")));
    smem_close(other);
    smem_close(ctx);
}

/* One segment is given back only when nobody maps it, no ticket holds it and it is not kept. */
TEST(reclaim_of_one_segment)
{
    smem_context *ctx = check_open(NULL), *other = observe();
    smem_segment *segment = create(ctx, check_name("one"));
    smem_info info = facts(segment);
    uint64_t ticket;
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    CHECK_EQ(smem_reclaim_segment(other, &info, 1), 0); /* mapped */
    smem_detach(segment);
    CHECK_EQ(smem_reclaim_segment(other, &info, 0), 0); /* in flight */
    CHECK(check_exists(&info));
    CHECK_EQ(smem_reclaim_segment(other, &info, 1), 1);
    CHECK(!check_exists(&info));
    CHECK_CODE(smem_reclaim_segment(other, &info, 1), SMEM_E_NOT_FOUND);
    CHECK_CODE(receive(ctx, &info, SMEM_READ_WRITE, ticket, &segment), SMEM_E_NOT_FOUND);
    CHECK_OK(try_create(ctx, check_name("one"), SMEM_PERSISTENT, &segment));
    smem_info old = info;
    info = facts(segment);
    smem_detach(segment);
    CHECK_CODE(smem_reclaim_segment(other, &old, 1), SMEM_E_NOT_FOUND); /* another one */
    CHECK_EQ(smem_reclaim_segment(other, &info, 1), 0); /* persistent */
    CHECK_OK(smem_unlink(ctx, check_name("one")));
    info.backend = 7;
    CHECK_CODE(smem_reclaim_segment(other, &info, 0), SMEM_E_ARGUMENT);
    smem_close(other);
    smem_close(ctx);
}

static int find_own(void *arg, int number, int64_t kernel_id, int pid, const char *command)
{
    job *wanted = arg;
    CHECK(*command != '\0');
    wanted->number += number == backend && pid == getpid() &&
                      kernel_id == smem_info_of(wanted->segment)->kernel_id;
    return 0;
}

/* One pass over /proc shows each mapped segment once for a process, however often it maps it. */
TEST(mappings_of_all_segments)
{
    check_needs_proc();
    smem_context *ctx = check_open(NULL);
    job wanted = {.segment = create(ctx, check_name("mine"))};
    smem_segment *again = attach(ctx, check_name("mine"), SMEM_READ_ONLY);
    CHECK_OK(smem_mappings(ctx, find_own, &wanted));
    CHECK_EQ(wanted.number, 1);
    smem_detach(again);
    smem_detach(wanted.segment);
    smem_close(ctx);
}
