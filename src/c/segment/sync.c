/*
 * Locks, conditions, events, semaphores and barriers in segments of their own.
 *
 * Such a segment is an array like any other, of one void element. Its dtype says
 * what it is, in the name of the element's only field, and with which numbers it
 * starts, so that all of it stands in the header before the segment can be found:
 *
 *   [('semaphore-1 3 10', '|V16')]
 *
 * -1 is the layout of the struct (sharedmem.h), the numbers are those of
 * smem_sync_spec. Whoever attaches starts it, which does nothing the second time.
 *
 * A queue (queue.h) has as many elements as it has bytes, and nothing to start.
 */
#include "base/checked.h"
#include "base/point.h"
#include "segment/lock.h"
#include "segment/queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} smem__kinds[] = {
    [SMEM_KIND_LOCK] = {"lock-1", sizeof(smem_lock)},
    [SMEM_KIND_RECURSIVE] = {"rlock-1", sizeof(smem_lock)},
    [SMEM_KIND_CONDITION] = {"condition-2", sizeof(smem_lock) + sizeof(smem_condition)},
    [SMEM_KIND_EVENT] = {"event-1", sizeof(smem_event)},
    [SMEM_KIND_SEMAPHORE] = {"semaphore-1", sizeof(smem_semaphore)},
    [SMEM_KIND_BARRIER] = {"barrier-1", sizeof(smem_barrier)},
};

enum { SMEM__KINDS = sizeof smem__kinds / sizeof smem__kinds[0],
       SMEM__KIND_TEXT = 64 };

static void smem__kind_text(int kind, uint32_t value, uint32_t limit, char out[SMEM__KIND_TEXT])
{
    snprintf(out, SMEM__KIND_TEXT, "[('%s %u %u', '|V%u')]", smem__kinds[kind].name,
             (unsigned)value, (unsigned)limit, (unsigned)smem__kinds[kind].size);
}

/* Nothing but the very text that would be written is taken. */
static int smem__kind_parse(const smem_info *info, int kind, uint32_t *value, uint32_t *limit)
{
    char text[SMEM__KIND_TEXT];
    size_t length = strlen(smem__kinds[kind].name);
    if (strncmp(info->dtype, "[('", 3) != 0 ||
        strncmp(info->dtype + 3, smem__kinds[kind].name, length) != 0 || info->ndim != 0)
        return SMEM_E_KIND;
    char *end;
    *value = (uint32_t)strtoull(info->dtype + 3 + length, &end, 10);
    *limit = (uint32_t)strtoull(end, NULL, 10);
    smem__kind_text(kind, *value, *limit, text);
    return strcmp(text, info->dtype) == 0 && info->nbytes >= smem__kinds[kind].size &&
                   info->start == 0
               ? 0
               : SMEM_E_KIND;
}

/* What others can write is believed of an array's elements, never of what decides here,
   and least of a queue, whose items are pickles. */
static int smem__check_private(const smem_segment *segment)
{
    return smem_info_of(segment)->permissions & 022 ? SMEM_E_EXPOSED : 0;
}

int smem_sync_check(smem_segment *segment, int kind, uint32_t *value, uint32_t *limit)
{
    if (kind < 0 || kind >= SMEM__KINDS)
        return SMEM_E_ARGUMENT;
    int rc = smem__check_private(segment);
    if (rc == 0)
        rc = smem__kind_parse(smem_info_of(segment), kind, value, limit);
    if (rc == 0 && kind == SMEM_KIND_SEMAPHORE)
        rc = smem_semaphore_start(segment, smem_data(segment), *value, *limit);
    if (rc == 0 && kind == SMEM_KIND_BARRIER)
        rc = smem_barrier_start(segment, smem_data(segment), *value);
    return rc;
}

static int smem__checked(smem_segment *made, int kind, smem_segment **out)
{
    uint32_t value, limit;
    int rc = smem_sync_check(made, kind, &value, &limit);
    if (rc == 0)
        *out = made;
    else
        smem_detach(made);
    return rc;
}

static int smem__sync_spec(const smem_sync_spec *sync, char text[SMEM__KIND_TEXT], smem_spec *out)
{
    if (sync->kind < 0 || sync->kind >= SMEM__KINDS ||
        (sync->kind == SMEM_KIND_BARRIER && (sync->value == 0 || sync->value > INT32_MAX)) ||
        (sync->kind == SMEM_KIND_SEMAPHORE &&
         (sync->limit > INT32_MAX || sync->value > (sync->limit ? sync->limit : INT32_MAX))))
        return SMEM_E_ARGUMENT;
    smem__kind_text(sync->kind, sync->value, sync->limit, text);
    *out = (smem_spec){.name = sync->name,
                       .backend = sync->backend,
                       .flags = sync->flags,
                       .permissions = sync->permissions,
                       .dtype = text,
                       .itemsize = smem__kinds[sync->kind].size};
    return 0;
}

int smem_sync_create(smem_context *ctx, const smem_sync_spec *spec, smem_segment **out)
{
    char text[SMEM__KIND_TEXT];
    smem_spec array;
    smem_segment *made;
    int rc = smem__sync_spec(spec, text, &array);
    if (rc == 0)
        rc = smem_create(ctx, &array, &made);
    return rc ? rc : smem__checked(made, spec->kind, out);
}

int smem_sync_attach(smem_context *ctx, const char *name, int kind, smem_segment **out)
{
    smem_segment *found;
    int rc = smem_attach(ctx, name, SMEM_READ_WRITE, &found);
    return rc ? rc : smem__checked(found, kind, out);
}

