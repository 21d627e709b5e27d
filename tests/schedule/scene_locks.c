/*
 * A lock, a condition and a semaphore that several processes use, die with, and wait for.
 *
 * The ledger says who has the lock (entries[0]). It is written down in the same step in which
 * a call has returned, and taken back before a call begins: so in between the truth may be
 * either, which [in_call] says for those who die there.
 */
#include "schedule.h"

#include "base/point.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum operations { NONE,
                  ACQUIRE,
                  ACQUIRE_BRIEFLY,
                  TRY,
                  RELEASE,
                  RECOVER,
                  WAIT,
                  NOTIFY,
                  NOTIFY_ALL,
                  TAKE_UNIT,
                  GIVE_UNIT,
                  MAKE,
                  LEAVE,
                  FORK,
                  EXIT,
                  REMOVE_FILE,
                  OPERATIONS };

static const char *const names[] = {"none", "acquire", "acquire-briefly", "try", "release", "recover",
                                    "wait", "notify", "notify-all", "take-unit", "give-unit", "make",
                                    "leave", "fork", "exit", "remove-file"};

static const uint8_t weights[OPERATIONS] = {
    [ACQUIRE] = 20, [ACQUIRE_BRIEFLY] = 12, [TRY] = 4, [RELEASE] = 26, [RECOVER] = 2, [WAIT] = 12, [NOTIFY] = 6, [NOTIFY_ALL] = 4, [TAKE_UNIT] = 8, [GIVE_UNIT] = 10, [MAKE] = 4, [LEAVE] = 2, [FORK] = 2, [EXIT] = 1, [REMOVE_FILE] = 1};

static const uint8_t condition_weights[OPERATIONS] = {
    [ACQUIRE] = 26, [RELEASE] = 20, [WAIT] = 24, [NOTIFY] = 14, [NOTIFY_ALL] = 14, [FORK] = 2};

enum { UNITS = 2 };

typedef struct synced {
    smem_lock lock;
    smem_condition condition;
    smem_semaphore semaphore;
    uint64_t guarded; /* written twice, by who has the lock */
    uint64_t again;
} synced;

static smem_context *ctx;
static smem_segment *segment;
static synced *shared;
static int holds; /* 1 + the actor: a forked child has what its parent had, and holds nothing */
static unsigned units;

static void look(void)
{
    const entry *e = &shown->entries[0];
    WHEN(holds == 1 + actor_number(me) && e->owner != holds, "the lock of a living owner was taken by actor %d",
         e->owner - 1);
}

/* ---- the lock ----------------------------------------------------------------------- */

static bool owner_lives(void)
{
    int owner = shown->entries[0].owner;
    return owner && shown->actors[owner - 1].state != GONE;
}

static void have_it(int rc)
{
    entry *e = &shown->entries[0];
    bool damaged = e->persistent || shown->died_in_call;
    WHEN(owner_lives(), "actor %d has the lock and lives, and it was had again", e->owner - 1);
    WHEN(rc == 0 && e->owner, "actor %d died with the lock, and nobody was told", e->owner - 1);
    WHEN(rc == SMEM_E_OWNER_DIED && !e->owner && !damaged, "told of a death that there was not");
    if (rc == SMEM_E_OWNER_DIED)
        e->persistent = true; /* damaged, until somebody recovers it */
    e->owner = 1 + actor_number(me);
    holds = e->owner;
}

static int acquire(int64_t ns)
{
    if (holds)
        return 0;
    me->in_call = true;
    int64_t deadline = ns < 0 ? SMEM_FOREVER : smem_deadline(ns);
    int rc = smem_lock_acquire(segment, &shared->lock, deadline);
    me->in_call = false;
    if (rc == 0 || rc == SMEM_E_OWNER_DIED)
        have_it(rc);
    WHEN(ns < 0 && rc == -ETIMEDOUT, "a wait without an end has ended");
    return rc == SMEM_E_OWNER_DIED ? 0 : rc;
}

