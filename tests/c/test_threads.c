/*
 * Threads of one process that do everything at once, in one context and in two:
 * what a data race would break, and what ThreadSanitizer looks at (make tsan).
 *
 *   test_threads posix|sysv [test...]
 */
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int backend;

enum { THREADS = 4,
       TURNS = 600 };

static const int64_t shapes[][1] = {{100}, {1000}, {5000}};

typedef struct crew {
    smem_context *contexts[2];
    const char *names[2];
    smem_segment *shared; /* of the first context */
} crew;

typedef struct member {
    crew *crew;
    pthread_t thread;
    uint64_t number, state; /* of a sequence of its own: which operations, in which order */
} member;

static uint64_t choose(member *one, uint64_t count)
{
    one->state = one->state * 6364136223846793005u + 1442695040888963407u;
    return (one->state >> 33) % count;
}

static smem_context *any_context(member *one)
{
    return one->crew->contexts[choose(one, 2)];
}

static smem_spec spec_for(member *one, const char *name, unsigned flags)
{
    return (smem_spec){.name = name,
                       .backend = backend,
                       .flags = flags,
                       .dtype = "'<f8'",
                       .itemsize = 8,
                       .ndim = 1,
                       .shape = shapes[choose(one, 3)]};
}

/* Each element is written and read by its maker alone. */
static void use_own(member *one, smem_segment *segment)
{
    double *data = smem_data(segment);
    size_t count = (size_t)smem_info_of(segment)->nbytes / sizeof *data;
    for (size_t i = 0; i < count; i += 99)
        CHECK(data[i] == 0);
    for (size_t i = 0; i < count; i += 99)
        data[i] = (double)one->number;
    for (size_t i = 0; i < count; i += 99)
        CHECK(data[i] == (double)one->number);
}

static void make_and_drop(member *one)
{
    smem_segment *segment;
    smem_spec spec = spec_for(one, NULL, choose(one, 2) ? SMEM_UNPUBLISHED : 0);
    CHECK_OK(smem_create(any_context(one), &spec, &segment));
    use_own(one, segment);
    if (choose(one, 2))
        smem_detach(smem_retain(segment));
    smem_detach(segment);
}

static void make_named(member *one)
{
    smem_segment *segment;
    int created;
    const char *name = one->crew->names[choose(one, 2)];
    smem_spec spec = spec_for(one, name, choose(one, 2) ? SMEM_REPLACE : 0);
    int rc = choose(one, 2) ? smem_create(any_context(one), &spec, &segment)
                            : smem_attach_or_create(any_context(one), &spec, &segment, &created);
    if (rc == 0)
        smem_detach(segment);
    else
        CHECK_CODE(rc, SMEM_E_EXISTS);
}

static void attach_named(member *one)
{
    smem_segment *segment;
    const char *name = one->crew->names[choose(one, 2)];
    int rc = smem_attach(any_context(one), name, (int)choose(one, 3), &segment);
    if (rc != 0) {
        CHECK_CODE(rc, SMEM_E_NOT_FOUND);
        return;
    }
    rc = choose(one, 8) ? 0 : smem_unlink_segment(segment); /* which others of us have, too */
    CHECK(rc == 0 || rc == SMEM_E_UNLINKED);
    smem_detach(segment);
}

static void unlink_named(member *one)
{
    int rc = smem_unlink(any_context(one), one->crew->names[choose(one, 2)]);
    CHECK(rc == 0 || rc == SMEM_E_NOT_FOUND);
}

/* Sent with a ticket, dropped, and received by the other context: nothing is lost. */
static void send_and_receive(member *one)
{
    smem_segment *segment, *received;
    uint64_t ticket;
    smem_spec spec = spec_for(one, NULL, SMEM_UNPUBLISHED);
    CHECK_OK(smem_create(any_context(one), &spec, &segment));
    use_own(one, segment);
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    smem_info info = *smem_info_of(segment);
    smem_detach(segment);
    CHECK_OK(smem_receive(any_context(one), info.backend, info.name, info.nonce,
                          (int)choose(one, 3), ticket, &received));
    CHECK(*(double *)smem_data(received) == (double)one->number);
    smem_detach(received);
}

