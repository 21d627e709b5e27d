/*
 * The queue, whoever dies.
 *
 *   test_queue posix|sysv [test...]
 */
#include "check.h"

#include "base/point.h"
#include "os/syscalls.h"
#include "segment/queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT = 4,
       ROOM = 64 };

static int backend;
static smem_context *ctx;

static int try_make(uint32_t limit, uint64_t room, uint64_t spare, smem_queue *out)
{
    smem_queue_spec spec = {.backend = backend, .limit = limit, .room = room, .spare = spare};
    if (!ctx)
        ctx = check_open(NULL);
    return smem_queue_create(ctx, &spec, out);
}

static smem_queue make(uint32_t limit, uint64_t room, uint64_t spare)
{
    smem_queue queue;
    CHECK_OK(try_make(limit, room, spare, &queue));
    return queue;
}

static void end(smem_queue *queue)
{
    smem_detach(queue->segment);
    smem_close(ctx);
}

static smem__queue *shared(const smem_queue *queue)
{
    return smem_data(queue->segment);
}

static int64_t in_ms(int ms)
{
    return smem_deadline((int64_t)ms * 1000000);
}

static int put(const smem_queue *queue, const char *text)
{
    return smem_queue_put(queue, text, strlen(text) + 1, SMEM_NO_WAIT);
}

static void check_get(const smem_queue *queue, const char *want)
{
    char got[ROOM];
    uint64_t length;
    CHECK_OK(smem_queue_get(queue, got, sizeof got, &length, SMEM_NO_WAIT));
    CHECK_EQ(length, strlen(want) + 1);
    CHECK_STR(got, want);
}

static void check_empty(const smem_queue *queue)
{
    char got[ROOM];
    uint64_t length;
    CHECK_CODE(smem_queue_get(queue, got, sizeof got, &length, SMEM_NO_WAIT), -EAGAIN);
}

/* ---- items ------------------------------------------------------------------- */

TEST(items_come_in_the_order_in_which_they_were_put)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    for (int turn = 0; turn < 100; turn++) { /* the tape and the slots wrap around */
        CHECK_OK(put(&queue, "first"));
        CHECK_OK(put(&queue, "the second one"));
        CHECK_EQ(smem_queue_count(&queue), 2);
        check_get(&queue, "first");
        CHECK_OK(put(&queue, "3"));
        check_get(&queue, "the second one");
        check_get(&queue, "3");
        check_empty(&queue);
    }
    end(&queue);
}

TEST(an_item_without_bytes_is_an_item)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    uint64_t length = 7;
    CHECK_OK(smem_queue_put(&queue, "", 0, SMEM_NO_WAIT));
    CHECK_OK(smem_queue_get(&queue, NULL, 0, &length, SMEM_NO_WAIT));
    CHECK_EQ(length, 0);
    end(&queue);
}

TEST(a_full_queue_takes_no_more_until_one_is_taken)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    for (int i = 0; i < LIMIT; i++)
        CHECK_OK(put(&queue, "x"));
    CHECK_CODE(put(&queue, "x"), -EAGAIN);
    CHECK_EQ(smem_queue_count(&queue), LIMIT);
    check_get(&queue, "x");
    CHECK_OK(put(&queue, "x"));
    CHECK_CODE(put(&queue, "x"), -EAGAIN);
    end(&queue);
}

TEST(a_lack_of_bytes_is_like_being_full)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    char item[ROOM], got[ROOM];
    uint64_t length;
    memset(item, 'i', sizeof item);
    CHECK_OK(smem_queue_put(&queue, item, ROOM - 1, SMEM_NO_WAIT));
    CHECK_CODE(smem_queue_put(&queue, item, 2, SMEM_NO_WAIT), -EAGAIN);
    CHECK_OK(smem_queue_put(&queue, item, 1, SMEM_NO_WAIT));
    CHECK_OK(smem_queue_get(&queue, got, ROOM, &length, SMEM_NO_WAIT));
    CHECK_EQ(length, ROOM - 1);
    CHECK(memcmp(got, item, ROOM - 1) == 0);
    CHECK_CODE(smem_queue_put(&queue, item, ROOM + 1, SMEM_NO_WAIT), SMEM_E_LENGTH);
    end(&queue);
}

