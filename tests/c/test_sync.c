/*
 * Conditions, events, semaphores and barriers, whoever dies.
 *
 *   test_sync posix|sysv [test...]
 */
#include "check.h"

#include "os/backend.h"
#include "os/syscalls.h"
#include "segment/context.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int backend;

enum { PEERS = 3 };

/* Each test has one of a kind, and an array of numbers for what it guards. */
typedef struct fixture {
    smem_context *ctx;
    smem_segment *segment, *numbers;
    void *it;
    smem_lock *lock;          /* of the condition, or NULL */
    smem_condition *condition;
    uint64_t *number;
} fixture;

static smem_sync_spec spec_of(int kind, uint32_t value, uint32_t limit)
{
    return (smem_sync_spec){.name = check_name("it"), .backend = backend, .kind = kind, .value = value, .limit = limit};
}

static fixture begin(int kind, uint32_t value, uint32_t limit)
{
    static const int64_t shape[] = {8};
    fixture f = {.ctx = check_open(NULL)};
    smem_sync_spec sync = spec_of(kind, value, limit);
    smem_spec spec = {.backend = backend, .dtype = "'<u8'", .itemsize = 8, .ndim = 1, .shape = shape};
    CHECK_OK(smem_sync_create(f.ctx, &sync, &f.segment));
    CHECK_OK(smem_create(f.ctx, &spec, &f.numbers));
    f.it = smem_data(f.segment);
    f.lock = f.it;
    f.condition = (smem_condition *)(f.lock + 1);
    f.number = smem_data(f.numbers);
    return f;
}

static void end(fixture *f)
{
    smem_detach(f->segment);
    smem_detach(f->numbers);
    smem_close(f->ctx);
}

static void fork_all(check_peer *peers, check_body *body, fixture *f)
{
    for (int i = 0; i < PEERS; i++) {
        peers[i] = check_fork(body, f);
        check_hear(&peers[i]);
    }
}

static void wait_all(check_peer *peers)
{
    for (int i = 0; i < PEERS; i++)
        CHECK_EQ(check_wait(&peers[i]), 0);
}

static uint32_t load(const uint32_t *word)
{
    return atomic_load((const _Atomic uint32_t *)word);
}

/* ---- segments of their own --------------------------------------------------------- */

TEST(one_is_found_by_name_and_kind)
{
    fixture f = begin(SMEM_KIND_SEMAPHORE, 2, 5);
    smem_segment *found = NULL;
    uint32_t value, limit;
    CHECK_CODE(smem_sync_attach(f.ctx, check_name("it"), SMEM_KIND_LOCK, &found), SMEM_E_KIND);
    CHECK_CODE(smem_sync_attach(f.ctx, check_name("none"), SMEM_KIND_LOCK, &found),
               SMEM_E_NOT_FOUND);
    CHECK_CODE(smem_sync_check(f.numbers, SMEM_KIND_SEMAPHORE, &value, &limit), SMEM_E_KIND);
    CHECK_CODE(smem_sync_check(f.segment, 99, &value, &limit), SMEM_E_ARGUMENT);
    CHECK_OK(smem_sync_attach(f.ctx, check_name("it"), SMEM_KIND_SEMAPHORE, &found));
    CHECK_OK(smem_sync_check(found, SMEM_KIND_SEMAPHORE, &value, &limit));
    CHECK_EQ(value, 2);
    CHECK_EQ(limit, 5);
    smem_detach(found);
    end(&f);
}

TEST(what_others_can_write_is_no_kind)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *made;
    int created;
    for (uint32_t bit = 1; bit <= 0100; bit *= 2) {
        smem_sync_spec spec = {.name = check_name("it"),
                               .backend = backend,
                               .permissions = 0600 | bit,
                               .kind = SMEM_KIND_LOCK};
        int code = bit & 022 ? SMEM_E_EXPOSED : 0;
        CHECK_CODE(smem_sync_create(ctx, &spec, &made), code);
        if (code == 0)
            smem_detach(made);
        CHECK_CODE(smem_sync_attach_or_create(ctx, &spec, &made, &created), code);
        if (code == 0)
            smem_detach(made);
    }
    smem_close(ctx);
}

