/*
 * Every system call of the library fails, at each place, once and for good,
 * with each errno of its man page (errnos.h).
 *
 *   test_syscalls posix|sysv [--all] [test...]
 *
 * An operation (syscalls_operations.c) is run again and again, each time in a
 * process of its own: first its first call of open fails, then its second, and
 * so on; then the same with the next errno, and the next system call. Whatever
 * fails, the operation returns success or one of the codes that the table names,
 * what it returns is true, and when all have left nothing is left. Without --all
 * the first errno of each call fails at each place, the others at some.
 */
#include "errnos.h"
#include "failing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int backend;
static bool exhaustive;

enum how { LASTS,
           ONCE,
           RETRY,
           TELLS };

typedef struct row {
    enum call call;
    int error;
    enum how how;
    int results[4];
} row;

static const row rows[] = {
#define LIST(...) {__VA_ARGS__ + 0}
#define ROW(call, error, how, results) {CALL_##call, error, how, LIST results},
    ERRNOS(ROW)
#undef ROW
#undef LIST
};

enum { ROWS = sizeof rows / sizeof rows[0] };

static const char *const call_names[] = {
#define NAME(name, type, bad, parameters, arguments) #name,
    CALLS(NAME)
#undef NAME
};

/* ---- one operation with one fault ------------------------------------------------ */

static bool is_expected(const row *row, int rc)
{
    if (rc == 0)
        return true;
    for (size_t i = 0; i < sizeof row->results / sizeof row->results[0]; i++)
        if (row->results[i] != 0 && rc == (row->results[i] == SAME ? -row->error : row->results[i]))
            return true;
    return false;
}

static void check_result(const row *row, int rc)
{
    if (row ? is_expected(row, rc) : rc == 0)
        return;
    fprintf(stderr, "returned %d (%s, %s)\n", rc, smem_error_name(rc), smem_error_text(rc));
    CHECK(!"a code that the table names");
}

static int run_armed(const operation *op, scene *s, const fault *what)
{
    smem_segment *before = s->result;
    memset(logged, 0, sizeof *logged);
    armed = *what;
    armed.on = true;
    int rc = op->act(s);
    armed.on = false;
    if (rc != 0)
        s->result = before; /* what a failed call wrote there means nothing */
    return rc;
}

static void judge(const operation *op, scene *s, const row *row, int rc)
{
    if (op->judge && !(row && row->how == TELLS))
        op->judge(s, rc);
    else if (s->held)
        CHECK(*(double *)smem_data(s->held) == 5);
}

static void run_scene(const operation *op, const fault *what, const row *row)
{
    scene s = {.ctx = check_open(NULL), .other = check_open(NULL)};
    unsigned fds = check_fds();
    if (op->prepare)
        op->prepare(&s);
    int rc = run_armed(op, &s, what);
    CHECK(rc <= 0);
    if (!op->any_code || !row || row->how == RETRY)
        check_result(row, rc);
    judge(op, &s, row, rc);
    smem_detach(s.result);
    smem_detach(s.held);
    if (op->finish)
        op->finish(&s);
    CHECK_OK(smem_reclaim(s.other, NULL));
    CHECK_EQ(check_fds(), fds);
    smem_close(s.ctx);
    smem_close(s.other);
}

enum { LIMIT = 30 };

static bool run_child(const operation *op, const fault *what, const row *row)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(LIMIT);
        run_scene(op, what, row);
        exit(EXIT_SUCCESS); /* not _exit: a leak checker has its say here */
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    while (waitpid(-1, NULL, 0) > 0) {
    } /* orphans come here: a reaper, which ends with its family */
    if (WIFSIGNALED(status))
        fprintf(stderr, "ended by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

/* What a process leaves behind whose calls failed to the end is the next one's to take. */
static bool is_clean(void)
{
    if (check_left(false) == 0)
        return true;
    smem_context *ctx = check_open("cleaner");
    CHECK_OK(smem_reclaim(ctx, NULL));
    smem_close(ctx);
    return check_left(true) == 0;
}

/* Of a sysv segment that is said to be gone the journal says nothing any more. */
static void forget_what_is_said_to_be_gone(const row *row)
{
    if (row && row->how == TELLS && backend == SMEM_SYSV)
        check_remove_segments();
}

static bool run_fault(const operation *op, const fault *what, const row *row)
{
    bool ok = run_child(op, what, row);
    forget_what_is_said_to_be_gone(row);
    ok = is_clean() && ok;
    if (!ok)
        fprintf(stderr, "... when %s number %u failed%s with %s\n",
                row ? call_names[what->call] : "nothing", what->at,
                what->for_good ? " for good" : "", strerror(what->error));
    return ok;
}

/* ---- all of them ------------------------------------------------------------------ */

static unsigned faults_run, faults_failed;

static void run_place(const operation *op, const row *row, unsigned at, bool for_good)
{
    fault what = {.call = row->call, .at = at, .error = row->error, .for_good = for_good};
    faults_failed += !run_fault(op, &what, row);
    faults_run += logged->fired;
}

/* The same ones in each run; at least one place of each errno. */
static bool is_sampled(const operation *op, unsigned number, unsigned at, unsigned places)
{
    enum { SHARE = 8 };
    unsigned hash = 2166136261u ^ number;
    for (const char *p = op->name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    bool leads = number == 0 || rows[number - 1].call != rows[number].call;
    return exhaustive || leads || rows[number].how == RETRY || (hash >> 8) % places == at - 1 ||
           (hash >> 16) % SHARE == at % SHARE;
}

void fail_in(const operation *op)
{
    enum { RUN_LIMIT = 3600 };
    unsigned places[CALL_COUNT];
    fault none = {0};
    alarm(RUN_LIMIT);
    replace_table();
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    CHECK(run_fault(op, &none, NULL));
    memcpy(places, logged->made, sizeof places);
    for (unsigned i = 0; i < ROWS; i++)
        for (unsigned at = 1; at <= places[rows[i].call]; at++) {
            if (!is_sampled(op, i, at, places[rows[i].call]))
                continue;
            run_place(op, &rows[i], at, false);
            if (rows[i].how == LASTS)
                run_place(op, &rows[i], at, true);
        }
    printf("# %u faults\n", faults_run);
    fflush(stdout);
    CHECK(faults_run > 0);
    CHECK_EQ(faults_failed, 0);
}

int main(int argc, char **argv)
{
    exhaustive = argc > 2 && strcmp(argv[2], "--all") == 0;
    if (exhaustive)
        argv[2] = argv[1];
    return check_main_on_backend(argc - exhaustive, argv + exhaustive, &backend);
}
