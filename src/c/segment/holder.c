#include "segment/holder.h"

#include "base/point.h"
#include "segment/record.h"

#include <errno.h>

/* Beyond the namespaces' bytes (record.h). */
static const uint64_t smem__byte_holders = (uint64_t)1 << 40;

enum { SMEM__RANDOM_BITS = 14, /* of a number; the others say whose it is */
       SMEM__PID_BITS = 22 };  /* PID_MAX_LIMIT */

/* Of [bits] bits: a process of this PID namespace and no other, for all that is likely. */
static uint32_t smem__holder_hash(const smem__place *place, int pid, uint64_t salt, unsigned bits)
{
    uint64_t mixed = place->pid_space << 32 ^ (uint64_t)(uint32_t)pid ^ salt;
    mixed = (mixed ^ mixed >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)(mixed >> (64 - bits));
}

static uint32_t smem__holder_whose(const smem__place *place, int pid)
{
    return smem__holder_hash(place, pid, 0, 30 - SMEM__RANDOM_BITS);
}

uint32_t smem__holder_claim(const smem__place *place, const smem__file *file)
{
    enum { TURNS = 8 };
    uint32_t whose = smem__holder_whose(place, smem__process_self()) << SMEM__RANDOM_BITS;
    for (int turn = 0; turn < TURNS; turn++) {
        uint32_t number;
        if (smem__random(&number, sizeof number) != 0)
            return 0;
        number = whose | (number & ((1u << SMEM__RANDOM_BITS) - 1));
        if (number == 0)
            continue;
        int rc = smem__holder_keep(file, number);
        if (rc == 0)
            return number;
        if (rc != -EAGAIN)
            return 0;
    }
    return 0;
}

int smem__holder_keep(const smem__file *file, uint32_t number)
{
    return smem__file_lock(file, SMEM__EXCLUSIVE, smem__byte_holders + number);
}

/* The number's half and the rest of [process] both say whose it is: what an earlier
   holder has left there is not taken for this one's. */
static uint32_t smem__holder_process(const smem__place *place, uint64_t holder)
{
    uint32_t pid = (uint32_t)smem__process_self();
    if (!place->pid_space || pid >> SMEM__PID_BITS)
        return 0;
    return smem__holder_hash(place, (int)pid, holder, 32 - SMEM__PID_BITS) << SMEM__PID_BITS | pid;
}

int smem__holder_pid(const smem__place *place, uint64_t state, uint32_t process)
{
    int pid = (int)(process & ((1u << SMEM__PID_BITS) - 1));
    uint64_t holder = state & SMEM__HOLDER;
    bool here = pid && place->pid_space &&
                smem__holder_whose(place, pid) == (holder & SMEM__NUMBER) >> SMEM__RANDOM_BITS &&
                smem__holder_hash(place, pid, holder, 32 - SMEM__PID_BITS) ==
                    process >> SMEM__PID_BITS;
    return here ? pid : 0;
}

void smem__holder_publish(smem_context *ctx)
{
    const smem__family *family = &ctx->family;
    uint64_t holder = (uint64_t)family->edition << 32 | family->number;
    atomic_store(&ctx->process, smem__holder_process(&ctx->place, holder));
    atomic_store(&ctx->holder, family->pin && family->number ? holder : 0);
}

/* Who takes a lock counts it first and reads [holder] then: either he finds no
   holder, or he is counted here. */
bool smem__holder_retire(smem_context *ctx)
{
    uint64_t holder = atomic_exchange(&ctx->holder, 0);
    if (atomic_load(&ctx->held) == 0)
        return true;
    atomic_store(&ctx->holder, holder);
    return false;
}

/* A member without a number: the file was removed, or a lock could not be had. */
static void smem__holder_renew(smem_context *ctx)
{
    pthread_rwlock_wrlock(&ctx->fork_lock);
    if (ctx->family.pin && !ctx->family.number) {
        pthread_mutex_lock(&ctx->table_lock);
        smem__family_restore(&ctx->place, ctx->parent, &ctx->family);
        if (!ctx->family.number)
            smem__family_renew(&ctx->place, &ctx->family);
        pthread_mutex_unlock(&ctx->table_lock);
    }
    smem__holder_publish(ctx);
    pthread_rwlock_unlock(&ctx->fork_lock);
}

