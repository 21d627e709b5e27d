// sharedmem.h is C++, and its functions have C linkage there.
#include "sharedmem.h"

int main()
{
    smem_spec spec = smem_spec();
    spec.backend = SMEM_SYSV;
    return *smem_error_text(SMEM_E_NOT_FOUND) && spec.backend == 2 ? 0 : 1;
}
