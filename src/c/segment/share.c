#include "segment/share.h"

#include <errno.h>
#include <stdatomic.h>

enum { SMEM__BYTE_SHARES = 64,
       SMEM__SHARES_AT = 1024 };

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

int smem__share_set(void *page, int slot, uint64_t bytes, uint64_t bound)
{
    _Atomic uint64_t *shares = (_Atomic uint64_t *)(void *)((char *)page + SMEM__SHARES_AT);
    uint64_t all = bytes;
    for (int i = 0; i < SMEM__SHARES; i++) {
        uint64_t share = i == slot ? 0 : atomic_load_explicit(&shares[i], memory_order_relaxed);
        if (all <= bound)
            all = share > bound ? bound + 1 : all + share;
    }
    /* Two that ask at once may both get it: what is bounded is memory, not to the byte. */
    if (all > bound && bytes > shares[slot])
        return -ENOSPC;
    shares[slot] = bytes;
    return 0;
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
