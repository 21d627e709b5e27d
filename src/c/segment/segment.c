/* Creating, attaching and dropping. */
#include "segment/segment.h"

#include "base/point.h"
#include "segment/cache.h"
#include "segment/lifetime.h"
#include "segment/reaper.h"
#include "segment/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SMEM__REFUSED_AGE_US = 5000 };

int smem__begin_change(smem_context *ctx)
{
    int rc = smem__begin(ctx);
    if (rc == 0 && !ctx->observes) {
        if (ctx->refused_count)
            smem__retry_refused(ctx, SMEM__REFUSED_AGE_US);
        smem__sweep_sometimes(ctx);
    }
    return rc;
}

int smem__begin_mapping(smem_context *ctx)
{
    smem__reaper_ensure(ctx);
    return smem__begin_change(ctx);
}

/* ---- one segment in the table -------------------------------------------- */

static smem_segment *smem__table_take(smem_context *ctx, const smem__backend *backend,
                                      uint64_t nonce, int mode)
{
    pthread_mutex_lock(&ctx->table_lock);
    smem_segment *segment = smem__table_find(ctx, backend, nonce, mode);
    if (segment)
        segment->references++;
    pthread_mutex_unlock(&ctx->table_lock);
    return segment;
}

void smem__segment_free(smem_segment *segment)
{
    smem_info_clear(&segment->info);
    free(segment);
}

static smem__target smem__target_of(const smem_segment *segment)
{
    return (smem__target){.backend = segment->backend,
                          .candidate = segment->candidate,
                          .name = segment->info.name,
                          .kernel_id = segment->info.kernel_id,
                          .nonce = segment->info.nonce};
}

void smem__drop(smem_context *ctx, smem_segment *segment)
{
    smem__target target = smem__target_of(segment);
    bool test = !segment->nameless && !segment->spared &&
                !(segment->info.flags & SMEM_PERSISTENT) && segment->info.owner == ctx->place.uid;
    segment->backend->unmap(&segment->mapping);
    SMEM__POINT("drop.unmapped", "the last reference is gone; whether nobody uses it is not known");
    if (test)
        smem__test(ctx, &target);
    smem__segment_free(segment);
}

/* It was tested while the cache wanted it: somebody else uses it, or will. */
static void smem__drop_tested(smem_context *ctx, smem_segment *segment, int rc)
{
    smem__target target = smem__target_of(segment);
    if (rc < 0 && rc != -ENOENT)
        smem__remember(ctx, &target);
    if ((rc == -EBUSY || rc == SMEM__IN_FLIGHT) && smem__cache_send_away(ctx, segment))
        return;
    segment->backend->unmap(&segment->mapping);
    smem__segment_free(segment);
}

void smem__unmap_new(smem_segment *segment)
{
    segment->backend->unmap(&segment->mapping);
    smem__segment_free(segment);
}

/* A copy is its owner's alone; every other mapping is shared in the process. */
int smem__table_enter(smem_context *ctx, smem_segment *segment, smem_segment **out)
{
    smem_segment *other = NULL;
    int rc = 0;
    pthread_mutex_lock(&ctx->table_lock);
    if (segment->mode != SMEM_COPY_ON_WRITE)
        other = smem__table_find(ctx, segment->backend, segment->info.nonce, segment->mode);
    if (other)
        other->references++;
    else
        rc = smem__table_add(ctx, segment);
    pthread_mutex_unlock(&ctx->table_lock);
    *out = other ? other : segment;
    if (other)
        smem__unmap_new(segment);
    else if (rc != 0) {
        /* The gate may be held here: the test comes later. */
        smem__target target = smem__target_of(segment);
        smem__remember(ctx, &target);
        smem__unmap_new(segment);
    }
    return rc;
}

static int smem__segment_new(smem_context *ctx, const smem__found *found, int mode,
                             smem_segment **out)
{
    smem_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return -ENOMEM;
    *segment = (smem_segment){.ctx = ctx,
                              .backend = found->backend,
                              .candidate = found->candidate,
                              .mode = mode,
                              .recyclable = found->header.flags & SMEM__RECYCLABLE,
                              .forks = ctx->forks,
                              .references = 1};
    int rc = smem__found_info(ctx, found, &segment->info);
    if (rc != 0) {
        free(segment);
        return rc;
    }
    segment->info.mapped = 1;
    *out = segment;
    return 0;
}

/* By a mapping that it has already though it was dropped, if there is one. */
static int smem__map_found(smem_context *ctx, smem__found *found, int mode, smem__mapping *out)
{
    if (mode == SMEM_READ_WRITE && smem__cache_return(ctx, found, out)) {
        int rc = found->backend->join(&found->object, out);
        if (rc != 0)
            found->backend->unmap(out);
        return rc;
    }
    found->object.apart = found->header.flags & SMEM__RECYCLABLE;
    return found->backend->map(&ctx->place, &found->object, mode, found->header.data_offset, out);
}

