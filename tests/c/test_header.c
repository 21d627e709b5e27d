/*
 * Headers by themselves: what is valid, what is refused, and that the bytes of
 * format version 1 stay what they are.
 *
 *   test_header GOLDEN [test...]     GOLDEN: the directory tests/golden
 *   test_header --write GOLDEN       write the golden files anew
 */
#include "check.h"

#include "segment/header.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* A valid header: three rows of four doubles with a gap after each row. */
static smem__layout valid(void)
{
    static const int64_t shape[] = {3, 4}, strides[] = {40, 8};
    const smem_spec spec = {
        .dtype = "'<f8'", .itemsize = 8, .ndim = 2, .shape = shape, .strides = strides, .start = 16, .nbytes = 136};
    smem__layout header;
    memset(&header, 0, sizeof header);
    CHECK_OK(smem__header_make(&spec, PAGE, &header));
    header.nonce = 1;
    header.name_length = 1;
    header.name[0] = 'n';
    return header;
}

/* ---- the rules of layout.h -------------------------------------------------- */

/* A header that the library makes is valid for an object of its size. */
TEST(made_header_is_valid)
{
    smem__layout header = valid();
    CHECK_EQ(header.data_offset, PAGE);
    CHECK_EQ(header.size, 2 * PAGE);
    CHECK_OK(smem__header_check(&header, header.size));
}

typedef void spoil(smem__layout *header);

#define SPOIL(name, statement)                                                \
    static void name(smem__layout *header)                                    \
    {                                                                         \
        statement;                                                            \
    }
SPOIL(half_made, memset(header->magic, 0, sizeof header->magic))
SPOIL(other_magic, header->magic[7] ^= 1)
SPOIL(swapped, header->byte_order = 0x04030201)
SPOIL(older, header->version = SMEM__VERSION - 1)
SPOIL(newer, header->version = SMEM__VERSION + 1)
SPOIL(other_stamp, header->stamp ^= 1)
SPOIL(smaller, header->size--)
SPOIL(larger, header->size++)
SPOIL(data_behind, header->nbytes = header->size - header->data_offset + 1)
SPOIL(data_far_behind, header->data_offset = UINT64_MAX - 8)
SPOIL(sum_overflows, header->nbytes = UINT64_MAX - header->data_offset + 1)
SPOIL(data_in_header, header->data_offset = SMEM__DTYPE_AT)
SPOIL(data_in_dtype, header->data_offset = SMEM__DTYPE_AT + header->dtype_length - 1)
SPOIL(data_unaligned, header->data_offset += 8)
SPOIL(no_dtype, header->dtype_length = 0)
SPOIL(dtype_in_data, header->dtype_length = PAGE - SMEM__DTYPE_AT + 1)
SPOIL(dtype_too_long, header->dtype_length = SMEM_DTYPE_MAX + 1)
SPOIL(dtype_endless, header->dtype_length = UINT32_MAX)
SPOIL(no_name, header->name_length = 0)
SPOIL(name_too_long, header->name_length = SMEM_NAME_MAX + 1)
SPOIL(name_endless, header->name_length = UINT32_MAX)
SPOIL(name_with_nul, header->name_length = 2)
SPOIL(too_many_dimensions, header->ndim = SMEM_NDIM_MAX + 1)
SPOIL(endless_dimensions, header->ndim = UINT32_MAX)
SPOIL(no_nonce, header->nonce = 0)
SPOIL(negative_extent, header->shape[0] = -1)
SPOIL(negative_beside_zero, (header->shape[0] = 0, header->shape[1] = -1))
SPOIL(one_row_more, header->shape[0]++)
SPOIL(one_column_more, header->shape[1] += (int64_t)(1 + header->start / 8))
SPOIL(starts_later, header->start += 9)
SPOIL(starts_before, header->strides[1] = -8)
SPOIL(starts_far_behind, header->start = UINT64_MAX)
SPOIL(stride_overflows, header->strides[0] = INT64_MAX)
SPOIL(stride_underflows, header->strides[0] = INT64_MIN)
SPOIL(endless_extent, header->shape[0] = INT64_MAX)
SPOIL(endless_both, (header->shape[0] = INT64_MAX, header->shape[1] = INT64_MAX))
SPOIL(large_item, header->itemsize += 9)
SPOIL(endless_item, header->itemsize = UINT64_MAX)
SPOIL(empty_starts_behind, (header->shape[0] = 0, header->start = header->nbytes + 1))

