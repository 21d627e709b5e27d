/* The queue by itself, in anonymous shared memory. */
#include "check.h"

#include "base/point.h"
#include "segment/queue.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT = 4,
       ROOM = 64 };

static void *memory(uint64_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static smem_queue make(uint32_t limit, uint64_t room, uint64_t spare)
{
    smem_queue queue;
    uint64_t size = smem_queue_size(limit, room);
    void *at = memory(size);
    CHECK_OK(smem_queue_format(at, size, limit, room, spare));
    CHECK_OK(smem_queue_open(at, size, &queue));
    return queue;
}

static smem__queue *shared(const smem_queue *queue)
{
    return queue->memory;
}

static int64_t in_ms(int ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + (int64_t)ms * 1000000;
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
}

TEST(an_item_without_bytes_is_an_item)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    uint64_t length = 7;
    CHECK_OK(smem_queue_put(&queue, "", 0, SMEM_NO_WAIT));
    CHECK_OK(smem_queue_get(&queue, NULL, 0, &length, SMEM_NO_WAIT));
    CHECK_EQ(length, 0);
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
    CHECK_CODE(smem_queue_put(&queue, item, ROOM + 1, SMEM_NO_WAIT), SMEM_E_SIZE);
}

TEST(with_spare_bytes_a_queue_always_holds_its_limit_of_short_items)
{
    smem_queue queue = make(LIMIT, ROOM, ROOM / LIMIT);
    char item[ROOM] = {0};
    CHECK_CODE(smem_queue_put(&queue, item, 17, SMEM_NO_WAIT), SMEM_E_SIZE);
    for (int i = 0; i < LIMIT; i++)
        CHECK_OK(smem_queue_put(&queue, item, 16, SMEM_NO_WAIT));
    CHECK_CODE(smem_queue_put(&queue, item, 16, SMEM_NO_WAIT), -EAGAIN);
}

TEST(a_buffer_that_is_too_small_leaves_the_item)
{
    smem_queue queue = make(LIMIT, ROOM, 0);
    char got[4];
    uint64_t length;
    CHECK_OK(put(&queue, "longer"));
    CHECK_CODE(smem_queue_get(&queue, got, sizeof got, &length, SMEM_NO_WAIT), SMEM_E_SIZE);
    CHECK_EQ(length, 7);
    check_get(&queue, "longer");
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
}

static void hold_both_locks(check_peer *parent, void *arg)
{
    smem__queue *held = shared(arg);
    CHECK_OK(smem_lock_acquire(&held->put.lock, SMEM_FOREVER));
    CHECK_OK(smem_lock_acquire(&held->get.lock, SMEM_FOREVER));
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
}

/* ---- memory that is anybody's -------------------------------------------------- */

TEST(what_is_no_queue_is_refused)
{
    uint64_t size = smem_queue_size(LIMIT, ROOM);
    unsigned char *at = memory(size);
    smem_queue queue;
    CHECK_CODE(smem_queue_open(at, size, &queue), SMEM_E_FORMAT);
    CHECK_OK(smem_queue_format(at, size, LIMIT, ROOM, 0));
    CHECK_OK(smem_queue_open(at, size, &queue));
    CHECK_CODE(smem_queue_open(at, size - 1, &queue), SMEM_E_FORMAT);
    CHECK_CODE(smem_queue_open(at, 63, &queue), SMEM_E_FORMAT);
    CHECK_CODE(smem_queue_open(at + 8, size - 8, &queue), SMEM_E_FORMAT);
    ((smem__queue *)at)->stamp++;
    CHECK_CODE(smem_queue_open(at, size, &queue), SMEM_E_VERSION);
}

TEST(sizes_that_cannot_be_are_refused)
{
    unsigned char *at = memory(4096);
    CHECK_EQ(smem_queue_size(0, ROOM), 0);
    CHECK_EQ(smem_queue_size(1, 0), 0);
    CHECK_EQ(smem_queue_size(1, 100), 0);
    CHECK_EQ(smem_queue_size(1, (uint64_t)1 << 63) > (uint64_t)1 << 63, 1);
    CHECK_CODE(smem_queue_format(at, 4096, 100, 4096, 0), SMEM_E_ARGUMENT);
    CHECK_CODE(smem_queue_format(at, 4096, LIMIT, ROOM, 17), SMEM_E_ARGUMENT);
    CHECK_CODE(smem_queue_format(at, 4096, LIMIT, ROOM, UINT64_MAX / 2), SMEM_E_ARGUMENT);
}

/* Whatever another process writes there, no byte outside is touched: a page that
   cannot be accessed lies on either side. */
TEST(random_bytes_in_a_queue_make_no_access_outside)
{
    enum { PAGE = 4096 };
    unsigned char *pages = memory(3 * PAGE);
    CHECK_OK(mprotect(pages, PAGE, PROT_NONE));
    CHECK_OK(mprotect(pages + 2 * PAGE, PAGE, PROT_NONE));
    uint64_t size = smem_queue_size(LIMIT, 1024), length;
    size = (size + 63) / 64 * 64;
    unsigned char *at = pages + 2 * PAGE - size;
    char item[1024] = {0};
    srandom(1);
    for (int turn = 0; turn < 200000; turn++) {
        smem_queue queue;
        memset(at, 0, size);
        CHECK_OK(smem_queue_format(at, size, LIMIT, 1024, 0));
        for (long flips = random() % 4; flips >= 0; flips--)
            at[(size_t)random() % (random() % 2 ? 64 : 320)] ^= (unsigned char)random();
        memset(&((smem__queue *)at)->put.lock, 0, sizeof(smem_lock));
        memset(&((smem__queue *)at)->get.lock, 0, sizeof(smem_lock));
        if (smem_queue_open(at, size, &queue) != 0)
            continue;
        smem_queue_put(&queue, item, (uint64_t)random() % sizeof item, SMEM_NO_WAIT);
        smem_queue_put(&queue, item, (uint64_t)random() % sizeof item, SMEM_NO_WAIT);
        smem_queue_get(&queue, item, sizeof item, &length, SMEM_NO_WAIT);
    }
}

int main(int argc, char **argv)
{
    return check_main(argc, argv);
}
