/*
 * Death at every step: whoever is killed, wherever in an operation, harms
 * nobody, and what it leaves the next ones take.
 *
 *   test_death [--all] [test...]
 *
 * An operation (death_operations.c) is done first by a child that lists the
 * points (base/point.h) that it passes; then, for each point, by one that is
 * killed there. The living look whether all of theirs is as it was and can be
 * used, reclaim, and leave: then nothing may be left. For a part of the deaths
 * (with --all for each) a rescuer is killed at every point of its reclaim
 * before, so that a second one has to finish its work.
 */
#include "death.h"

#include "base/point.h"

/* The program's own main, to be died in as in any function. */
#define main reaper_main
#include "reaper/reaper.c"
#undef main

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POINTS = 512,
       REPEATS = 3,
       SHARE = 8,
       CASE_LIMIT = 30,
       RUN_LIMIT = 7200 };

/* Where somebody dies: at the [at]th passing of a point. -1: at its end. */
typedef struct death {
    int point;
    unsigned at;
} death;

/* Shared by all processes of the run. */
typedef struct board {
    note note;
    atomic_uint passed[2][POINTS]; /* by the victim, by the rescuer; of this case */
    atomic_uint died[POINTS];      /* of the run */
    atomic_uint cases;
} board;

enum { BOARD_FD = 100 }; /* in the program that is executed */
static int board_fd;
static board *shown;
note *noted;
static bool exhaustive;

static int point_count(void)
{
    return (int)(__stop_smem_points - __start_smem_points);
}

/* ---- dying ---------------------------------------------------------------------- */

static struct {
    bool on;
    int who;      /* 0: the victim, 1: the rescuer */
    pid_t spared; /* this process passes unharmed and uncounted */
    death death;
} armed;

static void at_point(const smem__point *point)
{
    int i = (int)(point - __start_smem_points);
    if (!armed.on || getpid() == armed.spared)
        return;
    unsigned times = atomic_fetch_add(&shown->passed[armed.who][i], 1) + 1;
    if (i == armed.death.point && times == armed.death.at) {
        atomic_fetch_add(&shown->died[i], 1);
        kill(getpid(), SIGKILL);
    }
}

static void arm(int who, const death *death, pid_t spared)
{
    armed.who = who;
    armed.death = *death;
    armed.spared = spared;
    armed.on = true;
    smem__at_point = at_point;
}

unsigned passed(const char *point)
{
    for (int i = 0; i < point_count(); i++)
        if (strcmp(__start_smem_points[i], point) == 0)
            return shown->passed[0][i];
    CHECK(!"a point of this name");
    return 0;
}

/* ---- who takes part --------------------------------------------------------------- */

static const int64_t shape[] = {1000};

smem_spec vector_of(int backend, const char *name)
{
    return (smem_spec){.name = name,
                       .backend = backend,
                       .permissions = 0640,
                       .dtype = "'<f8'",
                       .itemsize = 8,
                       .ndim = 1,
                       .shape = shape};
}

double *first_of(smem_segment *segment)
{
    return smem_data(segment);
}

smem_context *open_in(const char *family, int parent, const char *reaper)
{
    smem_options options = {
        .family = family, .parent = parent, .directory = check_directory(), .reaper = reaper};
    smem_context *ctx;
    CHECK_OK(smem_open(&options, &ctx));
    return ctx;
}

typedef struct part {
    const operation *op;
    const death *death;
    victim victim;
} part;

/* Child: the victim, from its first step to its death. */
static void be_victim(check_peer *parent, void *arg)
{
    part *p = arg;
    check_hear(parent);
    if (p->victim.kinship != INHERITS)
        p->victim.ctx = open_in(p->victim.kinship == JOINS ? "living" : "apart", 0, NULL);
    if (p->op->before)
        p->op->before(&p->victim);
    arm(0, p->death, p->op->in_child ? getpid() : 0);
    p->op->act(&p->victim);
    armed.on = false;
    kill(getpid(), SIGKILL);
}

