/*
 * flock(2) in the place of locks that belong to open files and single bytes,
 * where the kernel knows none of those (gVisor, before Linux 3.15).
 *
 * Byte 0 of a file is then the lock on the file itself, which a mapping carries
 * alike. Every other byte is a file of kind 'l' beside it, named after the inode
 * and the byte. It is made by who wants the lock, locked, then found to be still
 * under its name, and removed by its last user; what the dead leave of it the
 * sweep takes.
 *
 * A pin maps a page of each of them, too, and so carries their locks; what it
 * leaves is removed by who gives it up (smem__record_let_go()), or by the sweep.
 *
 * What is not guaranteed then:
 * - flock tells who holds a lock from who asks only by taking it, so a look at a
 *   segment or family may delay, for a moment, the free of it to the next sweep.
 * - A shared lock in the place of the exclusive one is not had at one stroke:
 *   who changes it looks again whether the file is still what it was.
 * - The two kinds of lock do not see each other: all processes that share a
 *   /dev/shm must be answered alike, by one kernel and one sandbox.
 */
#ifndef SMEM_FLOCK_H
#define SMEM_FLOCK_H

#include "os/backend.h"

enum { SMEM__PIN_PAGES = 1 + SMEM__SIDES };

/* Has this process found that it needs them? */
bool smem__flock_needed(void);
/* What the first lock of the process says: true when it is to be done by flock. */
bool smem__flock_choose(bool byte_locks_work);

/* As smem__file_lock(), and with [wait] as smem__file_lock_forever(). */
int smem__flock_lock(const smem__file *file, enum smem__lock lock, uint64_t byte, bool wait);
/* As smem__file_locked(). Of byte 0 only where [file] holds no lock on it. */
int smem__flock_locked(const smem__file *file, uint64_t byte);
/* As smem__file_pin(); the pin has SMEM__PIN_PAGES of such pages. */
int smem__flock_pin(const smem__file *file, size_t page, void **out);
/* Give back, before [file] is closed, what a close does not. */
void smem__flock_release(smem__file *file);

#endif
