/* Two users: the processes of the second family are another's. */
#include "schedule.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST_UID = 61001 };

uint32_t users_uid(int user)
{
    return planned->users > 1 ? (uint32_t)(FIRST_UID + user) : geteuid();
}

int users_mine(void)
{
    return planned->users > 1 ? me->family : 0;
}

static bool take_uid(uint32_t uid)
{
    return setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0;
}

void users_become(int user)
{
    if (planned->users < 2)
        return;
    WHEN(!take_uid(users_uid(user)), "cannot become user %d", users_uid(user));
    prctl(PR_SET_DUMPABLE, 1); /* as a program that was started by that user */
}

/* By root, where the user namespace maps both. */
bool users_are_possible(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(take_uid(FIRST_UID) && setresuid(FIRST_UID + 1, FIRST_UID + 1, FIRST_UID + 1) != 0 ? 0 : 1);
    waitpid(pid, &status, 0);
    return status == 0;
}
