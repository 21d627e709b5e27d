/*
 * Asleep until a process ends.
 *
 * The kernel reports that a file was closed by a writer when the last open file
 * or mapping made from one opening is gone, so a participant that maps its
 * family's file is reported when it ends, however it ends. It is reported before
 * the locks go and before its other mappings do: whoever acts on it waits a little.
 */
#include "os/backend.h"

#include "os/syscalls.h"
#include "sharedmem.h"

#include <errno.h>
#include <poll.h>
#include <sys/inotify.h>

enum { SMEM__BLIND_MS = 1000 };

int smem__watch_open(const char *path, smem__watch *out)
{
    *out = (smem__watch){.inotify = smem__sys.inotify_init(IN_NONBLOCK | IN_CLOEXEC)};
    if (out->inotify < 0)
        return -errno;
    /* IN_ATTRIB: its name was taken away. */
    if (smem__sys.inotify_add_watch(out->inotify, path, IN_CLOSE_WRITE | IN_ATTRIB) >= 0)
        return 0;
    int rc = -errno;
    smem__watch_close(out);
    return rc;
}

static void smem__watch_forget(smem__watch *watch)
{
    while (watch->count > 0)
        smem__sys.close(watch->pidfds[--watch->count]);
    watch->blind = false;
}

void smem__watch_process(smem__watch *watch, const smem__place *place,
                         const smem__process *process)
{
    int fd = -1;
    if (watch->count < SMEM__WATCHED_MAX && process->pid_space == place->pid_space)
        fd = smem__sys.pidfd_open((pid_t)process->pid, 0);
    if (fd >= 0)
        watch->pidfds[watch->count++] = fd;
    /* Asked after the fd was had: the pid may have been somebody else's. */
    if (fd < 0 || !smem__process_alive(place, process))
        watch->blind = true;
}

static void smem__watch_drain(const smem__watch *watch)
{
    _Alignas(struct inotify_event) char events[4096];
    while (watch->inotify >= 0 && smem__sys.read(watch->inotify, events, sizeof events) > 0) {
    }
}

int smem__watch_wait(smem__watch *watch, int timeout_ms)
{
    struct pollfd fds[1 + SMEM__WATCHED_MAX] = {{.fd = watch->inotify, .events = POLLIN}};
    for (unsigned i = 0; i < watch->count; i++)
        fds[1 + i] = (struct pollfd){.fd = watch->pidfds[i], .events = POLLIN};
    int ready;
    if (watch->blind && (timeout_ms < 0 || timeout_ms > SMEM__BLIND_MS))
        timeout_ms = SMEM__BLIND_MS;
    do
        ready = smem__sys.poll(fds, 1 + watch->count, timeout_ms);
    while (ready < 0 && errno == EINTR && timeout_ms < 0);
    int rc = ready < 0 && errno != EINTR ? -errno : ready > 0;
    smem__watch_drain(watch);
    smem__watch_forget(watch);
    return rc;
}

void smem__watch_close(smem__watch *watch)
{
    smem__watch_forget(watch);
    if (watch->inotify >= 0)
        smem__sys.close(watch->inotify);
    watch->inotify = -1;
}
