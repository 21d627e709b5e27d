/* Contract: sizes, names and other arguments, at and beyond their limits. */
#include "contract.h"

#include "os/backend.h"
#include "os/syscalls.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- sizes --------------------------------------------------------------------- */

/* An array without elements has its shape, and no data. */
TEST(zero_size)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    const int64_t shape[] = {3, 0, 5};
    smem_spec spec = vector(check_name("empty"));
    smem_segment *made, *found;
    spec.ndim = 3;
    spec.shape = shape;
    CHECK_OK(smem_create(ctx, &spec, &made));
    for (int mode = SMEM_READ_WRITE; mode <= SMEM_COPY_ON_WRITE; mode++) {
        found = attach(other, check_name("empty"), mode);
        CHECK_EQ(smem_info_of(found)->nbytes, 0);
        CHECK_EQ(smem_info_of(found)->shape[0], 3);
        CHECK_EQ(smem_info_of(found)->shape[1], 0);
        smem_detach(found);
    }
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

/* An array without dimensions has one element; 64 dimensions are the most. */
TEST(zero_and_most_dimensions)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    int64_t ones[SMEM_NDIM_MAX + 1];
    smem_spec spec = vector(check_name("dimensions"));
    spec.ndim = 0;
    spec.shape = NULL;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    CHECK_EQ(smem_info_of(segment)->nbytes, 8);
    CHECK_EQ(smem_info_of(segment)->ndim, 0);
    *at(segment, 0) = 1;
    smem_detach(segment);
    for (int i = 0; i <= SMEM_NDIM_MAX; i++)
        ones[i] = 1;
    spec.shape = ones;
    spec.ndim = SMEM_NDIM_MAX;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    CHECK_EQ(smem_info_of(segment)->ndim, SMEM_NDIM_MAX);
    smem_detach(segment);
    spec.ndim = SMEM_NDIM_MAX + 1;
    CHECK_CODE(smem_create(ctx, &spec, &segment), SMEM_E_ARGUMENT);
    smem_close(ctx);
}

/* More than 4 GB can be made without reserving them, and used at both ends. */
TEST(more_than_4_gb)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    const int64_t shape[] = {5, 1 << 30};
    smem_spec spec = vector(check_name("huge"));
    smem_segment *made;
    spec.flags = SMEM_NO_RESERVE;
    spec.dtype = "'|u1'";
    spec.itemsize = 1;
    spec.ndim = 2;
    spec.shape = shape;
    int rc = smem_create(ctx, &spec, &made);
    if (sizeof(void *) == 4)
        CHECK_CODE(rc, SMEM_E_SIZE);
    if (sizeof(void *) == 4 || rc == SMEM_E_NO_ROOM) {
        smem_close(other);
        smem_close(ctx);
        check_skip("no 5 GB of address space here");
    }
    CHECK_OK(rc);
    const int64_t n = shape[0] * shape[1];
    CHECK_EQ(smem_info_of(made)->nbytes, n);
    ((char *)smem_data(made))[0] = 1;
    ((char *)smem_data(made))[n - 1] = 2;
    smem_segment *found = attach(other, check_name("huge"), SMEM_READ_ONLY);
    CHECK_EQ(((char *)smem_data(found))[0], 1);
    CHECK_EQ(((char *)smem_data(found))[n - 1], 2);
    smem_detach(found);
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

static struct timespec slept_until;
static bool slept_without_end;

static long note_end(const _Atomic uint32_t *word, int operation, uint32_t value,
                     const struct timespec *timeout, uint32_t bits)
{
    (void)word, (void)operation, (void)value, (void)bits;
    slept_without_end = !timeout;
    if (timeout)
        slept_until = *timeout;
    return 0;
}

/* A deadline beyond what the system's time can say is none, not one that is over. */
TEST(far_deadlines)
{
    const _Atomic uint32_t word = 1;
    smem__sys.futex = note_end;
    for (int64_t seconds = 1; seconds < INT64_MAX / 1000000000; seconds *= 3) {
        CHECK_EQ(smem__futex_wait(&word, 1, seconds * 1000000000 + 5), SMEM__WOKEN);
        CHECK_EQ(slept_without_end, sizeof(time_t) == 4 && seconds > INT32_MAX);
        CHECK(slept_without_end || (slept_until.tv_sec == seconds && slept_until.tv_nsec == 5));
    }
    smem__futex_wait(&word, 1, INT64_MAX);
    CHECK(slept_without_end);
}

