#include "segment/cache.h"

#include "base/point.h"
#include "segment/fill.h"
#include "segment/header.h"
#include "segment/lifetime.h"
#include "segment/segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SMEM__IDLE_MAX = 1024,
       SMEM__LOOKED_AT = 16,
       SMEM__UNFIT = 3 }; /* claimed, and not to be given out again: not tested yet */

static uint64_t smem__least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Why these: doc/explanation/warm-memory.rst. */
static uint64_t smem__cache_default(const smem__place *place)
{
    uint64_t most = (uint64_t)512 << 20;
    return smem__least(smem__least(most, smem__memory_total() / 16), smem__place_size(place) / 4);
}

void smem__cache_open(smem_context *ctx)
{
    const char *wish = smem__environment("SHAREDMEM_CACHE");
    char *end = NULL;
    unsigned long long bytes = wish ? strtoull(wish, &end, 10) : 0;
    bool said = wish && *wish;
    ctx->cache.bound = !said                         ? smem__cache_default(&ctx->place)
                       : end != wish && *end == '\0' ? bytes
                                                     : 0;
}

/* ---- the list (caller holds table_lock) ------------------------------------ */

static smem_segment **smem__cache_bin_of(smem__cache *cache, const smem_segment *segment)
{
    return segment->away ? &cache->away : &cache->bins[smem__cache_bin(segment->info.size)];
}

void smem__cache_link(smem__cache *cache, smem_segment *segment)
{
    smem_segment **bin = smem__cache_bin_of(cache, segment);
    segment->next = *bin;
    *bin = segment;
    segment->newer = NULL;
    segment->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = segment;
    cache->newest = segment;
    segment->idle_since = ++cache->clock;
    cache->bytes += segment->info.size;
    atomic_store_explicit(&cache->count, cache->count + 1, memory_order_relaxed);
    if (segment->away) {
        cache->away_bytes += segment->info.size;
        cache->away_count++;
    }
}

void smem__cache_unlink(smem__cache *cache, smem_segment *segment)
{
    smem_segment **at = smem__cache_bin_of(cache, segment);
    while (*at != segment)
        at = &(*at)->next;
    *at = segment->next;
    *(segment->newer ? &segment->newer->older : &cache->newest) = segment->older;
    *(segment->older ? &segment->older->newer : &cache->oldest) = segment->newer;
    cache->bytes -= segment->info.size;
    atomic_store_explicit(&cache->count, cache->count - 1, memory_order_relaxed);
    if (segment->away) {
        cache->away_bytes -= segment->info.size;
        cache->away_count--;
    }
}

/* What was taken off the list goes: freed, or if it is away only unmapped. */
static uint64_t smem__cache_let_go(smem_context *ctx, smem_segment *segment)
{
    uint64_t size = segment->away ? 0 : segment->info.size;
    if (segment->away)
        smem__unmap_new(segment);
    else
        smem__drop(ctx, segment);
    return size;
}

/* At most a quarter more than is needed, of a small one as much again. */
static bool smem__cache_fits(const smem_segment *segment, uint64_t need, uint64_t data_offset)
{
    uint64_t waste = need > 1 << 16 ? need / 4 : need;
    return segment->info.size >= need && segment->info.size - need <= waste &&
           segment->info.data_offset == data_offset;
}

static smem_segment *smem__cache_find(const smem__cache *cache, unsigned bin, int backend,
                                      uint64_t need, uint64_t data_offset)
{
    unsigned looked_at = 0;
    smem_segment *one = bin < SMEM__CACHE_BINS ? cache->bins[bin] : NULL;
    for (; one && looked_at < SMEM__LOOKED_AT; one = one->next, looked_at++)
        if ((backend == SMEM_ANY || backend == one->backend->number) &&
            smem__cache_fits(one, need, data_offset))
            return one;
    return NULL;
}

static smem_segment *smem__cache_take(smem_context *ctx, int backend, uint64_t need,
                                      uint64_t data_offset)
{
    unsigned bin = smem__cache_bin(need);
    pthread_mutex_lock(&ctx->table_lock);
    smem_segment *found = smem__cache_find(&ctx->cache, bin, backend, need, data_offset);
    if (!found)
        found = smem__cache_find(&ctx->cache, bin + 1, backend, need, data_offset);
    if (found)
        smem__cache_unlink(&ctx->cache, found);
    ctx->cache.reused += found != NULL;
    pthread_mutex_unlock(&ctx->table_lock);
    return found;
}

