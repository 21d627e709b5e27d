/*
 * schedule [--seeds FIRST:COUNT] [--scene NAME] [--list FILE] [--seconds N] [--trace] [--repeat]
 *          [--count] [--backend posix|sysv] [--reapers] [--users] [--failing]
 *
 * Runs plans until one fails, makes that shorter, and prints it; with --count it runs all and
 * says how many fail, and which is the first. --list takes the seeds from a file, a line each:
 * scene, seed, options of the next paragraph, and whatever else. --trace prints what is done
 * as it is done; --repeat runs each seed twice, which must be the same step by step.
 *
 * --backend, --reapers, --users (two of them) and --failing (calls) are for all seeds what
 * chance would decide for each.
 */
#include "schedule.h"

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int wanted_backend = SMEM_ANY;
static bool wants_reapers, wants_users, wants_failing, has_users;

void make_plan(uint64_t seed, int scene_number)
{
    uint64_t random = seed * UINT64_C(0x2545f4914f6cdd1d);
    for (const char *c = scenes[scene_number]->name; *c; c++) /* one scene more changes no other one's */
        random = (random ^ (uint64_t)*c) * UINT64_C(1099511628211);
    memset(planned, 0, sizeof *planned);
    planned->seed = seed;
    planned->scene = scene_number;
    planned->actors = 2 + (int)(random_next(&random) % 2);
    planned->families = 1 + (int)(random_next(&random) % 2);
    planned->backend = random_next(&random) % 3 ? SMEM_POSIX : SMEM_SYSV;
    planned->reapers = random_next(&random) % 10 == 0;
    planned->kills = random_next(&random) % 2;
    planned->fails = random_next(&random) % 8 == 0;
    if (wanted_backend != SMEM_ANY)
        planned->backend = wanted_backend;
    planned->reapers |= wants_reapers;
    planned->fails |= wants_failing;
    planned->families = wants_users ? 2 : planned->families;
    planned->users = (random_next(&random) % 2 == 0 || wants_users) && has_users ? planned->families : 1;
    scenes[scene_number]->plan(planned, &random);
}

static void print_event(const event *e)
{
    static const char *const kinds[] = {"gives the baton to actor", "kills actor", "lets pass ns:",
                                        "has a call that fails with errno"};
    fprintf(stderr, "    actor %d at its step %u %s %lld\n", e->actor, e->step, kinds[e->kind],
            (long long)e->value);
}

void print_plan(void)
{
    const scene *s = scene_of(planned);
    unsigned events = 0;
    fprintf(stderr, "seed %llu, scene %s, %s, %d actors in %d families%s%s%s%s\n",
            (unsigned long long)planned->seed, s->name,
            planned->backend == SMEM_POSIX ? "posix" : "sysv", planned->actors, planned->families,
            planned->users > 1 ? " of two users" : "", planned->reapers ? ", reapers" : "", planned->kills ? ", kills" : "",
            planned->fails ? ", failing calls" : "");
    for (int a = 0; a < ACTORS; a++) {
        int any = 0;
        for (int i = 0; i < OPS; i++)
            if (planned->ops[a][i].code)
                fprintf(stderr, "%s %s(%d,%d)", any++ ? "" : "  script of",
                        s->operation_names[planned->ops[a][i].code], planned->ops[a][i].a, planned->ops[a][i].b);
        if (any)
            fprintf(stderr, "   [actor %d]\n", a);
    }
    for (unsigned i = 0; i < planned->event_count; i++)
        events += !planned->events[i].off;
    fprintf(stderr, "  %u events\n", events);
    for (unsigned i = 0; i < planned->event_count && events <= 40; i++)
        if (!planned->events[i].off)
            print_event(&planned->events[i]);
}

static void print_last_steps(unsigned count)
{
    uint64_t from = shown->steps > count ? shown->steps - count : 0;
    for (uint64_t i = from; i < shown->steps; i++)
        fprintf(stderr, "    %8llu  actor %d: %s\n", (unsigned long long)i,
                (int)shown->trace[i % TRACE].actor, shown->trace[i % TRACE].what);
}

static int report(void)
{
    fprintf(stderr, "FAILED: %s\n", shown->failure);
    print_plan();
    print_last_steps(30);
    if (shown->stuck)
        return 1; /* each try would take as long */
    unsigned runs = shrink_plan();
    shown->tracing = true;
    run_plan(true);
    fprintf(stderr, "after %u runs: %s\n", runs, shown->failure[0] ? shown->failure : "(not repeated)");
    print_plan();
    print_last_steps(570);
    return 1;
}

