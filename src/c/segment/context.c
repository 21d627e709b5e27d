#include "segment/context.h"

#include "base/point.h"
#include "segment/cache.h"
#include "segment/holder.h"
#include "segment/inherit.h"
#include "segment/lifetime.h"
#include "segment/reaper.h"
#include "segment/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * File-scope state, because pthread_atfork handlers take no argument: the list
 * of all contexts, and the lock on it. Contexts do not share anything else.
 */
static pthread_mutex_t smem__all_lock = PTHREAD_MUTEX_INITIALIZER;
static smem_context *smem__all;
static pthread_once_t smem__atfork_once = PTHREAD_ONCE_INIT;

static void smem__locks_init(smem_context *ctx)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    /* A fork must not wait for ever behind a stream of short operations;
       operations do not nest. */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&ctx->fork_lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    pthread_mutex_init(&ctx->table_lock, NULL);
}

static void smem__before_fork(void)
{
    pthread_mutex_lock(&smem__all_lock);
    for (smem_context *ctx = smem__all; ctx; ctx = ctx->next) {
        pthread_rwlock_wrlock(&ctx->fork_lock);
        pthread_mutex_lock(&ctx->table_lock);
        ctx->forks++;
    }
}

static void smem__after_fork_in_parent(void)
{
    for (smem_context *ctx = smem__all; ctx; ctx = ctx->next) {
        pthread_mutex_unlock(&ctx->table_lock);
        pthread_rwlock_unlock(&ctx->fork_lock);
    }
    pthread_mutex_unlock(&smem__all_lock);
}

/* Only this thread exists: the locks are made anew. Only system calls, no
   malloc: another thread may have held its lock. */
static void smem__after_fork_in_child(void)
{
    for (smem_context *ctx = smem__all; ctx; ctx = ctx->next) {
        smem__locks_init(ctx);
        ctx->refused_count = 0;
        ctx->held = 0;
        ctx->stays = false;
        ctx->dying = 0;
        ctx->next_reaper_us = 0;
        ctx->counts = (smem__counts){0};
        smem__cache_after_fork(ctx);
        smem__inherit(ctx);
        smem__place_after_fork(&ctx->place);
        smem__family_renew(&ctx->place, &ctx->family);
        smem__holder_publish(ctx);
    }
    pthread_mutex_init(&smem__all_lock, NULL);
}

static void smem__register_atfork(void)
{
    pthread_atfork(smem__before_fork, smem__after_fork_in_parent, smem__after_fork_in_child);
}

static void smem__unlist_context(smem_context *ctx)
{
    pthread_mutex_lock(&smem__all_lock);
    smem_context **at = &smem__all;
    while (*at && *at != ctx)
        at = &(*at)->next;
    if (*at)
        *at = ctx->next;
    pthread_mutex_unlock(&smem__all_lock);
}

/* What the dead left may have filled the place to the last page, and joining
   takes one. */
static int smem__join(smem_context *ctx, const char *name)
{
    smem_reclaimed freed;
    int rc = smem__family_find(&ctx->place, name, ctx->parent, &ctx->family);
    if (rc == SMEM_E_NO_ROOM || rc == -ENOSPC)
        if (smem__sweep(ctx, &freed) == 0 && freed.segments + freed.families > 0)
            rc = smem__family_find(&ctx->place, name, ctx->parent, &ctx->family);
    smem__holder_publish(ctx);
    return rc == -ENOSPC ? SMEM_E_NO_ROOM : rc;
}

int smem_open(const smem_options *options, smem_context **out)
{
    static const smem_options none;
    if (!options)
        options = &none;
    pthread_once(&smem__atfork_once, smem__register_atfork);
    smem_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return -ENOMEM;
    ctx->parent = options->parent;
    ctx->observes = options->observe;
    ctx->reaper = smem__reaper_program(options->reaper);
    smem__locks_init(ctx);
    pthread_mutex_lock(&smem__all_lock); /* no fork while the family is joined */
    int rc = smem__place_find(&ctx->place, options->directory);
    if (rc == 0)
        smem__cache_open(ctx);
    if (rc == 0 && !ctx->observes)
        rc = smem__join(ctx, options->family);
    if (rc == 0) {
        ctx->next = smem__all;
        smem__all = ctx;
    }
    pthread_mutex_unlock(&smem__all_lock);
    if (rc != 0) {
        free(ctx->reaper);
        free(ctx);
        return rc;
    }
    if (!ctx->observes && smem__begin(ctx) == 0) {
        smem__sweep_sometimes(ctx);
        smem__end(ctx);
    }
    *out = ctx;
    return 0;
}

