#include "segment/reaper.h"

#include <stdlib.h>
#include <string.h>

enum { SMEM__REAPER_LOOK_US = 1000000,
       SMEM__REAPER_RETRY_US = 60000000 };

char *smem__reaper_program(const char *given)
{
#ifdef SMEM_REAPER_PROGRAM
    if (!given)
        given = SMEM_REAPER_PROGRAM;
#endif
    return given && *given ? strdup(given) : NULL;
}

static bool smem__reaper_is_wanted(const smem_context *ctx)
{
    const char *wish = smem__environment("SHAREDMEM_REAPER");
    return ctx->reaper && !(wish && strcmp(wish, "0") == 0);
}

/* Under the exclusive fork_lock: until it executes another program, what is
   started holds copies of this process's fds, locks included. */
static int smem__reaper_start(smem_context *ctx)
{
    char *arguments[] = {"sharedmem-reaper", ctx->place.directory, ctx->family.name, NULL};
    return smem__spawn(ctx->reaper, arguments);
}

void smem__reaper_ensure(smem_context *ctx)
{
    uint64_t now = smem__monotonic_us(), due = atomic_load(&ctx->next_reaper_us);
    if (now < due || !atomic_compare_exchange_strong(&ctx->next_reaper_us, &due,
                                                     now + SMEM__REAPER_LOOK_US))
        return;
    if (!smem__reaper_is_wanted(ctx) || smem__begin(ctx) != 0)
        return;
    smem__end(ctx);
    pthread_rwlock_wrlock(&ctx->fork_lock);
    if (ctx->family.pin && smem__family_is_guarded(&ctx->place, &ctx->family) == 0 &&
        smem__reaper_start(ctx) != 0)
        atomic_store(&ctx->next_reaper_us, now + SMEM__REAPER_RETRY_US);
    pthread_rwlock_unlock(&ctx->fork_lock);
}
