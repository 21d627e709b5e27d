#include "segment/sweep.h"

#include "base/point.h"
#include "segment/holder.h"
#include "segment/lifetime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct smem__sweeper {
    smem_context *ctx;
    smem_reclaimed *out;
    char kind; /* of the files that are looked at */
} smem__sweeper;

static int smem__sweep_posix(void *arg, const char *name)
{
    smem__sweeper *sweeper = arg;
    smem__target target = {.backend = &smem__posix, .name = name};
    if (strlen(name) > SMEM_NAME_MAX)
        return 0;
    if (smem__last_one_out(sweeper->ctx, &target, NULL, &sweeper->out->bytes) == 1)
        sweeper->out->segments++;
    return 0;
}

/* A file that its maker died over before it was published, or the file of a lock
   that its last user died with. */
static int smem__sweep_unlocked(void *arg, const char *name)
{
    const smem__sweeper *sweeper = arg;
    const smem__place *place = &sweeper->ctx->place;
    char path[SMEM__PATH_MAX];
    smem__file file;
    if (smem__place_path(place, place->uid, sweeper->kind, name, path) != 0 ||
        smem__file_open(path, place->uid, true, &file) != 0)
        return 0;
    if (smem__file_lock(&file, SMEM__EXCLUSIVE, 0) == 0 && smem__file_is_at(&file, path) == 1) {
        SMEM__POINT("sweep.unlocked-claimed", "a dead one's file of kind 't' or 'l', locked");
        smem__path_unlink(path);
        SMEM__POINT("sweep.unlocked-removed", "it is gone");
    }
    smem__file_close(&file);
    return 0;
}

/* [slot]: where it should be. */
static bool smem__is_journalled(const smem__entry *entries, uint32_t count, uint64_t nonce,
                                uint32_t slot)
{
    if (slot < count && entries[slot].gate_plus_1 && entries[slot].nonce == nonce)
        return true;
    for (uint32_t i = 0; i < count; i++)
        if (entries[i].gate_plus_1 && entries[i].nonce == nonce)
            return true;
    return false;
}

/*
 * A segment whose maker died before its header was complete: all that is known is its
 * key, its size, and that it is not older than its entry. The entry was read before the
 * gate was entered: if it has gone since, its maker came to an end, and what stands on the
 * key now is another program's. 1, 0 or an error.
 */
static int smem__is_half_made(const smem__gate *gate, const smem__found *found,
                              const smem__entry *entry, int64_t made)
{
    static const char zero[sizeof found->header.magic];
    smem__entry *entries;
    uint32_t count;
    if (memcmp(found->header.magic, zero, sizeof zero) != 0 ||
        found->object.size != entry->size || made < entry->since)
        return 0;
    int rc = smem__journal_read(gate, &entries, &count);
    if (rc != 0)
        return rc;
    rc = smem__is_journalled(entries, count, entry->nonce, UINT32_MAX);
    free(entries);
    return rc;
}

/* Judge one claimed SysV segment. True: the entry is done with. [made] -1: it may be of
   another namespace. */
static bool smem__sweep_claimed(smem__sweeper *sweeper, const smem__gate *gate,
                                const smem__entry *entry, int64_t made, smem__found *found)
{
    smem_context *ctx = sweeper->ctx;
    smem_flight flight = {0};
    int rc = smem__found_read(found);
    bool ours = rc == 0 && found->header.nonce == entry->nonce;
    if (!ours && made < 0)
        return false;
    if (!ours) {
        int half = rc == SMEM_E_FORMAT ? smem__is_half_made(gate, found, entry, made) : 0;
        if (half != 1) /* a stranger on our key, or it is not known what */
            return half == 0 && (rc == 0 || rc == SMEM_E_FORMAT);
    } else {
        smem__count_flight(ctx, &found->header, &flight);
        if (smem__is_kept(ctx, found, "") || smem__in_flight(&flight))
            return false;
    }
    found->header.journal = 0; /* the caller removes the entry */
    if (smem__take_name(ctx, found, "", gate) != 0)
        return false;
    sweeper->out->segments++;
    sweeper->out->bytes += found->object.size;
    return true;
}

/*
 * Where /proc was not to be read it is not known which namespace an entry is of (0). The
 * segment that it names is known by its nonce all the same; what is not there may be in
 * another namespace.
 */
static bool smem__may_sweep(const smem__entry *entry, bool *known)
{
    uint64_t ipc;
    if (!entry->gate_plus_1 || smem__ipc_space(&ipc) != 0)
        return false;
    *known = entry->ipc == ipc;
    return *known || !entry->ipc;
}