TEST(what_is_said_otherwise_is_no_kind)
{
    static const char *const others[] = {
        "[('semaphore-1 3 10 1', '|V16')]",
        "[('semaphore-1 03 10', '|V16')]",
        "[('semaphore-1 3', '|V16')]",
        "[('semaphore-1 3 10', '|V8')]",
        "[('semaphore-2 3 10', '|V16')]",
        "[('semaphore-1 3 4294967306', '|V16')]", /* 10, were it cut to 32 bits */
        "'|V16'",
    };
    smem_context *ctx = check_open(NULL);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        smem_spec spec = {.backend = backend, .dtype = others[i], .itemsize = 16};
        smem_segment *segment;
        uint32_t value, limit;
        CHECK_OK(smem_create(ctx, &spec, &segment));
        CHECK_CODE(smem_sync_check(segment, SMEM_KIND_SEMAPHORE, &value, &limit), SMEM_E_KIND);
        smem_detach(segment);
    }
    smem_close(ctx);
}

TEST(one_that_is_there_keeps_its_value)
{
    fixture f = begin(SMEM_KIND_SEMAPHORE, 2, 0);
    smem_sync_spec spec = spec_of(SMEM_KIND_SEMAPHORE, 2, 0);
    smem_segment *found;
    int created;
    CHECK_OK(smem_semaphore_acquire(f.segment, f.it, SMEM_FOREVER));
    CHECK_OK(smem_sync_attach_or_create(f.ctx, &spec, &found, &created));
    CHECK_EQ(created, 0);
    CHECK_EQ(smem_semaphore_value(smem_data(found)), 1);
    smem_detach(found);
    CHECK_CODE(smem_sync_create(f.ctx, &spec, &found), SMEM_E_EXISTS);
    end(&f);
}

TEST(numbers_that_make_no_sense_are_refused)
{
    fixture f = begin(SMEM_KIND_LOCK, 0, 0);
    smem_segment *out;
    const smem_sync_spec wrong[] = {{.kind = -1}, {.kind = 6}, {.kind = SMEM_KIND_BARRIER}, {.kind = SMEM_KIND_SEMAPHORE, .value = 3, .limit = 2}, {.kind = SMEM_KIND_SEMAPHORE, .value = UINT32_MAX}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_CODE(smem_sync_create(f.ctx, &wrong[i], &out), SMEM_E_ARGUMENT);
    end(&f);
}

TEST(in_a_private_copy_nothing_works)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    smem_segment *copy;
    smem_wait wait;
    uint32_t phase;
    CHECK_OK(smem_attach(f.ctx, check_name("it"), SMEM_COPY_ON_WRITE, &copy));
    void *it = smem_data(copy);
    CHECK_CODE(smem_event_set(copy, it), -EACCES);
    CHECK_CODE(smem_event_clear(copy, it), -EACCES);
    CHECK_CODE(smem_event_wait(copy, it, 0), -EACCES);
    CHECK_CODE(smem_semaphore_start(copy, it, 1, 1), -EACCES);
    CHECK_CODE(smem_semaphore_acquire(copy, it, 0), -EACCES);
    CHECK_CODE(smem_semaphore_release(copy, it, 1), -EACCES);
    CHECK_CODE(smem_condition_begin(copy, it, &wait), -EACCES);
    CHECK_CODE(smem_condition_notify(copy, it, 1), -EACCES);
    CHECK_CODE(smem_barrier_start(copy, it, 1), -EACCES);
    CHECK_CODE(smem_barrier_arrive(copy, it, &phase, 0), -EACCES);
    smem_detach(copy);
    end(&f);
}

