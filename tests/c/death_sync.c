/*
 * The steps of locks and their relatives that a process is killed in. They lie in
 * the data of "a", which the living hold; afterwards the living must be able to
 * use them without waiting for the dead.
 */
#include "death.h"

#include "base/point.h"

#include "segment/context.h"
#include "segment/queue.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is used, behind the number that the other checks look at. */
typedef struct used {
    smem_lock lock;
    smem_condition condition;
    smem_event event;
    smem_semaphore semaphore;
    smem_barrier alone, both;
} used;

static used *used_in(smem_segment *segment)
{
    return (used *)((char *)smem_data(segment) + 1024);
}

static int64_t briefly(void)
{
    return smem_deadline(2000000);
}

static int64_t long_enough(void)
{
    return smem_deadline(INT64_C(10000000000));
}

/* ---- before --------------------------------------------------------------------- */

static void hold(living *l)
{
    smem_spec spec = vector_of(l->backend, check_name("a"));
    CHECK_OK(smem_create(l->ctx, &spec, &l->held));
    *first_of(l->held) = 5;
}

static void hold_locked(living *l)
{
    hold(l);
    CHECK_OK(smem_lock_acquire(l->held, &used_in(l->held)->lock, SMEM_NO_WAIT));
}

static void take_and_die(check_peer *parent, void *arg)
{
    living *l = arg;
    (void)parent;
    CHECK_OK(smem_lock_acquire(l->held, &used_in(l->held)->lock, SMEM_NO_WAIT));
    kill(getpid(), SIGKILL);
}

static void hold_of_the_dead(living *l)
{
    hold(l);
    check_peer dead = check_fork(take_and_die, l);
    CHECK_EQ(check_wait(&dead), 128 + SIGKILL);
}

static void have_attached(victim *v)
{
    CHECK_OK(smem_attach(v->ctx, check_name("a"), SMEM_READ_WRITE, &v->segment));
}

/* ---- what the victim does ---------------------------------------------------------- */

/* As if somebody waited: whoever does passes by himself. */
static void take_and_give(victim *v)
{
    smem_lock *lock = &used_in(v->segment)->lock;
    int rc = smem_lock_acquire(v->segment, lock, long_enough());
    CHECK(rc == 0 || rc == SMEM_E_OWNER_DIED);
    atomic_fetch_or((_Atomic uint64_t *)&lock->state, (uint64_t)1 << 31);
    CHECK_OK(smem_lock_release(v->segment, lock));
}

static void take_in_vain(victim *v)
{
    CHECK_CODE(smem_lock_acquire(v->segment, &used_in(v->segment)->lock, briefly()), -ETIMEDOUT);
}

static void enter_twice(victim *v)
{
    smem_lock *lock = &used_in(v->segment)->lock;
    CHECK_OK(smem_lock_enter(v->segment, lock, long_enough()));
    CHECK_OK(smem_lock_enter(v->segment, lock, long_enough()));
    CHECK_OK(smem_lock_exit(v->segment, lock));
    CHECK_OK(smem_lock_exit(v->segment, lock));
}

static void leave_locked(victim *v)
{
    CHECK_OK(smem_lock_acquire(v->segment, &used_in(v->segment)->lock, long_enough()));
    smem_leave(v->ctx);
}

static void take_and_make_the_file_anew(victim *v)
{
    char path[256];
    CHECK_OK(smem_lock_acquire(v->segment, &used_in(v->segment)->lock, long_enough()));
    snprintf(path, sizeof path, "%s/smem.%u.f.%s", check_directory(), (unsigned)geteuid(),
             smem_family_name(v->ctx));
    CHECK_EQ(unlink(path), 0);
    CHECK_OK(smem_reclaim(v->ctx, NULL));
}

static void break_it(victim *v)
{
    CHECK_OK(smem_lock_break(v->segment, &used_in(v->segment)->lock));
}