static const struct {
    spoil *by;
    int code;
} spoils[] = {
    {half_made, SMEM_E_FORMAT},
    {other_magic, SMEM_E_FORMAT},
    {swapped, SMEM_E_FORMAT},
    {older, SMEM_E_VERSION},
    {newer, SMEM_E_VERSION},
    {other_stamp, SMEM_E_VERSION},
    {smaller, SMEM_E_FORMAT},
    {larger, SMEM_E_FORMAT},
    {data_behind, SMEM_E_FORMAT},
    {data_far_behind, SMEM_E_FORMAT},
    {sum_overflows, SMEM_E_FORMAT},
    {data_in_header, SMEM_E_FORMAT},
    {data_in_dtype, SMEM_E_FORMAT},
    {data_unaligned, SMEM_E_FORMAT},
    {no_dtype, SMEM_E_FORMAT},
    {dtype_in_data, SMEM_E_FORMAT},
    {dtype_too_long, SMEM_E_FORMAT},
    {dtype_endless, SMEM_E_FORMAT},
    {no_name, SMEM_E_FORMAT},
    {name_too_long, SMEM_E_FORMAT},
    {name_endless, SMEM_E_FORMAT},
    {name_with_nul, SMEM_E_FORMAT},
    {too_many_dimensions, SMEM_E_FORMAT},
    {endless_dimensions, SMEM_E_FORMAT},
    {no_nonce, SMEM_E_FORMAT},
    {negative_extent, SMEM_E_FORMAT},
    {negative_beside_zero, SMEM_E_FORMAT},
    {one_row_more, SMEM_E_FORMAT},
    {one_column_more, SMEM_E_FORMAT},
    {starts_later, SMEM_E_FORMAT},
    {starts_before, SMEM_E_FORMAT},
    {starts_far_behind, SMEM_E_FORMAT},
    {stride_overflows, SMEM_E_FORMAT},
    {stride_underflows, SMEM_E_FORMAT},
    {endless_extent, SMEM_E_FORMAT},
    {endless_both, SMEM_E_FORMAT},
    {large_item, SMEM_E_FORMAT},
    {endless_item, SMEM_E_FORMAT},
    {empty_starts_behind, SMEM_E_FORMAT},
};

/* Each rule that a header can break is found, with the right code. */
TEST(each_rule_is_checked)
{
    for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
        smem__layout header = valid();
        uint64_t size = header.size;
        spoils[i].by(&header);
        int rc = smem__header_check(&header, size);
        if (rc != spoils[i].code)
            fprintf(stderr, "rule %zu of spoils[]\n", i);
        CHECK_CODE(rc, spoils[i].code);
    }
}

/* A foreign magic or byte order is no version of ours, whatever the version says. */
TEST(format_comes_before_version)
{
    smem__layout header = valid();
    header.version++;
    header.size = 0;
    CHECK_CODE(smem__header_check(&header, 2 * PAGE), SMEM_E_VERSION);
    header.byte_order = 0;
    CHECK_CODE(smem__header_check(&header, 2 * PAGE), SMEM_E_FORMAT);
}

/* What no rule forbids is valid: empty arrays, negative, zero and overlapping strides. */
TEST(unusual_but_valid)
{
    smem__layout header = valid();
    header.strides[0] = header.strides[1] = 0;
    header.shape[0] = INT64_MAX;
    CHECK_OK(smem__header_check(&header, header.size));
    header = valid();
    header.strides[0] = -40;
    header.start = 96;
    CHECK_OK(smem__header_check(&header, header.size));
    header = valid();
    header.shape[1] = 0;
    header.shape[0] = INT64_MAX;
    header.strides[0] = INT64_MIN;
    header.start = header.nbytes;
    CHECK_OK(smem__header_check(&header, header.size));
    header = valid();
    header.ndim = 0;
    header.nbytes = 24;
    CHECK_OK(smem__header_check(&header, header.size));
    header.itemsize = 0;
    header.nbytes = 16;
    CHECK_OK(smem__header_check(&header, header.size));
}

/* ---- random headers ----------------------------------------------------------- */

static uint64_t state = 0x9e3779b97f4a7c15u; /* the seed */

static uint64_t random_word(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1du;
}