static void nothing_works_at(fixture *f, void *it)
{
    smem_wait wait;
    uint32_t phase = 0;
    CHECK_CODE(smem_event_set(f->segment, it), -EACCES);
    CHECK_CODE(smem_event_clear(f->segment, it), -EACCES);
    CHECK_CODE(smem_event_wait(f->segment, it, 0), -EACCES);
    CHECK_CODE(smem_semaphore_start(f->segment, it, 1, 1), -EACCES);
    CHECK_CODE(smem_semaphore_acquire(f->segment, it, 0), -EACCES);
    CHECK_CODE(smem_semaphore_release(f->segment, it, 1), -EACCES);
    CHECK_CODE(smem_condition_begin(f->segment, it, &wait), -EACCES);
    CHECK_CODE(smem_condition_notify(f->segment, it, 1), -EACCES);
    CHECK_CODE(smem_condition_sleep(f->segment, it, &wait, 0), -EACCES);
    CHECK_CODE(smem_condition_cancel(f->segment, it, &wait), -EACCES);
    CHECK_CODE(smem_condition_wait(f->segment, it, f->lock, 0), -EACCES);
    CHECK_CODE(smem_barrier_start(f->segment, it, 1), -EACCES);
    CHECK_CODE(smem_barrier_arrive(f->segment, it, &phase, 0), -EACCES);
    CHECK_CODE(smem_barrier_sleep(f->segment, it, phase, 0), -EACCES);
    CHECK_CODE(smem_barrier_open(f->segment, it, 0), -EACCES);
    CHECK_CODE(smem_barrier_give_up(f->segment, it, phase), -EACCES);
    CHECK_CODE(smem_barrier_abort(f->segment, it), -EACCES);
    CHECK_CODE(smem_barrier_reset(f->segment, it), -EACCES);
}

TEST(they_work_within_the_data_only_and_aligned)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    uint64_t elsewhere[16] = {0};
    char *data = f.it;
    nothing_works_at(&f, elsewhere);
    nothing_works_at(&f, data + 4);
    nothing_works_at(&f, data + smem_info_of(f.segment)->nbytes);
    nothing_works_at(&f, data - 8);
    for (int i = 0; i < 16; i++)
        CHECK_EQ(elsewhere[i], 0);
    end(&f);
}

/* ---- conditions ---------------------------------------------------------------------- */

/* Those who wait and permits, of whatever generation. */
static uint64_t counted(const fixture *f)
{
    return f->condition->counts & (((uint64_t)1 << 48) - 1);
}

static int wait_here(fixture *f, int64_t deadline)
{
    return smem_condition_wait(f->segment, f->condition, f->lock, deadline);
}

static void wait_once(check_peer *parent, void *arg)
{
    fixture *f = arg;
    CHECK_OK(smem_lock_acquire(f->segment, f->lock, SMEM_FOREVER));
    check_tell(parent, 1); /* who takes the lock now finds this one waiting */
    CHECK_OK(wait_here(f, SMEM_FOREVER));
    f->number[0]++;
    check_tell(parent, 2);
    CHECK_OK(smem_lock_release(f->segment, f->lock));
}

static void notify(fixture *f, uint32_t count)
{
    CHECK_OK(smem_lock_acquire(f->segment, f->lock, SMEM_FOREVER));
    CHECK_OK(smem_condition_notify(f->segment, f->condition, count));
    CHECK_OK(smem_lock_release(f->segment, f->lock));
}

TEST(as_many_go_on_as_are_notified)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    check_peer peers[PEERS];
    notify(&f, 5); /* nobody waits: nothing is kept */
    fork_all(peers, wait_once, &f);
    notify(&f, 1);
    while (load((uint32_t *)&f.number[0]) < 1)
        smem__nap(1);
    CHECK_OK(smem_lock_acquire(f.segment, f.lock, SMEM_FOREVER));
    CHECK_EQ(f.number[0], 1);
    CHECK_EQ(counted(&f), (uint64_t)(PEERS - 1) << 24);
    CHECK_OK(smem_lock_release(f.segment, f.lock));
    notify(&f, UINT32_MAX);
    wait_all(peers);
    CHECK_EQ(f.number[0], PEERS);
    CHECK_EQ(counted(&f), 0);
    end(&f);
}

