/*
 * The operations of locks and their relatives in which system calls fail: mostly
 * the one that sleeps and wakes. Who waits does so in vain, for a moment; who ought
 * to be woken finds what it waits for by itself.
 */
#include "failing.h"

#include "os/flock.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t in_ms(int ms)
{
    return smem_deadline((int64_t)ms * 1000000);
}

/* What is waited for in vain is the end of the wait. */
static int over(int rc)
{
    return rc == -ETIMEDOUT ? 0 : rc;
}

/* In the data of "a", behind the number that others look at. */
typedef struct used {
    smem_condition condition;
    smem_event event;
    smem_semaphore semaphore;
    smem_barrier barrier;
    smem_lock lock;
} used;

static used *used_in(smem_segment *segment)
{
    return (used *)((char *)smem_data(segment) + 1024);
}

static void hold_and_attach(scene *s)
{
    const int64_t shape[] = {1000};
    smem_spec spec = {.name = check_name("a"), .backend = backend, .dtype = "'<f8'", .itemsize = 8, .ndim = 1, .shape = shape};
    CHECK_OK(smem_create(s->other, &spec, &s->held));
    *(double *)smem_data(s->held) = 5;
    CHECK_OK(smem_attach(s->ctx, check_name("a"), SMEM_READ_WRITE, &s->result));
}

/* ---- locks ------------------------------------------------------------------------ */

/* Of one family, as those who share a lock mostly are. (Another family's file may be
   a stranger's symbolic link: then it is no family's, and the kernel's word is taken.) */
static void lock_and_attach(scene *s)
{
    smem_options options = {.directory = check_directory(), .family = smem_family_name(s->other)};
    smem_close(s->ctx);
    CHECK_OK(smem_open(&options, &s->ctx));
    hold_and_attach(s);
    CHECK_OK(smem_lock_acquire(s->held, smem_lock_of(s->held), SMEM_NO_WAIT));
}

/* Where flock() stands in, a holder is a file with a lock: the word that there is no
   such file is the word that he is dead. */
static int lock_in_vain(scene *s)
{
    int rc = smem_lock_acquire(s->result, smem_lock_of(s->result), in_ms(3));
    return rc == SMEM_E_OWNER_DIED && smem__flock_needed() ? SMEM_E_NOT_FOUND : over(rc);
}

/* Nobody got it, and it can be given back and taken. */
static void still_locked(scene *s, int rc)
{
    smem_lock *lock = smem_lock_of(s->held);
    (void)rc;
    CHECK_EQ(smem_lock_state(s->held, lock), SMEM_LOCK_HERE);
    CHECK_OK(smem_lock_release(s->held, lock));
    lock = smem_lock_of(s->result);
    CHECK_OK(smem_lock_acquire(s->result, lock, in_ms(10000)));
    CHECK_OK(smem_lock_release(s->result, lock));
}