/* Around what is special, and close to what is valid. */
static uint64_t random_value(void)
{
    static const uint64_t special[] = {
        0, 1, 2, 3, 4, 8, 16, 40, 64, 65, 136, 200, 201, PAGE, 2 * PAGE, SMEM__DTYPE_AT,
        SMEM_DTYPE_MAX, INT32_MAX, UINT32_MAX, INT64_MAX, (uint64_t)INT64_MIN, UINT64_MAX,
        (uint64_t)1 << 32, (uint64_t)1 << 62};
    uint64_t near = random_word() % 5 - 2;
    switch (random_word() % 4) {
    case 0: return random_word() >> random_word() % 64;
    case 1: return 0 - random_word() % 64;
    default: return special[random_word() % (sizeof special / sizeof special[0])] + near;
    }
}

static void mutate(smem__layout *header)
{
    switch (random_word() % 16) {
    case 0: header->ndim = (uint32_t)random_value(); break;
    case 1: header->nbytes = random_value(); break;
    case 2: header->data_offset = random_value(); break;
    case 3: header->start = random_value(); break;
    case 4: header->itemsize = random_value(); break;
    case 5: header->dtype_length = (uint32_t)random_value(); break;
    case 6: header->name_length = (uint32_t)random_value(); break;
    case 7: header->size = random_value(); break;
    case 8: ((char *)header)[random_word() % sizeof *header] = (char)random_word(); break;
    case 9:
    case 10:
    case 11:
    case 12: header->shape[random_word() % 3] = (int64_t)random_value(); break;
    default: header->strides[random_word() % 3] = (int64_t)random_value(); break;
    }
}

/* How far the elements of a dimension reach behind the first one, or before it; false: further
   than [nbytes]. */
static bool is_within(int64_t extent, int64_t stride, uint64_t nbytes, uint64_t *reach)
{
    uint64_t steps = (uint64_t)extent - 1, step = (uint64_t)stride;
    if (stride < 0)
        step = -step;
    if (steps == 0 || step == 0) {
        *reach = 0;
        return true;
    }
    *reach = steps * step;
    return steps <= nbytes / step;
}

static bool are_within(const smem__layout *header)
{
    uint64_t before = header->start, behind = header->nbytes - header->start, reach;
    if (header->start > header->nbytes || header->itemsize > behind)
        return false;
    behind -= header->itemsize;
    for (uint32_t i = 0; i < header->ndim; i++) {
        uint64_t *room = header->strides[i] < 0 ? &before : &behind;
        if (!is_within(header->shape[i], header->strides[i], header->nbytes, &reach) ||
            reach > *room)
            return false;
        *room -= reach;
    }
    return true;
}

/* What the library relies on, said again by what is left: nothing is added up that could
   overflow. */
static bool is_inside(const smem__layout *header, uint64_t size)
{
    if (header->ndim > SMEM_NDIM_MAX || header->name_length > SMEM_NAME_MAX ||
        header->nbytes > size || header->data_offset > size - header->nbytes ||
        SMEM__DTYPE_AT + (uint64_t)header->dtype_length > header->data_offset ||
        header->data_offset % PAGE != 0)
        return false;
    bool empty = false;
    for (uint32_t i = 0; i < header->ndim; i++) {
        if (header->shape[i] < 0)
            return false;
        empty |= header->shape[i] == 0;
    }
    return empty ? header->start <= header->nbytes : are_within(header);
}

/* Nothing but noise, behind what makes it one of ours. */
static void fill_with_noise(smem__layout *header)
{
    uint64_t *words = (uint64_t *)(void *)header;
    for (size_t i = 3; i < sizeof *header / sizeof *words; i++)
        words[i] = random_word() % 8 ? random_value() : random_word();
    header->dtype_length = (uint32_t)(random_word() % 1000);
    header->name_length = (uint32_t)(random_word() % 210);
    header->ndim = (uint32_t)(random_word() % 6);
}

/* Of a million headers, mutated ones and noise, none passes that reaches outside its object. */
TEST(random_headers_never_reach_outside)
{
    unsigned passed = 0, refused = 0;
    for (int i = 0; i < 1000000; i++) {
        smem__layout header = valid();
        uint64_t size = random_word() % 8 ? header.size : random_value();
        if (i % 8 == 0)
            fill_with_noise(&header);
        for (uint64_t n = 1 + random_word() % 4; n > 0; n--)
            mutate(&header);
        if (random_word() % 8 == 0)
            header.size = size;
        if (smem__header_check(&header, size) != 0) {
            refused++;
            continue;
        }
        passed++;
        if (!is_inside(&header, size))
            fprintf(stderr, "header %d of the sequence\n", i);
        CHECK(is_inside(&header, size));
    }
    CHECK(passed > 10000);
    CHECK(refused > 10000);
}