TEST(with_spare_bytes_a_queue_always_holds_its_limit_of_short_items)
{
    smem_queue queue = make(LIMIT, ROOM, ROOM / LIMIT);
    char item[ROOM] = {0};
    CHECK_CODE(smem_queue_put(&queue, item, 17, SMEM_NO_WAIT), SMEM_E_LENGTH);
    for (int i = 0; i < LIMIT; i++)
        CHECK_OK(smem_queue_put(&queue, item, 16, SMEM_NO_WAIT));
    CHECK_CODE(smem_queue_put(&queue, item, 16, SMEM_NO_WAIT), -EAGAIN);
    end(&queue);
}

/* Small ones that go give back what was kept for them, not what they took. */
TEST(with_spare_bytes_small_items_leave_room_for_the_short_ones_that_follow)
{
    smem_queue queue = make(LIMIT, 2 * ROOM, ROOM / LIMIT);
    char item[ROOM] = {0};
    CHECK_OK(put(&queue, ""));
    CHECK_OK(put(&queue, ""));
    CHECK_OK(smem_queue_put(&queue, item, 48, SMEM_NO_WAIT));
    CHECK_OK(smem_queue_put(&queue, item, 48, SMEM_NO_WAIT));
    for (int i = 0; i < 2; i++) {
        check_get(&queue, "");
        CHECK_CODE(smem_queue_put(&queue, item, 17, SMEM_NO_WAIT), SMEM_E_LENGTH);
        CHECK_OK(smem_queue_put(&queue, item, 16, SMEM_NO_WAIT));
    }
    CHECK_CODE(smem_queue_put(&queue, item, 16, SMEM_NO_WAIT), -EAGAIN);
    end(&queue);
}

/* What a queue should do, stated in the plainest way. */
typedef struct plain {
    uint64_t lengths[LIMIT];
    unsigned char first; /* the number of the first item, which its bytes are */
    unsigned count;
} plain;

static uint64_t charge_of(const smem_queue *queue, uint64_t length)
{
    return length > queue->spare ? length : queue->spare;
}

static int plain_put(plain *model, const smem_queue *queue, uint64_t length)
{
    uint64_t used = charge_of(queue, length);
    if (model->count == LIMIT)
        return -EAGAIN;
    for (unsigned i = 0; i < model->count; i++)
        used += charge_of(queue, model->lengths[i]);
    if (used + (LIMIT - model->count - 1) * queue->spare > ROOM)
        return queue->spare != 0 || length > ROOM ? SMEM_E_LENGTH : -EAGAIN;
    model->lengths[model->count++] = length;
    return 0;
}

static void check_put(plain *model, const smem_queue *queue, uint64_t length)
{
    char item[ROOM + 8];
    memset(item, (unsigned char)(model->first + model->count), sizeof item);
    int code = plain_put(model, queue, length);
    CHECK_CODE(smem_queue_put(queue, item, length, SMEM_NO_WAIT), code);
    if (length <= queue->spare && code != 0)
        CHECK_EQ(code, -EAGAIN); /* it waits for a slot, and for nothing else */
}

static void check_take(plain *model, const smem_queue *queue)
{
    char got[ROOM], want[ROOM];
    uint64_t length;
    if (model->count == 0) {
        check_empty(queue);
        return;
    }
    memset(want, model->first++, sizeof want);
    CHECK_OK(smem_queue_get(queue, got, sizeof got, &length, SMEM_NO_WAIT));
    CHECK_EQ(length, model->lengths[0]);
    CHECK(memcmp(got, want, (size_t)length) == 0);
    memmove(model->lengths, model->lengths + 1, --model->count * sizeof *model->lengths);
}

TEST(any_mix_of_sizes_is_put_and_taken_in_any_order)
{
    static const uint64_t spares[] = {0, 1, 5, ROOM / LIMIT}, most[] = {4, 20, ROOM + 8};
    srandom(1);
    for (unsigned way = 0; way < 12; way++) {
        smem_queue queue = make(LIMIT, ROOM, spares[way % 4]);
        plain model = {.count = 0};
        for (int turn = 0; turn < 5000; turn++) {
            if (random() % 2)
                check_put(&model, &queue, (uint64_t)random() % (most[way / 4] + 1));
            else
                check_take(&model, &queue);
            CHECK_EQ(smem_queue_count(&queue), model.count);
        }
        smem_detach(queue.segment);
    }
    smem_close(ctx);
}

