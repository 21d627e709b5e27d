/*
 * The memory of a queue: what begins as zero bytes and every process maps.
 *
 *   offset width  field       who writes it
 *        0     4  shut        1: no more puts; never 0 again
 *        4     4  done        items that were reported done, modulo 2**32
 *       64        put side    lock, position, event, sleepers, far
 *      128        get side    the same
 *      192        slots       slots x 2 uint64: where each item ends, and its charge
 *                 items       a ring of [room] bytes
 *
 * Its geometry stands in the dtype of the segment, which is in the header before
 * anybody can find it (sync.c); so new zero bytes are an empty queue, and there is
 * no moment at which it is half made:
 *
 *   [('queue-3 LIMIT ROOM SPARE', '|V1')]
 *
 * [limit] items at most, [room] bytes for them, a power of two, and [spare] bytes
 * kept for each item that may still come. There are as many slots as the first
 * power of two above the limit.
 *
 * An item is charged its bytes, and [spare] at least; charges are summed up as the
 * ends are. So charges in the queue + spare x (limit - items) never exceed the
 * room, and an item of up to [spare] bytes fits whenever a slot is free. Were it
 * charged what it takes, each small item that is taken would leave the others
 * that may come with less than what was kept for them.
 *
 * One word publishes. [put.position] counts the items that were ever put and
 * [get.position] those that were taken; slot i mod slots says at which byte of
 * an endless tape item i ends, so that it begins where i - 1 ends. A producer
 * writes bytes, then the slot, then its position (release); a consumer copies
 * the bytes out and then moves its own position (release). Between any two of
 * these stores the queue is whole: who dies in front of the last one has put, or
 * taken, nothing, and there is nothing to mend when its lock is taken over.
 *
 * [far] is where the other side was at the last look, kept so that a core does not
 * ask for the other's line of memory at each item. Positions only grow, so it is
 * never ahead: a producer sees fewer free slots than there are, a consumer fewer
 * items, and either looks anew before it says that there is none.
 *
 * The slot before the first item in the queue is still read (it is where that
 * item begins), hence never more than slots - 1 items.
 *
 * Positions and slots are checked at each use: whatever another process writes
 * there, no byte outside is touched.
 */
#ifndef SMEM_QUEUE_H
#define SMEM_QUEUE_H

#include "sharedmem.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct smem__queue_side {
    smem_lock lock;
    _Atomic uint64_t position; /* changed by the holder of the lock only */
    _Atomic uint32_t event;    /* changes with it; the other side sleeps on it */
    _Atomic uint32_t sleepers; /* on [event]; too high by those who were killed asleep */
    _Atomic uint64_t far;      /* changed by the holder of the lock only */
} smem__queue_side;

typedef struct smem__queue_slot {
    _Atomic uint64_t end, charged; /* both of all items up to this one */
} smem__queue_slot;

typedef struct smem__queue {
    _Atomic uint32_t shut, done;
    _Alignas(64) smem__queue_side put;
    _Alignas(64) smem__queue_side get;
    _Alignas(64) smem__queue_slot slots[];
} smem__queue;

_Static_assert(offsetof(smem__queue, put) == 64, "the table above is the format");
_Static_assert(offsetof(smem__queue, get) == 128, "the table above is the format");
_Static_assert(offsetof(smem__queue, slots) == 192, "the table above is the format");

#endif
