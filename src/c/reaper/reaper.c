/*
 * sharedmem-reaper DIRECTORY FAMILY
 *
 * Asleep while nobody dies. When a participant of the family has ended, it frees
 * what nobody can reach any more; when all have, it removes the family's file
 * and ends. It is no participant: it maps nothing and holds no segment.
 *
 * Byte 1 of the family's file is locked from start to end, byte 0 only while
 * nobody else holds it, that is: while the family is dead, or for the moment
 * that it takes to see that it lives through an honorary member.
 */
#include "os/backend.h"

#include "base/point.h"
#include "segment/context.h"
#include "segment/family.h"
#include "segment/sweep.h"

#include <errno.h>

/* The end of a file is reported before the locks of its process are gone: look
   soon, and twice more in case that it took longer: a large process, or one that
   dies on a machine where everybody waits for a processor. Nothing is reported
   after that, so who slept too early would sleep for ever. */
enum { SMEM__SOON_MS = 50,
       SMEM__LATER_MS = 500,
       SMEM__LAST_MS = 5000,
       SMEM__REST = 10,
       SMEM__REST_MAX_MS = 1000 };

typedef struct smem__reaper {
    smem_context ctx; /* a place, and no family: not a participant */
    smem__family family;
    smem__file file;
    smem__watch watch;
} smem__reaper;

/*
 * The family is over, and by now everybody judges it so. Twice, since who looks
 * at a segment hides it for a moment: the reaper of a family that was killed
 * together with this one, say, which may have judged it before.
 */
static void smem__reap_rest(smem__reaper *reaper)
{
    smem_reclaimed ignored;
    smem__sweep(&reaper->ctx, &ignored);
    SMEM__POINT("reaper.swept", "what the dead family kept is gone");
    smem__nap(SMEM__SOON_MS);
    smem__sweep(&reaper->ctx, &ignored);
}

/* Milliseconds to rest, so that many deaths in a row do not make it busy. */
static int smem__reap_some(smem__reaper *reaper)
{
    smem_reclaimed ignored;
    uint64_t start = smem__monotonic_us();
    reaper->ctx.guarded = reaper->family.tag;
    smem__sweep(&reaper->ctx, &ignored);
    reaper->ctx.guarded = 0;
    uint64_t rest = (smem__monotonic_us() - start) * SMEM__REST / 1000;
    if (rest < SMEM__SOON_MS)
        return SMEM__SOON_MS;
    return rest > SMEM__REST_MAX_MS ? SMEM__REST_MAX_MS : (int)rest;
}

/* As smem__family_has_ended(). */
static int smem__reap(smem__reaper *reaper, int *rest)
{
    smem__watch *watch = &reaper->watch;
    int rc = smem__family_has_ended(&reaper->ctx.place, &reaper->family, &reaper->file, watch);
    if (rc == 0)
        *rest = smem__reap_some(reaper);
    return rc;
}

static int smem__guard(smem__reaper *reaper)
{
    int rest = SMEM__SOON_MS, again = SMEM__LATER_MS;
    for (;;) {
        int rc = smem__reap(reaper, &rest);
        if (rc != 0)
            return rc;
        rc = smem__watch_wait(&reaper->watch, again);
        if (rc < 0)
            return rc;
        again = rc == 1                   ? SMEM__LATER_MS
                : again == SMEM__LATER_MS ? SMEM__LAST_MS
                                          : -1;
        if (rc == 1)
            smem__nap((unsigned)rest);
    }
}

/* Without inotify (a user may have 128 of them): at least the end of the family. */
static int smem__wait_for_end(smem__reaper *reaper)
{
    int rc, rest;
    while ((rc = smem__family_wait(&reaper->file)) == 0 && (rc = smem__reap(reaper, &rest)) == 0)
        smem__watch_wait(&reaper->watch, SMEM__REST_MAX_MS); /* for an honorary member */
    return rc;
}

/* Until no member holds the file that this reaper has opened. */
static void smem__serve(smem__reaper *reaper, const char *path)
{
    int rc;
    SMEM__POINT("reaper.guarding", "byte 1 of the family's file is held");
    if (smem__watch_open(path, &reaper->watch) == 0)
        rc = smem__guard(reaper);
    else
        rc = smem__wait_for_end(reaper);
    smem__watch_close(&reaper->watch);
    if (rc == 1)
        smem__family_bury(&reaper->ctx.place, &reaper->family, &reaper->file);
    else
        smem__file_close(&reaper->file);
    SMEM__POINT("reaper.buried", "the family's file is gone; what only it kept is not");
    smem__reap_rest(reaper);
}

/* Members whose file was removed make another one, with the same tag. */
static int smem__serve_all(smem__reaper *reaper, const char *name)
{
    char path[SMEM__PATH_MAX];
    smem__place *place = &reaper->ctx.place;
    int rc = smem__place_path(place, place->uid, 'f', name, path);
    for (uint32_t tag = 0; rc == 0; tag = reaper->family.tag) {
        rc = smem__family_guard(place, name, &reaper->family, &reaper->file);
        if (rc == -ENOENT && !tag) /* it ended before it was guarded */
            smem__reap_rest(reaper);
        if (rc != 0 || (tag && tag != reaper->family.tag))
            break;
        smem__serve(reaper, path);
    }
    return rc;
}

int main(int count, char **arguments)
{
    static smem__reaper reaper; /* a large struct, and one of it */
    if (count != 3 || smem__detach_from_parent() != 0)
        return 2;
    pthread_mutex_init(&reaper.ctx.table_lock, NULL);
    int rc = smem__place_find(&reaper.ctx.place, arguments[1]);
    if (rc == 0)
        rc = smem__serve_all(&reaper, arguments[2]);
    return rc != 0;
}
