/* One run of a plan: the controller, which starts actors, kills them, and sees what is left. */
#include "schedule.h"

#include "base/point.h"
#include "os/syscalls.h"

#include <errno.h>
#include <execinfo.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The program's own main, as a function of an actor. */
int reaper_main(int count, char **arguments);

enum { PATIENCE = 20 }; /* seconds in which a step has to come to its end */

char schedule_directory[64];
volatile sig_atomic_t interrupted;

const scene *const scenes[] = {&scene_lifetime, &scene_flight, &scene_names, &scene_locks,
                               &scene_conditions, &scene_queue, &scene_tickets, NULL};

const scene *scene_of(const plan *p)
{
    return scenes[p->scene];
}

/* ---- an actor ---------------------------------------------------------------------------- */

static void at_point(const smem__point *point)
{
    schedule_stop(*point);
}

static void say_where(int signal)
{
    (void)signal;
    shown->stack_depth = backtrace(shown->stack, 48);
}

void schedule_interrupted(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* A system call that one of them interrupts is to return. */
void schedule_interrupts(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

static void crashed(int signal)
{
    schedule_fail("signal %d", signal);
}

static void become(int number)
{
    me = &shown->actors[number];
    schedule_interrupts(SIG_IGN); /* ^C is the controller's, which takes its actors with it */
    signal(SIGUSR2, say_where);
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    signal(SIGABRT, crashed);
    schedule_take_mine();
}

_Thread_local int forks_as; /* who the next child is; a variable of the process, since the board goes on */

/* Registered before the core's own handlers: it comes after those of the parent, which may
   have to wait, and before those of the child, which are steps of its own. */
static void child_is_forked(void)
{
    if (!me)
        return;
    actor *child = &shown->actors[forks_as];
    child->member = me->member;
    memcpy(child->held, me->held, sizeof me->held);
    memcpy(child->named, me->named, sizeof me->named);
    child->state = READY;
}

static void child_begins(void)
{
    if (me)
        become(forks_as);
}

/* Of the reaper that is to be started: "f0" is family 0. */
static int family_told(void)
{
    return shown->reaper_arguments[1][1] - '0';
}

static void start(int number, bool reaper)
{
    actor *one = &shown->actors[number];
    one->state = READY;
    one->deadline = INT64_MAX;
    one->reaper = reaper;
    if (reaper)
        one->family = family_told();
    one->op = -1;
    one->random = planned->seed * 31 + (uint64_t)number;
    one->priority = (int)(random_next(&shown->random) % 1000);
    char told[2][sizeof shown->reaper_arguments[0]]; /* by the time that it begins another may be started */
    memcpy(told, shown->reaper_arguments, sizeof told);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        become(number);
        users_become(users_mine());
        schedule_table();
        smem__at_point = at_point;
        if (reaper) {
            char *arguments[] = {"reaper", told[0], told[1], NULL};
            reaper_main(3, arguments);
            schedule_ask(ENDS, number);
        } else
            scene_of(planned)->act();
        _exit(0);
    }
    one->pid = pid;
}

/* ---- ends --------------------------------------------------------------------------------- */

/* Until all of it is gone that the kernel kept for it. */
static void wait_for_end(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    if (fd >= 0) {
        while (poll(&poll_fd, 1, -1) < 0) {
        }
        close(fd);
    }
    waitpid(pid, NULL, WNOHANG);
}

static void gone(actor *one)
{
    one->state = GONE;
    shown->died++;
    shown->died_in_call += one->in_call;
    truth_release_all(one, false);
    shown->family_ends[one->family] += one->leaving; /* it was no member any more, for truth_release_all() */
    one->leaving = false;
    schedule_changed();
}

/* With all of its threads. */
static void ended(const actor *one)
{
    pid_t pid = one->pid;
    wait_for_end(pid);
    for (actor *other = shown->actors; other < shown->actors + ACTORS; other++)
        if (other->pid == pid && schedule_lives(other))
            gone(other);
}

static void start_reaper(void)
{
    int slot = ACTORS - 1;
    while (slot >= 0 && shown->actors[slot].state != ABSENT)
        slot--;
    if (slot >= planned->actors)
        start(slot, true);
    else
        shown->unguarded[family_told()] = true;
}

static void serve(void)
{
    actor *one = &shown->actors[shown->request_actor];
    enum request request = shown->request;
    shown->request = NOTHING;
    if (request == TO_KILL) {
        kill(one->pid, SIGKILL);
        shown->kills++;
        one->killed = true;
        if (shown->tracing)
            fprintf(stderr, "    %8llu  actor %d is killed\n", (unsigned long long)shown->steps,
                    shown->request_actor);
    }
    if (request == TO_KILL || request == ENDS || request == EXECS)
        ended(one);
    if (request == THREAD_ENDS)
        gone(one);
    if (request == TO_START_REAPER)
        start_reaper();
}

static void kill_all(void)
{
    for (int i = 0; i < ACTORS; i++)
        if (schedule_lives(&shown->actors[i])) {
            kill(shown->actors[i].pid, SIGKILL);
            wait_for_end(shown->actors[i].pid);
        }
    while (waitpid(-1, NULL, 0) > 0) {
    }
}

/* Where its functions were loaded is the same in each process: none is randomised, and none
   was executed anew. */
static void print_stack(void)
{
    extern const char __executable_start[];
    char command[2048];
    char program[512] = "";
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
        return;
    size_t at = (size_t)snprintf(command, sizeof command, "addr2line -fspe '%s'", program);
    for (int i = 0; i < shown->stack_depth && at < sizeof command - 32; i++)
        at += (size_t)snprintf(command + at, sizeof command - at, " 0x%zx",
                               (size_t)((const char *)shown->stack[i] - __executable_start));
    fflush(NULL);
    if (shown->stack_depth == 0 || system(command) != 0)
        fprintf(stderr, "(its stack cannot be had)\n");
}

/* Who has the baton does not come back with it: for a call that sleeps, or a loop. */
static void report_stuck(void)
{
    shown->stack_depth = 0;
    kill(shown->holder->pid, SIGUSR2);
    for (int turn = 0; turn < 100 && shown->stack_depth == 0; turn++)
        usleep(10000);
    fprintf(stderr, "actor %d has not come back from this:\n", actor_number(shown->holder));
    print_stack();
    shown->stuck = true;
    schedule_fail("a step of actor %d has not come to its end within %d s", actor_number(shown->holder), PATIENCE);
}

/* As long as there are steps it takes what it takes. */
static void wait_for_baton(actor *controller)
{
    uint64_t before = shown->steps;
    while (!schedule_take(controller, PATIENCE)) {
        if (interrupted) {
            schedule_fail("interrupted");
            return;
        }
        if (shown->steps == before) {
            report_stuck();
            return;
        }
        before = shown->steps;
    }
}

/* ---- one run --------------------------------------------------------------------------------- */

static void reset(bool replay)
{
    memset(shown->actors, 0, sizeof shown->actors);
    memset(shown->entries, 0, sizeof shown->entries);
    memset(shown->letters, 0, sizeof shown->letters);
    memset(shown->takers, 0, sizeof shown->takers);
    memset(shown->unguarded, 0, sizeof shown->unguarded);
    memset(shown->family_ends, 0, sizeof shown->family_ends);
    uint64_t random = planned->seed ^ UINT64_C(0x5bd1e995);
    shown->random = random;
    shown->now = 1000000000000;
    shown->wall = INT64_C(1700000000) * 1000000000;
    shown->steps = shown->changes = 0;
    shown->hash = UINT64_C(14695981039346656037);
    shown->replay = replay;
    shown->died = shown->died_in_call = 0;
    shown->over = shown->removed_files = false;
    shown->entry_count = 0;
    shown->moving = 0;
    shown->failure[0] = '\0';
    shown->request = NOTHING;
    shown->mode = (int)(random_next(&shown->random) % 2);
    shown->quantum = 1u << (1 + random_next(&shown->random) % 6);
    shown->lowest = 0;
    shown->change_at = 0;
    for (int i = 0; i < 8; i++)
        shown->change_points[i] = random_next(&shown->random) % 4000;
    for (int i = 0; i < 8; i++) /* in order */
        for (int j = i; j > 0 && shown->change_points[j] < shown->change_points[j - 1]; j--) {
            uint64_t t = shown->change_points[j];
            shown->change_points[j] = shown->change_points[j - 1];
            shown->change_points[j - 1] = t;
        }
    for (unsigned i = 0; i < planned->event_count; i++)
        planned->events[i].used = 0;
    if (!replay)
        planned->event_count = 0;
}

bool run_plan(bool replay)
{
    static bool registered;
    if (!registered) {
        pthread_atfork(child_is_forked, NULL, child_begins);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        registered = true;
    }
    reset(replay);
    actor *controller = &shown->actors[CONTROLLER];
    controller->pid = getpid();
    for (int i = 0; i < planned->actors; i++) {
        shown->actors[i].family = i % planned->families;
        start(i, false);
    }
    while (!shown->over && schedule_go_on()) {
        wait_for_baton(controller);
        controller->steps++;
        if (!shown->over)
            serve();
    }
    left_asleep();
    left_by_reapers();
    kill_all();
    unsigned left = shown->over ? 0 : left_when_tidy();
    left_count(true, left > 0);
    WHEN(left > 0, "%u things are left", left);
    return shown->failure[0] == '\0';
}
