#include "segment/share.h"

#include <errno.h>
#include <stdatomic.h>

enum { SMEM__SHARES_AT = 1024 };

static uint64_t smem__share_offset(int slot)
{
    return SMEM__SHARES_AT + (uint64_t)slot * sizeof(uint64_t);
}

static int smem__share_write(const smem__file *file, int slot, uint64_t bytes)
{
    return smem__file_write(file, &bytes, sizeof bytes, smem__share_offset(slot));
}

int smem__share_claim(const smem__file *file, uint64_t bytes)
{
    for (int slot = 0; slot < SMEM__SHARES; slot++)
        if (smem__file_lock(file, SMEM__EXCLUSIVE, SMEM__BYTE_SHARES + (uint64_t)slot) == 0) {
            smem__share_write(file, slot, bytes);
            return slot;
        }
    return -1;
}

static bool smem__share_exceeds(const _Atomic uint64_t *shares, int slot, uint64_t bytes,
                                uint64_t bound)
{
    uint64_t all = bytes;
    for (int i = 0; i < SMEM__SHARES && all <= bound; i++) {
        uint64_t share = i == slot ? 0 : atomic_load(&shares[i]);
        all = share > bound ? bound + 1 : all + share;
    }
    return all > bound;
}

/* Publish what is asked for, then observe what the others have: the other way
   round two that ask at once would both get it. */
int smem__share_set(void *page, int slot, uint64_t bytes, uint64_t bound)
{
    _Atomic uint64_t *shares = (_Atomic uint64_t *)(void *)((char *)page + SMEM__SHARES_AT);
    uint64_t before = atomic_load(&shares[slot]);
    if (bytes > before && smem__share_exceeds(shares, slot, bytes, bound))
        return -ENOSPC; /* a vain claim would get the others refused */
    atomic_store(&shares[slot], bytes);
    if (bytes <= before || !smem__share_exceeds(shares, slot, bytes, bound))
        return 0;
    atomic_store(&shares[slot], before);
    return -ENOSPC;
}

/* Under the slot's own lock: who takes it in between would lose what it says. */
void smem__share_tidy(const smem__file *file)
{
    uint64_t shares[SMEM__SHARES];
    if (smem__file_read(file, shares, sizeof shares, SMEM__SHARES_AT) != 0)
        return;
    for (int slot = 0; slot < SMEM__SHARES; slot++) {
        uint64_t byte = SMEM__BYTE_SHARES + (uint64_t)slot;
        if (!shares[slot] || smem__file_lock(file, SMEM__EXCLUSIVE, byte) != 0)
            continue;
        smem__share_write(file, slot, 0);
        smem__file_lock(file, SMEM__UNLOCKED, byte);
    }
}