static int try_it(void)
{
    if (holds)
        return 0;
    me->in_call = true;
    int rc = smem_lock_try(segment, &shared->lock);
    me->in_call = false;
    if (rc == 0 || rc == SMEM_E_OWNER_DIED)
        have_it(rc);
    return rc == SMEM_E_OWNER_DIED ? 0 : rc;
}

static int release(void)
{
    if (!holds)
        return 0;
    WHEN(shared->guarded != shared->again && !shown->entries[0].persistent,
         "what the lock guards was changed by somebody else");
    shared->guarded = shown->steps;
    shared->again = shown->steps;
    holds = 0;
    shown->entries[0].owner = 0;
    me->in_call = true;
    int rc = smem_lock_release(segment, &shared->lock);
    me->in_call = false;
    WHEN(rc != 0, "the owner cannot give the lock back: %s", smem_error_name(rc));
    return rc;
}

static int recover(void)
{
    if (!holds)
        return 0;
    shared->again = shared->guarded;
    shown->entries[0].persistent = false;
    return smem_lock_recover(segment, &shared->lock);
}

/* ---- the condition -------------------------------------------------------------------- */

/*
 * entries[1]: value: permits that were given; pauses: how many have gone on. entries[2] is the
 * semaphore's. entries[3]: how many must go on, and have, since nobody waited. entries[WAITS +
 * actor]: until when it waits. Letters are not used here: held[1] of an actor says that it
 * waits, named[1] that it must be let go.
 */
enum { WAITS = 8 };

static unsigned list_waiting(bool waits[ACTORS])
{
    unsigned count = 0;
    for (int i = 0; i < ACTORS; i++)
        count += waits[i] = shown->actors[i].held[1] && shown->actors[i].state != GONE;
    return count;
}

/* Where one has died they may be fewer: it may have been the one that was notified. */
static void stops_waiting(int rc)
{
    bool waits[ACTORS];
    entry *went = &shown->entries[1], *owed = &shown->entries[3];
    went->pauses += rc == 0;
    owed->pauses += rc == 0;
    WHEN(!shown->died && went->pauses > went->value, "%u go on after %llu notifications", went->pauses,
         (unsigned long long)went->value);
    me->held[1] = 0;
    if (list_waiting(waits) > 0)
        return;
    unsigned permits = shared->condition.counts & 0xffffff;
    WHEN(!shown->died && !shown->moving && permits > 0, "nobody waits, and %u notifications are left", permits);
    WHEN(!shown->died && owed->pauses < owed->value, "%u went on of %llu that were notified", owed->pauses,
         (unsigned long long)owed->value);
    owed->value = owed->pauses = 0;
}

static int wait_for_it(int64_t ns)
{
    smem_wait wait;
    if (!holds)
        return 0;
    int rc = smem_condition_begin(segment, &shared->condition, &wait);
    if (rc != 0)
        return rc;
    int64_t deadline = smem_deadline(ns);
    me->held[1] = 1, me->named[1] = 0;
    shown->entries[WAITS + actor_number(me)].value = (uint64_t)deadline;
    release();
    rc = smem_condition_sleep(segment, &shared->condition, &wait, deadline);
    WHEN(rc == -EINTR, "there are no signals here");
    WHEN(rc == -ETIMEDOUT && me->named[1], "everybody was notified, and one was not");
    WHEN(rc == -ETIMEDOUT && !shown->moving && wait.ticket < shared->condition.all,
         "it was notified, and is told that it was not");
    stops_waiting(rc);
    acquire(-1);
    return rc;
}

/* Those that have waited all the while, and have time to go on waiting: one of them, or one
   that has just no time left, goes on for each permit that nobody else was owed. */
static void now_owed(const bool waited[ACTORS], uint32_t count)
{
    bool waits[ACTORS];
    uint64_t sure = 0;
    entry *owed = &shown->entries[3];
    list_waiting(waits);
    for (int i = 0; i < ACTORS; i++)
        sure += waited[i] && waits[i] && (int64_t)shown->entries[WAITS + i].value > shown->now;
    uint64_t before = owed->value > owed->pauses ? owed->value - owed->pauses : 0;
    uint64_t more = sure > before ? sure - before : 0;
    owed->value += more < count ? more : count;
}

