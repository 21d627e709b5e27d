#include "segment/gate.h"

#include "base/point.h"
#include "sharedmem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SMEM__BYTE_INSIDE = 0,
       SMEM__BYTE_JOURNAL = 1,
       SMEM__BYTE_GATES = 16,
       SMEM__JOURNAL_MAX = 1 << 20 /* entries: 32 times a kernel's segments */ };

/* Open the file and hold byte 0. -EAGAIN: it was removed meanwhile. */
static int smem__gate_open(const smem__place *place, bool make, smem__gate *out)
{
    int rc = smem__place_path(place, place->uid, 'u', "journal", out->path);
    if (rc != 0)
        return rc;
    rc = make ? smem__file_open_or_make(out->path, place->uid, &out->file)
              : smem__file_open(out->path, place->uid, true, &out->file);
    if (rc == SMEM_E_SECURITY) /* no fault of the name that the gate is of */
        rc = SMEM_E_JOURNAL;
    if (rc != 0)
        return rc;
    rc = smem__file_lock(&out->file, SMEM__SHARED, SMEM__BYTE_INSIDE);
    if (rc == 0) {
        SMEM__POINT("gate.inside", "inside the user's file, before any gate");
        rc = smem__file_is_at(&out->file, out->path);
        if (rc == 1)
            return 0;
        if (rc == 0)
            rc = -EAGAIN;
    }
    smem__file_close(&out->file);
    return rc;
}

static int smem__gate_open_wait(const smem__place *place, bool make, enum smem__patience patience,
                                smem__gate *out)
{
    for (unsigned turn = 0; turn < (unsigned)patience; turn++) {
        int rc = smem__gate_open(place, make, out);
        if (rc != -EAGAIN)
            return rc;
        smem__backoff(turn);
    }
    return SMEM_E_BUSY;
}

int smem__gate_enter(const smem__place *place, uint32_t gate, enum smem__lock lock,
                     enum smem__patience patience, smem__gate *out)
{
    int rc = smem__gate_open_wait(place, true, patience, out);
    if (rc != 0)
        return rc;
    rc = smem__file_lock_wait(&out->file, lock, SMEM__BYTE_GATES + (uint64_t)gate, patience);
    if (rc != 0)
        smem__gate_leave(out);
    else
        SMEM__POINT("gate.entered", "the gate of the name is held");
    return rc;
}

int smem__gate_enter_journal(const smem__place *place, bool make, smem__gate *out)
{
    return smem__gate_open_wait(place, make, SMEM__LONG, out);
}

/*
 * The shared lock is given back before the exclusive one is tried: of several
 * that leave at once the last then finds nobody inside but others that try the
 * same, and one of them gets it. (An upgrade would be refused to all of them.)
 * The size is looked at under the exclusive lock: nobody is inside, and whoever
 * comes next waits, and then finds another file or none under the path.
 */
void smem__gate_leave(smem__gate *gate)
{
    smem__file_lock(&gate->file, SMEM__UNLOCKED, SMEM__BYTE_INSIDE);
    SMEM__POINT("gate.leaving", "outside of the user's file, with the gate held");
    /* Who empties the journal is inside, and leaves later than this look. */
    if (smem__file_stat(&gate->file) == 0 && gate->file.size == 0 &&
        smem__file_lock(&gate->file, SMEM__EXCLUSIVE, SMEM__BYTE_INSIDE) == 0 &&
        smem__file_stat(&gate->file) == 0 && gate->file.size == 0 && gate->file.links > 0 &&
        smem__file_is_at(&gate->file, gate->path) == 1) {
        SMEM__POINT("gate.deserted", "nobody is inside, nothing journalled, the file there");
        smem__path_unlink(gate->path);
        SMEM__POINT("gate.removed", "the user's file is gone");
    }
    smem__file_close(&gate->file);
}

/* ---- journal ------------------------------------------------------------ */

static int smem__journal_lock(const smem__gate *gate)
{
    int rc = smem__file_lock_wait(&gate->file, SMEM__EXCLUSIVE, SMEM__BYTE_JOURNAL, SMEM__LONG);
    SMEM__POINT("journal.locked", "the journal's lock is held");
    return rc;
}

static void smem__journal_unlock(const smem__gate *gate)
{
    smem__file_lock(&gate->file, SMEM__UNLOCKED, SMEM__BYTE_JOURNAL);
}

static int smem__journal_load(const smem__gate *gate, smem__entry **out, uint32_t *count)
{
    smem__file now = gate->file;
    int rc = smem__file_stat(&now);
    *out = NULL;
    *count = 0;
    if (rc == 0 && now.size / sizeof **out > SMEM__JOURNAL_MAX)
        rc = SMEM_E_FORMAT; /* somebody else made it so long */
    if (rc != 0 || now.size < sizeof **out)
        return rc;
    *count = (uint32_t)(now.size / sizeof **out);
    *out = malloc(*count * sizeof **out);
    if (!*out)
        return -ENOMEM;
    rc = smem__file_read(&gate->file, *out, *count * sizeof **out, 0);
    if (rc != 0) {
        free(*out);
        *out = NULL;
    }
    return rc;
}

int smem__journal_read(const smem__gate *gate, smem__entry **out, uint32_t *count)
{
    *out = NULL;
    *count = 0;
    int rc = smem__journal_lock(gate);
    if (rc != 0)
        return rc;
    rc = smem__journal_load(gate, out, count);
    smem__journal_unlock(gate);
    return rc;
}

int smem__journal_add(const smem__gate *gate, const smem__entry *entry, uint32_t *slot)
{
    smem__entry *entries;
    uint32_t count;
    int rc = smem__journal_lock(gate);
    if (rc != 0)
        return rc;
    rc = smem__journal_load(gate, &entries, &count);
    if (rc == 0) {
        *slot = 0;
        while (*slot < count && entries[*slot].gate_plus_1 != 0)
            (*slot)++;
        rc = smem__file_write(&gate->file, entry, sizeof *entry, *slot * sizeof *entry);
        SMEM__POINT("journal.added", "journalled, before there is a segment (or again)");
        free(entries);
    }
    smem__journal_unlock(gate);
    return rc;
}

int smem__journal_remove(const smem__gate *gate, uint32_t slot, uint64_t nonce)
{
    smem__entry *entries;
    uint32_t count;
    int rc = smem__journal_lock(gate);
    if (rc != 0)
        return rc;
    rc = smem__journal_load(gate, &entries, &count);
    if (rc == 0 && slot < count && entries[slot].nonce == nonce) {
        entries[slot] = (smem__entry){0};
        uint32_t used = count;
        while (used > 0 && entries[used - 1].gate_plus_1 == 0)
            used--;
        rc = used == count ? smem__file_write(&gate->file, &entries[slot], sizeof *entries,
                                              slot * sizeof *entries)
                           : smem__file_resize(&gate->file, used * sizeof *entries);
        SMEM__POINT("journal.removed", "the entry is free or cut off");
    }
    free(entries);
    smem__journal_unlock(gate);
    return rc;
}