/* Child: comes after the victim, and does all that a participant does to clean up. */
static void be_rescuer(check_peer *parent, void *arg)
{
    check_hear(parent);
    arm(1, arg, 0);
    smem_context *ctx = open_in("rescuer", 0, NULL);
    CHECK_OK(smem_reclaim(ctx, NULL));
    smem_close(ctx);
    armed.on = false;
    kill(getpid(), SIGKILL);
}

static smem_segment *fill(smem_context *ctx, int backend, const char *what, unsigned flags,
                          double value)
{
    smem_segment *segment;
    smem_spec spec = vector_of(backend, check_name(what));
    spec.flags = flags;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    *first_of(segment) = value;
    return segment;
}

static uint64_t sent_nonce, sent_ticket;

static void begin_living(living *l)
{
    l->ctx = open_in("living", 0, NULL);
    l->witness = open_in("witness", 0, NULL);
    l->other = fill(l->ctx, l->backend, "other", 0, 7);
    smem_segment *sent = fill(l->ctx, l->backend, "sent", 0, 8);
    sent_nonce = smem_info_of(sent)->nonce;
    CHECK_OK(smem_ticket_issue(sent, &sent_ticket));
    smem_detach(sent);
    smem_detach(fill(l->ctx, l->backend, "kept", SMEM_PERSISTENT, 9));
}

/* ---- what must be so after it ------------------------------------------------------- */

static void check_attach(smem_context *ctx, const char *what, double value)
{
    smem_segment *found;
    CHECK_OK(smem_attach(ctx, check_name(what), SMEM_READ_WRITE, &found));
    CHECK(*first_of(found) == value);
    smem_detach(found);
}

/* What is held is there, and is found, sent, received and dropped as ever. */
static void check_held(living *l)
{
    smem_segment *received;
    uint64_t ticket;
    CHECK(*first_of(l->other) == 7);
    CHECK_EQ(smem_is_current(l->other), 1);
    check_attach(l->witness, "other", 7);
    CHECK_OK(smem_ticket_issue(l->other, &ticket));
    CHECK_OK(smem_receive(l->witness, l->backend, check_name("other"),
                          smem_info_of(l->other)->nonce, SMEM_READ_ONLY, ticket, &received));
    CHECK(*first_of(received) == 7);
    smem_detach(received);
    check_attach(l->witness, "kept", 9);
}

static void check_flight(living *l)
{
    smem_segment *received;
    CHECK_OK(smem_receive(l->witness, l->backend, check_name("sent"), sent_nonce, SMEM_READ_WRITE,
                          sent_ticket, &received));
    CHECK(*first_of(received) == 8);
    smem_detach(received);
    CHECK_CODE(smem_attach(l->witness, check_name("sent"), SMEM_READ_WRITE, &received),
               SMEM_E_NOT_FOUND);
}

/* The name leads to a whole segment or to none. */
static void check_name_leads(living *l)
{
    smem_segment *found;
    int rc = smem_attach(l->witness, check_name("a"), SMEM_READ_WRITE, &found);
    if (rc == 0) {
        CHECK(*first_of(found) == 0 || *first_of(found) == 5);
        CHECK_EQ(smem_info_of(found)->shape[0], 1000);
        bool persistent = smem_info_of(found)->flags & SMEM_PERSISTENT;
        smem_detach(found);
        if (persistent)
            CHECK_OK(smem_unlink(l->witness, check_name("a")));
    } else
        CHECK_CODE(rc, SMEM_E_NOT_FOUND);
    found = fill(l->witness, l->backend, "b", 0, 6);
    check_attach(l->ctx, "b", 6);
    smem_detach(found);
}

static int count_row(void *arg, const smem_info *info, const smem_flight *flight)
{
    (void)flight;
    ++*(unsigned *)arg;
    return info->dtype == NULL;
}

/* After a reclaim there is what the living have, and nothing else. */
static void check_reclaimed(living *l)
{
    unsigned rows = 0, wanted = 2; /* "other" and "kept" */
    CHECK_OK(smem_reclaim(l->ctx, NULL));
    CHECK_EQ(check_files('t'), 0);
    CHECK_EQ(check_files('f'), 2);
    if (l->victim != APART)
        return; /* what it had in flight lives with its family */
    CHECK_OK(smem_list(l->witness, count_row, &rows));
    wanted += l->held && smem_is_current(l->held);
    CHECK(rows <= wanted);
}

