/* What a run leaves: nothing, but what was meant to stay. */
#include "schedule.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

unsigned left_count(bool remove, bool say)
{
    unsigned left = 0;
    char path[512];
    DIR *directory = opendir(schedule_directory);
    for (struct dirent *d; (d = readdir(directory));)
        if (d->d_name[0] != '.') {
            left++;
            if (say)
                fprintf(stderr, "left: %s\n", d->d_name);
            snprintf(path, sizeof path, "%s/%s", schedule_directory, d->d_name);
            if (remove)
                unlink(path);
        }
    closedir(directory);
    struct shmid_ds st;
    int most = shmctl(0, SHM_INFO, &st);
    for (int i = 0; i <= most; i++) {
        int id = shmctl(i, SHM_STAT, &st);
        if (id < 0)
            continue;
        left++;
        if (say)
            fprintf(stderr, "left: SysV segment %d\n", id);
        if (remove)
            shmctl(id, IPC_RMID, NULL);
    }
    return left;
}

/* ---- without a last participant --------------------------------------------------------- */

static int count_row(void *arg, const smem_info *info, const smem_flight *flight)
{
    (void)flight;
    *(int *)arg += !(info->flags & SMEM_PERSISTENT);
    return 0;
}

/* By one that only looks: how many segments should be gone. */
static int count_kept(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        int kept = 0;
        smem_context *ctx;
        smem_options options = {.directory = schedule_directory, .observe = 1};
        if (smem_open(&options, &ctx) != 0 || smem_list(ctx, count_row, &kept) != 0)
            _exit(255);
        _exit(kept);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* To its end: of several one stays, and which one is not known here. */
static bool was_reaped(int family)
{
    bool any = false, killed = false;
    for (const actor *one = shown->actors; one < shown->actors + ACTORS; one++)
        if (one->reaper && one->family == family) {
            any = true;
            killed |= one->killed;
        }
    return any && !killed && !shown->unguarded[family];
}

/* Reaped families have left nothing to a last participant. What a visitor kept until the
   reaper had gone stays: it is not the visitor's to remove. */
void left_by_reapers(void)
{
    if (!planned->reapers || planned->users > 1 || planned->fails || shown->removed_files || shown->over)
        return;
    for (int family = 0; family < planned->families; family++)
        if (!was_reaped(family))
            return;
    int kept = count_kept();
    WHEN(kept != 0, "the reapers have left %d segments", kept);
}

static int persistent_row(void *arg, const smem_info *info, const smem_flight *flight)
{
    smem_context *ctx = arg;
    (void)flight;
    if (info->flags & SMEM_PERSISTENT)
        smem_unlink(ctx, info->name);
    return 0;
}

/* A last participant takes away what was meant to stay, and reclaims. */
static void tidy_up(int user)
{
    pid_t pid = fork();
    if (pid == 0) {
        smem_context *ctx;
        smem_options options = {.family = "last", .directory = schedule_directory};
        users_become(user);
        if (smem_open(&options, &ctx) != 0)
            _exit(2);
        scene_of(planned)->tidy(ctx);
        smem_list(ctx, persistent_row, ctx);
        smem_reclaim(ctx, NULL);
        smem_close(ctx);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    WHEN(status != 0, "the last participant could not tidy up: status %x", status);
}

/* Whoever reads /proc/PID/maps of a process that ends keeps its mappings for that long: any
   program of this machine. So it is tried again, after a moment. */
unsigned left_when_tidy(void)
{
    unsigned left = 1;
    for (int turn = 0; turn < 4 && left > 0 && !shown->over; turn++) {
        usleep(turn ? 100000 : 0);
        for (int user = 0; user < planned->users; user++)
            tidy_up(user);
        left = left_count(false, false);
    }
    return left;
}

/* Nobody can go on, and no time would help: of a family that has ended no reaper is left. */
void left_asleep(void)
{
    for (int i = 0; i < ACTORS && !shown->over; i++)
        WHEN(schedule_lives(&shown->actors[i]), "actor %d%s sleeps for ever", i,
             shown->actors[i].reaper ? ", a reaper," : "");
}