/* Whatever spec is given, a header that was made is one that passes. */
TEST(random_specs_make_valid_headers)
{
    unsigned made = 0, refused = 0;
    for (int i = 0; i < 200000; i++) {
        int64_t shape[4], strides[4];
        smem__layout header;
        smem_spec spec = {.dtype = "'|V7'",
                          .itemsize = random_value(),
                          .ndim = (int)(random_word() % 5),
                          .shape = shape,
                          .strides = random_word() % 2 ? strides : NULL,
                          .start = random_word() % 2 ? random_value() : 0,
                          .nbytes = random_word() % 2 ? random_value() : 0};
        for (int k = 0; k < 4; k++) {
            shape[k] = (int64_t)random_value();
            strides[k] = (int64_t)random_value();
        }
        memset(&header, 0, sizeof header);
        int rc = smem__header_make(&spec, PAGE, &header);
        if (rc != 0) {
            CHECK_CODE(rc, SMEM_E_SIZE);
            refused++;
            continue;
        }
        header.nonce = 1;
        header.name_length = 1;
        header.name[0] = 'n';
        CHECK_OK(smem__header_check(&header, header.size));
        CHECK(is_inside(&header, header.size));
        CHECK_EQ(header.data_offset % PAGE, 0);
        made++;
    }
    CHECK(made > 10000);
    CHECK(refused > 10000);
}

/* ---- golden files ---------------------------------------------------------------- */

static const char *golden;

static const int64_t matrix[] = {2, 3}, cube[] = {4, 0, 5}, image[] = {2, 2, 3};
static const int64_t fortran[] = {2, 4}, mirrored[] = {12, -6, 2};

static char long_dtype[2000];

typedef struct sample {
    const char *file;
    smem_spec spec;
    uint64_t data_offset, size;
} sample;

#define SAMPLE(file, text, bytes, dimensions, ...)                            \
    {file, {.dtype = text, .itemsize = bytes, .ndim = dimensions, __VA_ARGS__}, PAGE, 2 * PAGE}

static const sample samples[] = {
    SAMPLE("float64.bin", "'<f8'", 8, 2, .shape = matrix),
    SAMPLE("big-endian-fortran.bin", "'>i2'", 2, 2, .shape = matrix, .strides = fortran,
           .permissions = 0644),
    SAMPLE("mirrored.bin", "'<u2'", 2, 3, .shape = image, .strides = mirrored, .start = 6,
           .nbytes = 100),
    SAMPLE("scalar-datetime.bin", "'<M8[ns]'", 8, 0, .flags = SMEM_PERSISTENT),
    SAMPLE("record.bin",
           "{'names': ['x', 'tag'], 'formats': ['<f4', '|S3'], 'offsets': [0, 5], 'itemsize': 12}",
           12, 2, .shape = matrix),
    {"empty-bool.bin", {.dtype = "'|b1'", .itemsize = 1, .ndim = 3, .shape = cube}, PAGE, PAGE},
    {"long-dtype.bin",
     {.dtype = long_dtype, .itemsize = 1, .ndim = 2, .shape = matrix},
     2 * PAGE,
     3 * PAGE},
};

enum { SAMPLES = sizeof samples / sizeof samples[0] };

/* What differs from one segment to the next is fixed in the files. */
#define GOLDEN_NONCE UINT64_C(0x0123456789abcdef)
#define GOLDEN_FAMILY UINT32_C(0x76543210)
#define GOLDEN_CREATED INT64_C(1767225600)
#define GOLDEN_PLACE UINT64_C(0x1a)
#define GOLDEN_NAME "golden"

static void make_long_dtype(void)
{
    strcpy(long_dtype, "{'names': [");
    for (int i = 0; i < 90; i++)
        snprintf(long_dtype + strlen(long_dtype), 16, "'field%02d', ", i);
    strcat(long_dtype, "], 'formats': [...]}");
}

static bool is_little_endian(void)
{
    const uint32_t one = 1;
    return *(const char *)&one == 1;
}

static void skip_where_files_differ(void)
{
    if (sysconf(_SC_PAGESIZE) != PAGE || !is_little_endian())
        check_skip("the files are of a little-endian machine with 4 KB pages");
}

typedef struct bytes {
    char *at;
    size_t size;
} bytes;