TEST(a_buffer_that_is_too_small_leaves_the_item)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    char got[4];
    uint64_t length;
    CHECK_OK(put(&queue, "longer"));
    CHECK_CODE(smem_queue_get(&queue, got, sizeof got, &length, SMEM_NO_WAIT), SMEM_E_LENGTH);
    CHECK_EQ(length, 7);
    check_get(&queue, "longer");
    end(&queue);
}

static smem_queue *copied;
static void *copy_of_it;
static bool positions_have_moved;

/* In the middle of the copy. */
static void look_at_the_copy(int number)
{
    (void)number;
    smem__queue *queue = shared(copied);
    positions_have_moved = queue->put.position != 1 || queue->get.position != 0;
    if (mprotect(copy_of_it, 4096, PROT_READ | PROT_WRITE) != 0)
        _exit(EXIT_FAILURE);
}

TEST(an_item_is_the_first_one_until_it_was_copied)
{
    check_skip_in_valgrind("it takes the write that is to fail for an error");
    smem_queue queue = make(LIMIT, ROOM, 0);
    struct sigaction look = {.sa_handler = look_at_the_copy}, before;
    uint64_t length;
    copied = &queue;
    copy_of_it = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(copy_of_it != MAP_FAILED);
    CHECK_OK(put(&queue, "x"));
    positions_have_moved = true;
    CHECK_OK(sigaction(SIGSEGV, &look, &before));
    CHECK_OK(smem_queue_get(&queue, copy_of_it, 4096, &length, SMEM_NO_WAIT));
    CHECK_OK(sigaction(SIGSEGV, &before, NULL));
    CHECK_STR(copy_of_it, "x");
    CHECK(!positions_have_moved);
    CHECK_OK(munmap(copy_of_it, 4096));
    end(&queue);
}

/* ---- waiting ----------------------------------------------------------------- */

TEST(waiting_ends_at_its_deadline)
{
    smem_queue queue = make(1, ROOM, 0);
    char got[ROOM];
    uint64_t length;
    CHECK_CODE(smem_queue_get(&queue, got, sizeof got, &length, in_ms(20)), -ETIMEDOUT);
    CHECK_OK(put(&queue, "x"));
    CHECK_CODE(smem_queue_put(&queue, "y", 2, in_ms(20)), -ETIMEDOUT);
    CHECK_EQ(shared(&queue)->put.sleepers, 0);
    CHECK_EQ(shared(&queue)->get.sleepers, 0);
    end(&queue);
}

/* Child: an echo. */
static void echo(check_peer *parent, void *arg)
{
    smem_queue *queues = arg;
    char item[ROOM];
    uint64_t length;
    (void)parent;
    while (smem_queue_get(&queues[0], item, sizeof item, &length, SMEM_FOREVER) == 0)
        CHECK_OK(smem_queue_put(&queues[1], item, length, SMEM_FOREVER));
}

TEST(who_waits_is_woken_by_the_other_process)
{
    smem_queue queues[] = {make(1, ROOM, 0), make(1, ROOM, 0)};
    char got[ROOM];
    uint64_t length;
    check_peer child = check_fork(echo, queues);
    for (int i = 0; i < 10000; i++) {
        CHECK_OK(smem_queue_put(&queues[0], &i, sizeof i, SMEM_FOREVER));
        CHECK_OK(smem_queue_get(&queues[1], got, sizeof got, &length, SMEM_FOREVER));
        CHECK(length == sizeof i && memcmp(got, &i, sizeof i) == 0);
    }
    smem_queue_shut(&queues[0]);
    CHECK_EQ(check_wait(&child), 0);
    smem_detach(queues[1].segment);
    end(&queues[0]);
}

enum { EACH = 20000,
       SIDES = 3 };