static int notify(uint32_t count)
{
    bool waits[ACTORS];
    if (!holds)
        return 0;
    unsigned waiting = list_waiting(waits);
    shown->entries[1].value += count < waiting ? count : waiting;
    shown->moving++;
    int rc = smem_condition_notify(segment, &shared->condition, count);
    shown->moving--;
    if (rc != 0)
        return rc;
    now_owed(waits, count);
    for (int i = 0; i < ACTORS && count > ACTORS; i++)
        if (waits[i] && shown->actors[i].held[1])
            shown->actors[i].named[1] = 1;
    return 0;
}

/* ---- the semaphore ----------------------------------------------------------------------- */

static int take_unit(int64_t ns)
{
    me->in_call = true;
    int rc = smem_semaphore_acquire(segment, &shared->semaphore, smem_deadline(ns));
    me->in_call = false;
    if (rc == 0) {
        units++;
        WHEN(++shown->entries[2].value > UNITS, "more units are had than there are");
    }
    return rc;
}

static int give_unit(void)
{
    if (!units)
        return 0;
    units--;
    shown->entries[2].value--;
    me->in_call = true;
    int rc = smem_semaphore_release(segment, &shared->semaphore, 1);
    me->in_call = false;
    WHEN(rc != 0, "a unit cannot be given back: %s", smem_error_name(rc));
    return rc;
}

/* ---- lives -------------------------------------------------------------------------------- */

static void act(void);

static void act_as_child(void)
{
    holds = 0;
    units = 0;
    act();
}

static int do_one(const op *o)
{
    switch (o->code) {
    case ACQUIRE: return acquire(-1);
    case ACQUIRE_BRIEFLY: return acquire(script_time(o->b));
    case TRY: return try_it();
    case RELEASE: return release();
    case RECOVER: return recover();
    case WAIT: return wait_for_it(script_time(o->a));
    case NOTIFY: return notify(1);
    case NOTIFY_ALL: return notify(UINT32_MAX);
    case TAKE_UNIT: return take_unit(script_time(o->a));
    case GIVE_UNIT: return give_unit();
    case MAKE: return script_make(ctx);
    case LEAVE: smem_leave(ctx); return 0;
    case FORK: return script_fork(act_as_child);
    case REMOVE_FILE: return schedule_remove_file();
    default: return 0;
    }
}

static void begin(void)
{
    ctx = schedule_open();
    segment = script_attach(ctx, "schedule.l", sizeof(synced));
    shared = smem_data(segment);
    smem_semaphore_start(segment, &shared->semaphore, UNITS, UNITS);
}

static void act(void)
{
    const op *o;
    if (!ctx)
        begin();
    while ((o = script_next()) && o->code != EXIT)
        script_result(o, do_one(o));
    if (!o) {
        release();
        while (units)
            give_unit();
        smem_detach(segment);
        smem_close(ctx);
    }
    schedule_ask(ENDS, actor_number(me));
}

static void plan_locks(plan *p, uint64_t *random)
{
    plan_by_weight(p, random, weights, OPERATIONS);
    p->users = 1; /* a lock is its user's alone */
    p->fails = false; /* what fails here is not told from what is wrong */
}

/* Some wait already when others begin to. */
static void plan_conditions(plan *p, uint64_t *random)
{
    plan_by_weight(p, random, condition_weights, OPERATIONS);
    p->actors = 3 + (int)(random_next(random) % 4);
    p->users = 1;
    p->fails = false;
}

static void tidy(smem_context *last)
{
    smem_unlink(last, "schedule.l");
}

const scene scene_locks = {"locks", OPERATIONS, names, plan_locks, act, look, tidy};
const scene scene_conditions = {"conditions", OPERATIONS, names, plan_conditions, act, look, tidy};
