/* One mapping of one segment, and its place in the process's table. */
#ifndef SMEM_SEGMENT_H
#define SMEM_SEGMENT_H

#include "segment/lookup.h"

/* What every operation that changes something does first; ends with
   smem__end(). */
int smem__begin_change(smem_context *ctx);

/* As above, for what maps a segment: from then on something may be left behind. */
int smem__begin_mapping(smem_context *ctx);

/* Map what was found or made. It is not in the table yet. */
int smem__map_new(smem_context *ctx, smem__found *found, int mode, smem_segment **out);
/* Undo that. */
void smem__unmap_new(smem_segment *segment);
/* Free what describes a mapping that is gone, or is somebody else's now. */
void smem__segment_free(smem_segment *segment);
/* Unmap what is not in the table, and free its memory if it was the last. */
void smem__drop(smem_context *ctx, smem_segment *segment);

/* Put it into the table; when the process has this segment already in this
   mode, [out] is that one and [segment] is gone. On failure it is dropped. */
int smem__table_enter(smem_context *ctx, smem_segment *segment, smem_segment **out);

#endif
