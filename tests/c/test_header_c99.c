/* sharedmem.h is C99 and needs no other header before it. */
#include "sharedmem.h"

int main(void)
{
    smem_spec spec = {0};
    spec.flags = SMEM_PERSISTENT;
    return smem_error_errno(SMEM_E_NAME) > 0 && spec.flags && SMEM_NDIM_MAX == 64 ? 0 : 1;
}