static int smem__rejoin(smem_context *ctx)
{
    char name[SMEM_NAME_MAX + 1];
    int rc = 0;
    pthread_rwlock_wrlock(&ctx->fork_lock);
    if (!ctx->family.pin) {
        strcpy(name, ctx->family.name);
        rc = smem__family_find(&ctx->place, name, ctx->parent, &ctx->family);
        smem__holder_publish(ctx);
    }
    pthread_rwlock_unlock(&ctx->fork_lock);
    return rc;
}

void smem__participate(smem_context *ctx)
{
    ctx->observes = false; /* the next smem__begin() joins */
}

int smem__begin(smem_context *ctx)
{
    pthread_rwlock_rdlock(&ctx->fork_lock);
    while (!ctx->family.pin && !ctx->observes) {
        pthread_rwlock_unlock(&ctx->fork_lock);
        int rc = smem__rejoin(ctx);
        if (rc != 0)
            return rc;
        pthread_rwlock_rdlock(&ctx->fork_lock);
    }
    return 0;
}

void smem__end(smem_context *ctx)
{
    pthread_rwlock_unlock(&ctx->fork_lock);
}

/*
 * The family first: when this is its last participant nothing of it is in
 * flight any more, and what only tickets kept is freed below. Its file goes
 * last, so that a crash in between leaves something that leads to the rest.
 * Who holds a lock stays a member, or the lock would be taken from the living.
 */
void smem_leave(smem_context *ctx)
{
    smem__file file;
    pthread_rwlock_wrlock(&ctx->fork_lock);
    if (ctx->family.pin && !ctx->stays) {
        smem__cache_trim(ctx, 0);
        ctx->next_reaper_us = 0; /* the reaper may end with the family: who joins again looks */
        ctx->stays = !smem__holder_retire(ctx);
        bool last = !ctx->stays && smem__family_leave(&ctx->place, &ctx->family, &file);
        if (last)
            ctx->dying = ctx->family.tag;
        smem__retry_refused(ctx, 0);
        smem__leave_segments(ctx);
        SMEM__POINT("leave.segments-left", "own segments are unlinked or left to others");
        if (last) {
            smem_reclaimed ignored;
            smem__sweep(ctx, &ignored);
            SMEM__POINT("leave.swept", "what the ended family kept is gone, its file is not");
            smem__family_bury(&ctx->place, &ctx->family, &file);
            ctx->dying = 0;
        }
    }
    pthread_rwlock_unlock(&ctx->fork_lock);
}

void smem_close(smem_context *ctx)
{
    if (!ctx)
        return;
    smem_leave(ctx);
    smem__unlist_context(ctx);
    smem__close_segments(ctx);
    free(ctx->buckets);
    free(ctx->reaper);
    pthread_rwlock_destroy(&ctx->fork_lock);
    pthread_mutex_destroy(&ctx->table_lock);
    free(ctx);
}

const char *smem_family_name(smem_context *ctx)
{
    return ctx->family.name;
}

int smem_family_alive(smem_context *ctx, uint32_t tag)
{
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    rc = smem__judge(ctx, tag);
    smem__end(ctx);
    return rc;
}

static bool smem__has_segments(smem_context *ctx)
{
    pthread_mutex_lock(&ctx->table_lock);
    bool any = ctx->count > 0;
    pthread_mutex_unlock(&ctx->table_lock);
    return any;
}

int smem_new_family(smem_context *ctx, const char *name)
{
    smem__family made, left;
    smem__file file;
    char text[SMEM__RANDOM_NAME];
    int rc = smem__random_name(text);
    if (rc != 0)
        return rc;
    smem__participate(ctx);
    pthread_rwlock_wrlock(&ctx->fork_lock);
    if (!smem__holder_retire(ctx))
        rc = SMEM_E_HELD;
    if (rc == 0)
        rc = smem__family_find(&ctx->place, name ? name : text, 0, &made);
    if (rc == 0) {
        SMEM__POINT("family.in-both", "a member of the old family and of the new one");
        smem__cache_trim(ctx, 0); /* its share is the old family's */
        left = ctx->family;
        ctx->family = made;
        ctx->next_reaper_us = 0;
        if (left.pin && smem__family_leave(&ctx->place, &left, &file))
            smem__family_bury(&ctx->place, &left, &file);
    }
    smem__holder_publish(ctx);
    pthread_rwlock_unlock(&ctx->fork_lock);
    /* What is mapped here was the old family's reaper's to free after a death. */
    if (rc == 0 && smem__has_segments(ctx))
        smem__reaper_ensure(ctx);
    return rc;
}