/* Let a small segment be what a process of 64 bits might have made: 4 GB, and a little. */
static void enlarge(smem_segment *segment)
{
    char path[512];
    smem__layout *header = header_of(segment);
    header->shape[0] += (int64_t)1 << 29;
    header->nbytes += (uint64_t)1 << 32;
    header->size += (uint64_t)1 << 32;
    snprintf(path, sizeof path, "%s/smem.%u.s.%s", check_directory(), (unsigned)geteuid(),
             smem_info_of(segment)->name);
    CHECK_EQ(truncate(path, (off_t)header->size), 0);
}

/* A process of 32 bits is told what a larger one has made, and may unlink it, but does not
   take it for 4 GB less. */
TEST(more_than_32_bits)
{
    if (sizeof(void *) != 4 || backend != SMEM_POSIX)
        check_skip("for processes of 32 bits, and files that are larger");
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *made = create(ctx, check_name("large")), *found;
    smem_info info;
    enlarge(made);
    CHECK_OK(smem_stat(other, check_name("large"), &info, NULL));
    CHECK_EQ(info.nbytes, ((int64_t)1 << 32) + COLUMNS * 8);
    smem_info_clear(&info);
    const int modes[] = {SMEM_READ_WRITE, SMEM_READ_ONLY, SMEM_COPY_ON_WRITE};
    for (int i = 0; i < 3; i++)
        CHECK_CODE(smem_attach(other, check_name("large"), modes[i], &found), SMEM_E_SIZE);
    CHECK_OK(smem_unlink(other, check_name("large")));
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

/* Sizes that cannot be are refused with a code that says so. */
TEST(impossible_sizes)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    const struct {
        int64_t shape[2], strides[2];
        uint64_t itemsize, start, nbytes;
    } bad[] = {
        {{-1, 1}, {8, 8}, 8, 0, 0},
        {{0, -1}, {8, 8}, 8, 0, 0},
        {{INT64_MAX, 2}, {8, 8}, 8, 0, 0},
        {{INT64_MAX, 1}, {1, 1}, 1, 0, 0}, /* no room for the header */
        {{1, 1}, {8, 8}, UINT64_MAX, 0, 0},
        {{2, 2}, {INT64_MAX, INT64_MAX}, 8, 0, 0},
        {{2, 2}, {INT64_MIN, INT64_MIN}, 8, 0, 0},
        {{2, 2}, {16, -8}, 8, 0, 0},         /* begins before the data */
        {{2, 2}, {16, 8}, 8, 1, 32},         /* ends behind it */
        {{2, 2}, {16, 8}, 8, UINT64_MAX, 32},
        {{2, 2}, {16, 8}, 8, 0, 31},
        {{0, 2}, {16, 8}, 8, 1, 0},
        {{1, 1}, {8, 8}, 8, 0, UINT64_MAX - 4096},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        smem_spec spec = vector(NULL);
        spec.flags = SMEM_NO_RESERVE;
        spec.ndim = 2;
        spec.shape = bad[i].shape;
        spec.strides = bad[i].strides;
        spec.itemsize = bad[i].itemsize;
        spec.start = bad[i].start;
        spec.nbytes = bad[i].nbytes;
        CHECK_CODE(smem_create(ctx, &spec, &segment), SMEM_E_SIZE);
    }
    smem_close(ctx);
}

/* A size that only this machine cannot give is a lack of room, and nothing is left of it. */
TEST(too_large_for_the_machine)
{
    check_skip_in_valgrind("it refuses the size before the kernel sees it");
    smem_context *ctx = check_open(NULL);
    const int64_t shape[] = {(int64_t)1 << 60};
    smem_spec spec = vector(check_name("huge"));
    smem_segment *segment;
    unsigned before = check_left(false); /* the family's */
    spec.dtype = "'|u1'";
    spec.itemsize = 1;
    spec.shape = shape;
    spec.flags = SMEM_NO_RESERVE;
    int rc = smem_create(ctx, &spec, &segment);
    CHECK(rc == SMEM_E_NO_ROOM || rc == SMEM_E_LIMIT || rc == SMEM_E_SIZE);
    check_no_name(ctx, check_name("huge"));
    CHECK_EQ(check_left(false), before);
    smem_close(ctx);
}