static void wait_and_notify(victim *v)
{
    used *u = used_in(v->segment);
    smem_wait wait;
    CHECK_OK(smem_lock_acquire(v->segment, &u->lock, long_enough()));
    CHECK_CODE(smem_condition_wait(v->segment, &u->condition, &u->lock, briefly()), -ETIMEDOUT);
    CHECK_OK(smem_condition_begin(v->segment, &u->condition, &wait));
    CHECK_OK(smem_condition_notify(v->segment, &u->condition, 1));
    CHECK_OK(smem_condition_sleep(v->segment, &u->condition, &wait, long_enough()));
    CHECK_OK(smem_lock_release(v->segment, &u->lock));
}

static void wait_and_set(victim *v)
{
    smem_event *event = &used_in(v->segment)->event;
    CHECK_CODE(smem_event_wait(v->segment, event, briefly()), -ETIMEDOUT);
    CHECK_OK(smem_event_set(v->segment, event));
    CHECK_OK(smem_event_wait(v->segment, event, long_enough()));
}

static void use_units(victim *v)
{
    smem_semaphore *semaphore = &used_in(v->segment)->semaphore;
    CHECK_OK(smem_semaphore_start(v->segment, semaphore, 1, 0));
    CHECK_OK(smem_semaphore_acquire(v->segment, semaphore, long_enough()));
    CHECK_CODE(smem_semaphore_acquire(v->segment, semaphore, briefly()), -ETIMEDOUT);
    CHECK_OK(smem_semaphore_release(v->segment, semaphore, 1));
}

static void pass_barriers(victim *v)
{
    used *u = used_in(v->segment);
    uint32_t phase;
    CHECK_OK(smem_barrier_start(v->segment, &u->alone, 1));
    CHECK_OK(smem_barrier_start(v->segment, &u->both, 2));
    CHECK_EQ(smem_barrier_arrive(v->segment, &u->alone, &phase, long_enough()), 0);
    CHECK_OK(smem_barrier_open(v->segment, &u->alone, 0));
    CHECK_EQ(smem_barrier_arrive(v->segment, &u->both, &phase, long_enough()), 0);
    CHECK_CODE(smem_barrier_sleep(v->segment, &u->both, phase, briefly()), -ETIMEDOUT);
    CHECK_CODE(smem_barrier_give_up(v->segment, &u->both, phase), SMEM_E_BROKEN);
}

static void write_frames(victim *v)
{
    uint64_t number;
    CHECK_CODE(smem_frame_wait(v->segment, smem_frame_number(v->segment), briefly()), -ETIMEDOUT);
    CHECK_OK(smem_frame_begin(v->segment, long_enough()));
    CHECK_OK(smem_frame_end(v->segment));
    CHECK_OK(smem_frame_read_begin(v->segment, &number, long_enough()));
}

/* A queue is all of its segment, "queue". */
enum { QUEUE_LIMIT = 4,
       QUEUE_ROOM = 64 };

static const char *const items[] = {"first", "second", "victim's"};

static int put_item(const smem_queue *queue, const char *item)
{
    return smem_queue_put(queue, item, strlen(item) + 1, long_enough());
}

static smem_queue queue_in(smem_segment *segment)
{
    smem_queue queue;
    CHECK_OK(smem_queue_open(segment, &queue));
    return queue;
}

static smem_queue_spec queue_of(int backend)
{
    return (smem_queue_spec){.name = check_name("queue"), .backend = backend, .limit = QUEUE_LIMIT, .room = QUEUE_ROOM};
}

static void hold_a_queue(living *l)
{
    smem_queue_spec spec = queue_of(l->backend);
    smem_queue queue;
    CHECK_OK(smem_queue_create(l->ctx, &spec, &queue));
    l->held = queue.segment;
    CHECK_OK(put_item(&queue, items[0]));
    CHECK_OK(put_item(&queue, items[1]));
}

static void make_a_queue_of_a_name(victim *v)
{
    smem_queue_spec spec = queue_of(v->backend);
    smem_queue queue;
    CHECK_OK(smem_queue_create(v->ctx, &spec, &queue));
    v->segment = queue.segment;
}

static void have_its_queue(victim *v)
{
    CHECK_OK(smem_attach(v->ctx, check_name("queue"), SMEM_READ_WRITE, &v->segment));
}