static bytes read_golden(const char *file)
{
    char path[4096];
    bytes out = {malloc(SMEM__DTYPE_AT + SMEM_DTYPE_MAX + 1), 0};
    snprintf(path, sizeof path, "%s/%s", golden, file);
    FILE *f = fopen(path, "rb");
    if (!f)
        fprintf(stderr, "cannot open %s\n", path);
    CHECK(f != NULL);
    out.size = fread(out.at, 1, SMEM__DTYPE_AT + SMEM_DTYPE_MAX + 1, f);
    fclose(f);
    return out;
}

static uint64_t word_at(const bytes *header, size_t offset, size_t width)
{
    uint64_t word = 0;
    for (size_t i = 0; i < width; i++)
        word |= (uint64_t)(unsigned char)header->at[offset + i] << 8 * i;
    return word;
}

static void check_zero(const bytes *header, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        CHECK_EQ(header->at[i], 0);
}

static void check_shape(const bytes *header, const smem_spec *spec)
{
    int64_t step = (int64_t)spec->itemsize;
    for (int i = spec->ndim - 1; i >= 0; i--) {
        CHECK_EQ(word_at(header, 512 + 8 * (size_t)i, 8), spec->shape[i]);
        CHECK_EQ(word_at(header, 1024 + 8 * (size_t)i, 8), spec->strides ? spec->strides[i] : step);
        step *= spec->shape[i] ? spec->shape[i] : 1;
    }
    check_zero(header, 512 + 8 * (size_t)spec->ndim, 1024);
    check_zero(header, 1024 + 8 * (size_t)spec->ndim, 1536);
}

static uint64_t bytes_needed(const smem_spec *spec)
{
    uint64_t n = spec->itemsize;
    for (int i = 0; i < spec->ndim; i++)
        n *= (uint64_t)spec->shape[i];
    return spec->nbytes ? spec->nbytes : n;
}

/* The files have every field at the offset that the table of layout.h gives. */
TEST(golden_fields)
{
    for (int i = 0; i < SAMPLES; i++) {
        const smem_spec *spec = &samples[i].spec;
        bytes header = read_golden(samples[i].file);
        size_t dtype_length = strlen(spec->dtype);
        CHECK_EQ(header.size, 3136 + dtype_length);
        CHECK(memcmp(header.at, "\x93SHMEM\r\n", 8) == 0);
        CHECK_EQ(word_at(&header, 8, 4), 3);
        CHECK_EQ(word_at(&header, 16, 4), 0x01020304);
        CHECK_EQ(word_at(&header, 20, 4), spec->flags);
        CHECK_EQ(word_at(&header, 24, 8), samples[i].size);
        CHECK_EQ(word_at(&header, 32, 8), samples[i].data_offset);
        CHECK_EQ(word_at(&header, 40, 8), bytes_needed(spec));
        for (size_t k = 0; k < 16; k++)
            CHECK_EQ(header.at[48 + k], k);
        CHECK_EQ(word_at(&header, 64, 8), GOLDEN_NONCE);
        CHECK_EQ(word_at(&header, 72, 4), GOLDEN_FAMILY);
        CHECK_EQ(word_at(&header, 76, 4), 0);
        CHECK_EQ(word_at(&header, 80, 8), spec->start);
        CHECK_EQ(word_at(&header, 88, 8), spec->itemsize);
        CHECK_EQ(word_at(&header, 96, 8), GOLDEN_CREATED);
        CHECK_EQ(word_at(&header, 104, 4), spec->ndim);
        CHECK_EQ(word_at(&header, 108, 4), dtype_length);
        CHECK_EQ(word_at(&header, 112, 4), strlen(GOLDEN_NAME));
        check_zero(&header, 116, 120);
        CHECK_EQ(word_at(&header, 120, 8), GOLDEN_PLACE);
        check_zero(&header, 128, 256);
        CHECK(memcmp(header.at + 256, GOLDEN_NAME, strlen(GOLDEN_NAME)) == 0);
        check_zero(&header, 256 + strlen(GOLDEN_NAME), 512);
        check_shape(&header, spec);
        check_zero(&header, 1536, 3136);
        CHECK(memcmp(header.at + 3136, spec->dtype, dtype_length) == 0);
        free(header.at);
    }
}

