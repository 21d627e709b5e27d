/* Who goes on: the baton, virtual time, and the decisions that a seed makes. */
#include "schedule.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

board *shown;
plan *planned;
_Thread_local actor *me;

enum { CALL_NS = 500 }; /* what a system call takes of virtual time */

uint64_t random_next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static bool one_in(unsigned n)
{
    return random_next(&shown->random) % n == 0;
}

/* ---- the baton ------------------------------------------------------------------- */

static void give(actor *one)
{
    if (actor_number(one) != CONTROLLER)
        shown->holder = one;
    atomic_store(&one->baton, 1);
    syscall(SYS_futex, &one->baton, FUTEX_WAKE, 1, NULL, NULL, 0);
}

bool schedule_take(actor *one, int seconds)
{
    struct timespec limit = {seconds, 0};
    while (atomic_load(&one->baton) == 0)
        if (syscall(SYS_futex, &one->baton, FUTEX_WAIT, 0, &limit, NULL, 0) != 0 &&
            (errno == ETIMEDOUT || interrupted))
            return false;
    atomic_store(&one->baton, 0);
    return true;
}

void schedule_take_mine(void)
{
    while (!schedule_take(me, 2))
        if (kill(shown->actors[CONTROLLER].pid, 0) != 0)
            _exit(1); /* nobody would ever end this one */
}

static void hand_to(actor *one)
{
    if (one == me)
        return;
    shown->switches++;
    give(one);
    schedule_take_mine();
}

void schedule_ask(enum request request, int number)
{
    shown->request = request;
    shown->request_actor = number;
    give(&shown->actors[CONTROLLER]);
    if (me && request == ENDS)
        _exit(0); /* whatever it has mapped goes with it */
    if (me && request == EXECS)
        execl("/bin/true", "true", NULL);
    if (me && request == THREAD_ENDS)
        return;
    if (me)
        schedule_take_mine();
}

void schedule_fail(const char *format, ...)
{
    va_list arguments;
    if (!shown->over) {
        int n = snprintf(shown->failure, sizeof shown->failure, "actor %d, step %llu: ",
                         me ? actor_number(me) : -1, (unsigned long long)shown->steps);
        va_start(arguments, format);
        vsnprintf(shown->failure + n, sizeof shown->failure - (size_t)n, format, arguments);
        va_end(arguments);
    }
    shown->over = true;
    if (me) {
        schedule_ask(FAILED, 0);
        for (;;)
            pause(); /* until it is killed */
    }
}

/* ---- who can run ------------------------------------------------------------------- */

bool schedule_lives(const actor *one)
{
    return one->state > BEGINS && one->state < GONE && one->pid > 0;
}

static bool is_runnable(const actor *one)
{
    return one->state == READY || (one->state == ON_CHANGE && one->seen != shown->changes) ||
           (one->state == ON_FUTEX && one->woken);
}

static bool is_waiting(const actor *one)
{
    return one->state == ASLEEP || one->state == ON_FUTEX || one->state == ON_CHANGE;
}

void schedule_changed(void)
{
    shown->changes++;
}

static actor *first_to_wake(void)
{
    actor *first = NULL;
    for (actor *one = shown->actors; one < shown->actors + ACTORS; one++)
        if (is_waiting(one) && one->deadline != INT64_MAX &&
            (!first || one->deadline < first->deadline))
            first = one;
    return first;
}

/* Those whose time has come. */
static void wake_late(void)
{
    for (actor *one = shown->actors; one < shown->actors + ACTORS; one++)
        if (is_waiting(one) && one->deadline <= shown->now)
            one->state = READY;
}

static unsigned list_runnable(actor *out[ACTORS])
{
    unsigned count = 0;
    wake_late();
    for (actor *one = shown->actors; one < shown->actors + ACTORS; one++)
        if (is_runnable(one))
            out[count++] = one;
    for (actor *one = shown->actors; count == 0 && one < shown->actors + ACTORS; one++)
        if (one->state == YIELDED)
            out[count++] = one;
    return count;
}

/* NULL: nobody ever will. */
static actor *let_time_pass(void)
{
    actor *first = first_to_wake();
    if (!first)
        return NULL;
    shown->now = first->deadline > shown->now ? first->deadline : shown->now;
    first->state = READY;
    return first;
}

/* ---- events ---------------------------------------------------------------------------- */

static void record(enum event_kind kind, int64_t value)
{
    const actor *one = me ? me : &shown->actors[CONTROLLER];
    if (planned->event_count < EVENTS)
        planned->events[planned->event_count++] =
            (event){.actor = (uint8_t)actor_number(one), .kind = (uint8_t)kind, .step = one->steps, .value = value};
}

/* The first one of this kind at this step that was not had yet: an actor may decide twice at
   one step. Recorded in the order of each actor's steps. */
static const event *planned_event(enum event_kind kind)
{
    actor *one = me ? me : &shown->actors[CONTROLLER];
    int number = actor_number(one);
    unsigned i = one->next_event;
    while (i < planned->event_count &&
           (planned->events[i].actor != number || planned->events[i].step < one->steps))
        i++;
    one->next_event = i;
    for (; i < planned->event_count; i++) {
        event *e = &planned->events[i];
        if (e->actor != number || e->used || e->kind != kind)
            continue;
        if (e->step != one->steps)
            return NULL;
        e->used = 1;
        return e->off ? NULL : e;
    }
    return NULL;
}

