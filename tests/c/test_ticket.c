/* The ticket table by itself, in plain memory. */
#include "check.h"

#include "segment/ticket.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE = 32 * SMEM__BOOKS,
       ALIVE = 7,
       DEAD = 8,
       UNKNOWN = 9 };
enum { SERIAL_AT = 38 }; /* in a book's word; an odd one is being opened */

static smem__layout header;

/* Families that cannot be judged count as alive. */
static int judge(void *arg, uint32_t family)
{
    (void)arg;
    return family == DEAD ? 0 : family == UNKNOWN ? -5
                                                  : 1;
}

static int take(uint32_t family, uint64_t *ticket)
{
    return smem__ticket_take(header.books, header.pins, family, 1000, judge, NULL, ticket);
}

static uint64_t taken(uint32_t family)
{
    uint64_t ticket;
    CHECK_OK(take(family, &ticket));
    return ticket;
}

static smem_flight count(void)
{
    smem_flight flight;
    smem__ticket_count(&header, judge, NULL, &flight);
    return flight;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* True when no two of them are equal; sorts them. */
static bool distinct(uint64_t *tickets, size_t n)
{
    qsort(tickets, n, sizeof *tickets, compare);
    for (size_t i = 1; i < n; i++)
        if (tickets[i] == tickets[i - 1])
            return false;
    return true;
}

/* A zeroed table has nothing in flight. */
TEST(empty_table)
{
    smem_flight flight = count();
    CHECK_EQ(flight.tickets + flight.pins + flight.voided, 0);
    CHECK_EQ(flight.oldest, 0);
    CHECK(!smem__in_flight(&flight));
}

/* Tickets are never 0, are counted until freed, and freeing twice frees once, as who frees is told. */
TEST(take_and_free)
{
    uint64_t a = taken(ALIVE), b = taken(ALIVE);
    CHECK(a != 0 && b != 0 && a != b);
    CHECK_EQ(count().tickets, 2);
    CHECK_EQ(count().oldest, 1000);
    CHECK(smem__ticket_free(header.books, a));
    CHECK(!smem__ticket_free(header.books, a));
    CHECK_EQ(count().tickets, 1);
    CHECK(smem__ticket_free(header.books, b));
    smem_flight flight = count();
    CHECK(!smem__in_flight(&flight));
}

/* A ticket that was freed is not given out again, while its book is open or after. */
TEST(a_freed_ticket_never_comes_back)
{
    enum { ROUNDS = 2000 };
    static uint64_t tickets[ROUNDS + 1];
    tickets[ROUNDS] = taken(ALIVE);
    for (int i = 0; i < ROUNDS; i++) {
        tickets[i] = taken(ALIVE);
        smem__ticket_free(header.books, tickets[i]);
    }
    CHECK(distinct(tickets, ROUNDS + 1));
}

/* Freeing an old ticket again takes no later one that lies in its place. */
TEST(an_old_ticket_frees_no_later_one)
{
    uint64_t a = taken(ALIVE), b = taken(ALIVE);
    smem__ticket_free(header.books, a);
    taken(ALIVE);
    smem__ticket_free(header.books, a);
    CHECK_EQ(count().tickets, 2);
    smem__ticket_free(header.books, b);
    CHECK_EQ(count().tickets, 1);
}

/* The table holds 32 tickets per book, all different; the next is a pin. */
TEST(full_table)
{
    static uint64_t tickets[TABLE], ticket;
    for (int i = 0; i < TABLE; i++) {
        tickets[i] = taken(ALIVE);
        CHECK(tickets[i] != SMEM__TICKET_PIN);
    }
    CHECK_EQ(taken(ALIVE), SMEM__TICKET_PIN);
    CHECK_EQ(taken(ALIVE), SMEM__TICKET_PIN);
    smem_flight flight = count();
    CHECK_EQ(flight.tickets, TABLE);
    CHECK_EQ(flight.pins, 1); /* one per family */
    ticket = tickets[1234];
    CHECK(distinct(tickets, TABLE));
    for (int i = 0; i < TABLE; i++)
        smem__ticket_free(header.books, tickets[i]);
    smem__ticket_free(header.books, SMEM__TICKET_PIN);
    flight = count();
    CHECK_EQ(flight.tickets, 0);
    CHECK_EQ(flight.pins, 1);
    CHECK(taken(ALIVE) != ticket);
}

/* Each family has its pin; when there is no place for one more the ticket is refused. */
TEST(pins)
{
    uint64_t ticket;
    for (int i = 0; i < TABLE; i++)
        taken(ALIVE);
    for (uint32_t i = 0; i < SMEM__PINS; i++) {
        CHECK_EQ(taken(100 + i), SMEM__TICKET_PIN);
        CHECK_EQ(taken(100 + i), SMEM__TICKET_PIN);
    }
    CHECK_EQ(count().pins, SMEM__PINS);
    CHECK_CODE(take(99, &ticket), SMEM_E_TICKETS);
    CHECK_EQ(taken(100), SMEM__TICKET_PIN);
    CHECK_EQ(count().tickets, TABLE);
}

/* When the table is full the books of dead families are used again, and only these. */
TEST(full_of_the_dead)
{
    uint64_t alive = taken(ALIVE), dead = taken(DEAD), unknown = taken(UNKNOWN);
    for (int i = 1; i < TABLE - 64; i++)
        taken(DEAD);
    CHECK_EQ(count().voided, TABLE - 64);
    for (int i = 0; i < TABLE - 64 + 31; i++)
        CHECK(taken(ALIVE) != SMEM__TICKET_PIN);
    smem_flight flight = count();
    CHECK_EQ(flight.tickets, TABLE - 64 + 32 + 1);
    CHECK_EQ(flight.voided, 0);
    CHECK_EQ(taken(ALIVE), SMEM__TICKET_PIN);
    smem__ticket_free(header.books, dead);
    CHECK_EQ(count().tickets, flight.tickets);
    smem__ticket_free(header.books, alive);
    smem__ticket_free(header.books, unknown);
    CHECK_EQ(count().tickets, flight.tickets - 2);
}

/* A full row of pins takes the place of a dead family's. */
TEST(pins_of_the_dead)
{
    for (int i = 0; i < TABLE; i++)
        taken(ALIVE);
    for (uint32_t i = 0; i < SMEM__PINS; i++)
        header.pins[i] = i ? 100 + i : DEAD;
    CHECK_EQ(taken(99), SMEM__TICKET_PIN);
    CHECK_EQ(header.pins[0], 99);
    CHECK_EQ(count().pins, SMEM__PINS);
}

/* Families do not share a book, and each one's tickets go by its own life. */
TEST(families_are_judged_apart)
{
    uint64_t alive = taken(ALIVE), dead = taken(DEAD), unknown = taken(UNKNOWN);
    CHECK((alive >> 8 & 0xff) != (dead >> 8 & 0xff));
    CHECK((alive >> 8 & 0xff) != (unknown >> 8 & 0xff));
    smem_flight flight = count();
    CHECK_EQ(flight.tickets, 2);
    CHECK_EQ(flight.voided, 1);
    smem__ticket_free(header.books, alive);
    smem__ticket_free(header.books, unknown);
    flight = count();
    CHECK(!smem__in_flight(&flight));
    CHECK_EQ(flight.voided, 1);
    CHECK_EQ(flight.oldest, 0);
}

/* Any number may be freed: what is no ticket frees nothing and reads nothing outside. */
TEST(free_any_number)
{
    uint64_t ticket = taken(ALIVE), random = 88172645463325252u;
    for (int i = 0; i < 1000000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if (random != ticket)
            smem__ticket_free(header.books, random);
    }
    for (uint64_t low = 0; low < 1 << 16; low++) {
        uint64_t near = (ticket & ~(uint64_t)0xffff) | low;
        if (near != ticket)
            smem__ticket_free(header.books, near);
    }
    CHECK_EQ(count().tickets, 1);
}

/* A book whose maker died while opening it counts for nothing and is not used. */
TEST(half_opened_book)
{
    header.books[0].word = (uint64_t)1 << SERIAL_AT;
    header.books[0].family = ALIVE;
    uint64_t ticket = taken(ALIVE);
    CHECK_EQ(ticket >> 8 & 0xffffff, 1);
    CHECK_EQ(count().tickets, 1);
}

/* When a book's serial number ends it begins anew, and no ticket is 0. */
TEST(serial_wraps)
{
    for (int i = 0; i < SMEM__BOOKS; i++)
        header.books[i].word = UINT64_MAX << (SERIAL_AT + 1);
    for (int i = 0; i < TABLE; i++) {
        uint64_t ticket = taken(ALIVE);
        CHECK(ticket != 0 && ticket != SMEM__TICKET_PIN);
        CHECK(ticket >> 32 != 0);
    }
    CHECK_EQ(count().tickets, TABLE);
}

/* ---- threads ------------------------------------------------------------------ */

enum { THREADS = 8,
       HELD = 64,
       ROUNDS = 2000 };

static _Atomic int owner[SMEM__BOOKS][32];
static atomic_uint pinned;

static _Atomic int *place_of(uint64_t ticket)
{
    return &owner[ticket >> 8 & 0xffffff][ticket & 0xff];
}

/* Take a few, note who has each place of the table, give them back. */
static void *take_and_give_back(void *arg)
{
    int me = (int)(intptr_t)arg;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t tickets[HELD];
        int n = 1 + (me * 7 + round) % HELD;
        for (int i = 0; i < n; i++) {
            tickets[i] = taken(ALIVE + 10 + (uint32_t)me % 3);
            if (tickets[i] == SMEM__TICKET_PIN) {
                atomic_fetch_add(&pinned, 1);
                continue;
            }
            int nobody = 0;
            CHECK(atomic_compare_exchange_strong(place_of(tickets[i]), &nobody, me));
        }
        for (int i = 0; i < n; i++) {
            if (tickets[i] == SMEM__TICKET_PIN)
                continue;
            int self = me;
            CHECK(atomic_compare_exchange_strong(place_of(tickets[i]), &self, 0));
            smem__ticket_free(header.books, tickets[i]);
        }
    }
    return NULL;
}