static void put_one(victim *v)
{
    smem_queue queue = queue_in(v->segment);
    CHECK_OK(put_item(&queue, items[2]));
}

static void take_one(victim *v)
{
    smem_queue queue = queue_in(v->segment);
    char got[QUEUE_ROOM];
    uint64_t length;
    CHECK_OK(smem_queue_get(&queue, got, sizeof got, &length, long_enough()));
    CHECK_STR(got, items[0]);
}

static void shut_it(victim *v)
{
    smem_queue queue = queue_in(v->segment);
    char got[QUEUE_ROOM];
    uint64_t length;
    smem_queue_shut(&queue);
    for (int i = 0; i < 2; i++)
        CHECK_OK(smem_queue_get(&queue, got, sizeof got, &length, long_enough()));
    CHECK_CODE(smem_queue_get(&queue, got, sizeof got, &length, long_enough()), SMEM_E_SHUT);
}

/* ---- after ------------------------------------------------------------------------ */

static void lock_again(living *l, smem_lock *lock)
{
    int rc = smem_lock_acquire(l->held, lock, long_enough());
    CHECK(rc == 0 || rc == SMEM_E_OWNER_DIED);
    CHECK_OK(smem_lock_recover(l->held, lock));
    CHECK_OK(smem_lock_release(l->held, lock));
    CHECK_OK(smem_lock_enter(l->held, lock, SMEM_NO_WAIT));
    CHECK_OK(smem_lock_exit(l->held, lock));
}

static void lock_works(living *l)
{
    lock_again(l, &used_in(l->held)->lock);
}

static void held_lock_works(living *l)
{
    smem_lock *lock = &used_in(l->held)->lock;
    CHECK_EQ(smem_lock_state(l->held, lock), SMEM_LOCK_HERE);
    CHECK_OK(smem_lock_release(l->held, lock));
    CHECK_OK(smem_lock_acquire(l->held, lock, SMEM_NO_WAIT));
    CHECK_OK(smem_lock_release(l->held, lock));
}

static void condition_works(living *l)
{
    smem_condition *condition = &used_in(l->held)->condition;
    smem_wait wait;
    lock_works(l);
    CHECK_OK(smem_condition_begin(l->held, condition, &wait));
    /* The dead may be among those who wait: all, so that this one is. */
    CHECK_OK(smem_condition_notify(l->held, condition, UINT32_MAX));
    CHECK_OK(smem_condition_sleep(l->held, condition, &wait, SMEM_NO_WAIT));
}

static void event_works(living *l)
{
    smem_event *event = &used_in(l->held)->event;
    CHECK_OK(smem_event_set(l->held, event));
    CHECK_OK(smem_event_wait(l->held, event, long_enough()));
    CHECK_OK(smem_event_clear(l->held, event));
    CHECK_CODE(smem_event_wait(l->held, event, SMEM_NO_WAIT), -ETIMEDOUT);
}

static void semaphore_works(living *l)
{
    smem_semaphore *semaphore = &used_in(l->held)->semaphore;
    CHECK_OK(smem_semaphore_start(l->held, semaphore, 1, 0));
    CHECK(smem_semaphore_value(semaphore) <= 1);
    CHECK_OK(smem_semaphore_release(l->held, semaphore, 1));
    CHECK_OK(smem_semaphore_acquire(l->held, semaphore, long_enough()));
}

static void barriers_work(living *l)
{
    used *u = used_in(l->held);
    uint32_t phase;
    CHECK_OK(smem_barrier_start(l->held, &u->alone, 1));
    CHECK_OK(smem_barrier_start(l->held, &u->both, 2));
    CHECK_OK(smem_barrier_reset(l->held, &u->alone));
    CHECK_EQ(smem_barrier_arrive(l->held, &u->alone, &phase, long_enough()), 0);
    CHECK_OK(smem_barrier_open(l->held, &u->alone, 0));
    CHECK_OK(smem_barrier_reset(l->held, &u->both));
    CHECK_EQ(smem_barrier_arrive(l->held, &u->both, &phase, long_enough()), 0);
    CHECK_EQ(smem_barrier_arrive(l->held, &u->both, &phase, long_enough()), 1);
    CHECK_OK(smem_barrier_open(l->held, &u->both, 0));
    CHECK_OK(smem_barrier_sleep(l->held, &u->both, phase, SMEM_NO_WAIT));
}