/* The files are valid headers today, and say what they were made of. */
TEST(golden_files_are_read)
{
    if (!is_little_endian())
        check_skip("the files are of a little-endian machine");
    for (int i = 0; i < SAMPLES; i++) {
        bytes file = read_golden(samples[i].file);
        const smem_spec *spec = &samples[i].spec;
        smem__layout header;
        smem_info info;
        memcpy(&header, file.at, sizeof header);
        CHECK_OK(smem__header_check(&header, samples[i].size));
        CHECK_OK(smem__header_info(&header, file.at + SMEM__DTYPE_AT, &info));
        CHECK_STR(info.dtype, spec->dtype);
        CHECK_STR(info.name, GOLDEN_NAME);
        CHECK_EQ(info.nonce, GOLDEN_NONCE);
        CHECK_EQ(info.flags, spec->flags);
        CHECK_EQ(info.ndim, spec->ndim);
        CHECK_EQ(info.nbytes, bytes_needed(spec));
        CHECK_EQ(info.created, GOLDEN_CREATED);
        smem_info_clear(&info);
        free(file.at);
    }
}

/* The header of a new segment, as another user of the memory would see it. */
static bytes created_header(const sample *which, int backend)
{
    smem_context *ctx = check_open(NULL);
    smem_spec spec = which->spec;
    smem_segment *segment;
    spec.name = check_name("golden");
    spec.backend = backend;
    spec.flags |= SMEM_REPLACE; /* not written */
    CHECK_OK(smem_create(ctx, &spec, &segment));
    const smem_info *info = smem_info_of(segment);
    size_t offset = (size_t)info->data_offset;
    bytes out = {malloc(offset), SMEM__DTYPE_AT + strlen(spec.dtype)};
    memcpy(out.at, (char *)smem_data(segment) - offset, offset);
    for (size_t i = out.size; i < offset; i++)
        CHECK_EQ(out.at[i], 0);
    CHECK_OK(smem_unlink_segment(segment));
    smem_detach(segment);
    smem_close(ctx);
    return out;
}

/* Set the fields that differ from one segment to the next to what the files have. */
static void make_golden(bytes *header)
{
    smem__layout fixed;
    memcpy(&fixed, header->at, sizeof fixed);
    for (uint8_t i = 0; i < 16; i++)
        fixed.boot[i] = i;
    fixed.nonce = GOLDEN_NONCE;
    fixed.family = GOLDEN_FAMILY;
    fixed.created = GOLDEN_CREATED;
    fixed.journal = 0;
    fixed.place = GOLDEN_PLACE;
    fixed.name_length = (uint32_t)strlen(GOLDEN_NAME);
    memset(fixed.name, 0, sizeof fixed.name);
    memcpy(fixed.name, GOLDEN_NAME, strlen(GOLDEN_NAME));
    memcpy(header->at, &fixed, sizeof fixed);
}

/* What is created today has the same bytes, but for what is each segment's own. */
TEST(golden_bytes_are_written_today)
{
    skip_where_files_differ();
    for (int backend = SMEM_POSIX; backend <= SMEM_SYSV; backend++)
        for (int i = 0; i < SAMPLES; i++) {
            bytes file = read_golden(samples[i].file);
            bytes now = created_header(&samples[i], backend);
            make_golden(&now);
            CHECK_EQ(now.size, file.size);
            for (size_t at = 0; at < now.size; at++)
                if (now.at[at] != file.at[at]) {
                    fprintf(stderr, "%s, byte %zu\n", samples[i].file, at);
                    CHECK_EQ(now.at[at], file.at[at]);
                }
            free(file.at);
            free(now.at);
        }
}

/* Not a test of anything: "--write" runs it to make the files. */
static void write_golden(void)
{
    skip_where_files_differ();
    for (int i = 0; i < SAMPLES; i++) {
        char path[4096];
        bytes now = created_header(&samples[i], SMEM_POSIX);
        make_golden(&now);
        snprintf(path, sizeof path, "%s/%s", golden, samples[i].file);
        FILE *f = fopen(path, "wb");
        CHECK(f != NULL);
        CHECK_EQ(fwrite(now.at, 1, now.size, f), now.size);
        CHECK_EQ(fclose(f), 0);
        free(now.at);
    }
}

int main(int argc, char **argv)
{
    make_long_dtype();
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        static check_test writing = {"write_golden", write_golden, NULL};
        char *arguments[] = {argv[0], (char *)(uintptr_t)writing.name, NULL};
        golden = argv[2];
        check_add(&writing);
        return check_main(2, arguments);
    }
    if (argc < 2) {
        fprintf(stderr, "usage: test_header [--write] GOLDEN [test...]\n");
        return 2;
    }
    golden = argv[1];
    return check_main(argc - 1, argv + 1);
}
