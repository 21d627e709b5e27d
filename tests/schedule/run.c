/* One run of a plan: the controller, which starts actors, kills them, and sees what is left. */
#include "schedule.h"

#include "base/point.h"
#include "os/syscalls.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The program's own main, as a function of an actor. */
int reaper_main(int count, char **arguments);

enum { PATIENCE = 20 }; /* seconds in which a step has to come to its end */

char schedule_directory[64];
volatile sig_atomic_t interrupted;

const scene *const scenes[] = {&scene_lifetime, &scene_locks, &scene_queue, NULL};

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

static void start(int number, bool reaper)
{
    actor *one = &shown->actors[number];
    one->state = READY;
    one->deadline = INT64_MAX;
    one->reaper = reaper;
    one->op = -1;
    one->random = planned->seed * 31 + (uint64_t)number;
    one->priority = (int)(random_next(&shown->random) % 1000);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        become(number);
        schedule_table();
        smem__at_point = at_point;
        if (reaper) {
            char *arguments[] = {"reaper", shown->reaper_arguments[0], shown->reaper_arguments[1], NULL};
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
    entries_released(one, false);
    shown->family_ends[one->family] += one->leaving; /* it was no member any more, for entries_released */
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
}

static void serve(void)
{
    actor *one = &shown->actors[shown->request_actor];
    enum request request = shown->request;
    shown->request = NOTHING;
    if (request == TO_KILL) {
        kill(one->pid, SIGKILL);
        shown->kills++;
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

/* ---- what is left --------------------------------------------------------------------------- */

static unsigned count_left(bool remove, bool say)
{
    unsigned left = 0;
    char path[512];
    DIR *directory = opendir(schedule_directory);
    for (struct dirent *d; (d = readdir(directory));)
        if (d->d_name[0] != '.') {
            left++;
            if (say)
                fprintf(stderr, "left: %s\n", d->d_name);
            snprintf(path, sizeof path, "%s/%s", schedule_directory, d->d_name);
            if (remove)
                unlink(path);
        }
    closedir(directory);
    struct shmid_ds st;
    int most = shmctl(0, SHM_INFO, &st);
    for (int i = 0; i <= most; i++) {
        int id = shmctl(i, SHM_STAT, &st);
        left += id >= 0;
        if (id >= 0 && remove)
            shmctl(id, IPC_RMID, NULL);
    }
    return left;
}

static int persistent_row(void *arg, const smem_info *info, const smem_flight *flight)
{
    smem_context *ctx = arg;
    (void)flight;
    if (info->flags & SMEM_PERSISTENT)
        smem_unlink(ctx, info->name);
    return 0;
}

/* A last participant takes away what was meant to stay, and reclaims. */
static void tidy_up(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        smem_context *ctx;
        smem_options options = {.family = "last", .directory = schedule_directory};
        if (smem_open(&options, &ctx) != 0)
            _exit(2);
        scene_of(planned)->tidy(ctx);
        smem_list(ctx, persistent_row, ctx);
        smem_reclaim(ctx, NULL);
        smem_close(ctx);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    WHEN(status != 0, "the last participant could not tidy up: status %x", status);
}

/* Whoever reads /proc/PID/maps of a process that ends keeps its mappings for that long: any
   program of this machine. So it is tried again, after a moment. */
static unsigned tidy_until_nothing_is_left(void)
{
    unsigned left = 1;
    for (int turn = 0; turn < 4 && left > 0 && !shown->over; turn++) {
        usleep(turn ? 100000 : 0);
        tidy_up();
        left = count_left(false, false);
    }
    return left;
}

/* Nobody can go on, and no time would help: of a family that has ended no reaper is left. */
static void look_for_sleepers(void)
{
    for (int i = 0; i < ACTORS && !shown->over; i++)
        WHEN(schedule_lives(&shown->actors[i]), "actor %d%s sleeps for ever", i,
             shown->actors[i].reaper ? ", a reaper," : "");
}

/* ---- one run --------------------------------------------------------------------------------- */

static void reset(bool replay)
{
    memset(shown->actors, 0, sizeof shown->actors);
    memset(shown->entries, 0, sizeof shown->entries);
    memset(shown->letters, 0, sizeof shown->letters);
    memset(shown->takers, 0, sizeof shown->takers);
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
    look_for_sleepers();
    kill_all();
    unsigned left = shown->over ? 0 : tidy_until_nothing_is_left();
    count_left(true, left > 0);
    WHEN(left > 0, "%u things are left", left);
    return shown->failure[0] == '\0';
}
