/* What there is: all segments of the user, and who maps one. */
#include "segment/lifetime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Rows are gathered first: a visitor may call back into the library. */
typedef struct smem__row {
    smem_info info;
    smem_flight flight;
} smem__row;

typedef struct smem__rows {
    smem_context *ctx;
    smem__row *rows;
    size_t count, room;
} smem__rows;

static int smem__rows_add(smem__rows *rows, const smem__found *found)
{
    if (rows->count == rows->room) {
        size_t room = rows->room ? rows->room * 2 : 16;
        smem__row *more = realloc(rows->rows, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        rows->rows = more;
        rows->room = room;
    }
    smem__row *row = &rows->rows[rows->count];
    int rc = smem__found_info(rows->ctx, found, &row->info);
    if (rc != 0)
        return rc;
    smem__count_flight(rows->ctx, &found->header, &row->flight);
    rows->count++;
    return 0;
}

static int smem__list_posix(void *arg, const char *name)
{
    smem__rows *rows = arg;
    smem__found found;
    if (strlen(name) > SMEM_NAME_MAX ||
        smem__find_on(rows->ctx, &smem__posix, name, rows->ctx->place.uid, SMEM__LOOK, &found) != 0)
        return 0; /* gone meanwhile, or none of ours */
    int rc = smem__rows_add(rows, &found);
    smem__found_close(&found);
    return rc;
}

static int smem__list_entry(smem__rows *rows, const smem__entry *entry)
{
    const smem__place *place = &rows->ctx->place;
    smem__gate gate;
    smem__found found = {.backend = &smem__sysv};
    uint64_t ipc;
    int rc = smem__ipc_space(&ipc);
    if (!entry->gate_plus_1 || rc != 0 || (entry->ipc && entry->ipc != ipc))
        return rc;
    uint32_t number = (uint32_t)(entry->gate_plus_1 - 1);
    rc = smem__gate_enter(place, number, SMEM__SHARED, SMEM__LONG, &gate);
    if (rc != 0)
        return rc;
    if (smem__sysv_look_key(entry->key, place->uid, &found.object) == 0) {
        if (smem__found_read(&found) == 0 && found.header.nonce == entry->nonce)
            rc = smem__rows_add(rows, &found);
        smem__found_close(&found);
    }
    smem__gate_leave(&gate);
    return rc;
}

static int smem__list_sysv(smem__rows *rows)
{
    smem__gate gate;
    smem__entry *entries;
    uint32_t count;
    int rc = smem__gate_enter_journal(&rows->ctx->place, false, &gate);
    if (rc != 0)
        return rc == -ENOENT ? 0 : rc;
    rc = smem__journal_read(&gate, &entries, &count);
    smem__gate_leave(&gate);
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = smem__list_entry(rows, &entries[i]);
    free(entries);
    return rc;
}

int smem_list(smem_context *ctx, smem_visit *visit, void *arg)
{
    smem__rows rows = {.ctx = ctx};
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    if (ctx->place.has_posix)
        rc = smem__place_each(&ctx->place, 's', smem__list_posix, &rows);
    if (rc == 0)
        rc = smem__list_sysv(&rows);
    smem__end(ctx);
    for (size_t i = 0; i < rows.count; i++) {
        if (rc == 0)
            rc = visit(arg, &rows.rows[i].info, &rows.rows[i].flight);
        smem_info_clear(&rows.rows[i].info);
    }
    free(rows.rows);
    return rc;
}

int smem_families(smem_context *ctx, unsigned *alive, unsigned *dead)
{
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    rc = smem__family_count(&ctx->place, alive, dead);
    smem__end(ctx);
    return rc;
}

typedef struct smem__holder {
    int backend, pid;
    int64_t kernel_id;
    char command[64];
} smem__holder;

typedef struct smem__holders {
    const smem_info *of; /* NULL: all */
    smem__holder *rows;
    size_t count, room;
} smem__holders;

/* The mappings of one process come one after another. */
static bool smem__holders_has(const smem__holders *holders, int backend, int64_t kernel_id, int pid)
{
    for (size_t i = holders->count; i > 0 && holders->rows[i - 1].pid == pid; i--)
        if (holders->rows[i - 1].kernel_id == kernel_id && holders->rows[i - 1].backend == backend)
            return true;
    return false;
}

static int smem__holders_add(void *arg, int backend, int64_t kernel_id, int pid,
                             const char *command)
{
    smem__holders *holders = arg;
    const smem_info *of = holders->of;
    if ((of && (of->backend != backend || of->kernel_id != kernel_id)) ||
        smem__holders_has(holders, backend, kernel_id, pid))
        return 0;
    if (holders->count == holders->room) {
        size_t room = holders->room ? holders->room * 2 : 16;
        smem__holder *more = realloc(holders->rows, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        holders->rows = more;
        holders->room = room;
    }
    smem__holder *row = &holders->rows[holders->count++];
    *row = (smem__holder){.backend = backend, .pid = pid, .kernel_id = kernel_id};
    strncpy(row->command, command, sizeof row->command - 1);
    return 0;
}

static int smem__holders_gather(smem_context *ctx, smem__holders *holders)
{
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    rc = smem__process_each_mapping(&ctx->place, smem__holders_add, holders);
    smem__end(ctx);
    return rc;
}

int smem_holders(smem_context *ctx, const smem_info *info, smem_visit_holder *visit, void *arg)
{
    smem__holders holders = {.of = info};
    int rc = smem__holders_gather(ctx, &holders);
    for (size_t i = 0; rc == 0 && i < holders.count; i++)
        rc = visit(arg, holders.rows[i].pid, holders.rows[i].command);
    free(holders.rows);
    return rc;
}

int smem_mappings(smem_context *ctx, smem_visit_mapping *visit, void *arg)
{
    smem__holders holders = {0};
    int rc = smem__holders_gather(ctx, &holders);
    for (size_t i = 0; rc == 0 && i < holders.count; i++) {
        const smem__holder *row = &holders.rows[i];
        rc = visit(arg, row->backend, row->kernel_id, row->pid, row->command);
    }
    free(holders.rows);
    return rc;
}
