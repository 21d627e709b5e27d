/*
 * A named array, made or used from C. Python sees the same one:
 *
 *   named_array create NAME         make a 3x4 array of 0..11, keep it until a
 *                                   line (or the end) of standard input
 *   named_array sum NAME            print the sum of an existing array
 *   named_array scale NAME FACTOR   multiply an existing array in place
 *
 *   >>> sharedmem.attach(NAME).sum()
 *
 * The array goes when the last process that has it attached, C or Python, is
 * gone; nobody unlinks it by hand.
 */
#include "sharedmem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char DTYPE[] = "'<f8'"; /* NumPy's text for little-endian double */

static int failed(const char *what, const char *name, int code)
{
    fprintf(stderr, "named_array: cannot %s '%s': %s (%s)\n", what, name, smem_error_text(code),
            smem_error_name(code));
    if (*smem_error_remedy(code))
        fprintf(stderr, "named_array: remedy: %s\n", smem_error_remedy(code));
    return EXIT_FAILURE;
}

/* An array may lie in any order: only its strides say where an element is. */
static double *element(const smem_segment *segment, int64_t i, int64_t j)
{
    const smem_info *info = smem_info_of(segment);
    char *first = (char *)smem_data(segment) + info->start;
    return (double *)(void *)(first + i * info->strides[0] + j * info->strides[1]);
}

static double sum(const smem_segment *segment)
{
    const smem_info *info = smem_info_of(segment);
    double total = 0;
    for (int64_t i = 0; i < info->shape[0]; i++)
        for (int64_t j = 0; j < info->shape[1]; j++)
            total += *element(segment, i, j);
    return total;
}

static int print_sum(const smem_segment *segment)
{
    printf("sum of %s: %g\n", smem_info_of(segment)->name, sum(segment));
    return EXIT_SUCCESS;
}

static int create(smem_context *ctx, const char *name)
{
    const int64_t shape[] = {3, 4};
    smem_spec spec = {0};
    smem_segment *segment;
    spec.name = name;
    spec.dtype = DTYPE;
    spec.itemsize = sizeof(double);
    spec.ndim = 2;
    spec.shape = shape;
    int rc = smem_create(ctx, &spec, &segment);
    if (rc != 0)
        return failed("create", name, rc);
    for (int64_t i = 0; i < shape[0]; i++)
        for (int64_t j = 0; j < shape[1]; j++)
            *element(segment, i, j) = (double)(i * shape[1] + j);
    print_sum(segment);
    printf("press return to leave\n");
    fflush(stdout);
    getchar();
    print_sum(segment); /* with what others have done to it */
    smem_detach(segment);
    return EXIT_SUCCESS;
}

static int attach(smem_context *ctx, const char *name, int mode, smem_segment **segment)
{
    int rc = smem_attach(ctx, name, mode, segment);
    if (rc != 0)
        return failed("attach", name, rc);
    const smem_info *info = smem_info_of(*segment);
    if (info->ndim == 2 && strcmp(info->dtype, DTYPE) == 0)
        return EXIT_SUCCESS;
    fprintf(stderr, "named_array: '%s' has %d dimensions of %s, not 2 of %s\n", name, info->ndim,
            info->dtype, DTYPE);
    smem_detach(*segment);
    return EXIT_FAILURE;
}

static int sum_of(smem_context *ctx, const char *name)
{
    smem_segment *segment;
    if (attach(ctx, name, SMEM_READ_ONLY, &segment) != EXIT_SUCCESS)
        return EXIT_FAILURE;
    print_sum(segment);
    smem_detach(segment);
    return EXIT_SUCCESS;
}

static int scale(smem_context *ctx, const char *name, double factor)
{
    smem_segment *segment;
    if (attach(ctx, name, SMEM_READ_WRITE, &segment) != EXIT_SUCCESS)
        return EXIT_FAILURE;
    const smem_info *info = smem_info_of(segment);
    for (int64_t i = 0; i < info->shape[0]; i++)
        for (int64_t j = 0; j < info->shape[1]; j++)
            *element(segment, i, j) *= factor;
    print_sum(segment);
    smem_detach(segment);
    return EXIT_SUCCESS;
}

static int usage(void)
{
    fprintf(stderr, "usage: named_array create NAME | sum NAME | scale NAME FACTOR\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "", *name = argc > 2 ? argv[2] : "";
    char *rest = NULL;
    double factor = argc == 4 ? strtod(argv[3], &rest) : 0;
    int creates = argc == 3 && strcmp(verb, "create") == 0;
    int sums = argc == 3 && strcmp(verb, "sum") == 0;
    int scales = argc == 4 && strcmp(verb, "scale") == 0 && rest != argv[3] && *rest == '\0';
    if (!creates && !sums && !scales)
        return usage();

    smem_context *ctx;
    int rc = smem_open(NULL, &ctx); /* this process takes part */
    if (rc != 0)
        return failed("open shared memory for", name, rc);
    int status = creates ? create(ctx, name) : sums ? sum_of(ctx, name)
                                                    : scale(ctx, name, factor);
    smem_close(ctx);
    return status;
}
