/*
 * The memory of a queue: what smem_queue_format() writes and every process maps.
 *
 *   offset width  field       who writes it
 *        0     8  magic       "SMEMQUE1"; once
 *        8     4  limit       items at most; once
 *       12     4  stamp       of this layout; once
 *       16     8  slots       a power of two above limit; once
 *       24     8  room        bytes for items, a power of two; once
 *       32     8  spare       bytes kept for each item that may still come; once
 *       40     4  shut        1: no more puts; never 0 again
 *       44     4  done        items that were reported done, modulo 2**32
 *       64        put side    lock, position, event, sleepers
 *      128        get side    the same
 *      192        slots       slots x uint64: where each item ends
 *                 items       a ring of [room] bytes
 *
 * One word publishes. [put.position] counts the items that were ever put and
 * [get.position] those that were taken; slot i mod slots says at which byte of
 * an endless tape item i ends, so that it begins where i - 1 ends. A producer
 * writes bytes, then the slot, then its position (release); a consumer copies
 * the bytes out and then moves its own position (release). Between any two of
 * these stores the queue is whole: who dies in front of the last one has put, or
 * taken, nothing, and there is nothing to mend when its lock is taken over.
 *
 * The slot before the first item in the queue is still read (it is where that
 * item begins), hence never more than slots - 1 items.
 *
 * Only smem__queue_open() reads the geometry, and what it has found lawful is
 * kept in the process; positions and slots are checked at each use: whatever
 * another process writes there, no byte outside is touched.
 */
#ifndef SMEM_QUEUE_H
#define SMEM_QUEUE_H

#include "sharedmem.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SMEM__QUEUE_MAGIC "SMEMQUE1"

typedef struct smem__queue_side {
    smem_lock lock;
    _Atomic uint64_t position; /* changed by the holder of the lock only */
    _Atomic uint32_t event;    /* changes with it; the other side sleeps on it */
    _Atomic uint32_t sleepers; /* on [event]; too high by those who were killed asleep */
} smem__queue_side;

typedef struct smem__queue {
    char magic[8];
    uint32_t limit, stamp;
    uint64_t slots, room, spare;
    _Atomic uint32_t shut, done;
    _Alignas(64) smem__queue_side put;
    _Alignas(64) smem__queue_side get;
    _Alignas(64) _Atomic uint64_t ends[];
} smem__queue;

#define SMEM__QUEUE_STAMP \
    ((uint32_t)(sizeof(smem__queue) << 16 ^ sizeof(smem__queue_side) << 8 ^ sizeof(smem_lock)))

_Static_assert(offsetof(smem__queue, put) == 64, "the table above is the format");
_Static_assert(offsetof(smem__queue, get) == 128, "the table above is the format");
_Static_assert(offsetof(smem__queue, ends) == 192, "the table above is the format");

#endif