/* No fd is kept per segment. */
TEST(no_fd_per_segment)
{
    enum { SEGMENTS = 1000 };
    static smem_segment *segments[SEGMENTS];
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    unsigned fds = check_fds();
    for (int i = 0; i < SEGMENTS; i++)
        segments[i] = create(ctx, NULL);
    CHECK_EQ(check_fds(), fds);
    for (int i = 0; i < SEGMENTS; i++) {
        smem_segment *found = attach(other, smem_info_of(segments[i])->name, i % 3);
        smem_detach(segments[i]);
        segments[i] = found;
    }
    CHECK_EQ(check_fds(), fds);
    for (int i = 0; i < SEGMENTS; i++)
        smem_detach(segments[i]);
    CHECK_EQ(check_fds(), fds);
    smem_close(other);
    smem_close(ctx);
}

/* ---- arguments ------------------------------------------------------------------- */

/* A name has 1 to 200 bytes and no slash; all bytes else are allowed. */
TEST(names)
{
    smem_context *ctx = check_open(NULL);
    char text[SMEM_NAME_MAX + 2];
    smem_segment *segment;
    int created;
    memset(text, 'n', sizeof text);
    memcpy(text, check_name(""), strlen(check_name("")));
    text[SMEM_NAME_MAX + 1] = '\0';
    const char *bad[] = {"", "a/b", "/", "posix:", "sysv:", "posix:a/b", "posix:sysv:a",
                         "sysv:sysv:a", text};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        smem_info info;
        smem_spec spec = vector(bad[i]);
        spec.backend = SMEM_ANY;
        CHECK_CODE(smem_create(ctx, &spec, &segment), SMEM_E_NAME);
        CHECK_CODE(smem_attach_or_create(ctx, &spec, &segment, &created), SMEM_E_NAME);
        CHECK_CODE(smem_attach(ctx, bad[i], SMEM_READ_WRITE, &segment), SMEM_E_NAME);
        CHECK_CODE(smem_unlink(ctx, bad[i]), SMEM_E_NAME);
        CHECK_CODE(smem_stat(ctx, bad[i], &info, NULL), SMEM_E_NAME);
        CHECK_CODE(smem_receive(ctx, SMEM_ANY, bad[i], 1, SMEM_READ_WRITE, 0, &segment),
                   SMEM_E_NAME);
        CHECK_CODE(smem_forget(ctx, SMEM_ANY, bad[i], 1, 1), SMEM_E_NAME);
    }
    CHECK_CODE(smem_attach(ctx, NULL, SMEM_READ_WRITE, &segment), SMEM_E_NAME);
    CHECK_CODE(smem_unlink(ctx, NULL), SMEM_E_NAME);
    smem_spec unnamed = vector(NULL);
    CHECK_CODE(smem_attach_or_create(ctx, &unnamed, &segment, &created), SMEM_E_NAME);
    text[SMEM_NAME_MAX] = '\0';
    const char *good[] = {text, check_name(" \n\t\x01\xff%s..\\")};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        segment = create(ctx, good[i]);
        CHECK_STR(smem_info_of(segment)->name, good[i]);
        smem_segment *found = attach(ctx, good[i], SMEM_READ_WRITE);
        CHECK(found == segment);
        smem_detach(found);
        smem_detach(segment);
    }
    smem_close(ctx);
}

/* Arguments without a valid value are refused before anything is made. */
TEST(bad_arguments)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment, *held = create(ctx, check_name("argument"));
    smem_spec good = vector(check_name("other"));
    smem_spec bad[13];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        bad[i] = good;
    bad[0].backend = 3;
    bad[1].backend = -1;
    bad[2].flags = 32;
    bad[3].permissions = 0400; /* the test for the last user needs both */
    bad[4].permissions = 01600;
    bad[5].permissions = 0x80000180;
    bad[6].dtype = NULL;
    bad[7].dtype = "";
    bad[8].ndim = -1;
    bad[9].ndim = SMEM_NDIM_MAX + 1;
    bad[10].shape = NULL;
    bad[11].ndim = INT32_MAX;
    bad[12].permissions = 0200;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_CODE(smem_create(ctx, &bad[i], &segment), SMEM_E_ARGUMENT);
    const int modes[] = {-1, 3, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        CHECK_CODE(smem_attach(ctx, check_name("argument"), modes[i], &segment), SMEM_E_ARGUMENT);
        CHECK_CODE(receive(ctx, smem_info_of(held), modes[i], 0, &segment), SMEM_E_ARGUMENT);
    }
    CHECK_CODE(smem_receive(ctx, 7, check_name("argument"), 1, 0, 0, &segment), SMEM_E_ARGUMENT);
    smem_detach(held);
    smem_close(ctx);
}