static void frames_work(living *l)
{
    uint64_t number;
    int rc = smem_frame_read_begin(l->held, &number, long_enough());
    CHECK(rc == 0 || rc == SMEM_E_TORN);
    CHECK_OK(smem_frame_begin(l->held, long_enough()));
    CHECK_OK(smem_frame_end(l->held));
    CHECK_OK(smem_frame_wait(l->held, number, SMEM_NO_WAIT));
    CHECK_OK(smem_frame_read_begin(l->held, &number, SMEM_NO_WAIT));
    CHECK_EQ(smem_frame_read_end(l->held, number), 1);
}

/* What is in it is, in order, items[from] to items[to - 1], and then it is empty. */
static void take_all(const smem_queue *queue, int from, int to, int end)
{
    char got[QUEUE_ROOM];
    uint64_t length;
    for (int i = from; i < to; i++) {
        CHECK_OK(smem_queue_get(queue, got, sizeof got, &length, long_enough()));
        CHECK_STR(got, items[i]);
    }
    CHECK_CODE(smem_queue_get(queue, got, sizeof got, &length, SMEM_NO_WAIT), end);
}

static void check_it_goes_on(const smem_queue *queue)
{
    CHECK_OK(put_item(queue, items[0]));
    take_all(queue, 0, 1, -EAGAIN);
}

/* The victim's item is whole or not there. */
static void puts_work(living *l)
{
    smem_queue queue = queue_in(l->held);
    take_all(&queue, 0, (int)smem_queue_count(&queue), -EAGAIN);
    check_it_goes_on(&queue);
}

/* It has taken the first one or none. */
static void gets_work(living *l)
{
    smem_queue queue = queue_in(l->held);
    take_all(&queue, 2 - (int)smem_queue_count(&queue), 2, -EAGAIN);
    check_it_goes_on(&queue);
}

/* It was shut, and nobody takes what is not there; or it was not. */
static void shut_works(living *l)
{
    smem_queue queue = queue_in(l->held);
    int code = put_item(&queue, items[2]);
    CHECK(code == 0 || code == SMEM_E_SHUT);
    int count = (int)smem_queue_count(&queue);
    take_all(&queue, code == 0 ? 0 : 2 - count, code == 0 ? 3 : 2, code == 0 ? -EAGAIN : code);
}

/* Who finds the name finds a whole queue, whenever its maker died. */
static void queue_is_whole_or_not_there(living *l)
{
    smem_queue queue;
    int code = smem_queue_attach(l->ctx, check_name("queue"), &queue);
    CHECK(code == 0 || code == SMEM_E_NOT_FOUND);
    if (code != 0)
        return;
    check_it_goes_on(&queue);
    smem_detach(queue.segment);
}

