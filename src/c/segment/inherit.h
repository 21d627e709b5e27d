/*
 * What a forked child makes of the mappings that it inherits. They are shared, as
 * the arrays in them are; but what was handed over is one owner's alone, and the child
 * is another process: of that it has a copy (smem_copy_at_fork()).
 */
#ifndef SMEM_INHERIT_H
#define SMEM_INHERIT_H

#include "segment/context.h"

/* In the child, before anything else touches what is mapped. No malloc. */
void smem__inherit(smem_context *ctx);

#endif
