/* The operations in which system calls fail. */
#include "failing.h"

#include "segment/family.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

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
    CHECK_EQ(dead, 0);
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

static int look_as_observer(scene *s)
{
    (void)s;
    smem_options options = {.directory = check_directory(), .observe = 1};
    smem_context *ctx;
    smem_segment *segment;
    int rc = smem_open(&options, &ctx);
    if (rc != 0)
        return rc;
    rc = smem_attach(ctx, check_name("a"), SMEM_READ_ONLY, &segment);
    if (rc == 0) {
        CHECK(*(double *)smem_data(segment) == 5);
        smem_detach(segment);
    }
    smem_close(ctx);
    return rc;
}

static void make_stale_and_look(scene *s)
{
    make_stale(s);
    CHECK_OK(smem_stat(s->other, check_name("a"), &s->info, NULL));
}

static int give_up_the_stale(scene *s)
{
    int rc = smem_reclaim_segment(s->ctx, &s->info, 1);
    return rc == 1 ? 0 : rc == 0 ? SMEM_E_BUSY
                                 : rc;
}

static void given_up(scene *s, int rc)
{
    smem_info info;
    int found = smem_stat(s->other, check_name("a"), &info, NULL);
    if (rc == 0)
        CHECK_CODE(found, SMEM_E_NOT_FOUND);
    if (found == 0)
        smem_info_clear(&info);
    smem_info_clear(&s->info);
}

/* ---- huge pages and idle segments --------------------------------------------------- */

static void reopen(smem_context **ctx, smem_options options)
{
    smem_close(*ctx);
    options.directory = check_directory();
    CHECK_OK(smem_open(&options, ctx));
}

enum { LARGE = 1 << 17,         /* doubles: header and data are mapped apart */
       HUGE_PAGES = 1 << 19 }; /* 4 MB: made of huge pages, where there are any */

static int create_of(scene *s, const char *name, int64_t count)
{
    smem_spec spec = spec_of(name);
    spec.shape = &count;
    spec.flags = name ? 0 : SMEM_UNPUBLISHED;
    spec.permissions = name ? spec.permissions : 0;
    return smem_create(s->ctx, &spec, &s->result);
}

static int create_of_huge_pages(scene *s)
{
    return create_of(s, check_name("a"), HUGE_PAGES);
}

static void warm(scene *s)
{
    setenv("SHAREDMEM_CACHE", "100000000", 1);
    reopen(&s->ctx, (smem_options){0});
}

static void make_private(scene *s)
{
    warm(s);
    CHECK_OK(create_of(s, NULL, shape[0]));
}

static void publish(scene *s)
{
    smem_publish(s->result);
    s->info = *smem_info_of(s->result);
}

static void make_published(scene *s)
{
    make_private(s);
    publish(s);
}

static void make_large_published(scene *s)
{
    warm(s);
    CHECK_OK(create_of(s, NULL, LARGE));
    publish(s);
}

static void share_published(scene *s)
{
    make_published(s);
    *(double *)smem_data(s->result) = 5;
    CHECK_OK(smem_attach(s->other, s->info.name, SMEM_READ_WRITE, &s->held));
}

/* Who makes it leaves; who has it, too, may keep what it drops. */
static void share_with_warm(scene *s)
{
    warm(s);
    reopen(&s->other, (smem_options){0});
    CHECK_OK(create_of(s, NULL, shape[0]));
    publish(s);
    *(double *)smem_data(s->result) = 5;
    CHECK_OK(smem_attach(s->other, s->info.name, SMEM_READ_WRITE, &s->held));
}

static void copy_beside_warm(scene *s)
{
    share_with_warm(s);
    smem_segment *made = s->result;
    CHECK_OK(smem_attach(s->ctx, s->info.name, SMEM_COPY_ON_WRITE, &s->result));
    smem_detach(made);
}

/* It is used after leaving, whatever the other makes of what it drops. */
static void used_on(scene *s, int rc)
{
    CHECK_EQ(rc, 0);
    smem_spec spec = spec_of(NULL);
    spec.permissions = 0;
    spec.flags = SMEM_UNPUBLISHED;
    smem_detach(s->held);
    CHECK_OK(smem_create(s->other, &spec, &s->held));
    *(double *)smem_data(s->held) = 6;
    CHECK(*(double *)smem_data(s->result) == 5);
}

static unsigned idle(scene *s)
{
    smem_statistics stats;
    smem_stats(s->ctx, &stats);
    return (unsigned)stats.idle;
}

/* An idle segment is nobody else's: what was told of it leads nowhere. */
static void nobody_attaches(scene *s, int rc)
{
    smem_segment *attached = NULL;
    if (rc != 0)
        return;
    int found = smem_attach(s->other, s->info.name, SMEM_READ_ONLY, &attached);
    if (idle(s))
        CHECK_CODE(found, SMEM_E_NOT_FOUND);
    if (found == 0)
        smem_detach(attached);
}