#define OPERATION(called, ...)                                                \
    TEST(called)                                                              \
    {                                                                         \
        static const operation op = {.name = #called, __VA_ARGS__};           \
        die_in(&op);                                                          \
    }

OPERATION(lock_and_unlock, .prepare = hold, .before = have_attached, .act = take_and_give,
          .judge = lock_works)
OPERATION(lock_in_vain, .prepare = hold_locked, .before = have_attached, .act = take_in_vain,
          .judge = held_lock_works)
OPERATION(lock_of_the_dead, .prepare = hold_of_the_dead, .before = have_attached,
          .act = take_and_give, .judge = lock_works)
OPERATION(lock_and_make_the_file_anew, .prepare = hold, .before = have_attached,
          .act = take_and_make_the_file_anew, .judge = lock_works)
OPERATION(break_a_lock, .prepare = hold_of_the_dead, .before = have_attached, .act = break_it,
          .judge = lock_works)
OPERATION(lock_twice, .prepare = hold, .before = have_attached, .act = enter_twice,
          .judge = lock_works)
OPERATION(leave_with_a_lock, .prepare = hold, .before = have_attached, .act = leave_locked,
          .judge = lock_works)
OPERATION(wait_for_a_notification, .prepare = hold, .before = have_attached,
          .act = wait_and_notify, .judge = condition_works)
OPERATION(wait_for_an_event, .prepare = hold, .before = have_attached, .act = wait_and_set,
          .judge = event_works)
OPERATION(acquire_and_release, .prepare = hold, .before = have_attached, .act = use_units,
          .judge = semaphore_works)
OPERATION(wait_at_a_barrier, .prepare = hold, .before = have_attached, .act = pass_barriers,
          .judge = barriers_work)
OPERATION(write_and_wait_for_frames, .prepare = hold, .before = have_attached, .act = write_frames,
          .judge = frames_work)
OPERATION(put_into_a_queue, .prepare = hold_a_queue, .before = have_its_queue, .act = put_one,
          .judge = puts_work)
OPERATION(take_from_a_queue, .prepare = hold_a_queue, .before = have_its_queue, .act = take_one,
          .judge = gets_work)
OPERATION(shut_a_queue, .prepare = hold_a_queue, .before = have_its_queue, .act = shut_it,
          .judge = shut_works)
OPERATION(make_a_queue, .act = make_a_queue_of_a_name, .judge = queue_is_whole_or_not_there)

/* ---- a look at each step -------------------------------------------------------- */

static check_peer looking;
static bool looks; /* and has not answered */
static uint64_t found_whole;

/* Child, of a family of its own: looks whenever it is told to. */
static void look_for_the_queue(check_peer *parent, void *arg)
{
    smem_context *ctx = open_in(NULL, 0, NULL);
    (void)arg;
    while (check_hear(parent)) {
        smem_queue queue;
        int code = smem_queue_attach(ctx, check_name("queue"), &queue);
        CHECK(code == 0 || code == SMEM_E_NOT_FOUND || code == SMEM_E_BUSY);
        if (code == 0) {
            CHECK_EQ(queue.limit, QUEUE_LIMIT);
            CHECK_EQ(queue.room, QUEUE_ROOM);
            check_it_goes_on(&queue);
            smem_detach(queue.segment);
        }
        check_tell(parent, code == 0);
    }
    smem_close(ctx);
}

/* The other is given time, unless it waits for a lock of this one: then its look goes on.
   And not at each turn of one that tries again since the other was there. */
static void let_it_look(const smem__point *point)
{
    static bool seen[512];
    size_t i = (size_t)(point - __start_smem_points);
    struct pollfd answer = {.fd = looking.in, .events = POLLIN};
    CHECK(i < sizeof seen);
    if (!looks && !seen[i])
        check_tell(&looking, 1);
    looks = looks || !seen[i];
    seen[i] = true;
    if (looks && poll(&answer, 1, 50) == 1) {
        found_whole += check_hear(&looking);
        looks = false;
    }
}

static void look_at_each_step(int backend)
{
    smem_queue_spec spec = queue_of(backend);
    smem_queue queue;
    looking = check_fork(look_for_the_queue, NULL);
    smem_context *ctx = open_in(NULL, 0, NULL);
    found_whole = 0;
    smem__at_point = let_it_look;
    CHECK_OK(smem_queue_create(ctx, &spec, &queue));
    smem__at_point = NULL;
    CHECK(found_whole > 0); /* its maker was still in the call */
    if (looks)
        check_hear(&looking);
    check_tell(&looking, 0);
    CHECK_EQ(check_wait(&looking), 0);
    smem_detach(queue.segment);
    smem_close(ctx);
}

/* Its maker is stopped at each step of making it, and another process looks for its name. */
TEST(a_queue_that_is_found_is_whole_posix)
{
    look_at_each_step(SMEM_POSIX);
}

TEST(a_queue_that_is_found_is_whole_sysv)
{
    look_at_each_step(SMEM_SYSV);
}
