/*
 * SysV segments. The kernel counts attachments, and that count is what proves
 * that nobody uses a segment; but it knows no lock, so attaching and dropping
 * exclude each other by the gate of the name, which the caller holds (shared
 * to open, exclusive to create, claim and unlink).
 *
 * The count is of mappings: mprotect splits one into several, fork doubles it.
 * So 0 or not 0 is exact, and 1 means "only this one" when this one was
 * attached afresh and no other mapping of it is here.
 *
 * On Linux IPC_RMID of an attached segment harms nobody: it only loses its key
 * and goes with the last detach.
 */
#include "os/backend.h"

#include "base/checked.h"
#include "base/point.h"
#include "os/syscalls.h"
#include "sharedmem.h"

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <unistd.h>

int32_t smem__sysv_key(uint32_t uid, const char *name, unsigned candidate)
{
    uint64_t hash = 14695981039346656037u ^ uid; /* FNV-1a */
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        hash = (hash ^ *p) * 1099511628211u;
    uint32_t key = (uint32_t)(hash ^ hash >> 32) + candidate;
    return (int32_t)(key == IPC_PRIVATE ? 0x736d656d : key);
}

static int smem__sysv_stat(int id, uint32_t uid, struct shmid_ds *st)
{
    if (smem__sys.shmctl(id, IPC_STAT, st) != 0) {
        if (errno == EACCES && uid == geteuid())
            return SMEM_E_SECURITY; /* at our own we may look */
        return errno == EINVAL || errno == EIDRM ? -ENOENT : -errno;
    }
    if (st->shm_perm.mode & SHM_DEST)
        return -ENOENT;
    return st->shm_perm.uid == uid ? 0 : SMEM_E_SECURITY;
}

static int smem__sysv_find(int32_t key, uint32_t uid, smem__object *out)
{
    struct shmid_ds st;
    int id = smem__sys.shmget(key, 0, 0);
    if (id < 0)
        return errno == EIDRM ? -ENOENT : -errno;
    int rc = smem__sysv_stat(id, uid, &st);
    if (rc != 0)
        return rc;
    *out = (smem__object){.file = {.fd = -1, .uid = st.shm_perm.uid, .mode = st.shm_perm.mode & 0777},
                          .id = id,
                          .key = key,
                          .size = st.shm_segsz,
                          .kernel_id = id,
                          .attached = st.shm_nattch,
                          .mapped = st.shm_nattch != 0};
    return 0;
}

static int smem__sysv_attach(smem__object *object, const void *at, int flags)
{
    void *probe = smem__sys.shmat(object->id, at, flags);
    if (probe == (void *)-1) {
        if (errno == EINVAL || errno == EIDRM)
            return -ENOENT;
        return errno == ENOMEM ? SMEM_E_NO_ROOM : -errno;
    }
    SMEM__POINT("sysv.attached", "one attachment more: to make, look, map, claim or loosen");
    object->probe = probe;
    object->writable = !(flags & SHM_RDONLY);
    return 0;
}

/* As above, where huge pages can be mapped as such. */
static int smem__sysv_attach_aligned(const smem__place *place, smem__object *object, int flags)
{
    void *room;
    size_t size = (size_t)object->size;
    if (!smem__huge_is_worth(place, size) || smem__aligned_room(size, &room) != 0)
        return smem__sysv_attach(object, NULL, flags);
    int rc = smem__sysv_attach(object, room, flags | SHM_REMAP);
    if (rc != 0)
        smem__sys.munmap(room, size);
    return rc;
}

static void smem__sysv_close(smem__object *object)
{
    if (object->probe) {
        smem__sys.shmdt(object->probe);
        SMEM__POINT("sysv.detached", "what was attached to look or to claim is so no more");
    }
    object->probe = NULL;
}

int smem__sysv_look_key(int32_t key, uint32_t uid, smem__object *out)
{
    int rc = smem__sysv_find(key, uid, out);
    return rc ? rc : smem__sysv_attach(out, NULL, SHM_RDONLY);
}

/* The count is looked at before, too: a segment that somebody uses is not
   attached, not even for a moment. */
