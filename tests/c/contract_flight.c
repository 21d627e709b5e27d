/* Contract: tickets. */
#include "contract.h"

#include "os/backend.h"
#include "segment/ticket.h"

#include <stdio.h>
#include <unistd.h>

/* A ticket keeps a segment that nobody maps; receiving it frees the ticket, then the segment. */
TEST(ticket_keeps_until_received)
{
    for (int mode = SMEM_READ_WRITE; mode <= SMEM_COPY_ON_WRITE; mode++) {
        smem_context *ctx = check_open(NULL);
        smem_segment *segment = create(ctx, check_name("flight")), *received;
        smem_info info = facts(segment);
        uint64_t ticket;
        *at(segment, 0) = 6;
        CHECK_OK(smem_ticket_issue(segment, &ticket));
        CHECK(ticket != 0);
        smem_detach(segment);
        CHECK_OK(smem_reclaim(ctx, NULL));
        smem_flight flight = flight_of(ctx, info.name);
        CHECK_EQ(flight.tickets, 1);
        CHECK_EQ(flight.voided + flight.pins, 0);
        CHECK(flight.oldest >= info.created);
        CHECK_OK(receive(ctx, &info, mode, ticket, &received));
        CHECK(*at(received, 0) == 6);
        if (mode == SMEM_COPY_ON_WRITE && backend == SMEM_SYSV)
            CHECK(!check_exists(&info)); /* a copy made at once keeps nothing */
        else
            CHECK_EQ(flight_of(ctx, info.name).tickets, 0);
        smem_detach(received);
        CHECK(!check_exists(&info));
        smem_close(ctx);
    }
}

/* A ticket is freed, too, when the receiver has the segment mapped already. */
TEST(ticket_received_where_mapped)
{
    for (int mode = SMEM_READ_WRITE; mode <= SMEM_COPY_ON_WRITE; mode++) {
        smem_context *ctx = check_open(NULL);
        smem_segment *segment = create(ctx, check_name("flight")), *mapped, *received;
        uint64_t ticket;
        mapped = attach(ctx, check_name("flight"), mode);
        CHECK_OK(smem_ticket_issue(segment, &ticket));
        CHECK_OK(receive(ctx, smem_info_of(segment), mode, ticket, &received));
        CHECK_EQ(flight_of(ctx, check_name("flight")).tickets, 0);
        smem_detach(received);
        smem_detach(mapped);
        smem_detach(segment);
        check_no_name(ctx, check_name("flight"));
        smem_close(ctx);
    }
}

/* Forgetting a ticket frees it without attaching; the last one frees the segment. */
TEST(ticket_forgotten)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("flight"));
    smem_info info = facts(segment);
    uint64_t tickets[2];
    CHECK_OK(smem_ticket_issue(segment, &tickets[0]));
    CHECK_OK(smem_ticket_issue(segment, &tickets[1]));
    CHECK(tickets[0] != tickets[1]);
    smem_detach(segment);
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, tickets[0]));
    CHECK_EQ(flight_of(ctx, info.name).tickets, 1);
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, tickets[1]));
    CHECK(!check_exists(&info));
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, tickets[1]));
    smem_close(ctx);
}

/* Receiving or forgetting a ticket twice takes nobody else's, issued before or after. */
TEST(ticket_freed_twice)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("flight")), *received;
    smem_info info = facts(segment);
    uint64_t a, b, c;
    CHECK_OK(smem_ticket_issue(segment, &a));
    CHECK_OK(smem_ticket_issue(segment, &b));
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, a));
    CHECK_EQ(flight_of(ctx, info.name).tickets, 1);
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, a));
    CHECK_EQ(flight_of(ctx, info.name).tickets, 1);
    CHECK_OK(smem_ticket_issue(segment, &c));
    CHECK(c != a && c != b);
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, a));
    CHECK_OK(receive(ctx, &info, SMEM_READ_WRITE, a, &received));
    smem_detach(received);
    CHECK_EQ(flight_of(ctx, info.name).tickets, 2);
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, b));
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, c));
    CHECK_EQ(flight_of(ctx, info.name).tickets, 0);
    smem_detach(segment);
    smem_close(ctx);
}

/* Numbers that are no ticket free nothing. */
TEST(no_ticket)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("flight"));
    smem_info info = facts(segment);
    uint64_t ticket;
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    const uint64_t wrong[] = {1, ticket + 1, ticket ^ 1u << 8, ticket ^ (uint64_t)2 << 32,
                              ticket | 0xff, ticket | 0xffff00, UINT64_MAX, UINT64_MAX - 1};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, wrong[i]));
        CHECK_EQ(flight_of(ctx, info.name).tickets, 1);
    }
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, ticket));
    smem_detach(segment);
    smem_close(ctx);
}