/* The oldest while there is more than [keep], else NULL. */
static smem_segment *smem__cache_take_oldest(smem_context *ctx, uint64_t keep)
{
    smem_segment *oldest = NULL;
    pthread_mutex_lock(&ctx->table_lock);
    if (ctx->cache.bytes > keep) {
        oldest = ctx->cache.oldest;
        smem__cache_unlink(&ctx->cache, oldest);
        ctx->cache.evicted++;
    }
    pthread_mutex_unlock(&ctx->table_lock);
    return oldest;
}

static uint64_t smem__cache_steps(uint64_t bytes)
{
    const uint64_t step = (uint64_t)4 << 20;
    return (bytes + step - 1) / step * step;
}

/* What is idle here leaves that much of the family's bound to the others. */
static void smem__cache_give_back(smem_context *ctx)
{
    pthread_mutex_lock(&ctx->table_lock);
    uint64_t share = smem__cache_steps(ctx->cache.bytes);
    if (share < ctx->family.share)
        smem__family_set_share(&ctx->family, share, ctx->cache.bound);
    pthread_mutex_unlock(&ctx->table_lock);
}

uint64_t smem__cache_trim(smem_context *ctx, uint64_t keep)
{
    uint64_t freed = 0;
    smem_segment *oldest;
    while ((oldest = smem__cache_take_oldest(ctx, keep)))
        freed += smem__cache_let_go(ctx, oldest);
    smem__cache_give_back(ctx);
    return freed;
}

/* ---- fork -------------------------------------------------------------------- */

/* The structs are freed later: another thread may have held malloc's lock when
   the process forked. */
void smem__cache_after_fork(smem_context *ctx)
{
    smem__cache *cache = &ctx->cache;
    smem_segment *inherited = cache->oldest;
    for (smem_segment *one = inherited; one; one = one->newer)
        one->backend->unmap(&one->mapping);
    *cache = (smem__cache){.bound = cache->bound, .spare = inherited, .clock = cache->clock};
}

static void smem__cache_free_spare(smem_context *ctx)
{
    pthread_mutex_lock(&ctx->table_lock);
    smem_segment *spare = ctx->cache.spare, *next;
    ctx->cache.spare = NULL;
    pthread_mutex_unlock(&ctx->table_lock);
    for (; spare; spare = next) {
        next = spare->newer;
        smem__segment_free(spare);
    }
}

/* ---- keeping --------------------------------------------------------------- */

/* As its header says now. One that was not made for it is not looked into. */
static bool smem__cache_may_recycle(const smem_segment *segment)
{
    return segment->recyclable && smem__may_recycle(segment->mapping.base);
}

/* What others may have, too, is asked again when it is claimed. */
bool smem__cache_wants(const smem_context *ctx, const smem_segment *segment)
{
    return segment->mode == SMEM_READ_WRITE && smem__cache_may_recycle(segment) &&
           !segment->nameless && segment->info.owner == ctx->place.uid &&
           segment->info.size <= ctx->cache.bound && ctx->family.pin;
}

static bool smem__cache_is_exclusive(const smem_context *ctx, const smem_segment *segment)
{
    const smem__layout *header = segment->mapping.base;
    return atomic_load(&header->state) == SMEM__PRIVATE && segment->forks == ctx->forks;
}

/* Under the claim: nothing that was told of the segment leads there any more. */
static int smem__cache_rename(smem_context *ctx, smem_segment *segment,
                              const smem__object *object)
{
    char name[SMEM__RANDOM_NAME];
    uint64_t nonce;
    smem__layout *header = segment->mapping.base;
    int rc = smem__random_identity(name, &nonce);
    if (rc == 0)
        rc = segment->backend->rename(&ctx->place, segment->info.name, name, object);
    if (rc != 0)
        return rc;
    SMEM__POINT("cache.renamed", "its name is another, its header says the old one");
    strcpy(segment->info.name, name);
    segment->info.nonce = header->nonce = nonce | (nonce == 0);
    header->name_length = SMEM__RANDOM_NAME - 1;
    memcpy(header->name, name, header->name_length);
    memset(header->books, 0, sizeof header->books);
    memset(header->pins, 0, sizeof header->pins);
    atomic_store(&header->state, SMEM__IDLE);
    return 0;
}

