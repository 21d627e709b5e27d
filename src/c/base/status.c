/* Texts of the result codes, all from the one table in sharedmem.h. */
#include "sharedmem.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

typedef struct smem__status_row {
    int code;
    int twin;
    const char *name;
    const char *text;
    const char *remedy;
} smem__status_row;

static const smem__status_row smem__rows[] = {
#define SMEM__ROW(name, number, twin, text, remedy) \
    {-(number), twin, "SMEM_E_" #name, text, remedy},
    SMEM_STATUS_MAP(SMEM__ROW)
#undef SMEM__ROW
};

static const smem__status_row *smem__row(int code)
{
    for (size_t i = 0; i < sizeof smem__rows / sizeof smem__rows[0]; i++)
        if (smem__rows[i].code == code)
            return &smem__rows[i];
    return NULL;
}

/* strerror() has one buffer for what no text is known of, which another thread may be
   writing. strerror_r() is of two kinds: glibc's returns the text. */
static const char *smem__errno_text(int number)
{
    static _Thread_local char smem__spelt[64];
#ifdef __GLIBC__
    return strerror_r(number, smem__spelt, sizeof smem__spelt);
#else
    return strerror_r(number, smem__spelt, sizeof smem__spelt) == 0 ? smem__spelt : "unknown error";
#endif
}

const char *smem_error_text(int code)
{
    const smem__status_row *row = smem__row(code);
    if (row)
        return row->text;
    return code == 0 ? "success" : smem__errno_text(smem_error_errno(code));
}

const char *smem_error_name(int code)
{
    const smem__status_row *row = smem__row(code);
    if (row)
        return row->name;
    return code == 0 ? "SMEM_OK" : "system error";
}

const char *smem_error_remedy(int code)
{
    const smem__status_row *row = smem__row(code);
    return row ? row->remedy : "";
}

int smem_error_errno(int code)
{
    const smem__status_row *row = smem__row(code);
    return row ? row->twin : code == INT_MIN ? EINVAL
                                             : -code;
}
