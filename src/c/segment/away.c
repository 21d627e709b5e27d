/* Mappings of what others use, kept for its return: the second half of cache.h. */
#include "segment/cache.h"

#include "segment/segment.h"

#include <string.h>

enum { SMEM__AWAY_MAX = 32 };

static uint32_t smem__away_state(const smem_segment *segment)
{
    const smem__layout *header = segment->mapping.base;
    return atomic_load_explicit(&header->state, memory_order_relaxed);
}

/* One that has lost its name, or too many: the oldest is the last of the list. */
static smem_segment *smem__away_superfluous(const smem__cache *cache)
{
    smem_segment *one = cache->away;
    while (one && smem__away_state(one) != SMEM__NAMELESS &&
           (one->next || cache->away_count <= SMEM__AWAY_MAX))
        one = one->next;
    return one;
}

static void smem__away_tidy(smem_context *ctx)
{
    smem_segment *one;
    do {
        pthread_mutex_lock(&ctx->table_lock);
        one = smem__away_superfluous(&ctx->cache);
        if (one)
            smem__cache_unlink(&ctx->cache, one);
        pthread_mutex_unlock(&ctx->table_lock);
        if (one)
            smem__unmap_new(one);
    } while (one);
}

bool smem__cache_send_away(smem_context *ctx, smem_segment *segment)
{
    if (segment->info.size < SMEM__APART_FROM || !segment->mapping.apart || segment->mapping.pin ||
        !smem__cache_wants(ctx, segment) || !smem__cache_make_room(ctx, segment->info.size))
        return false;
    segment->away = true;
    pthread_mutex_lock(&ctx->table_lock);
    smem__cache_link(&ctx->cache, segment);
    pthread_mutex_unlock(&ctx->table_lock);
    smem__away_tidy(ctx);
    return true;
}

/* A nonce is never given twice, and who recycles a segment writes its new one into
   the pages that are mapped here: equal nonces are one segment. */
static bool smem__is_away(const smem_segment *segment, const smem__found *found)
{
    const smem__layout *header = segment->mapping.base;
    return segment->backend == found->backend && header->nonce == found->header.nonce &&
           segment->mapping.kernel_id == found->object.kernel_id &&
           segment->mapping.device == found->object.file.device &&
           segment->mapping.size == found->object.size;
}

bool smem__cache_return(smem_context *ctx, const smem__found *found, smem__mapping *out)
{
    if (atomic_load_explicit(&ctx->cache.away_count, memory_order_relaxed) == 0)
        return false;
    smem__away_tidy(ctx);
    pthread_mutex_lock(&ctx->table_lock);
    smem_segment *one = ctx->cache.away;
    while (one && !smem__is_away(one, found))
        one = one->next;
    if (one) {
        smem__cache_unlink(&ctx->cache, one);
        ctx->cache.returned++;
    }
    pthread_mutex_unlock(&ctx->table_lock);
    if (!one)
        return false;
    *out = one->mapping;
    smem__segment_free(one);
    return true;
}