int smem__map_new(smem_context *ctx, smem__found *found, int mode, smem_segment **out)
{
    smem_segment *segment;
    int rc = smem__segment_new(ctx, found, mode, &segment);
    if (rc != 0)
        return rc;
    rc = smem__map_found(ctx, found, mode, &segment->mapping);
    if (rc != 0) {
        smem__segment_free(segment);
        return rc;
    }
    *out = segment;
    return 0;
}

int smem_ticket_free(smem_segment *segment, uint64_t ticket)
{
    smem__layout *header = segment->mapping.base;
    return ticket && segment->mapping.shares &&
           segment->info.owner == segment->ctx->place.uid &&
           smem__ticket_free(header->books, ticket);
}

/* ---- attach --------------------------------------------------------------- */

static int smem__attach_found(smem_context *ctx, smem__found *found, uint64_t nonce, int mode,
                              smem_segment **out)
{
    if (found->header.state != SMEM__PUBLISHED)
        return SMEM_E_NOT_FOUND; /* nobody was told of it: it is its owner's alone */
    if (nonce && found->header.nonce != nonce)
        return SMEM_E_REUSED;
    if (mode != SMEM_COPY_ON_WRITE) {
        *out = smem__table_take(ctx, found->backend, found->header.nonce, mode);
        if (*out)
            return 0;
    }
    smem_segment *segment;
    int rc = smem__map_new(ctx, found, mode, &segment);
    if (rc != 0)
        return rc;
    segment->mapping.visits = true;
    smem__cache_attached(ctx, segment);
    ctx->counts.attached++;
    SMEM__POINT("attach.mapped", "mapped, and held open or within the gate as well");
    return smem__table_enter(ctx, segment, out);
}

/* Can nobody reach it any more? To be asked before it is held. */
static bool smem__is_stale(smem_context *ctx, const smem__name *name)
{
    smem_info info;
    smem_flight flight;
    if (smem__stat(ctx, name, &info, &flight) != 0)
        return false;
    smem_info_clear(&info);
    return !info.mapped && !(info.flags & SMEM_PERSISTENT) && !smem__in_flight(&flight);
}

static int smem__attach(smem_context *ctx, const smem__name *name, uint32_t owner, uint64_t nonce,
                        int mode, smem_segment **out)
{
    smem__gate gate;
    smem__found found;
    bool own = owner == ctx->place.uid;
    if (mode < SMEM_READ_WRITE || mode > SMEM_COPY_ON_WRITE)
        return SMEM_E_ARGUMENT;
    bool spared = own && ctx->observes && smem__is_stale(ctx, name);
    int rc = smem__find_any(ctx, name, owner,
                            own || mode == SMEM_READ_WRITE ? SMEM__WRITE : SMEM__READ, &gate, &found);
    if (rc != 0)
        return rc;
    rc = smem__attach_found(ctx, &found, nonce, mode, out);
    smem__found_release(&found, &gate);
    if (rc == 0 && spared)
        (*out)->spared = true;
    SMEM__POINT("attach.done", "mapped; a ticket that led here is still in flight");
    return rc;
}

/* What this process has already, if the name still leads to it: one look. */
static smem_segment *smem__attach_mapped(smem_context *ctx, const smem__name *name, int mode)
{
    if (mode == SMEM_COPY_ON_WRITE)
        return NULL;
    pthread_mutex_lock(&ctx->table_lock);
    smem_segment *segment = smem__table_named(ctx, name->text, name->backend, mode);
    if (segment)
        segment->references++;
    pthread_mutex_unlock(&ctx->table_lock);
    if (!segment)
        return NULL;
    const smem__layout *header = segment->mapping.base;
    if (atomic_load(&header->state) == SMEM__PUBLISHED && smem_is_current(segment))
        return segment;
    smem_detach(segment);
    return NULL;
}

int smem_attach_owned(smem_context *ctx, const char *text, int mode, uint32_t owner,
                      smem_segment **out)
{
    smem__name name;
    int rc = smem__name_parse(text ? text : "", SMEM_ANY, &name);
    if (rc == 0 && owner == ctx->place.anybody)
        rc = SMEM_E_UNMAPPED;
    if (rc != 0)
        return rc;
    if (owner == ctx->place.uid && (*out = smem__attach_mapped(ctx, &name, mode)))
        return 0;
    rc = smem__begin_mapping(ctx);
    if (rc != 0)
        return rc;
    rc = smem__attach(ctx, &name, owner, 0, mode, out);
    smem__end(ctx);
    return rc;
}

int smem_attach(smem_context *ctx, const char *name, int mode, smem_segment **out)
{
    return smem_attach_owned(ctx, name, mode, ctx->place.uid, out);
}

/* The ticket is freed when the segment is mapped, not before: in between it
   would be neither mapped nor in flight. */