typedef struct traffic {
    smem_queue queue;
    _Atomic uint64_t sum, items;
} traffic;

static void *produce(void *arg)
{
    traffic *t = arg;
    for (uint64_t i = 1; i <= EACH; i++)
        CHECK_OK(smem_queue_put(&t->queue, &i, sizeof i, SMEM_FOREVER));
    return NULL;
}

static void *consume(void *arg)
{
    traffic *t = arg;
    uint64_t item, length;
    while (smem_queue_get(&t->queue, &item, sizeof item, &length, SMEM_FOREVER) == 0) {
        CHECK_EQ(length, sizeof item);
        atomic_fetch_add(&t->sum, item);
        atomic_fetch_add(&t->items, 1);
    }
    return NULL;
}

TEST(many_producers_and_consumers_lose_and_double_nothing)
{
    traffic t = {.queue = make(16, 256, 0)};
    pthread_t producers[SIDES], consumers[SIDES];
    for (int i = 0; i < SIDES; i++) {
        CHECK_OK(pthread_create(&producers[i], NULL, produce, &t));
        CHECK_OK(pthread_create(&consumers[i], NULL, consume, &t));
    }
    for (int i = 0; i < SIDES; i++)
        CHECK_OK(pthread_join(producers[i], NULL));
    smem_queue_shut(&t.queue);
    for (int i = 0; i < SIDES; i++)
        CHECK_OK(pthread_join(consumers[i], NULL));
    CHECK_EQ(t.items, SIDES * EACH);
    CHECK_EQ(t.sum, (uint64_t)SIDES * EACH * (EACH + 1) / 2);
    end(&t.queue);
}

/* ---- its end ----------------------------------------------------------------- */

TEST(a_queue_that_was_shut_gives_what_is_in_it_and_then_ends)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    char got[ROOM];
    uint64_t length;
    CHECK_OK(put(&queue, "last"));
    smem_queue_shut(&queue);
    CHECK_CODE(put(&queue, "more"), SMEM_E_SHUT);
    check_get(&queue, "last");
    CHECK_CODE(smem_queue_get(&queue, got, sizeof got, &length, SMEM_FOREVER), SMEM_E_SHUT);
    end(&queue);
}

static void wait_for_an_item(check_peer *parent, void *arg)
{
    char got[ROOM];
    uint64_t length;
    (void)parent;
    CHECK_CODE(smem_queue_get(arg, got, sizeof got, &length, SMEM_FOREVER), SMEM_E_SHUT);
}

TEST(shutting_wakes_who_waits)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    check_peer children[3];
    for (int i = 0; i < 3; i++)
        children[i] = check_fork(wait_for_an_item, &queue);
    while (atomic_load(&shared(&queue)->put.sleepers) < 3)
        sched_yield();
    smem_queue_shut(&queue);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(check_wait(&children[i]), 0);
    end(&queue);
}

static void *finish_later(void *arg)
{
    CHECK_OK(smem_queue_done(arg));
    CHECK_OK(smem_queue_done(arg));
    return NULL;
}

TEST(join_waits_until_all_is_done)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    pthread_t thread;
    CHECK_OK(smem_queue_join(&queue, SMEM_FOREVER));
    CHECK_CODE(smem_queue_done(&queue), SMEM_E_ARGUMENT);
    CHECK_OK(put(&queue, "x"));
    CHECK_OK(put(&queue, "y"));
    check_get(&queue, "x");
    CHECK_CODE(smem_queue_join(&queue, in_ms(5)), -ETIMEDOUT);
    CHECK_OK(pthread_create(&thread, NULL, finish_later, &queue));
    CHECK_OK(smem_queue_join(&queue, SMEM_FOREVER));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_CODE(smem_queue_done(&queue), SMEM_E_ARGUMENT);
    end(&queue);
}

static void hold_the_put_side(check_peer *parent, void *arg)
{
    smem_segment *segment = ((smem_queue *)arg)->segment;
    CHECK_OK(smem_lock_acquire(segment, &shared(arg)->put.lock, SMEM_FOREVER));
    check_tell(parent, 0);
    for (;;)
        pause();
}