static int smem__cache_own(smem_context *ctx, smem_segment *segment, const smem__object *object)
{
    smem_flight flight;
    if (object->kernel_id != segment->info.kernel_id)
        return -ENOENT;
    smem__layout *header = segment->mapping.base;
    if (header->nonce != segment->info.nonce)
        return -ENOENT;
    if (object->file.mode != 0600 || !smem__cache_may_recycle(segment))
        return SMEM__UNFIT; /* claimed: what is read now stays true */
    smem__count_flight(ctx, header, &flight);
    if (smem__in_flight(&flight))
        return SMEM__IN_FLIGHT;
    int rc = smem__cache_rename(ctx, segment, object);
    SMEM__POINT("cache.renewed", "nothing that was told of it leads there; its lock is the claim's");
    return rc ? rc : segment->backend->join(object, &segment->mapping);
}

/* 0: proved to be this process's alone, and private from here on. */
static int smem__cache_prove(smem_context *ctx, smem_segment *segment)
{
    const smem__backend *backend = segment->backend;
    smem__object object;
    int rc = backend->claim_mapped(&ctx->place, segment->info.name, &segment->mapping, &object);
    if (rc != 0)
        return rc;
    rc = smem__cache_own(ctx, segment, &object);
    backend->close(&object);
    return rc;
}

/* May this process keep [size] more, by the share that it has or can get? */
static bool smem__cache_has_room(smem_context *ctx, uint64_t size)
{
    pthread_mutex_lock(&ctx->table_lock);
    uint64_t bound = ctx->cache.bound, need = ctx->cache.bytes + size;
    uint64_t want = smem__least(smem__cache_steps(need), bound); /* the last step is shorter */
    bool enough = need <= ctx->family.share ||
                  (need <= bound && smem__family_set_share(&ctx->family, want, bound) == 0);
    pthread_mutex_unlock(&ctx->table_lock);
    return enough;
}

/* Room for [size] more, if need be by giving up older ones. */
bool smem__cache_make_room(smem_context *ctx, uint64_t size)
{
    while (!smem__cache_has_room(ctx, size)) {
        smem_segment *oldest = smem__cache_take_oldest(ctx, 0);
        if (!oldest)
            return false;
        smem__cache_let_go(ctx, oldest);
    }
    return true;
}

/* Several threads may have found the same room. */
static void smem__cache_put(smem_context *ctx, smem_segment *segment)
{
    smem__layout *header = segment->mapping.base;
    smem_segment *oldest;
    atomic_store_explicit(&header->state, SMEM__IDLE, memory_order_relaxed);
    pthread_mutex_lock(&ctx->table_lock);
    smem_segment *displaced = smem__cache_displace(&ctx->cache, segment);
    smem__cache_link(&ctx->cache, segment);
    ctx->cache.kept++;
    uint64_t keep = ctx->cache.count > SMEM__IDLE_MAX ? ctx->cache.bytes - 1 : UINT64_MAX;
    if (keep > ctx->family.share)
        keep = ctx->family.share;
    pthread_mutex_unlock(&ctx->table_lock);
    if (displaced)
        smem__cache_let_go(ctx, displaced);
    while ((oldest = smem__cache_take_oldest(ctx, keep)))
        smem__cache_let_go(ctx, oldest);
}

int smem__cache_keep(smem_context *ctx, smem_segment *segment)
{
    if (ctx->cache.spare)
        smem__cache_free_spare(ctx);
    if (!smem__cache_wants(ctx, segment) || !smem__cache_make_room(ctx, segment->info.size))
        return 0;
    if (!smem__cache_is_exclusive(ctx, segment)) {
        if (!segment->backend->claim_mapped)
            return 0;
        int rc = smem__cache_prove(ctx, segment);
        if (rc != 0)
            return rc == SMEM__UNFIT ? 0 : rc;
    }
    smem__cache_put(ctx, segment);
    return 1;
}

/* ---- reusing ---------------------------------------------------------------- */

/* Death comes between two stores of the program, not of the compiler. */
#define SMEM__THEN atomic_signal_fence(memory_order_seq_cst)

/*
 * The header of a private segment is its owner's: plain writes will do. But
 * whoever dies in here must leave a valid one, or nobody would ever free the
 * segment. So there are no extents, and elements of no bytes, before anything
 * changes that they have to lie within; then the other way round.
 */
