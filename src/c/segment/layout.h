/*
 * The format of a segment.
 *
 *   offset width  field         meaning
 *        0     8  magic         "\x93SHMEM\r\n"; zero while half-made (sysv)
 *        8     4  version       of this format
 *       12     4  stamp         of sizes and alignments (SMEM__STAMP)
 *       16     4  byte_order    0x01020304 as the maker writes it
 *       20     4  flags         SMEM_PERSISTENT, SMEM__RECYCLABLE; upper half: loose uses
 *       24     8  size          bytes of the whole segment
 *       32     8  data_offset   a multiple of the maker's page size
 *       40     8  nbytes        bytes of data
 *       48    16  boot          boot id
 *       64     8  nonce         random; never 0
 *       72     4  family        tag of the maker's family
 *       76     4  journal       1 + slot in the user's journal (sysv), or 0
 *       80     8  start         of element (0, ..., 0) within the data
 *       88     8  itemsize      bytes
 *       96     8  created       seconds since 1970
 *      104     4  ndim          0 to 64
 *      108     4  dtype_length  bytes at 3136
 *      112     4  name_length   bytes at 256
 *      116     4  state         0 published, 1 private to its maker, 2 idle, 3 without a name
 *      120     8  place         st_dev of the directory with the maker's families
 *      128    24  lock          the array's own (lock.c)
 *      152    24  writer        who writes a frame (frame.c)
 *      176     8  sequence      frames written << 1 | being written
 *      184     4  viewers       how many may sleep for a frame
 *      188     4  spare
 *      192    64  reserved      zero
 *      256   256  name          not NUL-terminated
 *      512   512  shape         64 x int64
 *     1024   512  strides       64 x int64, bytes
 *     1536  1536  tickets       96 books of 16 bytes (ticket.h)
 *     3072    64  pins          16 family tags (ticket.h)
 *     3136     -  dtype         NumPy's descr text, not NUL-terminated
 *   data_offset   -  data
 *
 * Who writes: the maker writes all of it before the segment can be found (on
 * sysv the magic comes last); afterwards only tickets, pins, [state] and the
 * reserved bytes change, and [journal] when a lost journal was made anew, and
 * [flags] when it is made persistent and when a process leaves while it uses it.
 * While a segment is not published all of it belongs to the one process that has
 * it (cache.h). Numbers are in the maker's byte order: a segment never leaves its
 * machine.
 *
 * A header is valid when (header.c checks in this order)
 *   1  magic, byte order, version and stamp are ours;
 *   2  size is the kernel's size of the object, and at least data_offset + nbytes;
 *   3  data_offset >= 3136 + dtype_length, a multiple of 4096; dtype_length <=
 *      SMEM_DTYPE_MAX;
 *   4  1 <= name_length <= SMEM_NAME_MAX, ndim <= 64, nonce is not 0;
 *   5  no extent is negative, and every element lies within the data.
 * It is read once into private memory, and only that copy is believed.
 */
#ifndef SMEM_LAYOUT_H
#define SMEM_LAYOUT_H

#include "sharedmem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SMEM__VERSION = SMEM_FORMAT,
    SMEM__BYTE_ORDER = 0x01020304,
    SMEM__BOOKS = 96,
    SMEM__PINS = 16,
    SMEM__DTYPE_AT = 3136
};

/* Only what is published can be attached. */
enum smem__state { SMEM__PUBLISHED = 0,
                   SMEM__PRIVATE = 1,
                   SMEM__IDLE = 2,
                   SMEM__NAMELESS = 3 }; /* a hint: idle mappings of it may go */

/*
 * Header flags. RECYCLABLE: made without a name of the user's, for its owner alone,
 * with its pages reserved; what is recycled must have been like that. The upper half
 * counts mappings that may be used though they hold no lock: of processes that leave
 * (lifetime.c). Counted, not one bit: a process that comes back must not speak for
 * another that is leaving. One that is killed while it counts leaves the count too high: then the
 * segment is not given out again. Once full it stays full.
 */
enum { SMEM__RECYCLABLE = 0x100,
       SMEM__LOOSE_ONE = 0x10000 };

#define SMEM__MAGIC "\x93SHMEM\r\n"

typedef struct smem__book {
    _Atomic uint64_t word; /* serial, given out, in flight: ticket.c */
    _Atomic uint32_t family;
    _Atomic uint32_t since; /* seconds since 1970 of the first ticket */
} smem__book;

typedef struct smem__layout {
    char magic[8];
    uint32_t version, stamp, byte_order, flags;
    uint64_t size, data_offset, nbytes;
    uint8_t boot[16];
    uint64_t nonce;
    uint32_t family, journal;
    uint64_t start, itemsize;
    int64_t created;
    uint32_t ndim, dtype_length, name_length;
    _Atomic uint32_t state;
    uint64_t place;
    smem_lock lock;
    smem_lock writer;
    _Atomic uint64_t sequence;
    _Atomic uint32_t viewers, spare;
    uint8_t reserved[64];
    char name[256];
    int64_t shape[SMEM_NDIM_MAX], strides[SMEM_NDIM_MAX];
    smem__book books[SMEM__BOOKS];
    _Atomic uint32_t pins[SMEM__PINS];
} smem__layout;

/* May its pages be emptied, or given out again? The caller has it claimed, or alone. */
static inline bool smem__may_recycle(const smem__layout *header)
{
    uint32_t flags = __atomic_load_n(&header->flags, __ATOMIC_SEQ_CST);
    return (flags & SMEM__RECYCLABLE) && !(flags & SMEM_PERSISTENT) && flags < SMEM__LOOSE_ONE;
}

/* Two builds that lay the header out differently refuse each other. */
#define SMEM__STAMP                                                                   \
    ((uint32_t)(sizeof(smem__layout) << 16 ^ _Alignof(smem__layout) << 12 ^           \
                offsetof(smem__layout, books) << 4 ^ sizeof(smem__book) ^ SMEM__BOOKS))

_Static_assert(sizeof(smem__layout) == SMEM__DTYPE_AT, "the table above is the format");
_Static_assert(offsetof(smem__layout, boot) == 48, "the table above is the format");
_Static_assert(offsetof(smem__layout, nonce) == 64, "the table above is the format");
_Static_assert(offsetof(smem__layout, ndim) == 104, "the table above is the format");
_Static_assert(offsetof(smem__layout, state) == 116, "the table above is the format");
_Static_assert(offsetof(smem__layout, lock) == 128, "the table above is the format");
_Static_assert(offsetof(smem__layout, sequence) == 176, "the table above is the format");
_Static_assert(offsetof(smem__layout, name) == 256, "the table above is the format");
_Static_assert(offsetof(smem__layout, shape) == 512, "the table above is the format");
_Static_assert(offsetof(smem__layout, strides) == 1024, "the table above is the format");
_Static_assert(offsetof(smem__layout, books) == 1536, "the table above is the format");
_Static_assert(offsetof(smem__layout, pins) == 3072, "the table above is the format");

#endif
