/*
 * A queue of few places and little room, items of mixed sizes, and producers and consumers
 * that die. Each item is its number, then its number again and again.
 */
#include "schedule.h"

#include <errno.h>
#include <string.h>

enum operations { NONE,
                  PUT_SMALL,
                  PUT_MIDDLE,
                  PUT_LARGE,
                  GET,
                  GET_BRIEFLY,
                  TRY_PUT,
                  TRY_GET,
                  EXIT,
                  OPERATIONS };

static const char *const names[] = {"none", "put-small", "put-middle", "put-large", "get", "get-briefly",
                                    "try-put", "try-get", "exit"};

static const uint8_t weights[OPERATIONS] = {[PUT_SMALL] = 20, [PUT_MIDDLE] = 12, [PUT_LARGE] = 10, [GET] = 14, [GET_BRIEFLY] = 14, [TRY_PUT] = 8, [TRY_GET] = 8, [EXIT] = 1};

enum { LIMIT = 4,
       ROOM = 1024,
       SPARE = 64,
       LARGEST = 1024 };

enum truth { NEVER,
             MAYBE,
             PUT,
             TAKEN }; /* entries[].owner of an item */

static smem_context *ctx;
static smem_queue queue;

static void look(void)
{
}

static int put(unsigned length, int64_t ns, bool tries)
{
    uint64_t item[LARGEST / 8];
    if (shown->entry_count == ENTRIES)
        return 0;
    int number = shown->entry_count++;
    for (unsigned i = 0; i < length / 8; i++)
        item[i] = (uint64_t)number;
    entry *e = &shown->entries[number];
    e->value = length;
    e->owner = MAYBE;
    int rc = tries ? smem_queue_try_put(&queue, item, length)
                   : smem_queue_put(&queue, item, length, smem_deadline(ns));
    if (rc == 0 && e->owner == MAYBE)
        e->owner = PUT;
    else if (rc != 0) {
        WHEN(e->owner == TAKEN, "an item was refused and taken: %s", smem_error_name(rc));
        e->owner = NEVER;
    }
    WHEN(rc == SMEM_E_LENGTH && length <= SPARE, "there is no room for an item of the spare size");
    return rc;
}

static int get(int64_t ns, bool tries)
{
    uint64_t item[LARGEST / 8];
    uint64_t length;
    me->in_call = true;
    int rc = tries ? smem_queue_try_get(&queue, item, sizeof item, &length)
                   : smem_queue_get(&queue, item, sizeof item, &length, smem_deadline(ns));
    me->in_call = false;
    if (rc != 0)
        return rc;
    WHEN(item[0] >= (uint64_t)shown->entry_count, "an item that nobody put");
    entry *e = &shown->entries[item[0]];
    WHEN(e->owner == TAKEN, "item %llu was taken twice", (unsigned long long)item[0]);
    WHEN(e->owner == NEVER, "item %llu was refused, and taken", (unsigned long long)item[0]);
    WHEN(e->value != length, "item %llu has another length", (unsigned long long)item[0]);
    for (unsigned i = 0; i < length / 8; i++)
        WHEN(item[i] != item[0], "item %llu has other bytes", (unsigned long long)item[0]);
    e->owner = TAKEN;
    return 0;
}

static int do_one(const op *o)
{
    int64_t ns = script_time(o->b);
    switch (o->code) {
    case PUT_SMALL: return put(8, ns, false);
    case PUT_MIDDLE: return put(8 + o->a % 8 * 8, ns, false);
    case PUT_LARGE: return put(128 + o->a % 112 * 8, ns, false);
    case GET: return get(ns, false);
    case GET_BRIEFLY: return get(ns / 100, false);
    case TRY_PUT: return put(8 + o->a % 8 * 8, 0, true);
    case TRY_GET: return get(0, true);
    default: return 0;
    }
}

/* The first one makes it, the others wait for its name. */
static void begin(void)
{
    smem_queue_spec spec = {.name = "schedule.q", .backend = planned->backend, .limit = LIMIT, .room = ROOM, .spare = SPARE, .flags = SMEM_PERSISTENT};
    ctx = schedule_open();
    int rc = smem_queue_create(ctx, &spec, &queue);
    if (rc == SMEM_E_EXISTS)
        rc = smem_queue_attach(ctx, "schedule.q", &queue);
    if (rc != 0)
        schedule_ask(ENDS, actor_number(me));
}

/* Nobody else is left: all that was put and not taken is there. */
static void drain(void)
{
    int rc, lost = 0;
    for (int i = 0; i < ACTORS; i++)
        if (i != actor_number(me) && shown->actors[i].state != ABSENT && shown->actors[i].state != GONE)
            return;
    while ((rc = get(0, false)) == 0) {
    }
    WHEN(rc != -EAGAIN && rc != -ETIMEDOUT, "the last one cannot empty the queue: %s", smem_error_name(rc));
    for (int i = 0; i < shown->entry_count; i++)
        lost += shown->entries[i].owner == PUT;
    WHEN((unsigned)lost > shown->died_in_call, "%d items are lost", lost);
}

static void act(void)
{
    const op *o;
    begin();
    while ((o = script_next()) && o->code != EXIT)
        script_result(o, do_one(o));
    if (!o) {
        drain();
        smem_detach(queue.segment);
        smem_close(ctx);
    }
    schedule_ask(ENDS, actor_number(me));
}

static void plan_queue(plan *p, uint64_t *random)
{
    plan_by_weight(p, random, weights, OPERATIONS);
    p->users = 1; /* a queue is its user's alone */
    p->fails = false;
}

static void tidy(smem_context *last)
{
    smem_unlink(last, "schedule.q");
}

const scene scene_queue = {"queue", OPERATIONS, names, plan_queue, act, look, tidy};
