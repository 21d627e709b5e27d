/*
 * The tickets of one segment, given out and freed by several processes at once, some of them
 * twice or long after.
 *
 * entries[]: value: the ticket; owner: whether it is in flight, as far as can be known;
 * pauses: how many were told that it was they who freed it.
 */
#include "schedule.h"

enum operations { NONE,
                  ISSUE,
                  FREE,
                  FREE_AGAIN,
                  MAKE,
                  LEAVE,
                  FORK,
                  EXIT,
                  REMOVE_FILE,
                  OPERATIONS };

static const char *const names[] = {"none", "issue", "free", "free-again", "make", "leave", "fork", "exit", "remove-file"};

static const uint8_t weights[OPERATIONS] = {[ISSUE] = 40, [FREE] = 34, [FREE_AGAIN] = 8, [MAKE] = 2, [LEAVE] = 1, [FORK] = 3, [EXIT] = 1, [REMOVE_FILE] = 1};

enum truth { IN_FLIGHT = 1,
             BEING_FREED,
             FREED };

static smem_context *ctx;
static smem_segment *segment;

static void look(void)
{
}

/* Until a family ends: then its tickets are nobody's, and their places are given out anew. */
static bool is_exact(void)
{
    return !shown->removed_files && truth_all_go_on();
}

/* Nobody changes a ticket just now: as many are in flight as were issued and not freed. */
static void look_at_all(void)
{
    unsigned tickets = truth_count_tickets(segment), expected = 0;
    if (shown->moving || !is_exact())
        return;
    for (int i = 0; i < shown->entry_count; i++)
        expected += shown->entries[i].owner == IN_FLIGHT;
    WHEN(tickets != expected, "%u tickets are in flight, and %u should be", tickets, expected);
}

static int issue(void)
{
    uint64_t ticket;
    if (shown->entry_count == ENTRIES)
        return 0;
    shown->moving++;
    int rc = smem_ticket_issue(segment, &ticket);
    shown->moving--;
    if (rc != 0)
        return rc;
    for (int i = 0; i < shown->entry_count && is_exact(); i++)
        WHEN(shown->entries[i].value == ticket, "ticket %d was given out twice", i);
    if (shown->entry_count < ENTRIES)
        shown->entries[shown->entry_count++] = (entry){.value = ticket, .owner = IN_FLIGHT};
    look_at_all();
    return 0;
}

/* The first one from [which] on that is in that state. */
static entry *some_entry(unsigned which, enum truth state)
{
    for (int i = 0; i < shown->entry_count; i++) {
        entry *e = &shown->entries[(which + (unsigned)i) % (unsigned)shown->entry_count];
        if (e->owner == (int)state)
            return e;
    }
    return NULL;
}

static int free_one(entry *e)
{
    bool exact = is_exact(), was_freed = e && e->owner == FREED;
    if (!e)
        return 0;
    e->owner = was_freed ? FREED : BEING_FREED;
    shown->moving++;
    int rc = smem_ticket_free(segment, e->value);
    shown->moving--;
    e->pauses += rc == 1;
    WHEN(exact && is_exact() && e->pauses > 1, "two were told that they freed one ticket");
    WHEN(exact && is_exact() && !shown->moving && !was_freed && e->pauses == 0, "a ticket that was in flight was freed by nobody");
    e->owner = FREED;
    look_at_all();
    return rc < 0 ? rc : 0;
}

static void act(void);

static int leave(void)
{
    shown->family_ends[me->family]++; /* it may end with this one, from here on */
    smem_leave(ctx);
    return 0;
}

static int do_one(const op *o)
{
    switch (o->code) {
    case ISSUE: return issue();
    case FREE: return free_one(some_entry(o->a, IN_FLIGHT));
    case FREE_AGAIN: return free_one(some_entry(o->a, o->b % 2 ? FREED : BEING_FREED));
    case MAKE: return script_make(ctx);
    case LEAVE: return leave();
    case FORK: return script_fork(act);
    case REMOVE_FILE: return schedule_remove_file();
    default: return 0;
    }
}

static void begin(void)
{
    ctx = schedule_open();
    segment = script_attach(ctx, "schedule.t", 8);
}

static void act(void)
{
    const op *o;
    if (!ctx)
        begin();
    while ((o = script_next()) && o->code != EXIT)
        script_result(o, do_one(o));
    if (!o) {
        smem_detach(segment);
        shown->family_ends[me->family]++;
        smem_close(ctx);
    }
    schedule_ask(ENDS, actor_number(me));
}

static void plan_tickets(plan *p, uint64_t *random)
{
    plan_by_weight(p, random, weights, OPERATIONS);
    p->users = 1; /* another user's tickets are not to be had */
    p->fails = false;
}

static void tidy(smem_context *last)
{
    smem_unlink(last, "schedule.t");
}

const scene scene_tickets = {"tickets", OPERATIONS, names, plan_tickets, act, look, tidy};
