#include "segment/lifetime.h"

#include "base/point.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An error counts as alive: bookkeeping may delay a free, never cause one. */
int smem__judge(void *arg, uint32_t family)
{
    smem_context *ctx = arg;
    if (family == ctx->dying && family)
        return 0;
    if (family == ctx->family.tag && ctx->family.pin)
        return 1;
    if (family == ctx->guarded && family)
        return 1; /* though its file may have been removed */
    return smem__family_lives(&ctx->place, family);
}

void smem__count_flight(smem_context *ctx, const smem__layout *header, smem_flight *out)
{
    smem__ticket_count(header, smem__judge, ctx, out);
}

int smem__take_name(smem_context *ctx, smem__found *found, const char *name,
                    const smem__gate *gate)
{
    int rc = found->backend->unlink(&ctx->place, name, &found->object);
    if (rc != 0)
        return rc;
    SMEM__POINT("name.taken", "the segment has no name; the journal may still have it");
    if (found->backend->empty && found->header.flags & SMEM__RECYCLABLE &&
        found->object.size >= SMEM__APART_FROM) {
        uint32_t nameless = SMEM__NAMELESS;
        found->backend->poke(&found->object, &nameless, sizeof nameless,
                             offsetof(smem__layout, state));
    }
    if (found->header.journal && gate)
        smem__journal_remove(gate, found->header.journal - 1, found->header.nonce);
    return 0;
}

static bool smem__is_target(const smem__target *target, const smem__found *found)
{
    return (!target->nonce || target->nonce == found->header.nonce) &&
           (!target->kernel_id || target->kernel_id == found->object.kernel_id);
}

/* A SysV segment may be seen where its maker's families cannot: another
   /dev/shm in one IPC namespace. Whether they live is not known here. */
static bool smem__may_judge(const smem_context *ctx, const smem__found *found)
{
    return found->header.place == ctx->place.device;
}

/* Look-ups go through the backends and their candidates in one order. */
static bool smem__is_first_of_its_name(smem_context *ctx, const smem__found *found)
{
    char name[SMEM_NAME_MAX + 1] = "";
    memcpy(name, found->header.name, found->header.name_length);
    for (const smem__backend *const *b = smem__name_backends(SMEM_ANY); *b; b++) {
        smem__found first;
        int rc = smem__find_on(ctx, *b, name, ctx->place.uid, true, &first);
        if (rc == -ENOENT)
            continue;
        if (rc != 0)
            return true;
        bool same = *b == found->backend && first.object.kernel_id == found->object.kernel_id;
        smem__found_close(&first);
        return same;
    }
    return true;
}

/* Who dies while replacing leaves the new segment under a random name (posix), or
   beside the old one: then only the one that look-ups find persists. */
bool smem__is_kept(smem_context *ctx, const smem__found *found, const char *under)
{
    if (!(found->header.flags & SMEM_PERSISTENT))
        return false;
    return found->backend->needs_gate ? smem__is_first_of_its_name(ctx, found)
                                      : smem__has_name(&found->header, under);
}

/* Idle mappings of others hold no lock, so they did not refuse the claim. Nor did
   the target's own, which is used here until the process ends. */
static void smem__empty(const smem__target *target, const smem__found *found)
{
    if (!target->mapping && found->backend->empty && smem__may_recycle(&found->header))
        found->backend->empty(&found->object, found->header.data_offset);
    SMEM__POINT("last.emptied", "nobody uses it; no idle mapping keeps its pages");
}

/* Whose claim others can have, too, is taken in the gate. Not for long: the process
   inside may wait for the claim's end. */
static int smem__take_claimed(smem_context *ctx, smem__found *found, const char *name,
                              const smem__gate *gate)
{
    smem__gate own;
    if (gate || !smem__others_can_lock(&found->object.file))
        return smem__take_name(ctx, found, name, gate);
    int rc = smem__gate_enter(&ctx->place, smem__name_gate(name), SMEM__EXCLUSIVE, SMEM__BRIEFLY,
                              &own);
    if (rc != 0)
        return rc == SMEM_E_BUSY ? -EBUSY : rc;
    rc = smem__take_name(ctx, found, name, &own);
    smem__gate_leave(&own);
    return rc;
}

