/*
 * A camera that is none: writes frames of 64x64 into a ring of arrays, 1000 a second.
 *
 *   producer NAME [FRAMES]
 *
 * NAME.0 to NAME.3 are the ring, NAME.head says which of them is the newest. Viewers
 * (viewer.py) attach them. Each frame holds its own number in every element.
 *
 * The producer may be killed at any moment and started again under the same name:
 * the viewers keep the arrays, and it goes on where it was.
 */
#define _POSIX_C_SOURCE 200809L
#include "sharedmem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RING = 4,
       SIDE = 64 };

static int failed(const char *what, int code)
{
    fprintf(stderr, "producer: cannot %s: %s (%s)\n", what, smem_error_text(code),
            smem_error_remedy(code));
    return EXIT_FAILURE;
}

static int have(smem_context *ctx, const char *name, const char *part, int ndim,
                const int64_t *shape, smem_segment **out)
{
    char full[SMEM_NAME_MAX + 1];
    smem_spec spec = {0};
    int created;
    snprintf(full, sizeof full, "%s.%s", name, part);
    spec.name = full;
    spec.dtype = "'<i8'";
    spec.itemsize = sizeof(int64_t);
    spec.ndim = ndim;
    spec.shape = shape;
    return smem_attach_or_create(ctx, &spec, out, &created);
}

static int begin(smem_segment *array)
{
    int rc;
    do
        rc = smem_frame_begin(array, SMEM_FOREVER);
    while (rc == -EINTR);
    return rc;
}

/* The picture first, then where it is: who reads the head finds it whole. */
static int show(smem_segment *ring[RING], smem_segment *head, int64_t number)
{
    int64_t slot = number % RING;
    int64_t *pixels = smem_data(ring[slot]), *where = smem_data(head);
    int rc = begin(ring[slot]);
    if (rc != 0)
        return rc;
    for (int i = 0; i < SIDE * SIDE; i++)
        pixels[i] = number;
    rc = smem_frame_end(ring[slot]);
    if (rc == 0)
        rc = begin(head);
    if (rc != 0)
        return rc;
    where[0] = slot;
    where[1] = number;
    return smem_frame_end(head);
}

static void wait_until(struct timespec *next)
{
    next->tv_nsec += 1000000;
    if (next->tv_nsec >= 1000000000) {
        next->tv_nsec -= 1000000000;
        next->tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
}

int main(int argc, char **argv)
{
    static const int64_t square[] = {SIDE, SIDE}, pair[] = {2};
    smem_segment *ring[RING], *head;
    smem_context *ctx;
    struct timespec next;
    if (argc < 2)
        return failed("start without a name", SMEM_E_ARGUMENT);
    long long frames = argc > 2 ? atoll(argv[2]) : -1;
    int rc = smem_open(NULL, &ctx);
    if (rc != 0)
        return failed("join", rc);
    for (int i = 0; rc == 0 && i < RING; i++) {
        char part[16];
        snprintf(part, sizeof part, "%d", i);
        rc = have(ctx, argv[1], part, 2, square, &ring[i]);
    }
    if (rc == 0)
        rc = have(ctx, argv[1], "head", 1, pair, &head);
    if (rc != 0)
        return failed("make the arrays", rc);
    int64_t number = ((int64_t *)smem_data(head))[1];
    printf("from frame %lld\n", (long long)number + 1);
    fflush(stdout);
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (long long i = 0; rc == 0 && i != frames; i++) {
        rc = show(ring, head, ++number);
        wait_until(&next);
    }
    for (int i = 0; i < RING; i++)
        smem_detach(ring[i]);
    smem_detach(head);
    smem_close(ctx);
    return rc ? failed("write a frame", rc) : EXIT_SUCCESS;
}