static void smem__cache_write(smem__layout *header, const smem__layout *fresh, const char *dtype)
{
    size_t extents = fresh->ndim * sizeof *fresh->shape;
    header->itemsize = 0;
    SMEM__THEN;
    header->ndim = 0;
    SMEM__THEN;
    header->start = 0;
    SMEM__THEN;
    memcpy((char *)header + sizeof *header, dtype, fresh->dtype_length);
    header->dtype_length = fresh->dtype_length;
    header->nbytes = fresh->nbytes;
    SMEM__POINT("cache.describing", "an idle segment has no extents, to be given others");
    memcpy(header->shape, fresh->shape, extents);
    memcpy(header->strides, fresh->strides, extents);
    SMEM__THEN;
    header->start = fresh->start;
    SMEM__THEN;
    header->ndim = fresh->ndim;
    SMEM__POINT("cache.described", "it has its extents, and elements of no bytes");
    SMEM__THEN;
    header->itemsize = fresh->itemsize;
}

static int smem__cache_describe(smem_context *ctx, smem_segment *segment, const smem_spec *spec,
                                const smem__layout *fresh)
{
    smem__layout *header = segment->mapping.base;
    smem_info *info = &segment->info;
    size_t extents = fresh->ndim * sizeof *fresh->shape;
    if (strcmp(info->dtype, spec->dtype) != 0) {
        char *text = strdup(spec->dtype);
        if (!text)
            return -ENOMEM;
        free(info->dtype);
        info->dtype = text;
    }
    header->lock = fresh->lock;
    header->writer = fresh->writer;
    header->sequence = 0;
    header->viewers = 0;
    smem__cache_write(header, fresh, spec->dtype);
    info->nbytes = fresh->nbytes;
    info->start = fresh->start;
    info->itemsize = fresh->itemsize;
    header->created = info->created = smem__now();
    header->family = info->family = ctx->family.tag;
    info->ndim = (int)fresh->ndim;
    memcpy(info->shape, fresh->shape, extents);
    memcpy(info->strides, fresh->strides, extents);
    atomic_store(&header->state, fresh->state);
    return 0;
}

smem_segment *smem__cache_reuse(smem_context *ctx, const smem_spec *spec, int backend)
{
    smem__layout fresh = {0};
    bool empty = atomic_load_explicit(&ctx->cache.count, memory_order_relaxed) == 0;
    if (empty || !smem__spec_is_recyclable(spec) ||
        smem__header_make(spec, ctx->place.page, &fresh) != 0)
        return NULL;
    smem_segment *segment = smem__cache_take(ctx, backend, fresh.size, fresh.data_offset);
    if (!segment)
        return NULL;
    segment->references = 1;
    segment->attached_at = 0;
    segment->mapping.visits = false;
    segment->copied_at_fork = false;
    segment->forks = ctx->forks;
    if (smem__cache_describe(ctx, segment, spec, &fresh) != 0) {
        smem__drop(ctx, segment);
        return NULL;
    }
    smem__fill_mapped(ctx, smem_data(segment), segment->info.nbytes, spec);
    return segment;
}

/* ---- looking ------------------------------------------------------------------ */

uint64_t smem_trim(smem_context *ctx, uint64_t keep)
{
    if (smem__begin(ctx) != 0)
        return 0;
    uint64_t freed = smem__cache_trim(ctx, keep);
    smem__end(ctx);
    return freed;
}

void smem_stats(smem_context *ctx, smem_statistics *out)
{
    const smem__cache *cache = &ctx->cache;
    pthread_mutex_lock(&ctx->table_lock);
    *out = (smem_statistics){.mapped = ctx->count,
                             .mapped_bytes = ctx->mapped_bytes,
                             .idle = cache->count - cache->away_count,
                             .idle_bytes = cache->bytes - cache->away_bytes,
                             .away = cache->away_count,
                             .away_bytes = cache->away_bytes,
                             .bound = cache->bound,
                             .created = ctx->counts.created,
                             .reused = cache->reused,
                             .attached = ctx->counts.attached,
                             .returned = cache->returned,
                             .kept = cache->kept,
                             .evicted = cache->evicted,
                             .reclaimed = ctx->counts.reclaimed,
                             .reclaimed_bytes = ctx->counts.reclaimed_bytes};
    pthread_mutex_unlock(&ctx->table_lock);
}
