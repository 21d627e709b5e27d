/* What others made and nobody here needs any more: the third part of cache.h. */
#include "segment/cache.h"

void smem__cache_attached(smem_context *ctx, smem_segment *segment)
{
    pthread_mutex_lock(&ctx->table_lock);
    segment->attached_at = ++ctx->cache.clock;
    pthread_mutex_unlock(&ctx->table_lock);
}

smem_segment *smem__cache_displace(smem__cache *cache, const smem_segment *segment)
{
    smem_segment *one = segment->attached_at ? cache->bins[smem__cache_bin(segment->info.size)] : NULL;
    while (one && (!one->attached_at || one->idle_since > segment->attached_at))
        one = one->next;
    if (one) {
        smem__cache_unlink(cache, one);
        cache->evicted++;
    }
    return one;
}
