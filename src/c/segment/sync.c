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
 */
#include "sharedmem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} smem__kinds[] = {
    [SMEM_KIND_LOCK] = {"lock-1", sizeof(smem_lock)},
    [SMEM_KIND_RECURSIVE] = {"rlock-1", sizeof(smem_lock)},
    [SMEM_KIND_CONDITION] = {"condition-1", sizeof(smem_lock) + sizeof(smem_condition)},
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

int smem_sync_check(smem_segment *segment, int kind, uint32_t *value, uint32_t *limit)
{
    if (kind < 0 || kind >= SMEM__KINDS)
        return SMEM_E_ARGUMENT;
    int rc = smem__kind_parse(smem_info_of(segment), kind, value, limit);
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