static void end_living(living *l)
{
    smem_segment *found;
    smem_detach(l->other);
    smem_detach(l->held);
    CHECK_OK(smem_unlink(l->ctx, check_name("kept")));
    if (smem_attach(l->ctx, check_name("b"), SMEM_READ_WRITE, &found) != SMEM_E_NOT_FOUND)
        CHECK(!"gone with its last user");
    smem_close(l->ctx);
    smem_close(l->witness);
    if (check_left(false) != 0) {
        smem_context *last = open_in("last", 0, NULL);
        CHECK_OK(smem_reclaim(last, NULL));
        smem_close(last);
    }
    CHECK_EQ(check_left(true), 0);
}

/* ---- one case ------------------------------------------------------------------------ */

typedef struct plan {
    const operation *op;
    int backend;
    enum kinship kinship;
    death first;          /* of the victim */
    const death *second;  /* of the rescuer, or NULL: there is none */
} plan;

static void let_die(check_peer *child)
{
    check_tell(child, 0);
    CHECK_EQ(check_wait(child), 128 + SIGKILL);
}

/* Children of the victim, the reaper among them, end after it. */
static void wait_for_orphans(void)
{
    while (waitpid(-1, NULL, 0) > 0) {
    }
    CHECK_EQ(errno, ECHILD);
}

static void run_plan(const plan *plan)
{
    living l = {.backend = plan->backend, .victim = plan->kinship};
    part p = {plan->op, &plan->first, {.backend = plan->backend, .kinship = plan->kinship}};
    death second = plan->second ? *plan->second : (death){-1, 0};
    check_peer victim, rescuer;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    bool inherits = plan->kinship == INHERITS;
    if (!inherits)
        victim = check_fork(be_victim, &p);
    if (plan->second)
        rescuer = check_fork(be_rescuer, &second);
    begin_living(&l);
    if (plan->op->prepare)
        plan->op->prepare(&l);
    if (inherits) {
        p.victim.ctx = l.ctx;
        victim = check_fork(be_victim, &p);
    }
    let_die(&victim);
    if (plan->second)
        let_die(&rescuer);
    wait_for_orphans();
    check_held(&l);
    check_flight(&l);
    if (plan->op->judge)
        plan->op->judge(&l);
    check_name_leads(&l);
    check_reclaimed(&l);
    end_living(&l);
}

static const char *kinship_name(enum kinship kinship)
{
    return kinship == INHERITS ? "forked" : kinship == JOINS ? "of the family"
                                                             : "of another family";
}

static void say_death(const char *who, const death *death)
{
    if (death->point < 0)
        fprintf(stderr, ", %s at its end", who);
    else
        fprintf(stderr, ", %s at %s (%u)", who, __start_smem_points[death->point], death->at);
}

static void check_plan(const plan *plan)
{
    int status;
    for (int i = 0; i < point_count(); i++)
        shown->passed[0][i] = shown->passed[1][i] = 0;
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(CASE_LIMIT);
        run_plan(plan);
        exit(EXIT_SUCCESS);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    shown->cases++;
    if (status == 0)
        return;
    fprintf(stderr, "... ended with %d: %s, %s, %s", status, plan->op->name,
            plan->backend == SMEM_POSIX ? "posix" : "sysv", kinship_name(plan->kinship));
    say_death("dead", &plan->first);
    if (plan->second)
        say_death("its rescuer", plan->second);
    fprintf(stderr, "\n");
    CHECK(!"the living are unharmed and nothing is left");
}

/* ---- all cases of an operation ------------------------------------------------------- */

