/* What actors do, one op after the other, and what all scenes have in common. */
#include "schedule.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void plan_by_weight(plan *p, uint64_t *random, const uint8_t *weights, unsigned count)
{
    unsigned all = 0;
    for (unsigned i = 0; i < count; i++)
        all += weights[i];
    for (int a = 0; a < ACTORS; a++) {
        int length = 4 + (int)(random_next(random) % (OPS - 4));
        for (int i = 0; i < length; i++) {
            uint64_t r = random_next(random);
            unsigned at = (unsigned)(r % all), code = 0;
            while (at >= weights[code])
                at -= weights[code++];
            p->ops[a][i] = (op){(uint8_t)code, (uint8_t)(r >> 16), (uint8_t)(r >> 24), (uint8_t)(r >> 32)};
        }
    }
}

int64_t script_time(uint8_t chance)
{
    return (1 + chance) * INT64_C(1000) * (chance % 2 ? 3000 : 8);
}

const op *script_next(void)
{
    const op *o = NULL;
    while (me->op + 1 < OPS && (!o || !o->code))
        o = &planned->ops[actor_number(me)][++me->op];
    if (!o || !o->code)
        return NULL;
    if (shown->tracing)
        fprintf(stderr, "    %8llu  actor %d: %s %d %d\n", (unsigned long long)shown->steps,
                actor_number(me), scene_of(planned)->operation_names[o->code], o->a, o->b);
    return o;
}

void script_result(const op *done, int rc)
{
    shown->results[done->code][rc < 0]++;
    if (shown->tracing && rc < 0)
        fprintf(stderr, "    %8llu  actor %d: %s was refused: %s\n",
                (unsigned long long)shown->steps, actor_number(me),
                scene_of(planned)->operation_names[done->code], smem_error_name(rc));
}

smem_context *schedule_open(void)
{
    smem_context *ctx;
    char family[16];
    snprintf(family, sizeof family, "f%d", me->family);
    smem_options options = {.family = family, .directory = schedule_directory, .reaper = planned->reapers ? "reaper" : NULL};
    int rc = smem_open(&options, &ctx);
    WHEN(rc != 0 && !planned->fails, "cannot take part: %s", smem_error_name(rc));
    if (rc != 0)
        schedule_ask(ENDS, actor_number(me));
    me->member = true;
    return ctx;
}

static int new_actor(void)
{
    int slot = 0;
    while (slot < ACTORS && shown->actors[slot].state != ABSENT)
        slot++;
    if (slot == ACTORS)
        return -1;
    actor *child = &shown->actors[slot];
    child->family = me->family;
    child->random = planned->seed + (uint64_t)slot;
    child->deadline = INT64_MAX;
    child->op = -1;
    child->priority = (int)(random_next(&me->random) % 1000);
    child->state = BEGINS;
    return slot;
}

pid_t schedule_fork(void)
{
    int slot = new_actor();
    if (slot < 0)
        return -1;
    actor *child = &shown->actors[slot];
    forks_as = slot;
    pid_t pid = fork();
    if (pid > 0)
        child->pid = pid;
    else if (pid < 0)
        child->state = ABSENT;
    return pid;
}

typedef struct beginning {
    actor *one;
    void *(*run)(void *);
} beginning;

static void *begin_thread(void *arg)
{
    beginning b = *(beginning *)arg;
    free(arg);
    me = b.one;
    schedule_take_mine();
    b.run(NULL);
    schedule_ask(THREAD_ENDS, actor_number(me));
    return NULL;
}

int schedule_thread(void *(*run)(void *))
{
    pthread_t thread;
    int slot = new_actor();
    if (slot < 0)
        return 0;
    beginning *b = malloc(sizeof *b);
    *b = (beginning){&shown->actors[slot], run};
    b->one->pid = getpid();
    b->one->thread = true;
    b->one->member = me->member;
    b->one->state = READY;
    int rc = pthread_create(&thread, NULL, begin_thread, b);
    if (rc == 0)
        pthread_detach(thread);
    else
        b->one->state = ABSENT;
    return -rc;
}

static bool has_threads(void)
{
    for (const actor *one = shown->actors; one < shown->actors + ACTORS; one++)
        if (one != me && one->pid == getpid() && schedule_lives(one))
            return true;
    return false;
}

void schedule_join(void)
{
    while (has_threads())
        schedule_wait(ON_CHANGE, INT64_MAX);
}

int schedule_remove_file(void)
{
    DIR *directory = opendir(schedule_directory);
    char path[512];
    shown->removed_files = true;
    for (struct dirent *d; (d = readdir(directory));)
        if (strstr(d->d_name, ".f.")) {
            snprintf(path, sizeof path, "%s/%s", schedule_directory, d->d_name);
            unlink(path);
            break;
        }
    closedir(directory);
    return 0;
}

/* ---- operations that several scenes have ------------------------------------------------ */

int script_make(smem_context *ctx)
{
    smem_segment *made;
    int64_t count = 10;
    smem_spec spec = {.backend = planned->backend, .dtype = "'|u1'", .itemsize = 1, .ndim = 1, .shape = &count};
    int rc = smem_create(ctx, &spec, &made);
    if (rc == 0)
        smem_detach(made);
    return rc;
}

int script_fork(void (*live)(void))
{
    pid_t pid = schedule_fork();
    if (pid == 0)
        live();
    return pid < 0 ? -1 : 0;
}

smem_segment *script_attach(smem_context *ctx, const char *name, int64_t size)
{
    smem_segment *segment;
    smem_spec spec = {.name = name, .backend = planned->backend, .flags = SMEM_PERSISTENT, .dtype = "'|u1'", .itemsize = 1, .ndim = 1, .shape = &size};
    int made, rc = smem_attach_or_create(ctx, &spec, &segment, &made);
    WHEN(rc != 0 && !planned->fails, "no segment %s: %s", name, smem_error_name(rc));
    if (rc != 0)
        schedule_ask(ENDS, actor_number(me));
    return segment;
}
