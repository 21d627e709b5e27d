/*
 * Names. One name leads to at most one segment of a user, on either backend.
 * "posix:x" and "sysv:x" are the name x, looked for on one backend only.
 */
#ifndef SMEM_NAME_H
#define SMEM_NAME_H

#include "os/backend.h"
#include "sharedmem.h"

typedef struct smem__name {
    const char *text; /* without the backend's prefix */
    int backend;      /* SMEM_ANY, SMEM_POSIX or SMEM_SYSV */
    char buf[SMEM_NAME_MAX + 1];
} smem__name;

/* [text] NULL: 128 random bits. SMEM_E_NAME; SMEM_E_ARGUMENT when the prefix
   and [backend] disagree. */
int smem__name_parse(const char *text, int backend, smem__name *out);

/* The gate of a name: a number for smem__gate_enter(). */
uint32_t smem__name_gate(const char *name);

/* The backends that a look-up goes through, in order; ends with NULL. */
const smem__backend *const *smem__name_backends(int backend);

const smem__backend *smem__backend_of(int number);

#endif