/* A descriptor of an earlier segment of the name is told that the name was reused. */
TEST(received_after_reuse)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *old = create(ctx, check_name("reused")), *received;
    smem_info info = facts(old);
    CHECK_CODE(receive(ctx, &info, SMEM_READ_WRITE, 0, &received), 0);
    smem_detach(received);
    smem_detach(old);
    CHECK_CODE(receive(ctx, &info, SMEM_READ_WRITE, 0, &received), SMEM_E_NOT_FOUND);
    smem_segment *newer = create(ctx, check_name("reused"));
    CHECK_CODE(receive(ctx, &info, SMEM_READ_WRITE, 0, &received), SMEM_E_REUSED);
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, 1));
    CHECK_EQ(smem_is_current(newer), 1);
    smem_detach(newer);
    smem_close(ctx);
}

/* A segment without a name cannot be sent, nor can a private copy. */
TEST(no_ticket_for_the_nameless)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("nameless"));
    smem_segment *copy = attach(ctx, check_name("nameless"), SMEM_COPY_ON_WRITE);
    uint64_t ticket;
    CHECK_CODE(smem_ticket_issue(copy, &ticket), SMEM_E_UNLINKED);
    CHECK_OK(smem_unlink(ctx, check_name("nameless")));
    CHECK_CODE(smem_ticket_issue(segment, &ticket), SMEM_E_UNLINKED);
    smem_detach(copy);
    smem_detach(segment);
    smem_close(ctx);
}

/* What a process sent and did not live to see received stays while its family lives. */
TEST(ticket_outlives_its_sender)
{
    smem_context *ctx = check_open("together");
    smem_segment *received;
    check_peer child = check_fork(send_and_end, "together");
    uint64_t nonce = check_hear(&child), ticket = check_hear(&child);
    finish(&child);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_EQ(flight_of(ctx, check_name("sent")).tickets, 1);
    CHECK_OK(smem_receive(ctx, backend, check_name("sent"), nonce, SMEM_READ_WRITE, ticket,
                          &received));
    CHECK(*at(received, 0) == 8);
    smem_detach(received);
    check_no_name(ctx, check_name("sent"));
    smem_close(ctx);
}

