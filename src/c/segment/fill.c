#include "segment/fill.h"

#include "base/stream.h"

#include <stdatomic.h>
#include <string.h>

enum { SMEM__FILL_PIECE = 512 << 10,
       SMEM__FILL_STREAMS = 16 << 20, /* below, who reads it next may find it in a cache */
       SMEM__FILL_BY_TWO = 32 << 20 }; /* below, a thread may take longer to start */

int smem__fill_object(const smem__found *found, const smem_spec *spec)
{
    uint64_t size = spec->contents_size, nbytes = found->header.nbytes;
    if (!size || found->object.resident)
        return 0;
    for (uint64_t at = 0; at < nbytes; at += size) {
        uint64_t n = nbytes - at < size ? nbytes - at : size;
        int rc = found->backend->poke(&found->object, spec->contents, (size_t)n,
                                      found->header.data_offset + at);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Pieces are taken by whoever comes first, so a thread that starts late delays nobody
   for longer than its piece takes. */
typedef struct smem__filling {
    char *data;
    const char *contents;
    size_t nbytes, period;
    bool streams;
    _Atomic size_t next;
} smem__filling;

static void smem__fill_piece(const smem__filling *filling, size_t at, size_t end)
{
    while (at < end) {
        size_t from = at % filling->period, n = filling->period - from;
        n = n < end - at ? n : end - at;
        if (filling->streams)
            smem__stream(filling->data + at, filling->contents + from, n);
        else
            memcpy(filling->data + at, filling->contents + from, n);
        at += n;
    }
}

static void *smem__fill_pieces(void *arg)
{
    smem__filling *filling = arg;
    size_t at;
    while ((at = atomic_fetch_add(&filling->next, SMEM__FILL_PIECE)) < filling->nbytes) {
        size_t end = at + SMEM__FILL_PIECE;
        smem__fill_piece(filling, at, end < filling->nbytes ? end : filling->nbytes);
    }
    return NULL;
}

/* [contents], [period] bytes of them, again and again. */
static void smem__fill_from(const smem_context *ctx, void *data, size_t nbytes,
                            const void *contents, size_t period)
{
    pthread_t second;
    smem__filling filling = {.data = data,
                             .contents = contents,
                             .nbytes = nbytes,
                             .period = period,
                             .streams = nbytes >= SMEM__FILL_STREAMS};
    bool two = nbytes >= SMEM__FILL_BY_TWO && atomic_load(&ctx->threads) != 1 &&
               smem__start_beside(smem__fill_pieces, &filling, &second);
    smem__fill_pieces(&filling);
    if (two) {
        int before = smem__no_cancel();
        pthread_join(second, NULL);
        smem__cancel_as(before);
    }
}

void smem__fill_mapped(const smem_context *ctx, void *data, uint64_t nbytes,
                       const smem_spec *spec)
{
    if (spec->contents_size)
        smem__fill_from(ctx, data, (size_t)nbytes, spec->contents, (size_t)spec->contents_size);
    else if (!(spec->flags & SMEM_UNINITIALIZED))
        memset(data, 0, (size_t)nbytes);
}

int smem_fill(smem_segment *segment, const void *contents, uint64_t nbytes)
{
    if (segment->mode == SMEM_READ_ONLY || nbytes > segment->info.nbytes)
        return SMEM_E_ARGUMENT;
    if (nbytes)
        smem__fill_from(segment->ctx, smem_data(segment), (size_t)nbytes, contents, (size_t)nbytes);
    return 0;
}

void smem_limit_threads(smem_context *ctx, unsigned threads)
{
    atomic_store(&ctx->threads, threads);
}
