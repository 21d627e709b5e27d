/*
 * What one process knows: its place, its family, and what it has mapped.
 *
 * Two locks. [fork_lock] is held shared by every operation that has an fd or a
 * kernel lock in its hands, and exclusively while the process forks: a child
 * must not inherit an open file whose lock nobody in it would ever give back.
 * [table_lock] guards the table, the references of its segments, and the list
 * of refused tests; it is held for a few instructions, and over system calls
 * only when the process leaves, or asks for another share of idle memory. Order: fork_lock, then table_lock. No callback
 * runs under either.
 */
#ifndef SMEM_CONTEXT_H
#define SMEM_CONTEXT_H

#include "os/backend.h"
#include "segment/family.h"
#include "segment/layout.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct smem_segment {
    smem_context *ctx;
    const smem__backend *backend;
    unsigned candidate;
    int mode;
    smem__mapping mapping;
    smem_info info;      /* a checked copy, never the live header */
    _Atomic bool nameless; /* this process took the name away, or saw it gone */
    bool spared;         /* stale when an observer attached it: let others free it */
    unsigned references; /* table_lock */
    smem_segment *next;  /* in its bucket or bin; table_lock */
    smem_segment *next_named; /* in its bucket by name; table_lock */
    bool recyclable;     /* made so (SMEM__RECYCLABLE); whether it is its header says */
    _Atomic bool loose;  /* used since the process left: its mapping holds no lock (lifetime.c) */
    bool copied_at_fork; /* inherit.h; table_lock */
    uint64_t forks;      /* ctx->forks when it was made */
    uint64_t loosened;   /* ctx->forks when its use without a lock was counted; table_lock */
    smem_segment *older, *newer; /* while idle; table_lock */
    bool away;           /* idle, mapped and not held: others use it or will (cache.h) */
    uint64_t attached_at; /* by the cache's clock; 0: made here, of new or idle memory */
    uint64_t idle_since;  /* by that clock, too; both table_lock */
};

/* Idle segments: cache.h. */
enum { SMEM__CACHE_BINS = 48 };

typedef struct smem__cache {
    smem_segment *bins[SMEM__CACHE_BINS]; /* by the logarithm of the size */
    smem_segment *away;    /* linked by [next] */
    smem_segment *oldest, *newest;
    smem_segment *spare; /* inherited structs, to be freed */
    uint64_t bytes, bound; /* bound: of the family, all together */
    _Atomic unsigned count; /* those away included, as in [bytes]; a look without table_lock is a hint */
    _Atomic unsigned away_count; /* likewise */
    uint64_t away_bytes;
    uint64_t reused, kept, evicted, returned;
    uint64_t clock; /* ticks when something is attached or becomes idle */
} smem__cache;

/* A test that was refused: a child between fork and exec refuses it for a
   moment. Repeated once, at the next call that comes late enough. */
typedef struct smem__refused {
    const smem__backend *backend;
    unsigned candidate;
    int64_t kernel_id;
    uint64_t nonce, at_us;
    char name[SMEM_NAME_MAX + 1];
} smem__refused;

enum { SMEM__REFUSED_MAX = 32 };

/* What was done; read at any time. */
typedef struct smem__counts {
    _Atomic uint64_t created, attached, reclaimed, reclaimed_bytes;
} smem__counts;

struct smem_context {
    smem__place place;
    pthread_rwlock_t fork_lock;
    pthread_mutex_t table_lock;
    smem__family family;     /* changed under fork_lock exclusive; pin and inode of a
                                restored file under table_lock */
    uint32_t dying;          /* tag of a family that this process is ending */
    uint32_t guarded;        /* the reaper's: tag of a family that was seen to live */
    _Atomic uint64_t holder; /* holder.h: tag and number, 0: none; changed under fork_lock exclusive,
                                or table_lock when a number is had that was missing */
    _Atomic uint32_t process; /* what a lock says of it (holder.h); written before [holder] */
    _Atomic unsigned held;   /* locks that this process holds, or is about to take */
    bool stays;              /* it left while it held locks: it is a member to its end */
    int parent;
    _Atomic bool observes;   /* looks only: in no family until smem__participate() */
    smem_segment **buckets;  /* by nonce; table_lock */
    smem_segment **named;    /* by name, as many */
    size_t bucket_count, count;
    uint64_t mapped_bytes;   /* of what is in it; table_lock */
    smem__counts counts;
    smem__refused refused[SMEM__REFUSED_MAX]; /* table_lock */
    _Atomic unsigned refused_count; /* table_lock; read without it as a hint */
    _Atomic uint64_t next_sweep_us;
    smem__cache cache;       /* table_lock */
    _Atomic unsigned threads; /* that a copy may use, 0: as many as pay */
    uint64_t forks;          /* of this process; changed under fork_lock exclusive */
    char *reaper;            /* the program, or NULL */
    _Atomic uint64_t next_reaper_us; /* when to see whether it still lives */
    _Atomic uint64_t journal_inode; /* of the journal our SysV segments stand in */
    smem_context *next;      /* all contexts of the process, for fork */
};

/* What an observer does first when others will count on it. */
void smem__participate(smem_context *ctx);

/* Enter and leave an operation: joins a family again after smem_leave(). */
int smem__begin(smem_context *ctx);
void smem__end(smem_context *ctx);

/* ---- table (caller holds table_lock) ------------------------------------- */

/* What is loose is not found: nothing new may come to depend on it. */
smem_segment *smem__table_find(smem_context *ctx, const smem__backend *backend, uint64_t nonce,
                               int mode);
/* By its name, whether that still leads to it or not. */
smem_segment *smem__table_named(smem_context *ctx, const char *name, int backend, int mode);
int smem__table_add(smem_context *ctx, smem_segment *segment);
void smem__table_remove(smem_context *ctx, smem_segment *segment);

#endif