TEST(a_queue_has_not_ended_while_a_producer_may_have_looked_before_it_was_shut)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    char got[ROOM];
    uint64_t length;
    check_peer producer = check_fork(hold_the_put_side, &queue);
    check_hear(&producer);
    smem_queue_shut(&queue);
    CHECK_CODE(smem_queue_get(&queue, got, sizeof got, &length, in_ms(20)), -ETIMEDOUT);
    check_kill(&producer);
    CHECK_CODE(smem_queue_get(&queue, got, sizeof got, &length, SMEM_FOREVER), SMEM_E_SHUT);
    end(&queue);
}

/* Bytes that are too few for the one that is woken may be enough for another. */
TEST(a_slot_is_offered_to_one_and_bytes_to_all)
{
    smem_queue slots = make(LIMIT, ROOM, ROOM / LIMIT), bytes = make(LIMIT, ROOM, 0);
    smem__syscalls real = smem__sys;
    smem__sys.futex = check_note_wakes;
    CHECK_OK(put(&slots, "x"));
    check_get(&slots, "x");
    CHECK_EQ(check_offered, 0); /* nobody sleeps */
    shared(&slots)->get.sleepers = shared(&bytes)->get.sleepers = 2;
    CHECK_OK(put(&slots, "x"));
    check_get(&slots, "x");
    CHECK_EQ(check_offered, 1);
    CHECK_OK(put(&bytes, "x"));
    check_get(&bytes, "x");
    CHECK_EQ(check_offered, INT_MAX);
    smem__sys = real;
    smem_detach(bytes.segment);
    end(&slots);
}

/* ---- death ------------------------------------------------------------------- */

static void sleep_for_an_item(check_peer *parent, void *arg)
{
    wait_for_an_item(parent, arg);
}

TEST(who_is_killed_asleep_takes_no_item_with_it)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    check_peer victim = check_fork(sleep_for_an_item, &queue);
    while (atomic_load(&shared(&queue)->put.sleepers) == 0)
        sched_yield();
    check_kill(&victim);
    CHECK_OK(put(&queue, "x"));
    check_get(&queue, "x");
    end(&queue);
}

static check_peer *who_puts;
static smem__syscalls real_calls;

/* Asleep before the item comes, and not woken. */
static long sleep_on(const _Atomic uint32_t *word, int operation, uint32_t value,
                     const struct timespec *timeout, uint32_t bits)
{
    static const _Atomic uint32_t never;
    (void)word, (void)value, (void)bits;
    CHECK(operation != FUTEX_WAKE && timeout);
    check_tell(who_puts, 0);
    check_hear(who_puts);
    return real_calls.futex(&never, operation, 0, timeout, bits);
}

static void take_one(check_peer *parent, void *arg)
{
    char got[ROOM];
    uint64_t length;
    who_puts = parent;
    real_calls = smem__sys;
    smem__sys.futex = sleep_on;
    CHECK_OK(smem_queue_get(arg, got, sizeof got, &length, SMEM_FOREVER));
}

/* The one that was woken for it was killed. */
TEST(who_sleeps_finds_an_item_that_it_was_not_woken_for)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    check_peer sleeper = check_fork(take_one, &queue);
    check_hear(&sleeper);
    CHECK_OK(put(&queue, "x"));
    check_tell(&sleeper, 0);
    CHECK_EQ(check_wait(&sleeper), 0);
    end(&queue);
}

static void hold_both_locks(check_peer *parent, void *arg)
{
    smem__queue *held = shared(arg);
    smem_segment *segment = ((smem_queue *)arg)->segment;
    CHECK_OK(smem_lock_acquire(segment, &held->put.lock, SMEM_FOREVER));
    CHECK_OK(smem_lock_acquire(segment, &held->get.lock, SMEM_FOREVER));
    check_tell(parent, 0);
    for (;;)
        pause();
}

TEST(the_locks_of_the_dead_are_taken_over)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    char got[ROOM];
    uint64_t length;
    CHECK_OK(put(&queue, "x"));
    check_peer victim = check_fork(hold_both_locks, &queue);
    check_hear(&victim);
    check_kill(&victim);
    CHECK_OK(smem_queue_put(&queue, "y", 2, SMEM_FOREVER));
    CHECK_OK(smem_queue_get(&queue, got, sizeof got, &length, SMEM_FOREVER));
    CHECK_STR(got, "x");
    check_get(&queue, "y");
    end(&queue);
}

