/*
 * Schedules of real processes that run the real code, one step at a time.
 *
 * Each actor is a process. It stops before every system call of the core, at every named
 * point (base/point.h) and before every access to a shared atomic, and goes on only when it
 * has the baton. Who has it decides who gets it next, from numbers that follow from the
 * seed: so the same seed is the same interleaving, and a switch from an actor to itself
 * costs nothing. A call that would block is tried; if it would, the actor stands aside until
 * what it waits for may have come. Time is virtual, and passes when nobody can run.
 *
 * The controller forks the actors, kills them, and looks at what is left. It has the baton
 * when a process begins or ends, since only it can see that one has gone altogether.
 *
 * A plan is what each actor does, and the events that make the schedule: at which of its own
 * steps an actor loses the baton to whom, kills whom, lets time pass, or has a call that
 * fails. A seed makes a plan while it runs; the plan alone, run again, is the same run, and
 * can be made shorter (shrink.c).
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include "sharedmem.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { ACTORS = 8,          /* those that the scene starts, and the forked ones and reapers */
       CONTROLLER = ACTORS, /* has the baton like an actor */
       OPS = 24,
       EVENTS = 20000,
       ENTRIES = 256,
       LETTERS = 4,
       TRACE = 1 << 16,
       STEPS_MAX = 100000 };

/* ---- what is run ---------------------------------------------------------------- */

typedef struct op {
    uint8_t code; /* the scene's; 0: nothing */
    uint8_t a, b, c;
} op;

enum event_kind { TO_ACTOR,
                  KILLS,
                  TIME_PASSES,
                  CALL_FAILS };

typedef struct event {
    uint8_t actor, kind; /* of whom, at his step [step] */
    uint8_t off, used;   /* left out by the shrinker; had in this run */
    uint32_t step;
    int64_t value; /* whom; how many ns; which errno */
} event;

typedef struct plan {
    uint64_t seed;
    int scene, actors;
    int backend;
    int32_t families; /* of the actors at the start */
    int users;        /* 2: each family is another one's */
    bool reapers, fails, kills;
    op ops[ACTORS][OPS];
    unsigned event_count;
    event events[EVENTS];
} plan;

/* ---- who runs -------------------------------------------------------------------- */

enum actor_state { ABSENT,
                   BEGINS,
                   READY,
                   YIELDED,
                   ASLEEP,
                   ON_FUTEX,
                   ON_CHANGE,
                   GONE };

typedef struct actor {
    _Atomic uint32_t baton;
    enum actor_state state;
    pid_t pid;
    bool reaper, thread; /* a thread of an actor's process has its pid */
    bool killed;
    uint32_t steps;
    unsigned next_event;
    int priority;
    uint64_t random;
    int64_t deadline; /* virtual ns, INT64_MAX: none */
    bool woken;
    uint64_t device, inode, offset; /* of the word that it sleeps on */
    uint64_t seen; /* changes, while ON_CHANGE */
    int op; /* for reports */
    int family;
    bool in_call; /* the truth about it is not known in between */
    bool member; /* as far as what is in flight may count on it */
    bool leaving;
    uint32_t leaves, leaves_before; /* of the process: until now, until its op began */
    uint8_t held[ENTRIES]; /* handles of each array; for those that it could reach by name */
    uint8_t named[ENTRIES];
} actor;

/* What the scene knows of one array (or lock): the truth that memory is held against. */
typedef struct entry {
    uint64_t value;
    int name;        /* of which user's; -1: none */
    bool open;       /* to the other user, too */
    bool persistent; /* it may count on its name until [taken] */
    bool stays;      /* it was found at the end */
    int user;        /* whose it is */
    bool taken;      /* somebody has begun to take its name, or may have */
    uint32_t pauses; /* times that nobody held it so that its name had to stay */
    int owner;       /* of a lock: 1 + actor */
} entry;

typedef struct letter {
    bool full;
    char name[SMEM_NAME_MAX + 1];
    int backend, entry, family;
    uint64_t nonce, ticket;
    uint32_t family_ends; /* how often the sender's family had ended when it was sent */
} letter;

typedef struct trace_step {
    const char *what;
    int64_t actor;
} trace_step;

enum request { NOTHING,
               ENDS,
               EXECS,
               THREAD_ENDS,
               TO_KILL,
               TO_START_REAPER,
               FAILED };

typedef struct board {
    actor actors[ACTORS + 1];
    int64_t now, wall; /* virtual ns */
    uint64_t random;   /* of the schedule */
    uint64_t steps, changes, switches, kills, failed_calls;
    uint64_t hash; /* of all steps */
    bool replay, tracing, over, stuck;
    int mode;
    unsigned quantum;
    uint64_t change_points[8];
    unsigned change_at;
    int lowest;
    enum request request;
    int request_actor;
    char reaper_arguments[2][512];
    char failure[1024];
    actor *holder;   /* of the baton, or who had it last before the controller */
    void *stack[48]; /* of one that does not come back with it */
    int stack_depth;
    entry entries[ENTRIES];
    int entry_count;
    letter letters[LETTERS];
    int64_t changed[ENTRIES]; /* of SysV segments, by id */
    uint32_t family_ends[ACTORS];
    unsigned died, died_in_call;
    uint32_t takers[8]; /* by name and user: who takes it away now */
    unsigned moving; /* actors that send, receive or notify just now */
    bool unguarded[ACTORS]; /* by family: there was no place for its reaper */
    bool removed_files; /* somebody removed a family's file */
    uint64_t results[64][2]; /* by op: done, refused */
    trace_step trace[TRACE];
} board;