int smem_receive(smem_context *ctx, int backend, const char *text, uint64_t nonce, int mode,
                 uint64_t ticket, smem_segment **out)
{
    smem__name name;
    int rc = smem__name_parse(text ? text : "", backend, &name);
    if (rc != 0)
        return rc;
    *out = NULL;
    if (mode != SMEM_COPY_ON_WRITE)
        *out = smem__table_take(ctx, smem__backend_of(backend), nonce, mode);
    if (!*out) {
        smem__participate(ctx);
        rc = smem__begin_mapping(ctx);
        if (rc != 0)
            return rc;
        rc = smem__attach(ctx, &name, ctx->place.uid, nonce, mode, out);
        smem__end(ctx);
    }
    if (rc == 0 && mode == SMEM_COPY_ON_WRITE && ticket)
        smem_forget(ctx, backend, text, nonce, ticket); /* its own pages hide the table */
    else if (rc == 0)
        smem_ticket_free(*out, ticket);
    return rc;
}

int smem_forget(smem_context *ctx, int backend, const char *name, uint64_t nonce, uint64_t ticket)
{
    smem_segment *segment;
    int rc = smem_receive(ctx, backend, name, nonce, SMEM_READ_WRITE, ticket, &segment);
    if (rc == SMEM_E_NOT_FOUND || rc == SMEM_E_REUSED)
        return 0; /* gone: nothing is in flight */
    if (rc == 0)
        smem_detach(segment);
    return rc;
}

/* ---- drop ----------------------------------------------------------------- */

smem_segment *smem_retain(smem_segment *segment)
{
    pthread_mutex_lock(&segment->ctx->table_lock);
    segment->references++;
    pthread_mutex_unlock(&segment->ctx->table_lock);
    return segment;
}

void smem_detach(smem_segment *segment)
{
    if (!segment)
        return;
    smem_context *ctx = segment->ctx;
    pthread_rwlock_rdlock(&ctx->fork_lock);
    pthread_mutex_lock(&ctx->table_lock);
    bool last = --segment->references == 0;
    if (last)
        smem__table_remove(ctx, segment);
    pthread_mutex_unlock(&ctx->table_lock);
    if (last) {
        int rc = smem__cache_keep(ctx, segment);
        if (rc == 0)
            smem__drop(ctx, segment);
        else if (rc != 1)
            smem__drop_tested(ctx, segment, rc);
    }
    pthread_rwlock_unlock(&ctx->fork_lock);
}

/* ---- what is mapped ------------------------------------------------------- */

void *smem_data(const smem_segment *segment)
{
    return (char *)segment->mapping.base + segment->info.data_offset;
}

int smem_mode_of(const smem_segment *segment)
{
    return segment->mode;
}

const smem_info *smem_info_of(const smem_segment *segment)
{
    return &segment->info;
}

void smem_publish(smem_segment *segment)
{
    smem__layout *header = segment->mapping.base;
    if (atomic_load_explicit(&header->state, memory_order_relaxed) == SMEM__PRIVATE)
        atomic_store(&header->state, SMEM__PUBLISHED);
}

/* One store: whoever judges the segment meanwhile reads it before or after. */
int smem_persist(smem_segment *segment)
{
    smem_context *ctx = segment->ctx;
    smem__layout *header = segment->mapping.base;
    if (!segment->mapping.shares || segment->info.owner != ctx->place.uid)
        return SMEM_E_ARGUMENT;
    pthread_mutex_lock(&ctx->table_lock); /* who leaves has it until all are judged */
    bool loose = segment->loose;
    if (!loose) {
        smem_publish(segment);
        segment->info.flags |= SMEM_PERSISTENT;
        __atomic_fetch_or(&header->flags, SMEM_PERSISTENT, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&ctx->table_lock);
    return loose ? SMEM_E_UNLINKED : 0; /* it may be judged at any time */
}

int smem_is_current(const smem_segment *segment)
{
    const smem_context *ctx = segment->ctx;
    return !segment->nameless && !segment->loose && segment->info.owner == ctx->place.uid &&
           segment->backend->is_current(&ctx->place, segment->info.name, segment->candidate,
                                        &segment->mapping);
}

/* Publish the claim, then observe the state: the other way round the name
   could be taken away in between, unseen. */
int smem_ticket_issue(smem_segment *segment, uint64_t *ticket)
{
    smem__layout *header = segment->mapping.base;
    smem_context *ctx = segment->ctx;
    if (!segment->mapping.shares || segment->info.owner != ctx->place.uid)
        return SMEM_E_UNLINKED; /* a visitor cannot write into the header */
    smem__participate(ctx);
    smem_publish(segment);
    if (atomic_load_explicit(&ctx->next_reaper_us, memory_order_relaxed) == 0)
        smem__reaper_ensure(ctx); /* mapped before the process left, and nobody looked since */
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    rc = smem__ticket_take(header->books, header->pins, ctx->family.tag, smem__now(), smem__judge,
                           ctx, ticket);
    SMEM__POINT("ticket.issued", "in flight, and nobody knows the ticket");
    if (rc == 0 && !smem_is_current(segment)) {
        smem__ticket_free(header->books, *ticket);
        SMEM__POINT("ticket.withdrawn", "the name was gone: the ticket is free again");
        rc = SMEM_E_UNLINKED;
    }
    smem__end(ctx);
    return rc;
}
