/*
 * What both backends promise; the tests are in contract_*.c. Run once per
 * backend:
 *
 *   test_contract posix|sysv [test...]
 */
#include "contract.h"

int main(int argc, char **argv)
{
    return check_main_on_backend(argc, argv, &backend);
}