extern board *shown;
extern plan *planned; /* shared with the actors, who add the events */
extern _Thread_local actor *me; /* NULL: not an actor */
extern char schedule_directory[64];
extern _Thread_local int forks_as; /* who a forked child is to be */
extern volatile sig_atomic_t interrupted; /* the controller was told to end */

static inline int actor_number(const actor *one)
{
    return (int)(one - shown->actors);
}

/* ---- baton.c ---------------------------------------------------------------------- */

uint64_t random_next(uint64_t *state);
/* Stop here. [what] is a string that lives as long as the program. */
void schedule_stop(const char *what);
/* As above before a system call; not 0: the errno that it is to fail with. */
int schedule_stop_in_call(const char *what);
/* Stand aside in [state] until it is worth another try; false: the deadline has come. */
bool schedule_wait(enum actor_state state, int64_t deadline);
bool schedule_lives(const actor *one);
/* Something changed that others may wait for. */
void schedule_changed(void);
/* The controller is to do that. */
void schedule_ask(enum request request, int number);
/* Give the baton to whoever is next, as the controller; false: nobody is left. */
bool schedule_go_on(void);
/* Wait for the baton; false after [seconds]. */
bool schedule_take(actor *one, int seconds);
/* As an actor; ends the process when the controller has ended. */
void schedule_take_mine(void);
void schedule_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define WHEN(wrong, ...)                  \
    do {                                  \
        if (wrong)                        \
            schedule_fail(__VA_ARGS__);   \
    } while (0)

/* ---- calls.c, mapped.c -------------------------------------------------------------- */

void schedule_table(void);
/* One of the errors that the call's man page lists, or 0. */
int schedule_error_of(const char *call, unsigned which);
void mapped_add(void *base, size_t size, uint64_t device, uint64_t inode, uint64_t offset);
void mapped_remove(const void *base, size_t size);
/* Of shared memory? Where. */
bool mapped_find(const volatile void *address, uint64_t *device, uint64_t *inode, uint64_t *offset);

/* ---- scenes ------------------------------------------------------------------------- */

typedef struct scene {
    const char *name;
    int operations;
    const char *const *operation_names;
    void (*plan)(plan *p, uint64_t *random);
    void (*act)(void); /* an actor's life, from its script */
    void (*look)(void); /* at each step of an actor: is what it holds as it must be? */
    void (*tidy)(smem_context *ctx); /* look at what was meant to stay, and take it away */
} scene;

extern const scene scene_lifetime, scene_locks, scene_queue, scene_flight, scene_conditions, scene_tickets, scene_names;
extern const scene *const scenes[];
const scene *scene_of(const plan *p);

/* An actor's next op, or NULL. */
const op *script_next(void);
void script_result(const op *done, int rc);
/* How long to wait: that may pass while others take steps, or only when nobody can. */
int64_t script_time(uint8_t chance);
/* An array is made and dropped. */
int script_make(smem_context *ctx);
/* The child lives by that. */
int script_fork(void (*live)(void));
/* What a scene is about: [size] bytes, for whoever comes first to make. */
smem_segment *script_attach(smem_context *ctx, const char *name, int64_t size);
/* Fill all scripts by chance, each op as often as its weight says. */
void plan_by_weight(plan *p, uint64_t *random, const uint8_t *weights, unsigned count);
/* Take part, as the plan says. */
smem_context *schedule_open(void);
/* A forked child that is an actor: 0 in it. -1: no place for one more. */
pid_t schedule_fork(void);
/* A thread of this process that is an actor, with the script of its own. */
int schedule_thread(void *(*run)(void *));
/* The threads of this process have ended. */
void schedule_join(void);
/* As rm, or logind's RemoveIPC: one family's file goes. */
int schedule_remove_file(void);

/* ---- truth.c -------------------------------------------------------------------------- */

/* This actor has one handle more of an array, or one less. */
void truth_hold(int entry, int by);
/* Forget what a dead or leaving actor held: of one array, of all. */
void truth_release(actor *one, int entry, bool names_only);
void truth_release_all(actor *one, bool names_only);
int truth_new(int name, bool open, bool by_replace);
/* This actor begins to take the name away. */
void truth_taking(int name);
/* The array that the name must lead to as long as nobody takes it, or -1. */
int truth_sure(int name);
/* What was sent by that letter may have gone with the sender's family. */
bool truth_family_may_have_ended(const letter *l);
/* Nobody has died, and no family has ended. */
bool truth_all_go_on(void);
unsigned truth_count_tickets(const smem_segment *segment);
/* Those that are in flight have a ticket each, and there are no others. */
void truth_of_tickets(const smem_segment *segment, int entry);
/* What was made persistent is there when all have gone, with its contents. */
void truth_of_persistent(smem_context *last);

/* ---- users.c -------------------------------------------------------------------------- */

bool users_are_possible(void);
uint32_t users_uid(int user);
/* Whose process this actor is. */
int users_mine(void);
/* For the rest of this process. */
void users_become(int user);

/* ---- left.c --------------------------------------------------------------------------- */

/* Nobody is left who sleeps, nor what a reaper should have freed. */
void left_asleep(void);
void left_by_reapers(void);
/* When a last participant has tidied up: how many things. */
unsigned left_when_tidy(void);
/* How many there are now; with [say] their names, with [remove] they go. */
unsigned left_count(bool remove, bool say);

/* ---- run.c, shrink.c ---------------------------------------------------------------- */

/* What ends a run from outside: ^C and the like. */
void schedule_interrupts(void (*handler)(int));
void schedule_interrupted(int signal);
/* Run what is planned. True: nothing was wrong. */
bool run_plan(bool replay);
void make_plan(uint64_t seed, int scene);
/* Leave out what does not matter. Returns how many runs that took. */
unsigned shrink_plan(void);
void print_plan(void);

#endif