static unsigned scene_count(void)
{
    unsigned count = 0;
    while (scenes[count])
        count++;
    return count;
}

static void print_difference(const trace_step *before, uint64_t at)
{
    for (uint64_t i = at > 4 ? at - 4 : 0; i < at + 4 && i < TRACE; i++)
        fprintf(stderr, "    %8llu  actor %d: %-20s then actor %d: %s\n", (unsigned long long)i,
                (int)before[i].actor, before[i].what, (int)shown->trace[i].actor, shown->trace[i].what);
}

/* Run it again as it was recorded, which must be the same step by step. */
static bool repeats(void)
{
    uint64_t hash = shown->hash, at = 0;
    trace_step *before = malloc(sizeof shown->trace);
    memcpy(before, shown->trace, sizeof shown->trace);
    bool right = run_plan(true);
    if (right && shown->hash != hash) {
        while (at < TRACE - 1 && before[at].actor == shown->trace[at].actor &&
               before[at].what == shown->trace[at].what)
            at++;
        print_difference(before, at);
        schedule_fail("step %llu was another when it was repeated", (unsigned long long)at);
        right = false;
    }
    free(before);
    return right;
}

typedef struct arguments {
    uint64_t first, count;
    int scene;
    double seconds;
    bool repeat, count_failures;
    const char *list;
} arguments;

static int scene_named(const char *name)
{
    for (int s = 0; scenes[s]; s++)
        if (strcmp(scenes[s]->name, name) == 0)
            return s;
    fprintf(stderr, "there is no scene %s\n", name);
    exit(2);
}

static bool read_flag(const char *option, arguments *out)
{
    const struct {
        const char *name;
        bool *wish;
    } flags[] = {{"--count", &out->count_failures}, {"--failing", &wants_failing}, {"--reapers", &wants_reapers}, {"--repeat", &out->repeat}, {"--trace", &shown->tracing}, {"--users", &wants_users}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(option, flags[i].name) == 0)
            return *flags[i].wish = true;
    return false;
}

/* False: there is no such option, or no such value. */
static bool read_option(const char *option, const char *value, arguments *out)
{
    if (strcmp(option, "--seeds") == 0) {
        out->count = 1;
        return sscanf(value, "%" SCNu64 ":%" SCNu64, &out->first, &out->count) >= 1;
    }
    if (strcmp(option, "--seconds") == 0)
        return (out->seconds = atof(value)) > 0;
    if (strcmp(option, "--list") == 0)
        return (out->list = value);
    if (strcmp(option, "--scene") == 0)
        return (out->scene = scene_named(value)) >= 0;
    if (strcmp(option, "--backend") == 0) {
        wanted_backend = strcmp(value, "sysv") == 0 ? SMEM_SYSV : SMEM_POSIX;
        return strcmp(value, "sysv") == 0 || strcmp(value, "posix") == 0;
    }
    return false;
}

static void read_arguments(int argc, char **argv, arguments *out)
{
    *out = (arguments){1, 1000, -1, 0, false, false, NULL};
    for (int i = 1; i < argc; i++) {
        if (read_flag(argv[i], out))
            continue;
        if (i + 1 == argc || !read_option(argv[i], argv[i + 1], out)) {
            fprintf(stderr, "%s is not understood; the options are at the head of tests/schedule/main.c\n", argv[i]);
            exit(2);
        }
        i++;
    }
}

/* ---- what was run ------------------------------------------------------------------- */

enum { SEEN = 1 << 21 };

typedef struct tally {
    uint64_t runs, steps, traces, reapers, failures, first_failure;
    double begin;
    uint64_t *seen; /* hashes of traces; 0: none */
} tally;

static void count_run(tally *t)
{
    t->runs++;
    t->steps += shown->steps;
    t->reapers += planned->reapers;
    uint64_t at = shown->hash % SEEN;
    while (t->seen[at] != 0 && t->seen[at] != shown->hash && t->traces < SEEN / 2)
        at = (at + 1) % SEEN;
    t->traces += t->seen[at] == 0;
    t->seen[at] = shown->hash;
}

static void totals(const tally *t, int scene_number)
{
    double took = seconds_now() - t->begin;
    printf("%llu schedules (%llu with reapers), %llu different traces, %llu steps, %llu switches, %llu kills, "
           "%llu failed calls, %.1f s\n",
           (unsigned long long)t->runs, (unsigned long long)t->reapers, (unsigned long long)t->traces,
           (unsigned long long)t->steps, (unsigned long long)shown->switches,
           (unsigned long long)shown->kills, (unsigned long long)shown->failed_calls, took);
    for (int i = 1; scene_number >= 0 && i < scenes[scene_number]->operations; i++)
        printf("  %-16s %llu done, %llu refused\n", scenes[scene_number]->operation_names[i],
               (unsigned long long)shown->results[i][0], (unsigned long long)shown->results[i][1]);
}