static actor *by_priority(actor *const runnable[], unsigned count)
{
    while (shown->change_at < 8 && shown->steps >= shown->change_points[shown->change_at]) {
        shown->change_at++;
        if (me)
            me->priority = --shown->lowest;
    }
    actor *best = runnable[0];
    for (unsigned i = 1; i < count; i++)
        if (runnable[i]->priority > best->priority)
            best = runnable[i];
    return best;
}

/* What happens unless an event says otherwise: who runs goes on, then the first one. */
static actor *usual(actor *const runnable[], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (runnable[i] == me)
            return me;
    return runnable[0];
}

static actor *decide(actor *const runnable[], unsigned count)
{
    actor *other = usual(runnable, count), *chosen = other;
    if (shown->replay) {
        const event *e = planned_event(TO_ACTOR);
        for (unsigned i = 0; e && i < count; i++)
            if (actor_number(runnable[i]) == e->value)
                return runnable[i];
        return other;
    }
    if (shown->mode == 0)
        chosen = by_priority(runnable, count);
    else if (other != me || one_in(shown->quantum))
        chosen = runnable[random_next(&shown->random) % count];
    if (chosen != other)
        record(TO_ACTOR, actor_number(chosen));
    return chosen;
}

/* NULL: nobody is left who could run. */
static actor *choose(void)
{
    actor *runnable[ACTORS];
    unsigned count = list_runnable(runnable);
    actor *chosen = count ? decide(runnable, count) : let_time_pass();
    if (chosen && chosen->state == YIELDED)
        chosen->state = READY;
    return chosen;
}

bool schedule_go_on(void)
{
    actor *next = choose();
    if (next)
        give(next);
    return next != NULL;
}

static void pass_on(void)
{
    actor *next = choose();
    if (!next)
        schedule_fail("deadlock: nobody can run, and no time would help");
    hand_to(next);
}

/* ---- stopping --------------------------------------------------------------------------- */

static void note_step(const char *what)
{
    int number = actor_number(me);
    me->steps++;
    shown->trace[shown->steps % TRACE] = (trace_step){what, number};
    shown->steps++;
    shown->now += CALL_NS;
    shown->hash = (shown->hash ^ (uint64_t)number) * UINT64_C(1099511628211);
    for (const char *c = what; *c; c++)
        shown->hash = (shown->hash ^ (uint64_t)*c) * UINT64_C(1099511628211);
    for (actor *one = shown->actors; one < shown->actors + ACTORS; one++)
        if (one->state == YIELDED && one != me)
            one->state = READY;
    if (shown->steps > STEPS_MAX)
        schedule_fail("no end after %d steps", STEPS_MAX);
}

static const int64_t some_times[] = {60000000, 1100000000, 11000000000};

static void maybe_pass_time(void)
{
    if (shown->replay) {
        const event *e = planned_event(TIME_PASSES);
        shown->now += e ? e->value : 0;
    } else if (one_in(3000)) {
        int64_t ns = some_times[random_next(&shown->random) % 3];
        shown->now += ns;
        record(TIME_PASSES, ns);
    }
}

static int one_to_kill(void)
{
    if (shown->replay) {
        const event *e = planned_event(KILLS);
        return e ? (int)e->value : -1;
    }
    if (!planned->kills || !one_in(1500))
        return -1;
    int number = (int)(random_next(&shown->random) % ACTORS);
    if (!schedule_lives(&shown->actors[number]))
        return -1;
    record(KILLS, number);
    return number;
}

static void stop(const char *what)
{
    note_step(what);
    scene_of(planned)->look();
}

static void after_events(void)
{
    int victim = one_to_kill();
    if (victim >= 0 && schedule_lives(&shown->actors[victim]))
        schedule_ask(TO_KILL, victim); /* gives the baton to whoever is next, too */
    maybe_pass_time();
    pass_on();
}

void schedule_stop(const char *what)
{
    if (!me || shown->over)
        return;
    stop(what);
    after_events();
}

int schedule_stop_in_call(const char *what)
{
    int error = 0;
    if (!me || shown->over)
        return 0;
    stop(what);
    after_events();
    if (shown->replay) {
        const event *e = planned_event(CALL_FAILS);
        error = e ? (int)e->value : 0;
    } else if (planned->fails && one_in(400)) {
        error = schedule_error_of(what, (unsigned)random_next(&shown->random));
        if (error)
            record(CALL_FAILS, error);
    }
    shown->failed_calls += error != 0;
    return error;
}

bool schedule_wait(enum actor_state state, int64_t deadline)
{
    me->state = state;
    me->deadline = deadline;
    me->seen = shown->changes;
    me->woken = false;
    me->steps++; /* a decision of its own */
    pass_on();
    bool late = state == ASLEEP || (me->deadline <= shown->now && !me->woken && state != YIELDED);
    me->state = READY;
    me->deadline = INT64_MAX;
    return !late;
}

void schedule_access(const volatile void *address);

void schedule_access(const volatile void *address)
{
    uint64_t device, inode, offset;
    if (me && !shown->over && mapped_find(address, &device, &inode, &offset))
        schedule_stop("atomic");
}