int smem__sysv_claim_key(int32_t key, uint32_t uid, int64_t *changed, smem__object *out)
{
    struct shmid_ds st;
    int rc = smem__sysv_find(key, uid, out);
    if (rc == 0)
        rc = smem__sysv_stat(out->id, uid, &st);
    if (rc == 0 && st.shm_nattch != 0)
        rc = -EBUSY;
    if (rc == 0)
        rc = smem__sysv_attach(out, NULL, 0);
    if (rc != 0)
        return rc;
    *changed = st.shm_ctime;
    rc = smem__sysv_stat(out->id, uid, &st);
    if (rc == 0 && st.shm_nattch != 1)
        rc = -EBUSY;
    if (rc != 0)
        smem__sysv_close(out);
    else
        SMEM__POINT("sysv.key-claimed", "found by its key alone, by the sweep: nobody attaches it");
    return rc;
}

static int smem__sysv_open(const smem__place *place, const char *name, unsigned candidate,
                           uint32_t uid, enum smem__reach reach, smem__object *out)
{
    int rc = smem__sysv_find(smem__sysv_key(uid, name, candidate), uid, out);
    if (rc == SMEM_E_SECURITY) /* a foreign segment on our key is none of ours */
        rc = -ENOENT;
    return rc ? rc : smem__sysv_attach_aligned(place, out, reach >= SMEM__WRITE ? 0 : SHM_RDONLY);
}

static int smem__sysv_create_code(int rc)
{
    switch (-rc) {
    case ENOMEM:
        return SMEM_E_NO_ROOM;
    case ENOSPC:
        return SMEM_E_LIMIT;
    case EINVAL: /* above SHMMAX */
        return SMEM_E_SIZE;
    default:
        return rc;
    }
}

static int smem__sysv_discard(smem__object *object)
{
    int rc = smem__sys.shmctl(object->id, IPC_RMID, NULL) == 0 ? 0 : -errno;
    SMEM__POINT("sysv.discarded", "a create that failed has removed it; it is attached still");
    smem__sysv_close(object);
    return rc == -EINVAL || rc == -EIDRM ? 0 : rc;
}

static int smem__sysv_create(const smem__place *place, const char *name, unsigned candidate,
                             uint64_t size, uint32_t mode, bool reserve, smem__object *out)
{
    int32_t key = smem__sysv_key(place->uid, name, candidate);
    int flags = IPC_CREAT | IPC_EXCL | (int)mode | (reserve ? 0 : SHM_NORESERVE);
    int id = smem__sys.shmget(key, (size_t)size, flags);
    if (id < 0)
        return smem__sysv_create_code(-errno);
    SMEM__POINT("sysv.made", "journalled, zero bytes, nobody attaches it");
    *out = (smem__object){.file = {.fd = -1, .uid = place->uid, .mode = mode},
                          .id = id,
                          .key = key,
                          .size = size,
                          .kernel_id = id};
    int rc = smem__sysv_attach_aligned(place, out, 0);
    if (rc != 0) {
        out->stays = smem__sys.shmctl(id, IPC_RMID, NULL) != 0;
        SMEM__POINT("sysv.unmade", "it could not be attached and is gone; journalled still");
    } else if (reserve && smem__huge_is_worth(place, size))
        out->resident = smem__huge_populate(out->probe, (size_t)size) == 0; /* else its pages come when they are touched */
    return rc == -ENOENT ? -EIDRM : rc; /* another program has removed it */
}

/* It can be found since it was made; its header says whether it is complete. */
static int smem__sysv_publish(const smem__place *place, const char *name, bool replace,
                              smem__object *object)
{
    (void)place;
    (void)name;
    (void)replace;
    (void)object;
    return 0;
}

static int smem__sysv_read(const smem__object *object, void *buf, size_t size, uint64_t offset)
{
    uint64_t first;
    if (offset > object->size || size > object->size - offset)
        return SMEM_E_FORMAT;
    if (offset > 0 || size < sizeof first) {
        memcpy(buf, (const char *)object->probe + offset, size);
        return 0;
    }
    /* Another user's may be just being made. Its magic is written last and read first. */
    first = atomic_load_explicit((const _Atomic uint64_t *)object->probe, memory_order_acquire);
    memcpy(buf, object->probe, size);
    memcpy(buf, &first, sizeof first);
    return 0;
}

static int smem__sysv_poke(const smem__object *object, const void *buf, size_t size,
                           uint64_t offset)
{
    if (offset > object->size || size > object->size - offset)
        return SMEM_E_FORMAT;
    memcpy((char *)object->probe + offset, buf, size);
    return 0;
}

/* shmat knows no private mode: a copy, made now. */
static int smem__sysv_map_copy(const smem__object *object, smem__mapping *out)
{
    size_t size = (size_t)object->size;
    void *base = smem__sys.mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                -1, 0);
    if (base == MAP_FAILED)
        return smem__map_code() == -ENOMEM ? SMEM_E_NO_ROOM : -errno;
    memcpy(base, object->probe, size);
    *out = (smem__mapping){.base = base, .size = size, .kernel_id = -1};
    return 0;
}

