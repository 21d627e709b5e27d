/*
 * How POSIX segments are mapped: which of a mapping's pages carry the lock that
 * says that somebody uses the segment, and how it is given up and taken back
 * while the data stay where they are.
 */
#include "os/posix.h"

#include "base/checked.h"
#include "base/point.h"
#include "os/syscalls.h"
#include "sharedmem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int smem__mapping_protect(const smem__mapping *mapping, uint64_t data_offset)
{
    if (mapping->size <= data_offset)
        return 0;
    size_t offset = (size_t)data_offset;
    return smem__sys.mprotect((char *)mapping->base + offset, mapping->size - offset, PROT_READ)
               ? -errno
               : 0;
}

int smem__mapping_copy(smem__mapping *mapping)
{
    void *copy = smem__sys.mmap(NULL, mapping->size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return smem__map_code();
    memcpy(copy, mapping->base, mapping->size);
    if (smem__sys.mremap(copy, mapping->size, mapping->size, MREMAP_MAYMOVE | MREMAP_FIXED,
                         mapping->base) == MAP_FAILED) {
        int rc = smem__map_code();
        smem__sys.munmap(copy, mapping->size);
        return rc;
    }
    smem__unpin(mapping->pin, 1);
    *mapping = (smem__mapping){.base = mapping->base, .size = mapping->size, .kernel_id = -1};
    return 0;
}

/* From an open file of its own; where there is no /proc to get one, a copy. */
static int smem__posix_private_pages(const smem__object *object, void **out)
{
    int fd = smem__file_reopen(&object->file, false), rc;
    size_t size = (size_t)object->size;
    if (fd < 0 && fd != -ENOENT)
        return fd;
    *out = smem__sys.mmap(NULL, size, PROT_READ | PROT_WRITE,
                          fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_PRIVATE, fd < 0 ? -1 : fd, 0);
    rc = *out == MAP_FAILED ? smem__map_code() : 0;
    if (fd >= 0)
        smem__sys.close(fd);
    else if (rc == 0 && (rc = smem__file_read(&object->file, *out, size, 0)) != 0)
        smem__sys.munmap(*out, size);
    return rc;
}

/*
 * Private pages cannot be laid anew at exit (smem__posix_lay) without losing
 * what was written to them. So they come from a file of their own that holds
 * no lock, and a page beside them carries it.
 */
static int smem__posix_map_private(smem__object *object, smem__mapping *out)
{
    void *pin, *base;
    int rc = smem__file_pin(&object->file, 1, &pin);
    if (rc != 0)
        return rc;
    SMEM__POINT("posix.private-pinned", "the page that carries the lock is mapped");
    rc = smem__posix_private_pages(object, &base);
    if (rc != 0) {
        smem__unpin(pin, 1);
        return rc;
    }
    *out = (smem__mapping){.base = base,
                           .size = (size_t)object->size,
                           .kernel_id = object->kernel_id,
                           .device = object->file.device,
                           .pin = pin};
    return 0;
}

/*
 * Lay a mapping over itself from this open file. Where that fails the old mapping is
 * there still, with its lock: the kernel checks every limit before it takes the old one
 * away (address space, number of mappings), and our files refuse no mapping. Linux before
 * 6.12 can lose it only for want of a few hundred bytes of its own memory, which it gives
 * to everybody but a process that is being killed for it.
 */
int smem__posix_lay(int fd, const smem__mapping *mapping)
{
    void *base = smem__sys.mmap(mapping->base, mapping->size, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_FIXED, fd, 0);
    return base == MAP_FAILED ? smem__map_code() : 0;
}

static int smem__posix_map_shared(const smem__place *place, int fd, int prot, smem__mapping *out)
{
    if (smem__huge_is_worth(place, out->size))
        return smem__map_aligned(out->size, prot, fd, &out->base);
    out->base = smem__sys.mmap(NULL, out->size, prot, MAP_SHARED, fd, 0);
    return out->base == MAP_FAILED ? smem__map_code() : 0;
}

/* The lock goes, and with it what cannot be mapped without it. */
void smem__posix_part(smem__mapping *mapping)
{
    if (mapping->apart) {
        smem__unpin(mapping->pin, 1);
        mapping->pin = NULL;
    } else if (mapping->visits) {
        smem__sys.munmap(mapping->base, mapping->size);
        mapping->base = NULL;
    }
}

int smem__posix_map_again(int fd, smem__mapping *mapping)
{
    void *base = smem__sys.mmap(NULL, mapping->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return smem__map_code();
    mapping->base = base;
    return 0;
}

/*
 * The segment from an open file without a lock, and beside it a page from the
 * one that holds it: so the lock can be given up while the segment stays mapped.
 * (It cannot be released on the open file itself: a forked child's mapping
 * shares that, and would lose its hold too.)
 */
static int smem__posix_map_apart(const smem__place *place, const smem__object *object,
                                 smem__mapping *out)
{
    int fd = smem__file_reopen(&object->file, true);
    if (fd < 0)
        return fd;
    int rc = smem__posix_map_shared(place, fd, PROT_READ | PROT_WRITE, out);
    smem__sys.close(fd);
    if (rc == 0 && (rc = smem__file_pin(&object->file, 1, &out->pin)) != 0)
        smem__sys.munmap(out->base, out->size);
    return rc;
}

int smem__posix_map(const smem__place *place, smem__object *object, int mode,
                    uint64_t data_offset, smem__mapping *out)
{
    if (!smem__is_size(object->size))
        return SMEM_E_SIZE;
    if (mode == SMEM_COPY_ON_WRITE) {
        int failed = smem__posix_map_private(object, out);
        return failed == -ENOMEM ? SMEM_E_NO_ROOM : failed;
    }
    int prot = object->writable ? PROT_READ | PROT_WRITE : PROT_READ, rc = 0;
    *out = (smem__mapping){.size = (size_t)object->size,
                           .kernel_id = object->kernel_id,
                           .device = object->file.device,
                           .shares = true,
                           .apart = object->apart && mode == SMEM_READ_WRITE &&
                                    object->writable && object->size >= SMEM__APART_FROM};
    if (out->apart && (rc = smem__posix_map_apart(place, object, out)) == -ENOENT)
        out->apart = false; /* no /proc to open the file again: all of it holds the lock */
    if (!out->apart)
        rc = smem__posix_map_shared(place, object->file.fd, prot, out);
    SMEM__POINT("posix.mapped", "the segment is mapped");
    if (rc == 0 && mode == SMEM_READ_ONLY &&
        (rc = smem__mapping_protect(out, data_offset)) != 0)
        smem__sys.munmap(out->base, out->size);
    return rc == -ENOMEM ? SMEM_E_NO_ROOM : rc;
}

/* With flock the claim is given back before the shared lock is had: a sweep that came
   between has taken the name. */
static int smem__posix_was_kept(const smem__file *file)
{
    smem__file now = {.fd = file->fd};
    int rc = smem__byte_locks() ? 0 : smem__file_stat(&now);
    return rc == 0 && !smem__byte_locks() && now.links == 0 ? -ENOENT : rc;
}

int smem__posix_join(const smem__object *object, smem__mapping *mapping)
{
    int rc = mapping->apart ? smem__file_pin(&object->file, 1, &mapping->pin) : 0;
    if (rc == 0)
        rc = smem__file_lock(&object->file, SMEM__SHARED, SMEM__BYTE_MAP);
    return rc ? rc : smem__posix_was_kept(&object->file);
}

/* The lock goes last. */
void smem__posix_unmap(smem__mapping *mapping)
{
    if (mapping->base)
        smem__sys.munmap(mapping->base, mapping->size);
    smem__unpin(mapping->pin, 1);
    SMEM__POINT("posix.unmapped", "the segment is not mapped any more; nobody has looked yet");
}

bool smem__posix_is_mapped(const smem__file *file, const smem__mapping *mapping)
{
    return file->inode == (uint64_t)mapping->kernel_id && file->device == mapping->device;
}

/* A page beside the mapping carries the lock, by an open file of this process. */
static int smem__posix_pin(const smem__place *place, const char *path, smem__mapping *mapping)
{
    smem__file file;
    int rc = smem__file_hold(path, place->uid, false, &file);
    if (rc != 0)
        return rc;
    rc = smem__posix_is_mapped(&file, mapping) ? smem__file_pin(&file, 1, &mapping->pin) : -ENOENT;
    smem__file_close(&file);
    return rc;
}

/*
 * Private pages that were not written to show the file's. So the child holds the segment
 * like the parent: nobody fills it with something else before the child drops it, too. An
 * inherited page apart does that already; else there is one before the inherited mapping,
 * which carries the lock, goes.
 */
int smem__posix_part_from_parent(const smem__place *place, const char *name,
                                 smem__mapping *mapping)
{
    char path[SMEM__PATH_MAX];
    smem__file file;
    void *inherited = mapping->pin;
    int rc = smem__place_path(place, place->uid, 's', name, path);
    if (rc == 0)
        rc = smem__file_open(path, place->uid, false, &file);
    if (rc != 0)
        return rc;
    if (!smem__posix_is_mapped(&file, mapping))
        rc = -ENOENT;
    else if (!inherited)
        rc = smem__posix_pin(place, path, mapping);
    if (rc == 0 && smem__sys.mmap(mapping->base, mapping->size, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_FIXED, file.fd, 0) == MAP_FAILED)
        rc = smem__map_code();
    smem__file_close(&file);
    if (rc == 0) {
        mapping->shares = mapping->apart = false;
    } else if (!inherited) {
        smem__unpin(mapping->pin, 1);
        mapping->pin = NULL;
    }
    return rc;
}

/*
 * A mapping may not go while views of it may still be used, or pages of it shall
 * stay warm; but it holds the shared lock. It is laid over itself from a file that
 * holds none: the bytes stay where they are, the lock goes. Where a page apart
 * carries the lock it is enough that this page goes.
 */
int smem__posix_loosen(const smem__place *place, const char *name, smem__mapping *mapping)
{
    char path[SMEM__PATH_MAX];
    smem__file file;
    if (mapping->apart || !mapping->shares) {
        smem__unpin(mapping->pin, 1);
        mapping->pin = NULL;
        return 0;
    }
    int rc = smem__place_path(place, place->uid, 's', name, path);
    if (rc == 0)
        rc = smem__file_open(path, place->uid, true, &file);
    if (rc != 0)
        return rc;
    rc = smem__posix_is_mapped(&file, mapping) ? smem__posix_lay(file.fd, mapping) : -ENOENT;
    SMEM__POINT("posix.loosened", "mapped, and the mapping holds no lock");
    smem__file_close(&file);
    return rc;
}

/* What is still used here shall be proved to be in use again. */
int smem__posix_tighten(const smem__place *place, const char *name, smem__mapping *mapping)
{
    char path[SMEM__PATH_MAX];
    smem__file file;
    int rc = smem__place_path(place, place->uid, 's', name, path);
    if (rc == 0)
        rc = smem__file_open(path, place->uid, true, &file);
    if (rc != 0)
        return rc;
    enum smem__patience patience = smem__others_can_lock(&file) ? SMEM__SHORTLY : SMEM__LONG;
    if (!smem__posix_is_mapped(&file, mapping))
        rc = -ENOENT;
    else if ((rc = smem__file_lock_wait(&file, SMEM__SHARED, SMEM__BYTE_MAP, patience)) == 0) {
        rc = mapping->apart || !mapping->shares ? smem__file_pin(&file, 1, &mapping->pin)
                                                : smem__posix_lay(file.fd, mapping);
        SMEM__POINT("posix.tightened", "at exit: somebody else uses it; mapped and locked again");
    }
    smem__file_close(&file);
    return rc;
}