TEST(who_does_not_want_to_wait_does_not_wait_for_one_that_was_stopped)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    check_peer stopped = check_fork(hold_the_put_side, &queue);
    check_hear(&stopped);
    CHECK_OK(kill(stopped.pid, SIGSTOP));
    CHECK_CODE(put(&queue, "x"), -EAGAIN);
    check_empty(&queue);
    check_kill(&stopped);
    CHECK_OK(put(&queue, "x"));
    check_get(&queue, "x");
    end(&queue);
}

TEST(who_tries_waits_for_nobody)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    char got[ROOM];
    uint64_t length;
    CHECK_CODE(smem_queue_try_get(&queue, got, sizeof got, &length), -EAGAIN);
    CHECK_OK(smem_queue_try_put(&queue, "x", 2));
    check_peer producer = check_fork(hold_the_put_side, &queue);
    check_hear(&producer);
    CHECK_CODE(smem_queue_try_put(&queue, "y", 2), -EBUSY);
    CHECK_OK(smem_queue_try_get(&queue, got, sizeof got, &length));
    CHECK_STR(got, "x");
    smem_queue_shut(&queue);
    CHECK_CODE(smem_queue_try_get(&queue, got, sizeof got, &length), -EBUSY);
    check_kill(&producer);
    CHECK_CODE(smem_queue_try_put(&queue, "y", 2), -EBUSY); /* nor is a death looked for */
    end(&queue);
}

static smem_queue *slept_on;

/* Asleep is one, whom the other wakes by an item. */
static long sleep_and_be_woken(const _Atomic uint32_t *word, int operation, uint32_t value,
                               const struct timespec *timeout, uint32_t bits)
{
    (void)timeout, (void)bits;
    CHECK(word == &shared(slept_on)->put.event);
    if (operation == FUTEX_WAKE)
        return (long)value;
    CHECK_EQ(shared(slept_on)->put.sleepers, 1);
    CHECK_OK(put(slept_on, "x"));
    CHECK_EQ(shared(slept_on)->put.sleepers, 0);
    return 0;
}

/* Before it runs, too: a burst makes one system call, not one for each item. */
TEST(who_was_woken_is_counted_no_more)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    smem__syscalls real = smem__sys;
    char got[ROOM];
    uint64_t length;
    slept_on = &queue;
    smem__sys.futex = sleep_and_be_woken;
    CHECK_OK(smem_queue_get(&queue, got, sizeof got, &length, SMEM_FOREVER));
    CHECK_STR(got, "x");
    CHECK_EQ(shared(&queue)->put.sleepers, 0);
    smem__sys = real;
    end(&queue);
}

/* A signal that came with the wake-up is heard before anything is taken or put. */
TEST(who_gives_way_takes_nothing_when_it_was_woken)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    smem__syscalls real = smem__sys;
    char got[ROOM];
    uint64_t length;
    slept_on = &queue;
    queue.gives_way = 1;
    smem__sys.futex = sleep_and_be_woken;
    CHECK_CODE(smem_queue_get(&queue, got, sizeof got, &length, SMEM_FOREVER), -EINTR);
    CHECK_EQ(smem_queue_count(&queue), 1);
    smem__sys = real;
    CHECK_OK(smem_queue_get(&queue, got, sizeof got, &length, SMEM_FOREVER));
    CHECK_STR(got, "x");
    end(&queue);
}

static long sleep_and_be_made_room_for(const _Atomic uint32_t *word, int operation,
                                       uint32_t value, const struct timespec *timeout,
                                       uint32_t bits)
{
    (void)timeout, (void)bits;
    CHECK(word == &shared(slept_on)->get.event);
    if (operation == FUTEX_WAKE)
        return (long)value;
    check_get(slept_on, "x");
    return 0;
}