int smem__holder_self(smem_context *ctx, uint64_t *out)
{
    smem__participate(ctx);
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    smem__end(ctx);
    *out = atomic_load(&ctx->holder);
    if (*out == 0) {
        smem__holder_renew(ctx);
        *out = atomic_load(&ctx->holder);
    }
    return *out ? 0 : -ENOLCK;
}

typedef struct smem__holder_query {
    const smem__place *place;
    uint32_t edition; /* 0: any */
    uint64_t byte;
} smem__holder_query;

enum { SMEM__ANOTHER = 0, /* file */
       SMEM__HELD,
       SMEM__NOT_HELD };

/* Is the byte locked in this file, if it is of that edition? */
static int smem__holder_look(const smem__holder_query *query, const char *name)
{
    smem__record record;
    char path[SMEM__PATH_MAX];
    smem__file file;
    int rc = smem__place_path(query->place, query->place->uid, 'f', name, path);
    if (rc == 0)
        rc = smem__file_open(path, query->place->uid, false, &file);
    if (rc != 0) /* a stranger's, or gone; else it might be the one */
        return rc == -ENOENT || rc == SMEM_E_SECURITY ? SMEM__ANOTHER : rc;
    rc = smem__record_read(&file, &record);
    if (rc == 0 && (!query->edition || query->edition == record.edition)) {
        rc = smem__file_locked(&file, query->byte);
        rc = rc < 0 ? rc : rc == SMEM__UNLOCKED ? SMEM__NOT_HELD
                                                : SMEM__HELD;
    }
    smem__file_close(&file);
    return rc == SMEM_E_FORMAT ? SMEM__ANOTHER : rc;
}

static int smem__holder_look_in(void *arg, const char *name)
{
    return smem__holder_look(arg, name);
}

static int smem__holder_look_anywhere(void *arg, const char *name)
{
    int rc = smem__holder_look(arg, name);
    return rc == SMEM__NOT_HELD ? SMEM__ANOTHER : rc;
}

/* By the file that the byte was locked in. Its own family's first: mostly that is it,
   and the others need not be looked at. */
static int smem__holder_by_file(smem_context *ctx, uint32_t edition, uint64_t byte)
{
    smem__holder_query query = {.place = &ctx->place, .edition = edition, .byte = byte};
    int rc = smem__holder_look(&query, ctx->family.name);
    if (rc == SMEM__ANOTHER)
        rc = smem__place_each(&ctx->place, 'f', smem__holder_look_in, &query);
    if (rc < 0 || rc == SMEM__HELD)
        return rc;
    query.edition = 0; /* has it moved? */
    int moved = smem__place_each(&ctx->place, 'f', smem__holder_look_anywhere, &query);
    return moved ? moved : rc;
}

/* There is no such file. A process that holds no byte by which a list could be told to be
   worth anything believes what is there only. */
static int smem__holder_by_list(const smem_context *ctx, uint64_t byte)
{
    uint64_t own = atomic_load(&ctx->holder) & SMEM__NUMBER;
    if (!smem__byte_locks())
        return -ENODATA;
    int rc = smem__byte_is_listed(SMEM__EXCLUSIVE, byte,
                                  own ? smem__byte_holders + own : SMEM__UNKNOWN_BYTE);
    return rc < 0 ? rc : rc == 1 ? SMEM__LIVES
                     : own       ? SMEM__DEAD
                                 : -ENODATA;
}

int smem__holder_lives(smem_context *ctx, uint64_t state, uint32_t process)
{
    uint64_t byte = smem__byte_holders + (state & SMEM__NUMBER);
    if ((state & SMEM__HOLDER) == atomic_load(&ctx->holder))
        return SMEM__LIVES;
    int pid = smem__holder_pid(&ctx->place, state, process);
    if (pid && smem__process_is_gone(pid))
        return SMEM__DEAD;
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    rc = smem__holder_by_file(ctx, (uint32_t)(state >> 32), byte);
    if (rc == SMEM__ANOTHER)
        rc = smem__holder_by_list(ctx, byte);
    else if (rc > 0)
        rc = rc == SMEM__HELD ? SMEM__LIVES : SMEM__DEAD;
    smem__end(ctx);
    return rc >= 0 ? rc : pid ? SMEM__LIVES
                              : SMEM__UNSEEN;
}
