#include "segment/share.h"

#include <errno.h>

enum { SMEM__SHARES_AT = 1024 };

static uint64_t smem__share_offset(int slot)
{
    return SMEM__SHARES_AT + (uint64_t)slot * sizeof(uint64_t);
}

static int smem__share_write(const smem__file *file, int slot, uint64_t bytes)
{
    return smem__file_write(file, &bytes, sizeof bytes, smem__share_offset(slot));
}

int smem__share_claim(const smem__file *file)
{
    for (int slot = 0; slot < SMEM__SHARES; slot++)
        if (smem__file_lock(file, SMEM__EXCLUSIVE, SMEM__BYTE_SHARES + (uint64_t)slot) == 0) {
            smem__share_write(file, slot, 0);
            return slot;
        }
    return -1;
}

int smem__share_set(const smem__file *file, int slot, uint64_t bytes, uint64_t bound)
{
    uint64_t shares[SMEM__SHARES], all = bytes;
    int rc = smem__file_read(file, shares, sizeof shares, SMEM__SHARES_AT);
    if (rc != 0)
        return rc;
    for (int i = 0; i < SMEM__SHARES; i++)
        if (i != slot && all <= bound)
            all = shares[i] > bound ? bound + 1 : all + shares[i];
    /* Two that ask at once may both get it: what is bounded is memory, not to the byte. */
    if (all > bound && bytes > shares[slot])
        return -ENOSPC;
    return smem__share_write(file, slot, bytes);
}

void smem__share_tidy(const smem__file *file)
{
    uint64_t shares[SMEM__SHARES];
    if (smem__file_read(file, shares, sizeof shares, SMEM__SHARES_AT) != 0)
        return;
    for (int slot = 0; slot < SMEM__SHARES; slot++)
        if (shares[slot] && smem__file_locked(file, SMEM__BYTE_SHARES + (uint64_t)slot) == 0)
            smem__share_write(file, slot, 0);
}