TEST(who_gives_way_puts_nothing_when_it_was_woken)
{
    smem_queue queue = make(1, ROOM, 0);
    smem__syscalls real = smem__sys;
    slept_on = &queue;
    queue.gives_way = 1;
    CHECK_OK(put(&queue, "x"));
    smem__sys.futex = sleep_and_be_made_room_for;
    CHECK_CODE(smem_queue_put(&queue, "y", 2, SMEM_FOREVER), -EINTR);
    check_empty(&queue);
    smem__sys = real;
    end(&queue);
}

TEST(a_wake_up_that_is_not_used_goes_to_another)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    smem__syscalls real = smem__sys;
    smem__sys.futex = check_note_wakes;
    smem_queue_pass_on(&queue);
    CHECK_EQ(check_offered, 0); /* nobody sleeps */
    shared(&queue)->put.sleepers = 2;
    smem_queue_pass_on(&queue);
    CHECK_EQ(check_offered, 1);
    smem__sys = real;
    end(&queue);
}

/* ---- memory that is anybody's -------------------------------------------------- */

static smem_segment *memory(const char *dtype, int64_t size)
{
    smem_spec spec = {
        .backend = backend, .dtype = dtype, .itemsize = 1, .ndim = 1, .shape = &size};
    smem_segment *segment;
    if (!ctx)
        ctx = check_open(NULL);
    CHECK_OK(smem_create(ctx, &spec, &segment));
    return segment;
}

TEST(what_is_no_queue_is_refused)
{
    static const char *const others[] = {
        "'|u1'",
        "[('queue-2 4 64 0', '|V1')]",
        "[('queue-3 4 64', '|V1')]",
        "[('queue-3 4 64 0 0', '|V1')]",
        "[('queue-3 04 64 0', '|V1')]",
        "[('queue-3 4 64 0', '|u1')]",
        "[('queue-3 0 64 0', '|V1')]",
        "[('queue-3 4294967300 64 0', '|V1')]", /* 4, were it cut to 32 bits */
        "[('queue-3 4 63 0', '|V1')]",
        "[('queue-3 4 64 17', '|V1')]",
        "[('queue-3 4 8192 0', '|V1')]",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        smem_segment *segment = memory(others[i], 4096);
        smem_queue queue;
        CHECK_CODE(smem_queue_open(segment, &queue), SMEM_E_KIND);
        CHECK_CODE(smem_queue_attach(ctx, smem_info_of(segment)->name, &queue), SMEM_E_KIND);
        smem_detach(segment);
    }
    smem_close(ctx);
}

TEST(who_may_not_write_has_no_queue)
{
    smem_queue queue = make(LIMIT, ROOM, 0), other;
    smem_segment *reading;
    CHECK_OK(smem_attach(ctx, smem_info_of(queue.segment)->name, SMEM_READ_ONLY, &reading));
    CHECK_CODE(smem_queue_open(reading, &other), -EACCES);
    smem_detach(reading);
    end(&queue);
}

/* Its items are pickles to some. */
TEST(what_others_can_write_is_no_queue)
{
    smem_queue queue;
    smem_segment *segment;
    smem_queue_spec jobs = {
        .name = check_name("jobs"), .backend = backend, .limit = LIMIT, .room = ROOM, .spare = 16};
    ctx = check_open(NULL);
    for (uint32_t bit = 1; bit <= 0100; bit *= 2) {
        smem_spec spec = {.name = check_name("a"),
                          .backend = backend,
                          .permissions = 0600 | bit,
                          .dtype = "[('queue-3 4 64 0', '|V1')]",
                          .itemsize = 1,
                          .ndim = 1,
                          .shape = (int64_t[]){4096}};
        int code = bit & 022 ? SMEM_E_EXPOSED : 0;
        CHECK_OK(smem_create(ctx, &spec, &segment));
        CHECK_CODE(smem_queue_attach(ctx, check_name("a"), &queue), code);
        if (code == 0)
            smem_detach(queue.segment);
        smem_detach(segment);
        jobs.permissions = 0600 | bit;
        CHECK_CODE(smem_queue_create(ctx, &jobs, &queue), code);
        if (code == 0)
            smem_detach(queue.segment);
    }
    smem_close(ctx);
}