TEST(a_wait_for_a_notification_ends_with_its_deadline)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    CHECK_OK(smem_lock_acquire(f.segment, f.lock, SMEM_FOREVER));
    CHECK_CODE(wait_here(&f, smem_deadline(5000000)), -ETIMEDOUT);
    CHECK_CODE(wait_here(&f, SMEM_NO_WAIT), -ETIMEDOUT);
    CHECK_EQ(smem_lock_state(f.segment, f.lock), SMEM_LOCK_HERE);
    CHECK_EQ(counted(&f), 0);
    CHECK_OK(smem_lock_release(f.segment, f.lock));
    CHECK_CODE(wait_here(&f, SMEM_NO_WAIT), SMEM_E_NOT_HELD);
    CHECK_EQ(counted(&f), 0);
    end(&f);
}

static void begin_waits(fixture *f, smem_wait *waits, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CHECK_OK(smem_condition_begin(f->segment, f->condition, &waits[i]));
}

static unsigned go_on(fixture *f, smem_wait *waits, unsigned count)
{
    unsigned gone = 0;
    for (unsigned i = 0; i < count; i++)
        gone += smem_condition_sleep(f->segment, f->condition, &waits[i], SMEM_NO_WAIT) == 0;
    return gone;
}

TEST(those_that_come_later_do_not_overtake_all_that_were_notified)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    smem_wait first[2], later[3];
    begin_waits(&f, first, 2);
    CHECK_OK(smem_condition_notify(f.segment, f.condition, UINT32_MAX));
    begin_waits(&f, later, 3);
    CHECK_OK(smem_condition_notify(f.segment, f.condition, 1));
    CHECK_EQ(go_on(&f, later, 3), 1);
    CHECK_EQ(go_on(&f, first, 2), 2);
    CHECK_EQ(counted(&f), 0);
    end(&f);
}

TEST(a_notification_of_all_leaves_none_to_those_that_come_later)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    smem_wait first[3], later[1];
    begin_waits(&f, first, 3);
    CHECK_OK(smem_condition_notify(f.segment, f.condition, 1));
    CHECK_OK(smem_condition_notify(f.segment, f.condition, 2)); /* as many as wait */
    begin_waits(&f, later, 1);
    CHECK_EQ(smem_condition_cancel(f.segment, f.condition, &first[0]), 1);
    CHECK_EQ(go_on(&f, later, 1), 0);
    CHECK_EQ(go_on(&f, first + 1, 2), 2);
    CHECK_EQ(counted(&f), 0);
    end(&f);
}

TEST(the_dead_are_counted_until_all_are_notified)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    smem_wait dead, living[2];
    begin_waits(&f, &dead, 1); /* and is never heard of again */
    CHECK_OK(smem_condition_notify(f.segment, f.condition, UINT32_MAX));
    begin_waits(&f, living, 2);
    CHECK_OK(smem_condition_notify(f.segment, f.condition, 1));
    CHECK_EQ(go_on(&f, living, 2), 1);
    CHECK_EQ(counted(&f), 0);
    end(&f);
}

TEST(who_comes_after_a_notification_does_not_take_it)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    smem_wait early, late;
    CHECK_OK(smem_condition_begin(f.segment, f.condition, &early));
    CHECK_OK(smem_condition_notify(f.segment, f.condition, 1));
    CHECK_OK(smem_condition_begin(f.segment, f.condition, &late));
    CHECK_CODE(smem_condition_sleep(f.segment, f.condition, &late, SMEM_NO_WAIT), -ETIMEDOUT);
    CHECK_OK(smem_condition_sleep(f.segment, f.condition, &early, SMEM_NO_WAIT));
    CHECK_EQ(counted(&f), 0);
    end(&f);
}

