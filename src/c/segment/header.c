#include "segment/header.h"

#include "base/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int smem__extent_check(int ndim, const int64_t *shape, const int64_t *strides,
                       uint64_t itemsize, uint64_t start, uint64_t nbytes)
{
    int64_t low = 0, high = 0, reach;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0)
            return SMEM_E_SIZE;
    for (int i = 0; i < ndim; i++)
        if (shape[i] == 0)
            return start <= nbytes ? 0 : SMEM_E_SIZE;
    for (int i = 0; i < ndim; i++) {
        if (!smem__mul_signed(shape[i] - 1, strides[i], &reach) ||
            !smem__add_signed(reach < 0 ? low : high, reach, reach < 0 ? &low : &high))
            return SMEM_E_SIZE;
    }
    uint64_t end;
    if (low == INT64_MIN || (uint64_t)-low > start || !smem__add(start, (uint64_t)high, &end) ||
        !smem__add(end, itemsize, &end) || end > nbytes)
        return SMEM_E_SIZE;
    return 0;
}

/* Strides in C order, and the bytes that they need. As in NumPy, extents of
   zero count as one for the strides and make the size zero. */
static int smem__c_strides(const smem_spec *spec, int64_t *strides, uint64_t *nbytes)
{
    uint64_t step = spec->itemsize;
    int empty = 0;
    for (int i = spec->ndim - 1; i >= 0; i--) {
        if (spec->shape[i] < 0 || step > INT64_MAX)
            return SMEM_E_SIZE;
        strides[i] = (int64_t)step;
        empty |= spec->shape[i] == 0;
        if (spec->shape[i] > 0 && !smem__mul(step, (uint64_t)spec->shape[i], &step))
            return SMEM_E_SIZE;
    }
    if (step > INT64_MAX)
        return SMEM_E_SIZE;
    *nbytes = empty ? 0 : step;
    return 0;
}

bool smem__spec_is_recyclable(const smem_spec *spec)
{
    const unsigned not = SMEM_PERSISTENT | SMEM_NO_RESERVE;
    return !spec->name && !(spec->flags & not) &&
           (spec->permissions == 0 || spec->permissions == 0600);
}

int smem__header_make(const smem_spec *spec, size_t page, smem__layout *out)
{
    size_t dtype_length = spec->dtype ? strlen(spec->dtype) : 0;
    uint64_t need;
    if (spec->ndim < 0 || spec->ndim > SMEM_NDIM_MAX || (spec->ndim && !spec->shape) ||
        dtype_length == 0 || dtype_length > SMEM_DTYPE_MAX)
        return SMEM_E_ARGUMENT;
    int rc = smem__c_strides(spec, out->strides, &need);
    if (rc != 0)
        return rc;
    if (spec->ndim) {
        memcpy(out->shape, spec->shape, (size_t)spec->ndim * sizeof *out->shape);
        if (spec->strides)
            memcpy(out->strides, spec->strides, (size_t)spec->ndim * sizeof *out->strides);
    }
    memcpy(out->magic, SMEM__MAGIC, sizeof out->magic);
    out->version = SMEM__VERSION;
    out->stamp = SMEM__STAMP;
    out->byte_order = SMEM__BYTE_ORDER;
    out->flags = spec->flags & SMEM_PERSISTENT;
    if (smem__spec_is_recyclable(spec))
        out->flags |= SMEM__RECYCLABLE;
    out->state = spec->flags & SMEM_UNPUBLISHED && !spec->name ? SMEM__PRIVATE : SMEM__PUBLISHED;
    out->ndim = (uint32_t)spec->ndim;
    out->dtype_length = (uint32_t)dtype_length;
    out->itemsize = spec->itemsize;
    out->start = spec->start;
    out->nbytes = spec->nbytes ? spec->nbytes : need;
    rc = smem__extent_check(spec->ndim, out->shape, out->strides, out->itemsize, out->start,
                            out->nbytes);
    if (rc != 0)
        return rc;
    if (!smem__round_up(SMEM__DTYPE_AT + dtype_length, page, &out->data_offset) ||
        !smem__add(out->data_offset, out->nbytes, &out->size) ||
        !smem__round_up(out->size, page, &out->size) || !smem__is_size(out->size))
        return SMEM_E_SIZE;
    return 0;
}

int smem__header_check(const smem__layout *header, uint64_t size)
{
    uint64_t end;
    if (memcmp(header->magic, SMEM__MAGIC, sizeof header->magic) != 0 ||
        header->byte_order != SMEM__BYTE_ORDER)
        return SMEM_E_FORMAT;
    if (header->version != SMEM__VERSION || header->stamp != SMEM__STAMP)
        return SMEM_E_VERSION;
    if (header->size != size || !smem__add(header->data_offset, header->nbytes, &end) ||
        end > size || header->data_offset % 4096 != 0 || header->dtype_length == 0 || header->dtype_length > SMEM_DTYPE_MAX ||
        header->data_offset < SMEM__DTYPE_AT + (uint64_t)header->dtype_length)
        return SMEM_E_FORMAT;
    if (header->name_length == 0 || header->name_length > SMEM_NAME_MAX ||
        header->ndim > SMEM_NDIM_MAX || header->nonce == 0 ||
        memchr(header->name, 0, header->name_length))
        return SMEM_E_FORMAT;
    return smem__extent_check((int)header->ndim, header->shape, header->strides, header->itemsize,
                              header->start, header->nbytes) == 0
               ? 0
               : SMEM_E_FORMAT;
}

int smem__header_info(const smem__layout *header, const char *dtype, smem_info *out)
{
    char *text = malloc((size_t)header->dtype_length + 1);
    if (!text)
        return -ENOMEM;
    memcpy(text, dtype, header->dtype_length);
    text[header->dtype_length] = '\0';
    *out = (smem_info){.flags = header->flags & SMEM_PERSISTENT,
                       .nonce = header->nonce,
                       .size = header->size,
                       .data_offset = header->data_offset,
                       .nbytes = header->nbytes,
                       .start = header->start,
                       .itemsize = header->itemsize,
                       .created = header->created,
                       .family = header->family,
                       .ndim = (int)header->ndim,
                       .dtype = text};
    memcpy(out->name, header->name, header->name_length);
    memcpy(out->shape, header->shape, header->ndim * sizeof *header->shape);
    memcpy(out->strides, header->strides, header->ndim * sizeof *header->strides);
    return 0;
}

void smem_info_clear(smem_info *info)
{
    free(info->dtype);
    info->dtype = NULL;
}