/* A segment begins with what it is given, again and again until it ends: new, large
   enough for huge pages, and made of an idle one. */
TEST(create_with_contents)
{
    enum { MANY = 5 << 20 };
    const int64_t counts[] = {1000, MANY};
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    double pattern[700];
    for (int i = 0; i < 700; i++)
        pattern[i] = i;
    for (int round = 0; round < 4; round++) {
        smem_spec spec = vector(NULL);
        spec.backend = backend;
        spec.shape = &counts[round / 2];
        spec.flags = SMEM_UNPUBLISHED;
        spec.contents = pattern;
        spec.contents_size = sizeof pattern;
        CHECK_OK(smem_create(ctx, &spec, &segment));
        for (int i = 0; i < counts[round / 2]; i++)
            if (*at(segment, i) != i % 700)
                CHECK_EQ(i, -1);
        *at(segment, 3) = -1;
        smem_detach(segment);
    }
    smem_spec spec = vector(NULL);
    spec.contents_size = 8;
    CHECK_CODE(smem_create(ctx, &spec, &segment), SMEM_E_ARGUMENT);
    smem_close(ctx);
}

/* Filled with what is short or long, wherever it begins; nothing behind it changes. */
TEST(filling)
{
    enum { MOST = 40 << 20 };
    static const uint64_t lengths[] = {0, 1, 63, 1000, (16 << 20) + 5, MOST - 1};
    const int64_t count = MOST;
    smem_context *ctx = check_open(NULL);
    smem_segment *segment, *locked;
    smem_spec spec = vector(check_name("filled"));
    spec.dtype = "'|u1'";
    spec.itemsize = 1;
    spec.shape = &count;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    unsigned char *data = smem_data(segment), *contents = malloc(MOST + 1);
    for (uint64_t i = 0; i <= MOST; i++)
        contents[i] = (unsigned char)(1 + i % 251);
    for (size_t round = 0; round < 2 * sizeof lengths / sizeof *lengths; round++) {
        uint64_t length = lengths[round / 2];
        memset(data, 0, MOST);
        smem_limit_threads(ctx, round % 2);
        CHECK_OK(smem_fill(segment, contents + round % 2, length));
        CHECK_EQ(memcmp(data, contents + round % 2, (size_t)length), 0);
        CHECK_EQ(data[length], 0);
    }
    CHECK_CODE(smem_fill(segment, contents, MOST + 1), SMEM_E_ARGUMENT);
    locked = attach(ctx, check_name("filled"), SMEM_READ_ONLY);
    CHECK_CODE(smem_fill(locked, contents, 1), SMEM_E_ARGUMENT);
    free(contents);
    smem_detach(locked);
    smem_detach(segment);
    smem_close(ctx);
}

static int threads_of_a_copy(smem_segment *segment, const void *contents, uint64_t nbytes)
{
    unsigned before = check_threads();
    CHECK_OK(smem_fill(segment, contents, nbytes));
    return (int)(check_threads() - before);
}

/* A large copy is made by two threads where there are two processors, unless one is the limit. */
TEST(filling_by_threads)
{
    const int64_t count = 5 << 20;
    uint64_t nbytes = (uint64_t)count * sizeof(double);
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    smem_spec spec = vector(NULL);
    cpu_set_t processors;
    CHECK_EQ(sched_getaffinity(0, sizeof processors, &processors), 0);
    spec.shape = &count;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    void *contents = calloc(1, (size_t)nbytes);
    CHECK_EQ(threads_of_a_copy(segment, contents, nbytes), CPU_COUNT(&processors) > 1);
    CHECK_EQ(threads_of_a_copy(segment, contents, 1000), 0);
    smem_limit_threads(ctx, 1);
    CHECK_EQ(threads_of_a_copy(segment, contents, nbytes), 0);
    free(contents);
    smem_detach(segment);
    smem_close(ctx);
}
