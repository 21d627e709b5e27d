/* Making and checking headers. Pure functions on bytes. */
#ifndef SMEM_HEADER_H
#define SMEM_HEADER_H

#include "segment/layout.h"

#include <stdbool.h>

/*
 * Fill [out] (zeroed by the caller, which adds name, nonce, boot, family and
 * time) from [spec]. SMEM_E_SIZE, SMEM_E_ARGUMENT.
 */
int smem__header_make(const smem_spec *spec, size_t page, smem__layout *out);

/* May what is made like this be given out again? */
bool smem__spec_is_recyclable(const smem_spec *spec);

/* Is this private copy valid for an object of [size] bytes? SMEM_E_FORMAT,
   SMEM_E_VERSION. */
int smem__header_check(const smem__layout *header, uint64_t size);

/* Copy a valid header's facts; [dtype] is not NUL-terminated. -ENOMEM. */
int smem__header_info(const smem__layout *header, const char *dtype, smem_info *out);

/* Does every element of this array lie within [nbytes] bytes of data? */
int smem__extent_check(int ndim, const int64_t *shape, const int64_t *strides,
                       uint64_t itemsize, uint64_t start, uint64_t nbytes);

#endif
