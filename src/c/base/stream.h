/* A copy that leaves the caches alone. */
#ifndef SMEM_STREAM_H
#define SMEM_STREAM_H

#include <stddef.h>

/*
 * As memcpy(), past the caches where the processor can. For what no cache would hold
 * anyway: stores through the caches fetch each line first, only to write all of it.
 * libc does the same, but from a size on that it takes from what a virtual machine says
 * of its caches, which may be hundreds of megabytes.
 */
void smem__stream(void *to, const void *from, size_t n);

#endif