static int smem__sysv_map(const smem__place *place, smem__object *object, int mode,
                          uint64_t data_offset, smem__mapping *out)
{
    (void)place;
    if (!smem__is_size(object->size))
        return SMEM_E_SIZE;
    if (mode == SMEM_COPY_ON_WRITE)
        return smem__sysv_map_copy(object, out);
    *out = (smem__mapping){
        .base = object->probe, .size = (size_t)object->size, .kernel_id = object->id, .shares = true};
    int rc = mode == SMEM_READ_ONLY ? smem__mapping_protect(out, data_offset) : 0;
    if (rc == 0)
        object->probe = NULL;
    return rc;
}

static void smem__sysv_unmap(smem__mapping *mapping)
{
    if (!mapping->shares) {
        smem__sys.munmap(mapping->base, mapping->size);
        return;
    }
    smem__sys.shmdt(mapping->base);
    SMEM__POINT("sysv.unmapped", "the segment is not attached any more; nobody has looked yet");
}

/* SHM_REMAP: one unsplit attachment in the place of however many pieces
   mprotect has made. Views stay valid, and the count becomes exact. */
static int smem__sysv_loosen(const smem__place *place, const char *name, smem__mapping *mapping)
{
    (void)place;
    (void)name;
    if (!mapping->shares)
        return 0;
    smem__object object = {.id = (int)mapping->kernel_id};
    return smem__sysv_attach(&object, mapping->base, SHM_REMAP);
}

/* A loosened attachment counts as ever. */
static int smem__sysv_tighten(const smem__place *place, const char *name, smem__mapping *mapping)
{
    (void)place;
    (void)name;
    (void)mapping;
    return 0;
}

static int smem__sysv_claim(const smem__place *place, const char *name, unsigned candidate,
                            smem__mapping *mapping, unsigned own, smem__object *out)
{
    struct shmid_ds st;
    int rc = smem__sysv_find(smem__sysv_key(place->uid, name, candidate), place->uid, out);
    if (rc != 0)
        return rc == SMEM_E_SECURITY ? -ENOENT : rc;
    if (mapping && (!mapping->shares || mapping->kernel_id != out->kernel_id))
        return -ENOENT;
    if (out->attached > own) /* more of them do not prove less: it is not attached in vain */
        return -EBUSY;
    rc = smem__sysv_attach(out, NULL, 0);
    if (rc != 0)
        return rc;
    rc = smem__sysv_stat(out->id, place->uid, &st);
    if (rc == 0 && st.shm_nattch != 1 + own)
        rc = -EBUSY;
    if (rc != 0)
        smem__sysv_close(out);
    else
        SMEM__POINT("sysv.claimed", "nobody else attaches it, and who would waits at the gate");
    return rc;
}

static int smem__sysv_unlink(const smem__place *place, const char *name, smem__object *object)
{
    (void)name;
    struct shmid_ds st;
    int rc = smem__sysv_stat(object->id, place->uid, &st);
    if (rc != 0)
        return rc;
    if (smem__sys.shmctl(object->id, IPC_RMID, NULL) != 0)
        return errno == EINVAL || errno == EIDRM ? -ENOENT : -errno;
    SMEM__POINT("sysv.unlinked", "the key is gone; the journal still has it");
    return 0;
}

static bool smem__sysv_is_current(const smem__place *place, const char *name, unsigned candidate,
                                  const smem__mapping *mapping)
{
    (void)name;
    (void)candidate;
    struct shmid_ds st;
    return mapping->shares && smem__sysv_stat((int)mapping->kernel_id, place->uid, &st) == 0;
}

const smem__backend smem__sysv = {
    .name = "sysv",
    .number = SMEM_SYSV,
    .candidates = 8,
    .needs_gate = true,
    .create = smem__sysv_create,
    .publish = smem__sysv_publish,
    .discard = smem__sysv_discard,
    .open = smem__sysv_open,
    .read = smem__sysv_read,
    .poke = smem__sysv_poke,
    .map = smem__sysv_map,
    .close = smem__sysv_close,
    .unmap = smem__sysv_unmap,
    .loosen = smem__sysv_loosen,
    .tighten = smem__sysv_tighten,
    .claim = smem__sysv_claim,
    .unlink = smem__sysv_unlink,
    .is_current = smem__sysv_is_current,
};
