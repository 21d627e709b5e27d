#include "segment/inherit.h"

void smem_copy_at_fork(smem_segment *segment)
{
    pthread_mutex_lock(&segment->ctx->table_lock);
    segment->copied_at_fork = true;
    pthread_mutex_unlock(&segment->ctx->table_lock);
}

/*
 * The mode says what it is from here on: one that writes in it finds, attaches and names the
 * segment anew. Where there is no memory for a copy the child may not write: it would write
 * into what the parent has.
 */
static void smem__inherit_copy(const smem_context *ctx, smem_segment *segment)
{
    const smem__backend *backend = segment->backend;
    bool parted = backend->part_from_parent &&
                  backend->part_from_parent(&ctx->place, segment->info.name, &segment->mapping) == 0;
    if (parted || smem__mapping_copy(&segment->mapping) == 0) {
        segment->mode = SMEM_COPY_ON_WRITE;
        return;
    }
    segment->mode = SMEM_READ_ONLY;
    smem__mapping_protect(&segment->mapping, segment->info.data_offset);
}

void smem__inherit(smem_context *ctx)
{
    for (size_t i = 0; i < ctx->bucket_count; i++)
        for (smem_segment *segment = ctx->buckets[i]; segment; segment = segment->next)
            if (segment->copied_at_fork && segment->mode == SMEM_READ_WRITE)
                smem__inherit_copy(ctx, segment);
}