int smem_sync_attach_or_create(smem_context *ctx, const smem_sync_spec *spec, smem_segment **out,
                               int *created)
{
    char text[SMEM__KIND_TEXT];
    smem_spec array;
    smem_segment *found;
    int rc = smem__sync_spec(spec, text, &array);
    if (rc == 0)
        rc = smem_attach_or_create(ctx, &array, &found, created);
    return rc ? rc : smem__checked(found, spec->kind, out);
}

/* ---- queues ------------------------------------------------------------------ */

static bool smem__power_of_two(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static uint64_t smem__slots_for(uint32_t limit)
{
    uint64_t slots = 2;
    while (slots <= limit)
        slots *= 2;
    return slots;
}

/* 0: it cannot be. */
static uint64_t smem__queue_bytes(uint32_t limit, uint64_t room, uint64_t spare)
{
    uint64_t bytes, all;
    return limit != 0 && smem__power_of_two(room) && smem__mul(spare, limit, &all) &&
                   all <= room && smem__mul(smem__slots_for(limit), sizeof(smem__queue_slot), &bytes) &&
                   smem__add(bytes, room, &bytes) && smem__add(bytes, sizeof(smem__queue), &bytes) &&
                   bytes <= INT64_MAX
               ? bytes
               : 0;
}

enum { SMEM__QUEUE_TEXT = 96 };

static void smem__queue_text(uint32_t limit, uint64_t room, uint64_t spare,
                             char out[SMEM__QUEUE_TEXT])
{
    snprintf(out, SMEM__QUEUE_TEXT, "[('queue-3 %" PRIu32 " %" PRIu64 " %" PRIu64 "', '|V1')]",
             limit, room, spare);
}

/* Nothing but the very text that would be written is taken. */
static int smem__queue_parse(const smem_info *info, smem_queue *out)
{
    static const char begin[] = "[('queue-3 ";
    char text[SMEM__QUEUE_TEXT], *end;
    if (strncmp(info->dtype, begin, sizeof begin - 1) != 0)
        return SMEM_E_KIND;
    out->limit = (uint32_t)strtoull(info->dtype + sizeof begin - 1, &end, 10);
    out->room = strtoull(end, &end, 10);
    out->spare = strtoull(end, NULL, 10);
    out->slots = smem__slots_for(out->limit);
    smem__queue_text(out->limit, out->room, out->spare, text);
    uint64_t needed = smem__queue_bytes(out->limit, out->room, out->spare);
    return strcmp(text, info->dtype) == 0 && needed != 0 && info->nbytes >= needed &&
                   info->start == 0
               ? 0
               : SMEM_E_KIND;
}

int smem_queue_open(smem_segment *segment, smem_queue *out)
{
    smem_queue found = {.segment = segment};
    int code = smem__queue_parse(smem_info_of(segment), &found);
    if (code == 0)
        code = smem__check_private(segment);
    if (code == 0)
        code = smem__may_change(segment, smem_data(segment), 0);
    if (code == 0)
        *out = found;
    return code;
}

static int smem__queue_opened(smem_segment *segment, smem_queue *out)
{
    int code = smem_queue_open(segment, out);
    if (code != 0)
        smem_detach(segment);
    return code;
}

int smem_queue_create(smem_context *ctx, const smem_queue_spec *queue, smem_queue *out)
{
    char text[SMEM__QUEUE_TEXT];
    smem_segment *made;
    int64_t size = (int64_t)smem__queue_bytes(queue->limit, queue->room, queue->spare);
    if (size == 0)
        return SMEM_E_ARGUMENT;
    smem__queue_text(queue->limit, queue->room, queue->spare, text);
    smem_spec spec = {.name = queue->name,
                      .backend = queue->backend,
                      .flags = queue->flags,
                      .permissions = queue->permissions,
                      .dtype = text,
                      .itemsize = 1,
                      .ndim = 1,
                      .shape = &size};
    int code = smem_create(ctx, &spec, &made);
    if (code != 0)
        return code;
    SMEM__POINT("queue.made", "a new queue has its name, and is whole");
    return smem__queue_opened(made, out);
}

int smem_queue_attach(smem_context *ctx, const char *name, smem_queue *out)
{
    smem_segment *found;
    int code = smem_attach(ctx, name, SMEM_READ_WRITE, &found);
    return code ? code : smem__queue_opened(found, out);
}

/* ---- the locks in a segment ---------------------------------------------------- */

static bool smem__begins_with_lock(const smem_info *info)
{
    static const int kinds[] = {SMEM_KIND_LOCK, SMEM_KIND_RECURSIVE, SMEM_KIND_CONDITION,
                                SMEM_KIND_BARRIER};
    uint32_t value, limit;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (smem__kind_parse(info, kinds[i], &value, &limit) == 0)
            return true;
    return false;
}

smem_lock *smem_lock_at(smem_segment *segment, unsigned number)
{
    smem__layout *header = segment->mapping.base;
    smem__queue *queue = smem_data(segment);
    smem_queue checked;
    if (number < 2)
        return number == 0 ? &header->lock : &header->writer;
    if (smem__queue_parse(smem_info_of(segment), &checked) == 0)
        return number == 2 ? &queue->put.lock : number == 3 ? &queue->get.lock
                                                            : NULL;
    return number == 2 && smem__begins_with_lock(smem_info_of(segment)) ? smem_data(segment) : NULL;
}
