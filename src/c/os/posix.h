/* A POSIX segment's mappings (posix_map.c), for the backend's table (posix.c). */
#ifndef SMEM_POSIX_H
#define SMEM_POSIX_H

#include "os/backend.h"

/* The bytes of a segment's locks: posix.c. */
enum { SMEM__BYTE_MAP = 0,
       SMEM__BYTE_TAKE = 1 };

int smem__posix_map(const smem__place *place, smem__object *object, int mode, uint64_t data_offset,
                    smem__mapping *out);
void smem__posix_unmap(smem__mapping *mapping);
int smem__posix_part_from_parent(const smem__place *place, const char *name,
                                 smem__mapping *mapping);
bool smem__posix_is_mapped(const smem__file *file, const smem__mapping *mapping);
int smem__posix_lay(int fd, const smem__mapping *mapping);
void smem__posix_part(smem__mapping *mapping);
int smem__posix_map_again(int fd, smem__mapping *mapping);
int smem__posix_join(const smem__object *object, smem__mapping *mapping);
int smem__posix_loosen(const smem__place *place, const char *name, smem__mapping *mapping);
int smem__posix_tighten(const smem__place *place, const char *name, smem__mapping *mapping);

#endif