static void run_threads(void *(*body)(void *))
{
    pthread_t threads[THREADS];
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, body, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* Threads that take and free at once never hold the same place, and leave an empty table. */
TEST(threads_never_share_a_place)
{
    run_threads(take_and_give_back);
    smem_flight flight = count();
    CHECK_EQ(flight.tickets, 0);
    CHECK_EQ(flight.pins != 0, pinned != 0);
}

static uint64_t all[THREADS][TABLE / THREADS];

static void *take_a_share(void *arg)
{
    uint64_t *mine = all[(intptr_t)arg - 1];
    for (int i = 0; i < TABLE / THREADS; i++)
        mine[i] = taken(ALIVE);
    return NULL;
}

/* Threads that fill the table together get no ticket twice, and none is lost. */
TEST(threads_fill_the_table)
{
    run_threads(take_a_share);
    uint64_t *tickets = &all[0][0];
    size_t n = 0;
    for (size_t i = 0; i < TABLE; i++)
        if (tickets[i] != SMEM__TICKET_PIN)
            tickets[n++] = tickets[i];
    CHECK(distinct(tickets, n));
    CHECK_EQ(count().tickets, n);
    for (size_t i = 0; i < n; i++)
        smem__ticket_free(header.books, tickets[i]);
    CHECK_EQ(count().tickets, 0);
}

int main(int argc, char **argv)
{
    return check_main(argc, argv);
}