TEST(who_finds_its_name_has_the_same_queue)
{
    smem_queue_spec spec = {
        .name = check_name("jobs"), .backend = backend, .limit = LIMIT, .room = ROOM, .spare = 16};
    smem_queue queue, found;
    ctx = check_open(NULL);
    CHECK_OK(smem_queue_create(ctx, &spec, &queue));
    CHECK_CODE(smem_queue_create(ctx, &spec, &found), SMEM_E_EXISTS);
    CHECK_OK(smem_queue_attach(ctx, spec.name, &found));
    CHECK(found.limit == LIMIT && found.room == ROOM && found.spare == 16);
    CHECK_OK(put(&found, "x"));
    check_get(&queue, "x");
    smem_detach(found.segment);
    end(&queue);
}

TEST(sizes_that_cannot_be_are_refused)
{
    smem_queue queue;
    CHECK_CODE(try_make(0, ROOM, 0, &queue), SMEM_E_ARGUMENT);
    CHECK_CODE(try_make(1, 0, 0, &queue), SMEM_E_ARGUMENT);
    CHECK_CODE(try_make(1, 100, 0, &queue), SMEM_E_ARGUMENT);
    CHECK_CODE(try_make(1, (uint64_t)1 << 63, 0, &queue), SMEM_E_ARGUMENT);
    CHECK_CODE(try_make(LIMIT, ROOM, 17, &queue), SMEM_E_ARGUMENT);
    CHECK_CODE(try_make(LIMIT, ROOM, UINT64_MAX / 2, &queue), SMEM_E_ARGUMENT);
    smem_close(ctx);
}

enum { PAGE = 4096 };

/* Bytes of positions, events and slots that were overwritten with random ones. */
static void spoil(unsigned char *at)
{
    smem__queue *queue = (smem__queue *)at;
    for (long flips = random() % 4; flips >= 0; flips--)
        at[random() % 320] ^= (unsigned char)random();
    memset(&queue->put.lock, 0, sizeof(smem_lock));
    memset(&queue->get.lock, 0, sizeof(smem_lock));
    if (random() % 2) { /* what is plausible goes farther */
        queue->put.position = (uint64_t)random() % 16;
        queue->get.position = (uint64_t)random() % 16;
        queue->put.far = (uint64_t)random() % 16;
        queue->get.far = (uint64_t)random() % 16;
        queue->slots[random() % 8].end = (uint64_t)random() % (5 * PAGE);
        queue->slots[random() % 8].charged = (uint64_t)random() % (5 * PAGE);
    }
}

/* Whatever another process writes there, no byte outside of the queue is touched: it
   ends in its second page, and the pages beside cannot be. */
TEST(random_bytes_in_a_queue_make_no_access_outside)
{
    uint64_t length, put = 0, got = 0;
    smem_segment *segment = memory("[('queue-3 4 4096 0', '|V1')]", 8 * PAGE);
    unsigned char *at = smem_data(segment);
    static char item[4 * PAGE]; /* more than there is room for */
    smem_queue queue;
    srandom(1);
    CHECK_OK(smem_queue_open(segment, &queue));
    CHECK_OK(mprotect(at - PAGE, PAGE, PROT_READ));
    CHECK_OK(mprotect(at + 2 * PAGE, 6 * PAGE, PROT_NONE));
    for (int turn = 0; turn < 200000; turn++) {
        memset(at, 0, sizeof(smem__queue) + 8 * sizeof(smem__queue_slot));
        spoil(at);
        for (int i = 0; i < 2; i++)
            put += smem_queue_put(&queue, item, (uint64_t)random() % sizeof item, SMEM_NO_WAIT) == 0;
        got += smem_queue_get(&queue, item, sizeof item, &length, SMEM_NO_WAIT) == 0;
    }
    CHECK(put > 10000);
    CHECK(got > 10000);
    CHECK_OK(mprotect(at - PAGE, PAGE, PROT_READ | PROT_WRITE));
    CHECK_OK(mprotect(at + 2 * PAGE, 6 * PAGE, PROT_READ | PROT_WRITE));
    smem_detach(segment);
    smem_close(ctx);
}

int main(int argc, char **argv)
{
    return check_main_on_backend(argc, argv, &backend);
}