TEST(who_gives_up_takes_the_notification_that_was_his)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    smem_wait one, other;
    CHECK_OK(smem_condition_begin(f.segment, f.condition, &one));
    CHECK_OK(smem_condition_begin(f.segment, f.condition, &other));
    CHECK_OK(smem_condition_notify(f.segment, f.condition, 1));
    CHECK_EQ(smem_condition_cancel(f.segment, f.condition, &one), 1);
    CHECK_EQ(smem_condition_cancel(f.segment, f.condition, &other), 0);
    CHECK_EQ(counted(&f), 0);
    end(&f);
}

/* What it left would let two go on with the next one, or nobody be woken by it. */
TEST(a_notification_goes_with_who_had_it_though_others_came_since)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    smem_wait one, late;
    CHECK_OK(smem_condition_begin(f.segment, f.condition, &one));
    CHECK_OK(smem_condition_notify(f.segment, f.condition, 1));
    CHECK_OK(smem_condition_begin(f.segment, f.condition, &late));
    CHECK_EQ(smem_condition_cancel(f.segment, f.condition, &one), 1);
    CHECK_EQ(counted(&f), (uint64_t)1 << 24);
    smem__sys.futex = check_note_wakes;
    CHECK_OK(smem_condition_notify(f.segment, f.condition, 1));
    CHECK_EQ(check_offered, 1);
    CHECK_OK(smem_condition_sleep(f.segment, f.condition, &late, SMEM_NO_WAIT));
    CHECK_EQ(counted(&f), 0);
    end(&f);
}

TEST(who_comes_late_and_gives_up_leaves_the_notification)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    smem_wait one, late;
    CHECK_OK(smem_condition_begin(f.segment, f.condition, &one));
    CHECK_OK(smem_condition_notify(f.segment, f.condition, 1));
    CHECK_OK(smem_condition_begin(f.segment, f.condition, &late));
    CHECK_EQ(smem_condition_cancel(f.segment, f.condition, &late), 0);
    CHECK_OK(smem_condition_sleep(f.segment, f.condition, &one, SMEM_NO_WAIT));
    CHECK_EQ(counted(&f), 0);
    end(&f);
}

/* Whoever had it may have been killed. */
static void take_from_anybody(fixture *f)
{
    int rc = smem_lock_acquire(f->segment, f->lock, SMEM_FOREVER);
    if (rc == SMEM_E_OWNER_DIED)
        rc = smem_lock_recover(f->segment, f->lock);
    CHECK_OK(rc);
}

static void wait_among_the_dying(check_peer *parent, void *arg)
{
    fixture *f = arg;
    take_from_anybody(f);
    check_tell(parent, 1);
    int rc = wait_here(f, SMEM_FOREVER);
    if (rc == SMEM_E_OWNER_DIED)
        rc = smem_lock_recover(f->segment, f->lock);
    CHECK_OK(rc);
    CHECK_OK(smem_lock_release(f->segment, f->lock));
}

static void notify_among_the_dying(fixture *f, uint32_t count)
{
    take_from_anybody(f);
    CHECK_OK(smem_condition_notify(f->segment, f->condition, count));
    CHECK_OK(smem_lock_release(f->segment, f->lock));
}

/* Woken and then gone: as if killed before it did anything with the wake-up. */
TEST(a_notification_of_the_dead_goes_to_another_who_waits)
{
    fixture f = begin(SMEM_KIND_CONDITION, 0, 0);
    check_peer peers[PEERS];
    for (int round = 0; round < 20; round++) {
        fork_all(peers, wait_among_the_dying, &f);
        notify_among_the_dying(&f, 1);
        check_peer *victim = &peers[round % PEERS];
        CHECK_EQ(kill(victim->pid, SIGKILL), 0); /* wherever it is */
        check_wait(victim);
        notify_among_the_dying(&f, 2);
        for (int i = 0; i < PEERS; i++)
            if (&peers[i] != victim)
                CHECK_EQ(check_wait(&peers[i]), 0);
        take_from_anybody(&f);
        CHECK_OK(smem_lock_release(f.segment, f.lock));
    }
    end(&f);
}

