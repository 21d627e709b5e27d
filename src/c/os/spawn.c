/* Starting a program that belongs to nobody, and becoming one. */
#include "os/backend.h"

#include "base/point.h"
#include "os/syscalls.h"
#include "sharedmem.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The environment stays behind: what LD_PRELOAD names is for the user's programs. */
int smem__spawn(const char *path, char *const arguments[])
{
    pid_t pid;
    int status = 0, rc = -smem__sys.spawn(&pid, path, arguments);
    if (rc != 0)
        return rc;
    SMEM__POINT("spawn.started", "the reaper was started and may not be on its own yet");
    while (smem__sys.waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return errno == ECHILD ? 0 : -errno; /* the program waits for any child itself */
    return status == 0 ? 0 : -ECHILD;
}

/*
 * All fds, not only 0 to 2: a pipe that somebody reads to its end would stay
 * open as long as this process. close_range(2) is younger than the kernels that
 * are supported, and RLIMIT_NOFILE may have been lowered after a high one was
 * opened: so what /proc lists is closed.
 */
static int smem__close_all(void)
{
    DIR *listed = smem__sys.opendir("/proc/self/fd");
    if (!listed)
        return -errno;
    int own = dirfd(listed);
    for (struct dirent *entry; (entry = smem__sys.readdir(listed));) {
        int fd = atoi(entry->d_name);
        if (isdigit((unsigned char)entry->d_name[0]) && fd != own)
            smem__sys.close(fd);
    }
    closedir(listed);
    /* Nobody shall get 0 to 2 for something else. */
    do
        own = smem__sys.open("/dev/null", O_RDWR, 0);
    while ((own >= 0 && own < 2) || (own < 0 && errno == EINTR));
    return own < 0 ? -errno : 0;
}

/* Signals meant for the programs of a terminal, a job or a session: this
   process ends when they have ended. And those of limits that were set for the
   starter: of time, and of the length of files. It was started with all of them
   blocked, so that none comes before this. */
static void smem__ignore_signals(void)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGTSTP, SIGUSR1,
                                  SIGUSR2, SIGALRM, SIGXCPU, SIGXFSZ};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

int smem__detach_from_parent(void)
{
    smem__ignore_signals();
    int rc = smem__close_all();
    if (rc != 0)
        return rc;
    pid_t pid = smem__sys.fork();
    if (pid < 0)
        return -errno;
    if (pid > 0)
        _exit(0);
    if (smem__sys.setsid() < 0 || smem__sys.chdir("/") != 0)
        return -errno;
    umask(0); /* files are made with the mode that they shall have */
    smem__sys.setpriority(0); /* or it stays: who may not raise it is told so */
    SMEM__POINT("spawn.detached", "the reaper is a process on its own and guards nothing yet");
    return 0;
}
