#include "failing.h"

fault armed;
fault_log *logged;
static smem__syscalls real;

static bool fails(enum call call)
{
    if (!armed.on)
        return false;
    unsigned seen = ++logged->made[call];
    if (armed.at == 0 || call != armed.call)
        return false;
    if (seen != armed.at && !(armed.for_good && seen > armed.at))
        return false;
    logged->fired = true;
    errno = armed.error;
    return true;
}

#define FAILING(name, type, bad, parameters, arguments)                       \
    static type failing_##name parameters                                     \
    {                                                                         \
        return fails(CALL_##name) ? bad : real.name arguments;                \
    }
CALLS(FAILING)
#undef FAILING

/* Whatever close says, on Linux the fd is closed. */
static int closing_close(int fd)
{
    int rc = real.close(fd);
    return fails(CALL_close) ? -1 : rc;
}

void replace_table(void)
{
    real = smem__sys;
    logged = mmap(NULL, sizeof *logged, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(logged != MAP_FAILED);
#define REPLACE(name, type, bad, parameters, arguments) smem__sys.name = failing_##name;
    CALLS(REPLACE)
#undef REPLACE
    (void)failing_close;
    smem__sys.close = closing_close;
}