/* ---- events ------------------------------------------------------------------------- */

static void wait_for_event(check_peer *parent, void *arg)
{
    fixture *f = arg;
    check_tell(parent, 1);
    CHECK_OK(smem_event_wait(f->segment, f->it, SMEM_FOREVER));
}

TEST(an_event_lets_all_go_on)
{
    fixture f = begin(SMEM_KIND_EVENT, 0, 0);
    check_peer peers[PEERS];
    CHECK_EQ(smem_event_is_set(f.it), 0);
    CHECK_CODE(smem_event_wait(f.segment, f.it, smem_deadline(5000000)), -ETIMEDOUT);
    fork_all(peers, wait_for_event, &f);
    CHECK_OK(smem_event_set(f.segment, f.it));
    CHECK_OK(smem_event_set(f.segment, f.it));
    wait_all(peers);
    CHECK_EQ(smem_event_is_set(f.it), 1);
    CHECK_OK(smem_event_wait(f.segment, f.it, SMEM_NO_WAIT));
    CHECK_OK(smem_event_clear(f.segment, f.it));
    CHECK_EQ(smem_event_is_set(f.it), 0);
    CHECK_CODE(smem_event_wait(f.segment, f.it, SMEM_NO_WAIT), -ETIMEDOUT);
    end(&f);
}

/* ---- semaphores ---------------------------------------------------------------------- */

TEST(a_semaphore_has_so_many_units)
{
    fixture f = begin(SMEM_KIND_SEMAPHORE, 2, 3);
    CHECK_OK(smem_semaphore_acquire(f.segment, f.it, SMEM_NO_WAIT));
    CHECK_OK(smem_semaphore_acquire(f.segment, f.it, SMEM_FOREVER));
    CHECK_CODE(smem_semaphore_acquire(f.segment, f.it, SMEM_NO_WAIT), -ETIMEDOUT);
    CHECK_CODE(smem_semaphore_acquire(f.segment, f.it, smem_deadline(5000000)), -ETIMEDOUT);
    CHECK_OK(smem_semaphore_release(f.segment, f.it, 3));
    CHECK_CODE(smem_semaphore_release(f.segment, f.it, 1), SMEM_E_RELEASED);
    CHECK_CODE(smem_semaphore_release(f.segment, f.it, UINT32_MAX), SMEM_E_RELEASED);
    CHECK_EQ(smem_semaphore_value(f.it), 3);
    CHECK_CODE(smem_semaphore_start(f.segment, f.it, 4, 3), SMEM_E_ARGUMENT);
    end(&f);
}

enum { TURNS = 3000 };

static void pass_units(check_peer *parent, void *arg)
{
    fixture *f = arg;
    check_tell(parent, 1);
    for (int i = 0; i < TURNS; i++) {
        CHECK_OK(smem_semaphore_acquire(f->segment, f->it, SMEM_FOREVER));
        uint64_t in = atomic_fetch_add((_Atomic uint64_t *)&f->number[1], 1);
        CHECK(in < 2);
        atomic_fetch_sub((_Atomic uint64_t *)&f->number[1], 1);
        CHECK_OK(smem_semaphore_release(f->segment, f->it, 1));
    }
}

TEST(never_more_than_its_units_are_in)
{
    fixture f = begin(SMEM_KIND_SEMAPHORE, 2, 2);
    check_peer peers[PEERS];
    fork_all(peers, pass_units, &f);
    wait_all(peers);
    CHECK_EQ(smem_semaphore_value(f.it), 2);
    CHECK_EQ(((smem_semaphore *)f.it)->waiters, 0);
    end(&f);
}

static void acquire_one(check_peer *parent, void *arg)
{
    fixture *f = arg;
    check_tell(parent, 1);
    CHECK_OK(smem_semaphore_acquire(f->segment, f->it, SMEM_FOREVER));
}