/* The tickets of a family that has died are void: they are counted apart and keep nothing. */
TEST(ticket_dies_with_its_family)
{
    smem_context *ctx = check_open("mine");
    check_peer child = check_fork(send_and_end, "theirs");
    uint64_t nonce = check_hear(&child);
    check_hear(&child);
    smem_segment *segment = attach(ctx, check_name("sent"), SMEM_READ_WRITE);
    CHECK_EQ(smem_info_of(segment)->nonce, nonce);
    CHECK_EQ(flight_of(ctx, check_name("sent")).tickets, 1);
    CHECK_EQ(smem_family_alive(ctx, smem_info_of(segment)->family), 1);
    check_kill(&child);
    smem_flight flight = flight_of(ctx, check_name("sent"));
    CHECK_EQ(flight.tickets, 0);
    CHECK_EQ(flight.voided, 1);
    CHECK_EQ(flight.oldest, 0);
    CHECK_EQ(smem_family_alive(ctx, smem_info_of(segment)->family), 0);
    smem_info info = facts(segment);
    smem_detach(segment);
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

static void remove_family_file(const char *family)
{
    char path[256];
    snprintf(path, sizeof path, "%s/smem.%u.f.%s", check_directory(), (unsigned)geteuid(), family);
    CHECK_EQ(unlink(path), 0);
}

/* Until its members make the file anew, and also when the one that has made it dies
   before the others know of it. */
TEST(ticket_outlives_its_familys_file)
{
    check_needs_proc();
    smem_context *ctx = check_open("mine");
    smem_segment *received;
    if (!smem__byte_locks()) {
        smem_close(ctx);
        check_skip("the kernel lists no locks of ours");
    }
    check_peer child = check_fork(send_and_end, "theirs");
    uint64_t nonce = check_hear(&child), ticket = check_hear(&child);
    smem_context *other = check_open("theirs");
    remove_family_file("theirs");
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_EQ(flight_of(ctx, check_name("sent")).tickets, 1);
    CHECK_OK(smem_reclaim(other, NULL)); /* makes it anew, and is gone */
    smem_close(other);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_EQ(flight_of(ctx, check_name("sent")).tickets, 1);
    CHECK_OK(smem_receive(ctx, backend, check_name("sent"), nonce, SMEM_READ_WRITE, ticket,
                          &received));
    smem_detach(received);
    check_kill(&child);
    smem_close(ctx);
}

/* What only void tickets hold is freed by the next reclaim, and so is the family's file. */
TEST(reclaim_frees_void_tickets)
{
    smem_context *ctx = check_open("mine");
    smem_reclaimed reclaimed;
    check_peer child = check_fork(send_and_end, "theirs");
    check_hear(&child);
    check_hear(&child);
    CHECK_EQ(check_files('f'), 2);
    check_kill(&child);
    CHECK_OK(smem_reclaim(ctx, &reclaimed));
    CHECK_EQ(reclaimed.segments, 1);
    CHECK_EQ(reclaimed.families, 1);
    CHECK(reclaimed.bytes >= COLUMNS * sizeof(double));
    CHECK_EQ(check_files('f'), 1);
    check_no_name(ctx, check_name("sent"));
    smem_close(ctx);
}

/* When the table is full the segment is pinned until the family ends, and no longer. */
TEST(more_tickets_than_the_table)
{
    enum { TABLE = 32 * SMEM__BOOKS };
    static uint64_t tickets[TABLE + 1];
    smem_context *ctx = check_open(NULL), *other = check_open("other");
    smem_segment *segment = create(ctx, check_name("many"));
    smem_info info = facts(segment);
    for (int i = 0; i <= TABLE; i++)
        CHECK_OK(smem_ticket_issue(segment, &tickets[i]));
    CHECK_EQ(tickets[TABLE], SMEM__TICKET_PIN);
    smem_flight flight = flight_of(ctx, info.name);
    CHECK_EQ(flight.tickets, TABLE);
    CHECK_EQ(flight.pins, 1);
    smem_segment *received;
    for (int i = 0; i <= TABLE; i++) {
        CHECK_OK(receive(ctx, &info, SMEM_READ_WRITE, tickets[i], &received));
        smem_detach(received);
    }
    flight = flight_of(ctx, info.name);
    CHECK_EQ(flight.tickets, 0);
    CHECK_EQ(flight.pins, 1);
    smem_detach(segment);
    CHECK(check_exists(&info));
    smem_close(ctx);
    CHECK_OK(smem_reclaim(other, NULL));
    CHECK(!check_exists(&info));
    smem_close(other);
}

/* With table and pins full of living families' a ticket is refused, and none is lost. */
TEST(pins_full)
{
    smem_context *ctx = check_open("mine"), *other = check_open("theirs");
    smem_segment *segment = create(ctx, check_name("full")), *theirs = create(other, NULL);
    smem__layout *header = header_of(segment);
    uint64_t ticket, one;
    smem_info info = facts(segment);
    CHECK_OK(smem_ticket_issue(segment, &one));
    for (int i = 1; i < 32 * SMEM__BOOKS; i++)
        CHECK_OK(smem_ticket_issue(segment, &ticket));
    for (int i = 0; i < SMEM__PINS; i++)
        header->pins[i] = smem_info_of(theirs)->family;
    CHECK_CODE(smem_ticket_issue(segment, &ticket), SMEM_E_TICKETS);
    CHECK_EQ(flight_of(ctx, info.name).tickets, 32 * SMEM__BOOKS);
    CHECK_EQ(flight_of(ctx, info.name).pins, SMEM__PINS);
    CHECK_OK(smem_forget(ctx, backend, info.name, info.nonce, one));
    CHECK_EQ(flight_of(ctx, info.name).tickets, 32 * SMEM__BOOKS - 1);
    smem_detach(theirs);
    smem_close(other);
    smem_detach(segment);
    CHECK(check_exists(&info));
    smem_close(ctx); /* with the family go its tickets */
    CHECK(!check_exists(&info));
}

/* The tickets of dead families make room for new ones when the table is full. */
TEST(full_of_the_dead)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("full"));
    smem__layout *header = header_of(segment);
    uint64_t ticket;
    for (int i = 0; i < 32 * SMEM__BOOKS; i++)
        CHECK_OK(smem_ticket_issue(segment, &ticket));
    for (int i = 0; i < SMEM__BOOKS; i++)
        header->books[i].family ^= 1;
    for (int i = 0; i < SMEM__PINS; i++)
        header->pins[i] = header->books[0].family;
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    CHECK(ticket != SMEM__TICKET_PIN);
    CHECK_EQ(flight_of(ctx, check_name("full")).tickets, 1);
    CHECK_OK(smem_forget(ctx, backend, check_name("full"), smem_info_of(segment)->nonce, ticket));
    smem_detach(segment);
    check_no_name(ctx, check_name("full"));
    smem_close(ctx);
}
