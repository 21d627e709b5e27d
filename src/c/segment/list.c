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
    int rc = smem__found_info(found, &row->info);
    if (rc != 0)
        return rc;
    row->info.origin = smem_origin(rows->ctx, row->info.backend);
    smem__count_flight(rows->ctx, &found->header, &row->flight);
    rows->count++;
    return 0;
}

static int smem__list_posix(void *arg, const char *name)
{
    smem__rows *rows = arg;
    smem__found found;
    if (strlen(name) > SMEM_NAME_MAX ||
        smem__find_on(rows->ctx, &smem__posix, name, rows->ctx->place.uid, true, &found) != 0)
        return 0; /* gone meanwhile, or none of ours */
    int rc = smem__rows_add(rows, &found);
    smem__found_close(&found);
    /* A dropper that came while it was held here was refused. */
    smem__target target = {
        .backend = found.backend, .name = name, .nonce = found.header.nonce};
    smem__test(rows->ctx, &target);
    return rc;
}

static int smem__list_entry(smem__rows *rows, const smem__entry *entry)
{
    const smem__place *place = &rows->ctx->place;
    smem__gate gate;
    smem__found found = {.backend = &smem__sysv};
    if (!entry->gate_plus_1 || entry->ipc != place->ipc)
        return 0;
    uint32_t number = (uint32_t)(entry->gate_plus_1 - 1);
    int rc = smem__gate_enter(place, number, SMEM__SHARED, SMEM__LONG, &gate);
    if (rc != 0)
        return rc;
    if (smem__sysv_open_key(entry->key, place->uid, &found.object) == 0) {
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

typedef struct smem__holder {
    int pid;
    char command[64];
} smem__holder;

typedef struct smem__holders {
    smem__holder *rows;
    size_t count, room;
} smem__holders;

static int smem__holders_add(void *arg, int pid, const char *command)
{
    smem__holders *holders = arg;
    if (holders->count == holders->room) {
        size_t room = holders->room ? holders->room * 2 : 16;
        smem__holder *more = realloc(holders->rows, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        holders->rows = more;
        holders->room = room;
    }
    smem__holder *row = &holders->rows[holders->count++];
    row->pid = pid;
    strncpy(row->command, command, sizeof row->command - 1);
    row->command[sizeof row->command - 1] = '\0';
    return 0;
}

int smem_holders(smem_context *ctx, const smem_info *info, smem_visit_holder *visit, void *arg)
{
    smem__holders holders = {0};
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    rc = smem__process_holders(&ctx->place, info->backend, info->kernel_id, smem__holders_add,
                               &holders);
    smem__end(ctx);
    for (size_t i = 0; rc == 0 && i < holders.count; i++)
        rc = visit(arg, holders.rows[i].pid, holders.rows[i].command);
    free(holders.rows);
    return rc;
}