/* References of one segment, taken and given back by all. */
static void refer(member *one)
{
    smem_segment *segment, *all = one->crew->shared;
    CHECK(smem_retain(all) == all);
    CHECK_OK(smem_attach(one->crew->contexts[0], smem_info_of(all)->name, SMEM_READ_WRITE, &segment));
    CHECK(segment == all); /* it was not taken away in between */
    CHECK_EQ(smem_is_current(all), 1);
    smem_detach(segment);
    smem_detach(all);
}

static int count_one(void *arg, const smem_info *info, const smem_flight *flight)
{
    (void)info, (void)flight;
    ++*(unsigned *)arg;
    return 0;
}

static void look(member *one)
{
    smem_statistics statistics;
    smem_info info;
    unsigned count = 0;
    smem_context *ctx = any_context(one);
    CHECK_OK(smem_list(ctx, count_one, &count));
    if (smem_stat(ctx, one->crew->names[0], &info, NULL) == 0)
        smem_info_clear(&info);
    smem_stats(ctx, &statistics);
    CHECK(statistics.idle_bytes <= statistics.bound);
    CHECK(*smem_family_name(ctx) != '\0');
}

static void tidy(member *one)
{
    if (choose(one, 2))
        smem_trim(any_context(one), 0);
    else
        CHECK_OK(smem_reclaim(any_context(one), NULL));
}

static void (*const operations[])(member *) = {make_and_drop, make_and_drop, make_named, attach_named,
                                               attach_named, unlink_named, send_and_receive,
                                               send_and_receive, refer, refer, look, tidy};

static void *work(void *arg)
{
    member *one = arg;
    for (int turn = 0; turn < TURNS; turn++)
        operations[choose(one, sizeof operations / sizeof operations[0])](one);
    return NULL;
}

