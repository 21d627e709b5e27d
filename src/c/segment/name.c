#include "segment/name.h"

#include <string.h>

static int smem__name_check(const char *text)
{
    size_t length = strlen(text);
    return length == 0 || length > SMEM_NAME_MAX || strchr(text, '/') ? SMEM_E_NAME : 0;
}

static int smem__name_prefix(const char *text)
{
    if (strncmp(text, "posix:", 6) == 0)
        return SMEM_POSIX;
    return strncmp(text, "sysv:", 5) == 0 ? SMEM_SYSV : SMEM_ANY;
}

int smem__name_parse(const char *text, int backend, smem__name *out)
{
    if (backend < SMEM_ANY || backend > SMEM_SYSV)
        return SMEM_E_ARGUMENT;
    out->backend = backend;
    if (!text) {
        out->text = out->buf;
        return smem__random_name(out->buf);
    }
    int said = smem__name_prefix(text);
    if (said && backend && said != backend)
        return SMEM_E_ARGUMENT;
    if (said) {
        out->backend = said;
        text += said == SMEM_POSIX ? 6 : 5;
    }
    out->text = text;
    return smem__name_prefix(text) ? SMEM_E_NAME : smem__name_check(text);
}

uint32_t smem__name_gate(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        hash = (hash ^ *p) * 16777619u;
    return hash;
}

const smem__backend *const *smem__name_backends(int backend)
{
    static const smem__backend *const any[] = {&smem__posix, &smem__sysv, NULL};
    static const smem__backend *const posix[] = {&smem__posix, NULL};
    static const smem__backend *const sysv[] = {&smem__sysv, NULL};
    return backend == SMEM_POSIX ? posix : backend == SMEM_SYSV ? sysv
                                                                : any;
}

const smem__backend *smem__backend_of(int number)
{
    return number == SMEM_SYSV ? &smem__sysv : &smem__posix;
}
