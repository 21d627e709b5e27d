/*
 * Pages of 2 MB for large segments.
 *
 * A new page costs the kernel a fault and its zeroing; of 4 KB ones that is most
 * of what a large array costs. Shared memory gets huge pages by itself only
 * where an administrator has said so, but MADV_COLLAPSE (Linux 6.1) makes them
 * on request, for anybody: one page in each 2 MB has to be there, and address
 * and file offset must be aligned alike. What cannot be had stays small.
 */
#include "os/backend.h"

#include "os/syscalls.h"
#include "sharedmem.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static const size_t smem__huge = (size_t)2 << 20;

bool smem__huge_is_worth(const smem__place *place, uint64_t size)
{
    return place->huge && size >= 2 * smem__huge;
}

int smem__aligned_room(size_t size, void **out)
{
    size_t page = 4096, room = (size + page - 1) / page * page;
    char *base = smem__sys.mmap(NULL, room + smem__huge, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return smem__map_code();
    size_t head = (smem__huge - (uintptr_t)base % smem__huge) % smem__huge;
    if (head)
        smem__sys.munmap(base, head);
    smem__sys.munmap(base + head + room, smem__huge - head);
    *out = base + head;
    return 0;
}

int smem__map_aligned(size_t size, int prot, int fd, void **out)
{
    void *room = NULL;
    int rc = smem__aligned_room(size, &room);
    if (rc != 0)
        return rc;
    *out = smem__sys.mmap(room, size, prot, MAP_SHARED | MAP_FIXED, fd, 0);
    if (*out != MAP_FAILED)
        return 0;
    rc = smem__map_code();
    smem__sys.munmap(room, size);
    return rc;
}

int smem__huge_populate(void *base, size_t size)
{
    size_t whole = size / smem__huge * smem__huge;
    for (size_t at = 0; at < whole; at += smem__huge) {
        char *one = (char *)base + at;
        if (smem__sys.madvise(one, 4096, MADV_POPULATE_WRITE) != 0)
            return -errno;
        /* The first one tells whether the kernel has it. */
        if (at == 0 && smem__sys.madvise(one, smem__huge, MADV_COLLAPSE) != 0)
            return -errno;
    }
    return smem__sys.madvise(base, whole, MADV_COLLAPSE) == 0 ? 0 : -errno;
}