static void smem__sweep_entry(smem__sweeper *sweeper, const smem__entry *entry, uint32_t slot)
{
    smem_context *ctx = sweeper->ctx;
    smem__gate gate;
    smem__found found = {.backend = &smem__sysv};
    int64_t made = 0;
    bool known;
    if (!smem__may_sweep(entry, &known))
        return;
    uint32_t number = (uint32_t)(entry->gate_plus_1 - 1);
    if (smem__gate_enter(&ctx->place, number, SMEM__EXCLUSIVE, SMEM__AT_ONCE, &gate) != 0)
        return; /* being made, attached or dropped just now */
    int rc = smem__sysv_claim_key(entry->key, ctx->place.uid, &made, &found.object);
    bool done = known && (rc == -ENOENT || rc == SMEM_E_SECURITY);
    if (rc == 0) {
        done = smem__sweep_claimed(sweeper, &gate, entry, known ? made : -1, &found);
        smem__found_close(&found);
    }
    if (done)
        smem__journal_remove(&gate, slot, entry->nonce);
    smem__gate_leave(&gate);
}

int smem__journal_entry(const smem_context *ctx, const char *name, unsigned candidate,
                        uint64_t nonce, uint64_t size, int64_t since, smem__entry *out)
{
    *out = (smem__entry){
        .gate_plus_1 = 1 + (uint64_t)smem__name_gate(name),
        .nonce = nonce,
        .size = size,
        .since = since,
        .key = smem__sysv_key(ctx->place.uid, name, candidate),
    };
    return smem__ipc_space(&out->ipc);
}

/* Journal it again if the journal has lost it. The caller holds table_lock. */
static void smem__journal_renew_one(smem_context *ctx, const smem__gate *gate,
                                    const smem__entry *entries, uint32_t count,
                                    smem_segment *segment)
{
    uint32_t slot;
    smem__layout *header = segment->mapping.base;
    const smem_info *info = &segment->info;
    smem__entry entry;
    if (smem__journal_entry(ctx, info->name, segment->candidate, info->nonce, info->size,
                            info->created, &entry) != 0)
        return;
    bool second =
        segment->mode != SMEM_READ_WRITE &&
        smem__table_find(ctx, segment->backend, segment->info.nonce, SMEM_READ_WRITE);
    if (segment->backend->needs_gate && !second &&
        !smem__is_journalled(entries, count, info->nonce, header->journal - 1) &&
        smem_is_current(segment) && smem__journal_add(gate, &entry, &slot) == 0) {
        SMEM__POINT("sweep.journal-renewed", "journalled again, the header says elsewhere");
        header->journal = slot + 1;
    }
}

/* Another inode alone proves nothing: an empty journal goes, and comes again
   with the next segment. What counts is whether ours are in it, idle ones too. */
static void smem__journal_complete(smem_context *ctx, const smem__gate *gate)
{
    smem__entry *entries;
    uint32_t count;
    if (smem__journal_read(gate, &entries, &count) != 0)
        return;
    pthread_mutex_lock(&ctx->table_lock);
    for (size_t i = 0; i < ctx->bucket_count; i++)
        for (smem_segment *segment = ctx->buckets[i]; segment; segment = segment->next)
            smem__journal_renew_one(ctx, gate, entries, count, segment);
    for (smem_segment *idle = ctx->cache.oldest; idle; idle = idle->newer)
        smem__journal_renew_one(ctx, gate, entries, count, idle);
    ctx->journal_inode = gate->file.inode;
    pthread_mutex_unlock(&ctx->table_lock);
    free(entries);
}

void smem__journal_renew(smem_context *ctx, const smem__gate *gate)
{
    if (ctx->journal_inode != gate->file.inode)
        smem__journal_complete(ctx, gate);
}

static bool smem__has_gated(smem_context *ctx)
{
    bool found = false;
    pthread_mutex_lock(&ctx->table_lock);
    for (size_t i = 0; !found && i < ctx->bucket_count; i++)
        for (smem_segment *segment = ctx->buckets[i]; segment && !found; segment = segment->next)
            found = segment->backend->needs_gate && !segment->nameless;
    for (smem_segment *idle = ctx->cache.oldest; idle && !found; idle = idle->newer)
        found = idle->backend->needs_gate;
    pthread_mutex_unlock(&ctx->table_lock);
    return found;
}

