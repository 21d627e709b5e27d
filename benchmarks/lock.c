/* Nanoseconds, of the processor's time, of a lock and unlock that nobody else wants: one line for each of [rounds]. */
#define _POSIX_C_SOURCE 200809L

#include <sharedmem.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TIMES = 1000000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void need(int rc)
{
    if (rc != 0) {
        fprintf(stderr, "%s\n", smem_error_text(rc));
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    smem_sync_spec spec = {.kind = SMEM_KIND_LOCK};
    smem_context *ctx;
    smem_segment *segment;
    need(smem_open(NULL, &ctx));
    need(smem_sync_create(ctx, &spec, &segment));
    smem_lock *lock = smem_data(segment);
    for (int rounds = argc > 1 ? atoi(argv[1]) : 9; rounds > 0; rounds--) {
        double begin = now();
        for (int i = 0; i < TIMES; i++) {
            need(smem_lock_acquire(segment, lock, SMEM_FOREVER));
            need(smem_lock_release(segment, lock));
        }
        printf("%.2f\n", (now() - begin) / TIMES);
    }
    smem_detach(segment);
    smem_close(ctx);
}
