/*
 * What a new segment begins with, the fastest way.
 *
 * Three ways, by what the pages are (doc/explanation/performance.rst has figures):
 * new and small, they are written by the kernel, which need not clear them first nor
 * map them; there already (recycled, or huge), they are copied to, past the caches where those are
 * too small, and by two threads where that is enough work to pay for the second one.
 * Zeros need nothing when new.
 */
#ifndef SMEM_FILL_H
#define SMEM_FILL_H

#include "segment/lookup.h"

/* Write the contents of [spec] into a new object; nothing if its pages are there. */
int smem__fill_object(const smem__found *found, const smem_spec *spec);

/* Fill mapped pages that are there. */
void smem__fill_mapped(const smem_context *ctx, void *data, uint64_t nbytes,
                       const smem_spec *spec);

#endif