static void lock_by_the_dead(scene *s)
{
    hold_and_attach(s);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        smem_lock_acquire(s->held, smem_lock_of(s->held), SMEM_NO_WAIT);
        kill(getpid(), SIGKILL);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

/* Where it cannot be found out that the holder is dead, it counts as alive. */
static int lock_of_the_dead(scene *s)
{
    smem_lock *lock = smem_lock_of(s->result);
    int rc = smem_lock_acquire(s->result, lock, in_ms(10));
    if (rc != SMEM_E_OWNER_DIED)
        return over(rc);
    CHECK_OK(smem_lock_recover(s->result, lock));
    return smem_lock_release(s->result, lock);
}

static void lock_works(scene *s, int rc)
{
    smem_lock *lock = smem_lock_of(s->held);
    (void)rc;
    int got = smem_lock_acquire(s->held, lock, in_ms(10000));
    CHECK(got == 0 || got == SMEM_E_OWNER_DIED);
    CHECK_OK(smem_lock_release(s->held, lock));
}

/* ---- conditions, events, semaphores, barriers --------------------------------------- */

static int wait_and_notify(scene *s)
{
    used *u = used_in(s->result);
    smem_wait wait;
    int rc = smem_lock_acquire(s->result, &u->lock, in_ms(1000));
    if (rc != 0)
        return rc;
    rc = over(smem_condition_wait(s->result, &u->condition, &u->lock, in_ms(2)));
    if (rc == 0)
        rc = smem_condition_begin(s->result, &u->condition, &wait);
    if (rc == 0) {
        rc = smem_condition_notify(s->result, &u->condition, 1);
        CHECK_OK(smem_condition_sleep(s->result, &u->condition, &wait, in_ms(10000)));
    }
    CHECK_OK(smem_lock_release(s->result, &u->lock)); /* it is held, whatever failed */
    return rc;
}

static int wait_and_set(scene *s)
{
    smem_event *event = &used_in(s->result)->event;
    int rc = over(smem_event_wait(s->result, event, in_ms(2)));
    int set = smem_event_set(s->result, event);
    CHECK_OK(smem_event_wait(s->result, event, in_ms(10000)));
    return rc ? rc : set;
}

static int use_units(scene *s)
{
    smem_semaphore *semaphore = &used_in(s->result)->semaphore;
    CHECK_OK(smem_semaphore_start(s->result, semaphore, 0, 0));
    int rc = over(smem_semaphore_acquire(s->result, semaphore, in_ms(2)));
    CHECK_OK(smem_semaphore_release(s->result, semaphore, 1));
    CHECK_OK(smem_semaphore_acquire(s->result, semaphore, SMEM_NO_WAIT));
    return rc;
}

static int pass_a_barrier(scene *s)
{
    smem_barrier *barrier = &used_in(s->result)->barrier;
    uint32_t phase;
    CHECK_OK(smem_barrier_start(s->result, barrier, 2));
    int rc = smem_barrier_arrive(s->result, barrier, &phase, in_ms(1000));
    if (rc < 0)
        return rc;
    rc = over(smem_barrier_sleep(s->result, barrier, phase, in_ms(2)));
    int second = smem_barrier_arrive(s->result, barrier, &phase, in_ms(1000));
    if (second >= 0)
        CHECK_OK(smem_barrier_open(s->result, barrier, 0));
    CHECK_OK(smem_barrier_sleep(s->result, barrier, phase, in_ms(10000)));
    return rc ? rc : second < 0 ? second
                                : 0;
}

/* ---- frames -------------------------------------------------------------------------- */

static int write_and_await_frames(scene *s)
{
    uint64_t number = smem_frame_number(s->result);
    int rc = over(smem_frame_wait(s->result, number, in_ms(2)));
    int begun = smem_frame_begin(s->result, in_ms(1000));
    if (begun != 0)
        return begun;
    CHECK_OK(smem_frame_end(s->result));
    CHECK_OK(smem_frame_wait(s->result, number, in_ms(10000)));
    return rc;
}

/* ---- queues --------------------------------------------------------------------------- */

static int make_a_queue(scene *s)
{
    smem_queue_spec spec = {.name = check_name("queue"), .backend = backend, .limit = 2, .room = 64};
    smem_queue queue;
    int rc = smem_queue_create(s->ctx, &spec, &queue);
    if (rc == 0)
        s->result = queue.segment;
    return rc;
}

static void have_a_queue(scene *s)
{
    CHECK_OK(make_a_queue(s));
}

/* All of it was done, or none; what waits in vain has no item. */
static int put_and_take(scene *s)
{
    smem_queue queue;
    char item[64];
    uint64_t length;
    CHECK_OK(smem_queue_open(s->result, &queue));
    int rc = over(smem_queue_get(&queue, item, sizeof item, &length, in_ms(2)));
    CHECK_EQ(smem_queue_count(&queue), 0);
    for (int i = 0; i < 2; i++) {
        int put = smem_queue_put(&queue, &i, sizeof i, in_ms(1000));
        if (put != 0)
            return put;
    }
    int full = over(smem_queue_put(&queue, "x", 1, in_ms(2)));
    int joined = over(smem_queue_join(&queue, in_ms(2)));
    CHECK_EQ(smem_queue_count(&queue), 2);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(smem_queue_get(&queue, item, sizeof item, &length, in_ms(1000)));
        CHECK(*(int *)item == i && length == sizeof i);
        CHECK_OK(smem_queue_done(&queue));
    }
    CHECK_OK(smem_queue_join(&queue, in_ms(10000)));
    smem_queue_shut(&queue);
    return rc ? rc : full ? full
                          : joined;
}

#define OPERATION(called, ...)                                                \
    TEST(called)                                                              \
    {                                                                         \
        static const operation op = {.name = #called, __VA_ARGS__};           \
        fail_in(&op);                                                         \
    }

OPERATION(lock_that_is_held, .prepare = lock_and_attach, .act = lock_in_vain, .judge = still_locked)
OPERATION(lock_that_a_dead_one_held, .prepare = lock_by_the_dead, .act = lock_of_the_dead,
          .judge = lock_works)
OPERATION(condition_waited_and_notified, .prepare = hold_and_attach, .act = wait_and_notify)
OPERATION(event_waited_and_set, .prepare = hold_and_attach, .act = wait_and_set)
OPERATION(semaphore_acquired, .prepare = hold_and_attach, .act = use_units)
OPERATION(barrier_passed, .prepare = hold_and_attach, .act = pass_a_barrier)
OPERATION(frame_written_and_waited_for, .prepare = hold_and_attach, .act = write_and_await_frames)
OPERATION(queue_made, .act = make_a_queue)
OPERATION(queue_put_and_taken, .prepare = have_a_queue, .act = put_and_take)