static void leave_idle(scene *s)
{
    make_private(s);
    detach(s);
    CHECK_EQ(idle(s), 1);
}

static int reuse(scene *s)
{
    int rc = create_of(s, NULL, shape[0]);
    if (rc != 0)
        return rc;
    CHECK(*(double *)smem_data(s->result) == 0);
    publish(s);
    return detach(s);
}

static int trim(scene *s)
{
    smem_trim(s->ctx, 0);
    CHECK_EQ(idle(s), 0);
    return 0;
}

/* ---- the reaper's ---------------------------------------------------------------- */

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
    if (honorary == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a check may fail before end_honorary() */
        for (;;)
            pause();
    }
    reopen(&s->other, (smem_options){.parent = honorary});
}

static void end_honorary(scene *s)
{
    (void)s;
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
            CHECK_EQ(watch.blind, logged->fired);
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

static void hold_alone(scene *s)
{
    make(s);
    *(double *)smem_data(s->result) = 5;
    smem_copy_at_fork(s->result);
}

static void hold_alone_large(scene *s)
{
    int64_t length = 100000;
    smem_spec spec = spec_of(NULL);
    spec.permissions = 0600;
    spec.shape = &length;
    CHECK_OK(smem_create(s->ctx, &spec, &s->result));
    *(double *)smem_data(s->result) = 5;
    smem_copy_at_fork(s->result);
}

/* A child without memory for a copy is ended when it writes. */
static int fork_and_write(scene *s)
{
    fflush(stderr);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        armed.on = false;
        CHECK(*(double *)smem_data(s->result) == 5);
        *(double *)smem_data(s->result) = 6;
        smem_detach(s->result);
        _exit(EXIT_SUCCESS);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    return 0;
}

static void unwritten(scene *s, int rc)
{
    CHECK_EQ(rc, 0);
    CHECK(*(double *)smem_data(s->result) == 5);
}

/* ---- all of them -------------------------------------------------------------- */

#define OPERATION(title, before, act_, ...)                                   \
    TEST(title)                                                               \
    {                                                                         \
        static const operation op = {.name = #title,                          \
                                     .prepare = before,                       \
                                     .act = act_,                             \
                                     .judge = __VA_ARGS__};                   \
        fail_in(&op);                                                         \
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
/* What is one's own alone a forked child does not write to. */
OPERATION(fork_beside_own, hold_alone, fork_and_write, unwritten)
/* So it is with what is mapped apart from its lock. */
OPERATION(fork_beside_large_own, hold_alone_large, fork_and_write, unwritten)
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
/* What is stale and given up is freed, or an error says that it is not. */
OPERATION(give_up_stale, make_stale_and_look, give_up_the_stale, given_up)
/* Looking at families and mappings changes nothing, and takes no living family for dead. */
OPERATION(look_at_all, hold, look_around, unharmed)
/* An observer joins no family, and reads what is there. */
OPERATION(observe, hold, look_as_observer, unharmed)
/* Leaving spares what others map. */
OPERATION(leave_with_shared, hold_and_attach, leave, NULL)
/* Leaving takes one's own names, or leaves them to the next sweep. */
OPERATION(leave_with_own, make, leave, NULL)
/* So it is with what can be recycled, whatever it could not say of its use. */
OPERATION(leave_with_published, share_with_warm, leave, used_on)
/* So it is with a private copy, whose pages show the file's. */
OPERATION(leave_with_a_copy, copy_beside_warm, leave, used_on)
/* A family that could not be changed is the old one. */
OPERATION(change_family, hold, new_family, unharmed)
/* A participant that could not join has left nothing. */
OPERATION(join, hold, open_another, unharmed)

/* What is made with huge pages is complete, with them or without. */
OPERATION(create_large, NULL, create_of_huge_pages, usable_or_nothing)
/* What was told to others is kept with another name, or freed, or left to the next sweep. */
OPERATION(keep_published, make_published, detach, nobody_attaches)
/* So it is with one of which header and data are mapped apart. */
OPERATION(keep_large, make_large_published, detach, nobody_attaches)
/* What somebody else maps is not kept. */
OPERATION(keep_shared, share_published, detach, unharmed)
/* What nobody was told of is kept without a look at the kernel. */
/* So it is with one that was idle before, which was zeros again. */
OPERATION(keep_again, leave_idle, reuse, nobody_attaches)
/* Idle segments that are given back are gone, now or after the next sweep. */
OPERATION(trim_idle, leave_idle, trim, NULL)
/* Leaving takes idle segments. */
OPERATION(leave_idle_behind, leave_idle, leave, NULL)

/* A create succeeds though its reaper could not be started. */
OPERATION(create_with_reaper, with_reaper, create, created_all_the_same)
/* A reaper that cannot look does not take a family for dead. */
OPERATION(guard_living, with_honorary, guard, NULL, .finish = end_honorary, .any_code = true)
/* A reaper that cannot let go of its parent ends. */
OPERATION(reaper_starts, NULL, detach_from_parent, NULL, .any_code = true)