int smem__last_one_out(smem_context *ctx, const smem__target *target, const smem__gate *gate,
                       uint64_t *bytes)
{
    smem__found found = {.backend = target->backend, .candidate = target->candidate};
    int rc = target->backend->claim(&ctx->place, target->name, target->candidate, target->mapping,
                                    target->own, &found.object);
    if (rc != 0)
        return rc;
    /* Read after the claim: before it, a ticket could still be issued. */
    rc = smem__found_read(&found);
    if (rc == 0 && !smem__is_target(target, &found))
        rc = -ENOENT;
    if (rc == 0 && smem__may_judge(ctx, &found) && !smem__is_kept(ctx, &found, target->name)) {
        smem_flight flight;
        smem__count_flight(ctx, &found.header, &flight);
        SMEM__POINT("last.judged", "claimed, and it was counted what is in flight");
        if (!smem__in_flight(&flight) || target->give_up) {
            rc = smem__take_claimed(ctx, &found, target->name, gate);
            rc = rc == 0 ? 1 : rc;
        }
        if (rc == 1)
            smem__empty(target, &found);
    }
    if (rc == 1 && bytes)
        *bytes += found.object.size;
    smem__found_close(&found);
    return rc;
}

void smem__remember(smem_context *ctx, const smem__target *target)
{
    pthread_mutex_lock(&ctx->table_lock);
    unsigned at = 0, count = ctx->refused_count;
    while (at < count && ctx->refused[at].nonce != target->nonce)
        at++;
    if (at == SMEM__REFUSED_MAX)
        at = (unsigned)(target->nonce % SMEM__REFUSED_MAX); /* the sweep finds the other */
    else if (at == count)
        ctx->refused_count = count + 1;
    smem__refused *refused = &ctx->refused[at];
    *refused = (smem__refused){.backend = target->backend,
                               .candidate = target->candidate,
                               .kernel_id = target->kernel_id,
                               .nonce = target->nonce,
                               .at_us = smem__monotonic_us()};
    strcpy(refused->name, target->name);
    pthread_mutex_unlock(&ctx->table_lock);
}

/* Dropping happens anywhere, under the interpreter's lock too: it waits for
   nobody for long. */
static int smem__test_once(smem_context *ctx, const smem__target *target)
{
    smem__gate gate;
    if (!target->backend->needs_gate)
        return smem__last_one_out(ctx, target, NULL, NULL);
    int rc = smem__gate_enter(&ctx->place, smem__name_gate(target->name), SMEM__EXCLUSIVE,
                              SMEM__BRIEFLY, &gate);
    if (rc != 0)
        return rc;
    rc = smem__last_one_out(ctx, target, &gate, NULL);
    smem__gate_leave(&gate);
    return rc;
}

/* Refused, or not even possible (no fd left, say): to be tried again. */
void smem__test(smem_context *ctx, const smem__target *target)
{
    int rc = smem__test_once(ctx, target);
    if (rc < 0 && rc != -ENOENT)
        smem__remember(ctx, target);
}

void smem__retry_refused(smem_context *ctx, uint64_t age_us)
{
    uint64_t now = smem__monotonic_us();
    for (;;) {
        smem__refused refused;
        bool found = false;
        pthread_mutex_lock(&ctx->table_lock);
        for (unsigned i = 0; i < ctx->refused_count && !found; i++)
            if (now - ctx->refused[i].at_us >= age_us) {
                refused = ctx->refused[i];
                ctx->refused[i] = ctx->refused[--ctx->refused_count];
                found = true;
            }
        pthread_mutex_unlock(&ctx->table_lock);
        if (!found)
            return;
        smem__target target = {.backend = refused.backend,
                               .candidate = refused.candidate,
                               .name = refused.name,
                               .kernel_id = refused.kernel_id,
                               .nonce = refused.nonce};
        smem__test_once(ctx, &target); /* refused again: somebody does map it */
    }
}

static unsigned smem__own_mappings(const smem_context *ctx, const smem_segment *segment)
{
    unsigned n = 0;
    const smem_segment *other = ctx->buckets[segment->info.nonce & (ctx->bucket_count - 1)];
    for (; other; other = other->next)
        n += other->info.nonce == segment->info.nonce && other->mapping.shares;
    return n;
}