/* Two participants of one family, in one process. */
static void work_together(void)
{
    crew all = {.names = {check_name("one"), check_name("two")}};
    member members[THREADS];
    all.contexts[0] = check_open("crew");
    all.contexts[1] = check_open("crew");
    smem_spec spec = {.backend = backend, .dtype = "'<f8'", .itemsize = 8};
    CHECK_OK(smem_create(all.contexts[0], &spec, &all.shared));
    for (uint64_t i = 0; i < THREADS; i++) {
        members[i] = (member){.crew = &all, .number = i + 1, .state = 1000 * i + 7};
        CHECK_EQ(pthread_create(&members[i].thread, NULL, work, &members[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(members[i].thread, NULL), 0);
    smem_detach(all.shared);
    CHECK_OK(smem_reclaim(all.contexts[0], NULL)); /* tests that were refused among them */
    for (int i = 0; i < 2; i++) {
        smem_segment *left;
        CHECK_CODE(smem_attach(all.contexts[i], all.names[i], SMEM_READ_ONLY, &left),
                   SMEM_E_NOT_FOUND);
        smem_close(all.contexts[i]);
    }
}

/* Threads create, attach, send, receive, replace, unlink, list, sweep and drop at once; nothing is lost or left. */
TEST(threads_do_everything)
{
    work_together();
}

/* The same with warm memory, which is trimmed meanwhile: new arrays are zero, others' stay what they are. */
TEST(threads_do_everything_warm)
{
    CHECK_EQ(setenv("SHAREDMEM_CACHE", "1000000", 1), 0);
    work_together();
}

static int see_holder(void *arg, int pid, const char *command)
{
    (void)pid, (void)command;
    ++*(unsigned *)arg;
    return 0;
}

/* What the crew does not: to sleep, to copy by two threads, to look at processes. */
static void sleep_copy_and_look(member *one)
{
    static char contents[40 << 20];
    const int64_t large = sizeof contents;
    smem_context *ctx = one->crew->contexts[0];
    smem_spec spec = {.backend = backend, .dtype = "'|u1'", .itemsize = 1, .ndim = 1, .shape = &large};
    smem_segment *segment;
    smem_queue queue;
    uint64_t length;
    unsigned holders = 0;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    CHECK_OK(smem_fill(segment, contents, sizeof contents));
    int rc = smem_holders(ctx, smem_info_of(segment), see_holder, &holders);
    CHECK(rc != 0 || holders == 1); /* there may be no /proc */
    smem_detach(segment);
    smem_queue_spec asked = {.backend = backend, .limit = 2, .room = 64};
    CHECK_OK(smem_queue_create(ctx, &asked, &queue));
    CHECK_OK(smem_queue_put(&queue, "item", 5, SMEM_FOREVER));
    CHECK_OK(smem_queue_get(&queue, contents, sizeof contents, &length, SMEM_FOREVER));
    CHECK_CODE(smem_queue_get(&queue, contents, sizeof contents, &length, smem_deadline(2000000)),
               -ETIMEDOUT);
    smem_detach(queue.segment);
}

static void *work_to_the_end(void *arg)
{
    member *one = arg;
    CHECK_EQ(pthread_cancel(pthread_self()), 0);
    for (size_t i = 0; i < 50; i++)
        operations[i % (sizeof operations / sizeof operations[0])](one);
    sleep_copy_and_look(one);
    one->state = 0;
    pthread_testcancel();
    return arg;
}

/* A thread that somebody cancels does not end inside a call, and so keeps no lock and no fd. */
TEST(no_call_is_a_point_of_cancellation)
{
#ifdef __SANITIZE_ADDRESS__
    check_skip("the sanitizer does not bear threads that are cancelled"); /* its own stack of signals */
#endif
    crew all = {.names = {check_name("one"), check_name("two")}};
    member one = {.crew = &all, .number = 1, .state = 7};
    void *result;
    all.contexts[0] = all.contexts[1] = check_open("crew");
    smem_spec spec = {.backend = backend, .dtype = "'<f8'", .itemsize = 8};
    CHECK_OK(smem_create(all.contexts[0], &spec, &all.shared));
    CHECK_EQ(pthread_create(&one.thread, NULL, work_to_the_end, &one), 0);
    CHECK_EQ(pthread_join(one.thread, &result), 0);
    CHECK_EQ(one.state, 0);
    CHECK(result == PTHREAD_CANCELED);
    smem_detach(all.shared);
    smem_close(all.contexts[0]);
}

/* ---- what others use ------------------------------------------------------- */

enum { AWAY = 8,
       VISITS = 1500 };
static const int64_t large[] = {50000};

typedef struct visitor {
    smem_context *ctx;
    smem_segment **all;
    pthread_t thread;
    int number;
} visitor;

static void *visit(void *arg)
{
    const visitor *one = arg;
    for (int i = 0; i < VISITS; i++) {
        smem_segment *segment;
        int which = (i + one->number) % AWAY;
        CHECK_OK(smem_attach(one->ctx, smem_info_of(one->all[which])->name, SMEM_READ_WRITE, &segment));
        CHECK(*(double *)smem_data(segment) == which);
        smem_detach(segment);
    }
    return NULL;
}

/* Threads drop and attach again what somebody else uses: mappings go away and come back. */
TEST(threads_share_what_is_away)
{
    CHECK_EQ(setenv("SHAREDMEM_CACHE", "10000000", 1), 0);
    smem_context *owner = check_open(NULL), *ctx = check_open(NULL);
    smem_segment *all[AWAY];
    visitor visitors[THREADS];
    smem_statistics statistics;
    for (int i = 0; i < AWAY; i++) {
        smem_spec spec = {.backend = backend, .dtype = "'<f8'", .itemsize = 8, .ndim = 1, .shape = large};
        CHECK_OK(smem_create(owner, &spec, &all[i]));
        *(double *)smem_data(all[i]) = i;
    }
    for (int i = 0; i < THREADS; i++) {
        visitors[i] = (visitor){.ctx = ctx, .all = all, .number = i};
        CHECK_EQ(pthread_create(&visitors[i].thread, NULL, visit, &visitors[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(visitors[i].thread, NULL), 0);
    smem_stats(ctx, &statistics);
    CHECK_EQ(statistics.returned > 0, backend == SMEM_POSIX);
    for (int i = 0; i < AWAY; i++)
        smem_detach(all[i]);
    smem_close(ctx);
    smem_close(owner);
}

int main(int argc, char **argv)
{
    return check_main_on_backend(argc, argv, &backend);
}
