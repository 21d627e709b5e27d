#include "segment/holder.h"

#include "base/point.h"
#include "segment/record.h"

#include <errno.h>

/* Beyond the namespaces' bytes (record.h). */
static const uint64_t smem__byte_holders = (uint64_t)1 << 40;

uint32_t smem__holder_claim(const smem__file *file, uint32_t wish)
{
    enum { TURNS = 8 };
    for (int turn = 0; turn < TURNS; turn++) {
        uint32_t number = wish;
        if (number == 0 && smem__random(&number, sizeof number) != 0)
            return 0;
        number &= (uint32_t)SMEM__NUMBER;
        wish = 0;
        if (number == 0)
            continue;
        int rc = smem__file_lock(file, SMEM__EXCLUSIVE, smem__byte_holders + number);
        if (rc == 0)
            return number;
        if (rc != -EAGAIN)
            return 0;
    }
    return 0;
}

void smem__holder_publish(smem_context *ctx)
{
    const smem__family *family = &ctx->family;
    uint64_t holder = (uint64_t)family->tag << 32 | family->number;
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
    uint32_t tag;
    uint64_t byte;
} smem__holder_query;

/* 2: found, and nobody has the byte; 1: somebody has; 0: another family's. */
static int smem__holder_look(void *arg, const char *name)
{
    const smem__holder_query *query = arg;
    smem__record record;
    char path[SMEM__PATH_MAX];
    smem__file file;
    int rc = smem__place_path(query->place, query->place->uid, 'f', name, path);
    if (rc == 0)
        rc = smem__file_open(path, query->place->uid, false, &file);
    if (rc != 0) /* a stranger's, or gone; else it might be the one */
        return rc == -ENOENT || rc == SMEM_E_SECURITY ? 0 : rc;
    rc = smem__record_read(&file, &record);
    if (rc == 0 && record.tag == query->tag) {
        rc = smem__file_locked(&file, query->byte);
        rc = rc < 0 ? rc : rc == SMEM__UNLOCKED ? 2
                                                : 1;
    }
    smem__file_close(&file);
    return rc == SMEM_E_FORMAT ? 0 : rc;
}

/* A family's file goes with its last member: no file, no holder. Unless somebody
   else removed it: then members live who map it still, and one may be the holder. */
int smem__holder_lives(smem_context *ctx, uint64_t state)
{
    if ((state & SMEM__HOLDER) == atomic_load(&ctx->holder))
        return 1;
    smem__holder_query query = {.place = &ctx->place,
                                .tag = (uint32_t)(state >> 32),
                                .byte = smem__byte_holders + (state & SMEM__NUMBER)};
    int rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    if (query.tag == ctx->family.tag) { /* mostly; without a look at all files there are */
        rc = smem__holder_look(&query, ctx->family.name);
        /* A member's own file that cannot be had is there, or was removed and is
           mapped: whatever is said of it proves no death. */
        if (rc == 0 && ctx->family.pin)
            rc = 1;
    }
    if (rc == 0)
        rc = smem__place_each(&ctx->place, 'f', smem__holder_look, &query);
    if (rc == 0)
        rc = smem__removed_is_mapped(&ctx->place, 'f');
    smem__end(ctx);
    return rc == 2 ? 0 : rc;
}
