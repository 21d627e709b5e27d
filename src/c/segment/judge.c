/* Families seen from outside: which live, and burying those that do not. */
#include "base/point.h"
#include "segment/family.h"
#include "segment/record.h"

#include <errno.h>

typedef struct smem__family_query {
    const smem__place *place;
    uint32_t tag;
    unsigned buried, alive, dead;
    bool damaged; /* a file was met that does not say whose it is */
} smem__family_query;

/* Only looked at. 1: a member lives, or seems to; 0: none does, nor ever will.
   The list is read after the lock: who joins is listed before it can leave. */
static int smem__family_seems_alive(const smem__place *place, const smem__file *file)
{
    smem__record record;
    int rc = smem__file_locked(file, SMEM__BYTE_MEMBER);
    if (rc == 0)
        rc = smem__record_read(file, &record);
    return rc ? rc : smem__honorary_lives(place, file, &record, NULL);
}

/* A stranger's file, or one that is gone, is none. */
static int smem__family_look(const smem__place *place, const char *name, char *path,
                             smem__file *out)
{
    int rc = smem__place_path(place, place->uid, 'f', name, path);
    if (rc == 0)
        rc = smem__file_open(path, place->uid, false, out);
    return rc == SMEM_E_SECURITY ? -ENOENT : rc;
}

static void smem__family_bury_file(smem__family_query *query, const char *path)
{
    smem__record record;
    smem__file file;
    if (smem__file_open(path, query->place->uid, true, &file) != 0)
        return;
    if (smem__record_is_dead(query->place, &file, NULL, &record) == 1 &&
        smem__file_is_at(&file, path) == 1) {
        SMEM__POINT("family.bury-claimed", "a sweep holds the exclusive lock of a dead family");
        if (smem__path_unlink(path) == 0)
            query->buried++;
        SMEM__POINT("family.bury-done", "the dead family's file is gone");
    }
    smem__file_close(&file);
}

static int smem__family_bury_one(void *arg, const char *name)
{
    smem__family_query *query = arg;
    char path[SMEM__PATH_MAX];
    smem__file file;
    if (smem__family_look(query->place, name, path, &file) != 0)
        return 0;
    bool dead = smem__family_seems_alive(query->place, &file) == 0;
    smem__file_close(&file);
    if (dead)
        smem__family_bury_file(query, path);
    return 0;
}

unsigned smem__family_bury_dead(const smem__place *place)
{
    smem__family_query query = {.place = place};
    smem__place_each(place, 'f', smem__family_bury_one, &query);
    return query.buried;
}

static int smem__family_count_one(void *arg, const char *name)
{
    smem__family_query *query = arg;
    char path[SMEM__PATH_MAX];
    smem__file file;
    int rc = smem__family_look(query->place, name, path, &file);
    if (rc != 0)
        return rc == -ENOENT ? 0 : rc;
    if (smem__family_seems_alive(query->place, &file) == 0)
        query->dead++;
    else
        query->alive++;
    smem__file_close(&file);
    return 0;
}

int smem__family_count(const smem__place *place, unsigned *alive, unsigned *dead)
{
    smem__family_query query = {.place = place};
    int rc = smem__place_each(place, 'f', smem__family_count_one, &query);
    *alive = query.alive;
    *dead = query.dead;
    return rc;
}

/* 2: found and dead, 1: found and alive, 0: another one, damaged, or one that was made
   anew and does not say it lives: it knows nothing of those that map the old one. Whether one
   lives whose list of honorary members is lost cannot be known, even when nobody
   holds its lock. */
static int smem__family_judge_one(void *arg, const char *name)
{
    smem__family_query *query = arg;
    smem__record record;
    char path[SMEM__PATH_MAX];
    smem__file file;
    int rc = smem__family_look(query->place, name, path, &file);
    if (rc != 0) /* else it could not be looked at, and might be the one */
        return rc == -ENOENT ? 0 : rc;
    rc = smem__record_read(&file, &record);
    if (rc == 0 && record.tag == query->tag) {
        rc = smem__family_seems_alive(query->place, &file);
        rc = rc != 0 ? rc : smem__record_is_late(&record) ? 0
                                                          : 2;
    }
    smem__file_close(&file);
    if (rc != SMEM_E_FORMAT)
        return rc;
    query->damaged = true;
    return 0;
}

int smem__family_lives(const smem__place *place, uint32_t tag)
{
    smem__family_query query = {.place = place, .tag = tag};
    int rc = smem__place_each(place, 'f', smem__family_judge_one, &query);
    if (rc == 2)
        return 0;
    if (rc == 0 && query.damaged)
        return SMEM_E_FORMAT; /* it might be that one */
    return rc ? rc : smem__member_is_listed(tag); /* its file may have been removed */
}