/* High half: the boot. Low half: what decides whether a name can be seen, the
   mount for posix and the IPC namespace for sysv. */
uint32_t smem_origin(smem_context *ctx, int backend)
{
    uint32_t boot = 2166136261u; /* FNV-1a */
    uint64_t space = backend == SMEM_SYSV ? ctx->place.ipc : ctx->place.device;
    for (int i = 0; i < 16; i++)
        boot = (boot ^ ctx->place.boot[i]) * 16777619u;
    return (boot & 0xffff0000u) | ((uint32_t)(space ^ space >> 16 ^ space >> 32) & 0xffffu);
}

/* ---- table --------------------------------------------------------------- */

static smem_segment **smem__bucket(smem_context *ctx, uint64_t nonce)
{
    return &ctx->buckets[nonce & (ctx->bucket_count - 1)];
}

smem_segment *smem__table_find(smem_context *ctx, const smem__backend *backend, uint64_t nonce,
                               int mode)
{
    if (!ctx->buckets)
        return NULL;
    smem_segment *segment = *smem__bucket(ctx, nonce);
    while (segment && (segment->info.nonce != nonce || segment->backend != backend ||
                       segment->mode != mode || segment->loose))
        segment = segment->next;
    return segment;
}

static smem_segment **smem__named_bucket(smem_context *ctx, const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return &ctx->named[(hash ^ hash >> 32) & (ctx->bucket_count - 1)];
}

smem_segment *smem__table_named(smem_context *ctx, const char *name, int backend, int mode)
{
    if (!ctx->buckets)
        return NULL;
    smem_segment *segment = *smem__named_bucket(ctx, name);
    while (segment && (segment->mode != mode || segment->nameless || segment->loose ||
                       (backend != SMEM_ANY && backend != segment->backend->number) ||
                       strcmp(segment->info.name, name) != 0))
        segment = segment->next_named;
    return segment;
}

static void smem__table_link(smem_context *ctx, smem_segment *segment)
{
    smem_segment **bucket = smem__bucket(ctx, segment->info.nonce);
    segment->next = *bucket;
    *bucket = segment;
    bucket = smem__named_bucket(ctx, segment->info.name);
    segment->next_named = *bucket;
    *bucket = segment;
}

static int smem__table_grow(smem_context *ctx)
{
    size_t old_count = ctx->bucket_count, new_count = old_count ? old_count * 2 : 64;
    smem_segment **old = ctx->buckets, **new = calloc(2 * new_count, sizeof *new);
    if (!new)
        return old ? 0 : -ENOMEM; /* a crowded table works too */
    ctx->buckets = new;
    ctx->named = new + new_count;
    ctx->bucket_count = new_count;
    for (size_t i = 0; i < old_count; i++)
        for (smem_segment *segment = old[i], *next; segment; segment = next) {
            next = segment->next;
            smem__table_link(ctx, segment);
        }
    free(old);
    return 0;
}

int smem__table_add(smem_context *ctx, smem_segment *segment)
{
    if (ctx->count >= ctx->bucket_count) {
        int rc = smem__table_grow(ctx);
        if (rc != 0)
            return rc;
    }
    smem__table_link(ctx, segment);
    ctx->count++;
    ctx->mapped_bytes += segment->info.size;
    return 0;
}

void smem__table_remove(smem_context *ctx, smem_segment *segment)
{
    smem_segment **at = smem__bucket(ctx, segment->info.nonce);
    while (*at && *at != segment)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = segment->next;
    for (at = smem__named_bucket(ctx, segment->info.name); *at != segment;)
        at = &(*at)->next_named;
    *at = segment->next_named;
    ctx->count--;
    ctx->mapped_bytes -= segment->info.size;
}