/* It stays to be waited for. (waitpid() takes no WNOWAIT.) */
static bool has_ended(const check_peer *peer)
{
    siginfo_t info = {0};
    CHECK_EQ(waitid(P_PID, (id_t)peer->pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid != 0;
}

TEST(who_is_killed_waiting_for_a_unit_takes_nobody_elses)
{
    fixture f = begin(SMEM_KIND_SEMAPHORE, 0, 0);
    for (int round = 0; round < 20; round++) {
        check_peer victim = check_fork(acquire_one, &f), other = check_fork(acquire_one, &f);
        check_hear(&victim);
        check_hear(&other);
        CHECK_OK(smem_semaphore_release(f.segment, f.it, 1));
        kill(victim.pid, SIGKILL); /* wherever it is; if it had the unit, one more */
        int status = check_wait(&victim);
        if (status == 0 || !has_ended(&other))
            CHECK_OK(smem_semaphore_release(f.segment, f.it, 1));
        CHECK_EQ(check_wait(&other), 0);
        while (smem_semaphore_acquire(f.segment, f.it, SMEM_NO_WAIT) == 0)
            ;
    }
    end(&f);
}

/* ---- barriers ------------------------------------------------------------------------- */

static int pass_barrier(fixture *f, int64_t deadline)
{
    uint32_t phase;
    int index = smem_barrier_arrive(f->segment, f->it, &phase, SMEM_FOREVER);
    if (index < 0)
        return index;
    if (index == PEERS - 1)
        return smem_barrier_open(f->segment, f->it, 0);
    int rc = smem_barrier_sleep(f->segment, f->it, phase, deadline);
    return rc == 0 || rc == SMEM_E_BROKEN ? rc : smem_barrier_give_up(f->segment, f->it, phase);
}

static void pass_often(check_peer *parent, void *arg)
{
    fixture *f = arg;
    check_tell(parent, 1);
    for (uint64_t i = 0; i < 200; i++) {
        atomic_fetch_add((_Atomic uint64_t *)&f->number[2], 1);
        CHECK_OK(pass_barrier(f, SMEM_FOREVER));
        CHECK(atomic_load((_Atomic uint64_t *)&f->number[2]) >= (i + 1) * PEERS);
    }
}

TEST(nobody_passes_a_barrier_before_all_are_there)
{
    fixture f = begin(SMEM_KIND_BARRIER, PEERS, 0);
    check_peer peers[PEERS];
    fork_all(peers, pass_often, &f);
    wait_all(peers);
    CHECK_EQ(smem_barrier_waiting(f.it), 0);
    CHECK_CODE(smem_barrier_open(f.segment, f.it, 0), SMEM_E_NOT_HELD);
    end(&f);
}

static void pass_and_say(check_peer *parent, void *arg)
{
    check_tell(parent, 1);
    check_tell(parent, (uint64_t)(int64_t)pass_barrier(arg, SMEM_FOREVER));
}

static void await_arrivals(fixture *f, int count)
{
    while (smem_barrier_waiting(f->it) != count)
        smem__nap(1);
}

TEST(a_barrier_that_is_reset_or_aborted_is_broken_for_those_who_wait)
{
    fixture f = begin(SMEM_KIND_BARRIER, PEERS, 0);
    for (int abort = 0; abort < 2; abort++) {
        check_peer peer = check_fork(pass_and_say, &f);
        check_hear(&peer);
        await_arrivals(&f, 1);
        CHECK_OK((abort ? smem_barrier_abort : smem_barrier_reset)(f.segment, f.it));
        CHECK_EQ((int64_t)check_hear(&peer), SMEM_E_BROKEN);
        CHECK_EQ(check_wait(&peer), 0);
        CHECK_CODE(smem_barrier_waiting(f.it), abort ? SMEM_E_BROKEN : 0);
    }
    CHECK_CODE(pass_barrier(&f, SMEM_FOREVER), SMEM_E_BROKEN);
    CHECK_OK(smem_barrier_reset(f.segment, f.it));
    CHECK_EQ(smem_barrier_waiting(f.it), 0);
    end(&f);
}

TEST(a_wait_at_a_barrier_that_is_given_up_breaks_it)
{
    fixture f = begin(SMEM_KIND_BARRIER, PEERS, 0);
    check_peer peer = check_fork(pass_and_say, &f);
    check_hear(&peer);
    await_arrivals(&f, 1);
    CHECK_CODE(pass_barrier(&f, smem_deadline(2000000)), SMEM_E_BROKEN);
    CHECK_EQ((int64_t)check_hear(&peer), SMEM_E_BROKEN);
    CHECK_EQ(check_wait(&peer), 0);
    end(&f);
}

static void arrive_last_and_hold(check_peer *parent, void *arg)
{
    fixture *f = arg;
    uint32_t phase;
    CHECK_EQ(smem_barrier_arrive(f->segment, f->it, &phase, SMEM_FOREVER), PEERS - 1);
    check_tell(parent, 1);
    check_hear(parent);
}

TEST(the_death_of_the_last_one_breaks_a_barrier)
{
    fixture f = begin(SMEM_KIND_BARRIER, PEERS, 0);
    check_peer peers[PEERS];
    for (int i = 0; i < PEERS; i++) {
        peers[i] = check_fork(i < PEERS - 1 ? pass_and_say : arrive_last_and_hold, &f);
        check_hear(&peers[i]);
        await_arrivals(&f, i < PEERS - 1 ? i + 1 : PEERS - 1);
    }
    check_kill(&peers[PEERS - 1]);
    for (int i = 0; i < PEERS - 1; i++) {
        CHECK_EQ((int64_t)check_hear(&peers[i]), SMEM_E_BROKEN);
        CHECK_EQ(check_wait(&peers[i]), 0);
    }
    end(&f);
}

/* ---- waking ------------------------------------------------------------------------ */

static void use_condition(fixture *f)
{
    smem_wait wait;
    for (int i = 0; i < 3; i++)
        CHECK_OK(smem_condition_begin(f->segment, f->condition, &wait));
    CHECK_OK(smem_condition_notify(f->segment, f->condition, 1));
    CHECK_EQ(check_offered, 1);
    CHECK_OK(smem_condition_notify(f->segment, f->condition, UINT32_MAX));
    CHECK_EQ(check_offered, INT32_MAX); /* whoever sleeps was notified */
}

static void use_event(fixture *f)
{
    CHECK_OK(smem_event_set(f->segment, f->it));
    CHECK_EQ(check_offered, INT32_MAX);
}

static void use_semaphore(fixture *f)
{
    ((smem_semaphore *)f->it)->waiters = 1;
    CHECK_OK(smem_semaphore_release(f->segment, f->it, 2));
    CHECK_EQ(check_offered, 2);
}

static void use_barrier(fixture *f)
{
    uint32_t phase;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(smem_barrier_arrive(f->segment, f->it, &phase, SMEM_NO_WAIT), i);
    CHECK_OK(smem_barrier_open(f->segment, f->it, 0));
    CHECK_EQ(check_offered, INT32_MAX);
}

/* Who sleeps finds by himself what he waits for, but later. */
TEST(who_changes_what_is_waited_for_wakes_who_waits)
{
    static const struct {
        int kind;
        uint32_t value;
        void (*use)(fixture *f);
    } uses[] = {
        {SMEM_KIND_CONDITION, 0, use_condition},
        {SMEM_KIND_EVENT, 0, use_event},
        {SMEM_KIND_SEMAPHORE, 0, use_semaphore},
        {SMEM_KIND_BARRIER, 2, use_barrier},
    };
    smem__sys.futex = check_note_wakes;
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        fixture f = begin(uses[i].kind, uses[i].value, 0);
        check_offered = 0;
        uses[i].use(&f);
        end(&f);
    }
}

int main(int argc, char **argv)
{
    return check_main_on_backend(argc, argv, &backend);
}