static void smem__header_count(smem__layout *header, bool loose)
{
    uint32_t old = __atomic_load_n(&header->flags, __ATOMIC_SEQ_CST), count, flags;
    do {
        count = old / SMEM__LOOSE_ONE;
        if (count == UINT32_MAX / SMEM__LOOSE_ONE || (count == 0 && !loose))
            return;
        flags = loose ? old + SMEM__LOOSE_ONE : old - SMEM__LOOSE_ONE;
    } while (!__atomic_compare_exchange_n(&header->flags, &old, flags, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
}

/* Of private pages the header that counts is the file's. */
static int smem__count_private(smem_context *ctx, const smem_segment *segment, bool loose)
{
    smem__found found;
    smem__mapping shared;
    int rc = smem__find_on(ctx, segment->backend, segment->info.name, segment->info.owner,
                           SMEM__WRITE, &found);
    if (rc != 0)
        return rc;
    if (found.header.nonce != segment->info.nonce)
        rc = -ENOENT;
    if (rc == 0)
        rc = found.backend->map(&ctx->place, &found.object, SMEM_READ_WRITE,
                                found.header.data_offset, &shared);
    if (rc == 0) {
        smem__header_count(shared.base, loose);
        found.backend->unmap(&shared);
    }
    smem__found_close(&found);
    return rc;
}

/* Say in the segment's header that this mapping is used without a lock, or is not. */
static int smem__count_loose(smem_context *ctx, const smem_segment *segment, bool loose)
{
    if (!segment->recyclable || segment->mapping.kernel_id < 0) /* or a copy, which is apart */
        return 0;
    if (!segment->mapping.shares)
        return smem__count_private(ctx, segment, loose);
    smem__header_count(segment->mapping.base, loose);
    return 0;
}

/*
 * While it has no lock, others who test the segment find that nobody maps it, and take
 * its name. That harms nobody here; but they must not empty it, too, nor give it out
 * again. So that is said before the lock goes, where they read it when they have
 * claimed the segment. Where it cannot be said the lock stays, until the process ends.
 */
static void smem__loosen_segment(smem_context *ctx, smem_segment *segment)
{
    if (segment->loose || smem__count_loose(ctx, segment, true) != 0)
        return;
    SMEM__POINT("leave.counted", "the header says that it is used without a lock; it has one yet");
    segment->loosened = ctx->forks;
    segment->loose =
        segment->backend->loosen(&ctx->place, segment->info.name, &segment->mapping) == 0;
    if (!segment->loose)
        smem__count_loose(ctx, segment, false);
}

/* Without a lock a ticket could be issued when a test has already counted them: what
   stays loose has no name for this process, and is sent by its content. */
static void smem__tighten_segment(smem_context *ctx, smem_segment *segment)
{
    if (segment->backend->tighten(&ctx->place, segment->info.name, &segment->mapping) != 0)
        return;
    segment->loose = false;
    if (segment->loosened == ctx->forks) /* else parent and child were counted as one, and one stays */
        smem__count_loose(ctx, segment, false); /* after it is locked again */
}

static void smem__leave_segment(smem_context *ctx, smem_segment *segment)
{
    smem__target target = {.backend = segment->backend,
                           .candidate = segment->candidate,
                           .name = segment->info.name,
                           .kernel_id = segment->info.kernel_id,
                           .nonce = segment->info.nonce,
                           .mapping = &segment->mapping,
                           .own = smem__own_mappings(ctx, segment)};
    if (smem__test_once(ctx, &target) != 1)
        smem__tighten_segment(ctx, segment);
    if (segment->mode == SMEM_READ_ONLY)
        smem__mapping_protect(&segment->mapping, segment->info.data_offset);
}

/* All are loosened before the first is claimed: one segment may be mapped here
   in several modes. */
void smem__leave_segments(smem_context *ctx)
{
    pthread_mutex_lock(&ctx->table_lock);
    for (int claim = 0; claim < 2; claim++)
        for (size_t i = 0; i < ctx->bucket_count; i++)
            for (smem_segment *segment = ctx->buckets[i]; segment; segment = segment->next) {
                if (segment->info.owner != ctx->place.uid || segment->nameless)
                    continue;
                if (!claim)
                    smem__loosen_segment(ctx, segment);
                else if (segment->loose)
                    smem__leave_segment(ctx, segment);
            }
    pthread_mutex_unlock(&ctx->table_lock);
}

void smem__close_segments(smem_context *ctx)
{
    for (size_t i = 0; i < ctx->bucket_count; i++)
        for (smem_segment *segment = ctx->buckets[i], *next; segment; segment = next) {
            next = segment->next;
            segment->backend->unmap(&segment->mapping);
            smem_info_clear(&segment->info);
            free(segment);
        }
    ctx->count = 0;
}