static int smem__sweep_sysv(smem__sweeper *sweeper)
{
    smem__gate gate;
    smem__entry *entries;
    uint32_t count;
    bool ours = smem__has_gated(sweeper->ctx);
    int rc = smem__gate_enter_journal(&sweeper->ctx->place, ours, &gate);
    if (rc != 0)
        return rc == -ENOENT ? 0 : rc;
    if (ours) /* the same file may have been cut off */
        smem__journal_complete(sweeper->ctx, &gate);
    rc = smem__journal_read(&gate, &entries, &count);
    smem__gate_leave(&gate);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < count; i++)
        smem__sweep_entry(sweeper, &entries[i], i);
    free(entries);
    return 0;
}

static void smem__sweep_files(smem__sweeper *sweeper, char kind)
{
    sweeper->kind = kind;
    smem__place_each(&sweeper->ctx->place, kind, smem__sweep_unlocked, sweeper);
}

int smem__sweep(smem_context *ctx, smem_reclaimed *out)
{
    smem__sweeper sweeper = {.ctx = ctx, .out = out};
    *out = (smem_reclaimed){0};
    int rc = 0;
    if (ctx->family.pin) {
        pthread_mutex_lock(&ctx->table_lock);
        uint64_t inode = ctx->family.inode;
        smem__family_restore(&ctx->place, ctx->parent, &ctx->family);
        if (ctx->family.inode != inode)
            ctx->next_reaper_us = 0; /* the reaper guards the old file */
        smem__holder_publish(ctx);
        pthread_mutex_unlock(&ctx->table_lock);
    }
    if (ctx->place.has_posix)
        rc = smem__place_each(&ctx->place, 's', smem__sweep_posix, &sweeper);
    smem__sweep_files(&sweeper, 't');
    if (!smem__byte_locks()) {
        smem__sweep_files(&sweeper, 'l');
        if (ctx->place.has_posix) /* again: there may have been no room for a lock's file */
            rc = smem__place_each(&ctx->place, 's', smem__sweep_posix, &sweeper);
    }
    int sysv = smem__sweep_sysv(&sweeper);
    out->families = smem__family_bury_dead(&ctx->place);
    ctx->counts.reclaimed += out->segments;
    ctx->counts.reclaimed_bytes += out->bytes;
    return rc ? rc : sysv;
}

void smem__sweep_sometimes(smem_context *ctx)
{
    uint64_t start = smem__monotonic_us(), due = atomic_load(&ctx->next_sweep_us);
    if (start < due || !atomic_compare_exchange_strong(&ctx->next_sweep_us, &due, UINT64_MAX))
        return;
    smem_reclaimed ignored;
    smem__sweep(ctx, &ignored);
    uint64_t end = smem__monotonic_us(), pause = (end - start) * 50;
    atomic_store(&ctx->next_sweep_us, end + (pause > 1000000 ? pause : 1000000));
}

/* On every candidate of its name: which one it stands on is not known. */
static int smem__reclaim_candidates(smem_context *ctx, smem__target *target)
{
    smem__gate gate;
    bool gated = target->backend->needs_gate;
    int rc = gated ? smem__gate_enter(&ctx->place, smem__name_gate(target->name), SMEM__EXCLUSIVE,
                                      SMEM__LONG, &gate)
                   : 0;
    if (rc != 0)
        return rc;
    rc = -ENOENT;
    for (; rc == -ENOENT && target->candidate < target->backend->candidates; target->candidate++)
        rc = smem__last_one_out(ctx, target, gated ? &gate : NULL, NULL);
    if (gated)
        smem__gate_leave(&gate);
    return rc;
}

int smem_reclaim_segment(smem_context *ctx, const smem_info *info, int in_flight)
{
    smem__target target = {.backend = smem__backend_of(info->backend),
                           .name = info->name,
                           .kernel_id = info->kernel_id,
                           .nonce = info->nonce,
                           .give_up = in_flight};
    if (info->backend != SMEM_POSIX && info->backend != SMEM_SYSV)
        return SMEM_E_ARGUMENT;
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    rc = smem__reclaim_candidates(ctx, &target);
    smem__end(ctx);
    return rc == -ENOENT ? SMEM_E_NOT_FOUND : rc == -EBUSY ? 0
                                                           : rc;
}

int smem_reclaim(smem_context *ctx, smem_reclaimed *out)
{
    smem_reclaimed ignored;
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    rc = smem__sweep(ctx, out ? out : &ignored);
    smem__end(ctx);
    return rc;
}
