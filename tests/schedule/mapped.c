/* Which addresses of this process are shared memory, and of what. */
#include "schedule.h"

#include <string.h>

enum { MAPPED_MAX = 256 };

static struct {
    uintptr_t base, end;
    uint64_t device, inode, offset;
} mapped[MAPPED_MAX];
static unsigned count;

static void put(uintptr_t base, uintptr_t end, uint64_t device, uint64_t inode, uint64_t offset)
{
    WHEN(count == MAPPED_MAX, "more mappings than are expected");
    mapped[count].base = base;
    mapped[count].end = end;
    mapped[count].device = device;
    mapped[count].inode = inode;
    mapped[count].offset = offset;
    count++;
}

void mapped_remove(const void *base, size_t size)
{
    uintptr_t from = (uintptr_t)base, to = from + size;
    for (unsigned i = count; i-- > 0;) {
        uintptr_t old = mapped[i].base, end = mapped[i].end;
        uint64_t device = mapped[i].device, inode = mapped[i].inode, offset = mapped[i].offset;
        if (end <= from || old >= to)
            continue;
        mapped[i] = mapped[--count];
        if (old < from)
            put(old, from, device, inode, offset);
        if (end > to)
            put(to, end, device, inode, offset + (to - old));
    }
}

void mapped_add(void *base, size_t size, uint64_t device, uint64_t inode, uint64_t offset)
{
    mapped_remove(base, size);
    put((uintptr_t)base, (uintptr_t)base + size, device, inode, offset);
}

bool mapped_find(const volatile void *address, uint64_t *device, uint64_t *inode, uint64_t *offset)
{
    uintptr_t at = (uintptr_t)address;
    for (unsigned i = 0; i < count; i++)
        if (mapped[i].base <= at && at < mapped[i].end) {
            *device = mapped[i].device;
            *inode = mapped[i].inode;
            *offset = mapped[i].offset + (at - mapped[i].base);
            return true;
        }
    return false;
}