/* The same ones in each run: a point gets its share of the operations. */
static bool is_sampled(const plan *plan, int point)
{
    unsigned hash = 2166136261u;
    for (const char *p = plan->op->name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    hash = (hash ^ (unsigned)point) * 16777619u;
    hash = (hash ^ (unsigned)plan->backend * 8 ^ (unsigned)plan->kinship) * 16777619u;
    return exhaustive || (hash >> 16) % SHARE == 0;
}

static void list_passed(int who, unsigned out[POINTS])
{
    for (int i = 0; i < point_count(); i++)
        out[i] = shown->passed[who][i];
}

/* The victim dies as planned; the rescuer at each point that it passes. */
static void rescue_in_vain(const plan *plan)
{
    unsigned points[POINTS];
    death second = {-1, 0};
    struct plan twice = *plan;
    twice.second = &second;
    check_plan(&twice);
    list_passed(1, points);
    for (second.point = 0; second.point < point_count(); second.point++) {
        second.at = 1;
        if (points[second.point])
            check_plan(&twice);
        second.at = points[second.point];
        if (exhaustive && second.at > 1)
            check_plan(&twice);
    }
}

static void die_everywhere(const operation *op, int backend, enum kinship kinship)
{
    unsigned points[POINTS];
    plan plan = {op, backend, kinship, {-1, 0}, NULL};
    check_plan(&plan);
    list_passed(0, points);
    for (int i = 0; i < point_count(); i++)
        for (unsigned at = 1; at <= points[i] && at <= REPEATS; at++) {
            plan.first = (death){i, at == REPEATS ? points[i] : at};
            check_plan(&plan);
            if (at == 1 && is_sampled(&plan, i))
                rescue_in_vain(&plan);
        }
}

void die_in(const operation *op)
{
    unsigned before = shown->cases;
    alarm(RUN_LIMIT);
    for (int backend = SMEM_POSIX; backend <= SMEM_SYSV; backend++)
        for (unsigned kinship = INHERITS; kinship <= APART; kinship *= 2)
            if (!op->kinds || op->kinds & kinship)
                die_everywhere(op, backend, kinship);
    printf("# %u deaths\n", shown->cases - before);
    fflush(stdout);
}

/* Those of flock.c are passed only where the kernel has no locks on bytes. */
static bool is_there_to_die_at(int point)
{
    struct flock request = {.l_type = F_WRLCK};
    return strncmp(__start_smem_points[point], "flock.", 6) != 0 ||
           fcntl(board_fd, F_OFD_GETLK, &request) != 0;
}

void check_every_point(void)
{
    unsigned missed = 0;
    for (int i = 0; i < point_count(); i++)
        if (shown->died[i] == 0 && is_there_to_die_at(i)) {
            fprintf(stderr, "nobody died at %s\n", __start_smem_points[i]);
            missed++;
        }
    printf("# %d points, %u deaths\n", point_count(), shown->cases);
    fflush(stdout);
    CHECK_EQ(missed, 0);
}

static void show_board(void)
{
    shown = mmap(NULL, sizeof *shown, PROT_READ | PROT_WRITE, MAP_SHARED, board_fd, 0);
    if (shown == MAP_FAILED || point_count() > POINTS)
        abort();
    noted = &shown->note;
}

/* --reaper point at directory family */
_Noreturn void become_reaper(const char *family)
{
    char point[16], at[16];
    snprintf(point, sizeof point, "%d", armed.death.point);
    snprintf(at, sizeof at, "%u", armed.death.at);
    dup2(board_fd, BOARD_FD);
    execl("/proc/self/exe", "test_death", "--reaper", point, at, check_directory(), family, NULL);
    _exit(EXIT_FAILURE);
}

static int be_reaper(char **argv)
{
    death death = {atoi(argv[2]), (unsigned)atoi(argv[3])};
    board_fd = BOARD_FD;
    show_board();
    arm(0, &death, 0);
    return reaper_main(3, argv + 3);
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "--reaper") == 0)
        return be_reaper(argv);
    exhaustive = argc > 1 && strcmp(argv[1], "--all") == 0;
    board_fd = memfd_create("board", MFD_CLOEXEC);
    if (board_fd < 0 || ftruncate(board_fd, sizeof *shown) != 0)
        return 2;
    show_board();
    return check_main(argc - exhaustive, argv + exhaustive);
}
