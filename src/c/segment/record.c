#include "segment/record.h"

#include "base/point.h"
#include "segment/share.h"
#include "sharedmem.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

enum { SMEM__BYTE_HONORARY = 2,
       SMEM__BYTE_SPACES = 16 };

int smem__record_read(const smem__file *file, smem__record *out)
{
    int rc = smem__file_read(file, out, sizeof *out, 0);
    if (rc == 0 && (memcmp(out->magic, SMEM__FAMILY_MAGIC, sizeof out->magic) != 0 || !out->tag))
        rc = SMEM_E_FORMAT;
    if (rc == 0 && !out->edition)
        out->edition = out->tag;
    return rc;
}

/* Two namespaces on one byte would only delay. */
static uint64_t smem__space_byte(uint64_t pid_space)
{
    return SMEM__BYTE_SPACES + (uint64_t)(uint32_t)pid_space;
}

static const uint64_t smem__byte_families = (uint64_t)1 << 41;

int smem__record_hold(const smem__place *place, const smem__file *file,
                      const smem__record *record)
{
    int rc = smem__file_lock(file, SMEM__SHARED, SMEM__BYTE_MEMBER);
    if (rc == 0 && smem__byte_locks())
        rc = smem__file_lock(file, SMEM__SHARED, smem__byte_families + record->tag);
    return rc ? rc : smem__file_lock(file, SMEM__SHARED, smem__space_byte(place->pid_space));
}

/*
 * A family that has died never comes back, and the kernel stops all locking while it
 * lists the locks: whose death was seen is asked for once. File-scope state, since that
 * is a fact of the machine, whatever context asks.
 */
enum { SMEM__BURIED = 256 };
static _Atomic uint32_t smem__buried[SMEM__BURIED];

static bool smem__no_list(int rc)
{
    return rc == -ENOENT || rc == -EACCES || rc == -EPERM || rc == -ENODATA;
}

int smem__member_is_listed(uint32_t tag)
{
    _Atomic uint32_t *buried = &smem__buried[tag % SMEM__BURIED];
    if (!smem__byte_locks() || atomic_load(buried) == tag)
        return 0;
    int rc = smem__byte_is_listed(SMEM__SHARED, smem__byte_families + tag, SMEM__UNKNOWN_BYTE);
    if (rc == 0)
        atomic_store(buried, tag);
    return smem__no_list(rc) ? 0 : rc;
}

/* The last user of a lock that is a file by itself removes that. */
static void smem__record_tidy(const smem__file *file, uint64_t byte)
{
    if (smem__file_lock(file, SMEM__EXCLUSIVE, byte) == 0)
        smem__file_lock(file, SMEM__UNLOCKED, byte);
}

void smem__record_let_go(const smem__place *place, const smem__file *file, int slot)
{
    if (smem__byte_locks())
        return;
    smem__record_tidy(file, smem__space_byte(place->pid_space));
    if (slot >= 0)
        smem__record_tidy(file, SMEM__BYTE_SHARES + (uint64_t)slot);
}

static bool smem__honorary_is_alive(const smem__place *place, const smem__file *file,
                                    const smem__process *one)
{
    if (!one->pid)
        return false;
    if (one->pid_space != place->pid_space)
        return smem__file_locked(file, smem__space_byte(one->pid_space)) != 0;
    return smem__process_alive(place, one);
}

bool smem__honorary_lives(const smem__place *place, const smem__file *file,
                          const smem__record *record, const smem__process *but)
{
    for (int i = 0; i < SMEM__HONORARY; i++) {
        const smem__process *one = &record->honorary[i];
        if (!(but && smem__process_is(one, but)) &&
            smem__honorary_is_alive(place, file, one))
            return true;
    }
    return false;
}

int smem__record_is_dead(const smem__place *place, const smem__file *file,
                         const smem__process *but, smem__record *record)
{
    int rc = smem__file_lock(file, SMEM__EXCLUSIVE, SMEM__BYTE_MEMBER);
    if (rc != 0)
        return rc == -EAGAIN ? 0 : rc;
    rc = smem__record_read(file, record);
    return rc ? rc : !smem__honorary_lives(place, file, record, but);
}

int smem__record_add_honorary(const smem__place *place, const smem__file *file, int pid)
{
    smem__record record;
    smem__process parent;
    if (pid == 0 || smem__process_find(place, pid, &parent) == -ESRCH)
        return 0; /* whose start cannot be read just now is listed without it */
    int rc = smem__file_lock_wait(file, SMEM__EXCLUSIVE, SMEM__BYTE_HONORARY, SMEM__LONG);
    if (rc != 0)
        return rc;
    SMEM__POINT("record.locked", "the list of honorary members is locked");
    rc = smem__record_read(file, &record);
    for (int i = 0; rc == 0 && i < SMEM__HONORARY; i++) {
        smem__process *slot = &record.honorary[i];
        if (memcmp(slot, &parent, sizeof parent) == 0)
            break;
        if (smem__honorary_is_alive(place, file, slot))
            continue;
        rc = smem__file_write(file, &parent, sizeof parent,
                              offsetof(smem__record, honorary) + (size_t)i * sizeof parent);
        SMEM__POINT("record.listed", "the parent is listed, its child no member yet");
        break;
    }
    smem__file_lock(file, SMEM__UNLOCKED, SMEM__BYTE_HONORARY);
    return rc;
}

void smem__record_watch(const smem__place *place, const smem__file *file,
                        const smem__record *record, smem__watch *watch)
{
    bool here = false;
    for (int i = 0; i < SMEM__HONORARY; i++) {
        const smem__process *one = &record->honorary[i];
        if (!smem__honorary_is_alive(place, file, one))
            continue;
        smem__watch_process(watch, place, one);
        here = here || one->pid_space == place->pid_space;
    }
    smem__file_lock(file, here ? SMEM__SHARED : SMEM__UNLOCKED,
                    smem__space_byte(place->pid_space));
}
