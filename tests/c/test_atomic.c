/* Atomic operations by themselves, in plain memory. */
#include "check.h"

#include <pthread.h>
#include <string.h>

static uint64_t bits_of(double value, unsigned width)
{
    float narrow = (float)value;
    uint64_t bits = 0;
    if (width == 4)
        memcpy(&bits, &narrow, 4);
    else
        memcpy(&bits, &value, 8);
    return bits;
}

typedef struct word {
    uint64_t before, value, after;
} word;

/* The neighbours of an element stay as they are. */
static void apply(int kind, unsigned width, int operation, uint64_t old, uint64_t operand,
                  uint64_t want)
{
    uint64_t mask = width == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * width) - 1, seen;
    word w = {.before = 7, .after = 9};
    memset(&w.value, 0xa5, sizeof w.value);
    memcpy(&w.value, &old, width); /* little-endian, as is all that is tested */
    CHECK_OK(smem_atomic(&w.value, kind, width, operation, SMEM_SEQ_CST, operand, &seen));
    CHECK_EQ(seen, old & mask);
    CHECK_EQ(w.value & mask, want & mask);
    CHECK_EQ(w.value & ~mask, UINT64_C(0xa5a5a5a5a5a5a5a5) & ~mask);
    CHECK(w.before == 7 && w.after == 9);
}

TEST(integers_of_every_width)
{
    for (unsigned width = 1; width <= 8; width *= 2) {
        apply('u', width, SMEM_LOAD, 100, 0, 100);
        apply('u', width, SMEM_STORE, 100, 3, 3);
        apply('u', width, SMEM_EXCHANGE, 100, 3, 3);
        apply('i', width, SMEM_FETCH_ADD, 100, 27, 127);
        apply('i', width, SMEM_FETCH_ADD, UINT64_MAX, 1, 0); /* wraps */
        apply('u', width, SMEM_FETCH_SUB, 0, 1, UINT64_MAX);
        apply('u', width, SMEM_FETCH_OR, 12, 10, 14);
        apply('u', width, SMEM_FETCH_AND, 12, 10, 8);
        apply('u', width, SMEM_FETCH_XOR, 12, 10, 6);
        apply('i', width, SMEM_FETCH_MAX, UINT64_MAX, 1, 1); /* -1 < 1 */
        apply('u', width, SMEM_FETCH_MAX, UINT64_MAX, 1, UINT64_MAX);
        apply('i', width, SMEM_FETCH_MIN, UINT64_MAX, 1, UINT64_MAX);
        apply('u', width, SMEM_FETCH_MIN, UINT64_MAX, 1, 1);
    }
    apply('b', 1, SMEM_FETCH_XOR, 1, 1, 0);
}

TEST(floats_of_every_width)
{
    for (unsigned width = 4; width <= 8; width *= 2) {
        uint64_t two = bits_of(2, width), half = bits_of(0.5, width);
        apply('f', width, SMEM_FETCH_ADD, two, half, bits_of(2.5, width));
        apply('f', width, SMEM_FETCH_SUB, two, half, bits_of(1.5, width));
        apply('f', width, SMEM_FETCH_MAX, half, two, two);
        apply('f', width, SMEM_FETCH_MIN, half, two, half);
        apply('f', width, SMEM_FETCH_MIN, two, half, half);
    }
    apply('f', 2, SMEM_EXCHANGE, 0x3c00, 0x4000, 0x4000);
}

TEST(what_there_is_not_is_refused)
{
    uint64_t words[2] = {0}, seen;
    const struct {
        int kind;
        unsigned width;
        int operation, order;
    } wrong[] = {{'f', 2, SMEM_FETCH_ADD, SMEM_SEQ_CST}, {'f', 8, SMEM_FETCH_OR, SMEM_SEQ_CST}, {'b', 1, SMEM_FETCH_ADD, SMEM_SEQ_CST}, {'c', 8, SMEM_FETCH_ADD, SMEM_SEQ_CST}, {'u', 3, SMEM_LOAD, SMEM_SEQ_CST}, {'u', 16, SMEM_LOAD, SMEM_SEQ_CST}, {'u', 8, 10, SMEM_SEQ_CST}, {'u', 8, -1, SMEM_SEQ_CST}, {'u', 8, SMEM_LOAD, 6}, {'u', 8, SMEM_LOAD, 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_CODE(smem_atomic(words, wrong[i].kind, wrong[i].width, wrong[i].operation,
                               wrong[i].order, 0, &seen),
                   SMEM_E_ARGUMENT);
    char *odd = (char *)words + 1;
    CHECK_CODE(smem_atomic(odd, 'u', 8, SMEM_LOAD, SMEM_SEQ_CST, 0, &seen), SMEM_E_ARGUMENT);
    CHECK_CODE(smem_atomic_compare_exchange(odd, 2, SMEM_SEQ_CST, &seen, 0), SMEM_E_ARGUMENT);
    CHECK_CODE(smem_atomic_compare_exchange(words, 8, 9, &seen, 0), SMEM_E_ARGUMENT);
}

TEST(compare_exchange_says_what_is_there)
{
    uint32_t element = 5;
    uint64_t expected = 4;
    const int orders[] = {SMEM_RELAXED, SMEM_ACQUIRE, SMEM_RELEASE, SMEM_ACQ_REL, SMEM_SEQ_CST};
    CHECK_EQ(smem_atomic_compare_exchange(&element, 4, SMEM_SEQ_CST, &expected, 6), 0);
    CHECK_EQ(expected, 5);
    CHECK_EQ(element, 5);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(smem_atomic_compare_exchange(&element, 4, orders[i], &expected, expected + 1), 1);
        expected++;
        CHECK_EQ(element, expected);
    }
}

enum { THREADS = 3,
       MEETINGS = 1000,
       MOST = 2000000 };

static double sum;
static uint16_t count;
static pthread_barrier_t all_there;

/* Until it has often met another one in between; on one processor that takes long. */
static void *add(void *arg)
{
    uint64_t before, last = 0, *times = arg;
    unsigned met = 0;
    double seen;
    pthread_barrier_wait(&all_there);
    for (; met < MEETINGS && *times < MOST; ++*times) {
        smem_atomic(&sum, 'f', 8, SMEM_FETCH_ADD, SMEM_RELAXED, bits_of(0.5, 8), &before);
        met += before != last;
        memcpy(&seen, &before, sizeof seen);
        last = bits_of(seen + 0.5, 8);
        smem_atomic(&count, 'u', 2, SMEM_FETCH_ADD, SMEM_SEQ_CST, 1, &before);
    }
    return NULL;
}

TEST(nothing_is_lost_between_threads)
{
    pthread_t threads[THREADS];
    uint64_t times[THREADS] = {0}, all = 0;
    CHECK_EQ(pthread_barrier_init(&all_there, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, add, &times[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        all += times[i];
    }
    pthread_barrier_destroy(&all_there);
    CHECK(sum == 0.5 * (double)all);
    CHECK_EQ(count, (uint16_t)all);
}

int main(int argc, char **argv)
{
    return check_main(argc, argv);
}