/* True: right. What goes wrong once and not again was another program's doing: one that
   looks at ours through /proc, say. */
static bool run_seed(uint64_t seed, int scene_number, bool repeat)
{
    char failure[sizeof shown->failure];
    make_plan(seed, scene_number);
    if ((run_plan(false) && (!repeat || repeats())) || interrupted)
        return true;
    strcpy(failure, shown->failure);
    for (int turn = 0; turn < 3 && !shown->stuck; turn++) {
        make_plan(seed, scene_number);
        if (!run_plan(false))
            return false;
    }
    fprintf(stderr, "seed %llu, once in four runs: %s\n", (unsigned long long)seed, failure);
    return !shown->stuck;
}

/* On one processor: to hand the baton on is cheapest there. */
static void settle(void)
{
    struct rlimit few = {256, 256}; /* who closes all of them takes as many steps */
    cpu_set_t one;
    setrlimit(RLIMIT_NOFILE, &few);
    sched_getaffinity(0, sizeof one, &one);
    for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &one) && seen++)
            CPU_CLR(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    setenv("SHAREDMEM_CACHE", "3000000", 1);
}

static void *shared_memory(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        exit(2);
    return at;
}

static int run_one(const arguments *a, tally *t, uint64_t seed, int scene_number)
{
    int rc = 0;
    if (!run_seed(seed, scene_number, a->repeat) && !interrupted) {
        t->first_failure = t->failures++ ? t->first_failure : seed;
        rc = a->count_failures && !shown->stuck ? 0 : report();
    }
    if (rc == 0 && shown->tracing)
        print_last_steps(TRACE);
    count_run(t);
    return interrupted ? 128 + SIGINT : rc;
}

/* A line's own; what stands between them is for people. */
static void read_wishes(char *words, arguments *ignored)
{
    wants_reapers = wants_users = wants_failing = false;
    wanted_backend = SMEM_ANY;
    for (const char *word = strtok(words, " \n"); word; word = strtok(NULL, " \n"))
        if (strncmp(word, "--", 2) == 0 && !read_flag(word, ignored)) {
            const char *value = strtok(NULL, " \n");
            read_option(word, value ? value : "", ignored);
        }
}

static int run_list(const arguments *a, tally *t)
{
    char line[256], name[32];
    uint64_t seed;
    arguments ignored = *a;
    int rc = 0;
    FILE *list = fopen(a->list, "r");
    if (!list) {
        perror(a->list);
        return 2;
    }
    while (rc == 0 && fgets(line, sizeof line, list))
        if (sscanf(line, "%31[a-z] %" SCNu64, name, &seed) == 2) {
            read_wishes(line, &ignored);
            rc = run_one(a, t, seed, scene_named(name));
        }
    fclose(list);
    return rc;
}

static int run_range(const arguments *a, tally *t)
{
    int rc = 0;
    for (uint64_t seed = a->first; rc == 0 && seed < a->first + a->count; seed++) {
        rc = run_one(a, t, seed, a->scene < 0 ? (int)(seed % scene_count()) : a->scene);
        if (a->seconds > 0 && seconds_now() - t->begin > a->seconds)
            break;
    }
    return rc;
}

int main(int argc, char **argv)
{
    if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE) && personality(ADDR_NO_RANDOMIZE) != -1)
        execv("/proc/self/exe", argv);
    arguments a;
    shown = shared_memory(sizeof *shown);
    planned = shared_memory(sizeof *planned);
    read_arguments(argc, argv, &a);
    settle();
    schedule_interrupts(schedule_interrupted);
    snprintf(schedule_directory, sizeof schedule_directory, "/dev/shm/schedule.XXXXXX");
    if (!mkdtemp(schedule_directory) || chmod(schedule_directory, 01777) != 0)
        return 2;
    has_users = users_are_possible();
    tally t = {.begin = seconds_now(), .seen = calloc(SEEN, sizeof *t.seen)};
    int rc = a.list ? run_list(&a, &t) : run_range(&a, &t);
    if (t.failures && a.count_failures) {
        printf("%llu of %llu schedules fail, the first is %llu\n", (unsigned long long)t.failures,
               (unsigned long long)t.runs, (unsigned long long)t.first_failure);
        rc = rc ? rc : 1;
    }
    totals(&t, a.scene);
    free(t.seen);
    rmdir(schedule_directory);
    return rc;
}
