/* What others find, or take away, at a step of its maker. */
#include "death.h"

#include "base/point.h"

#include "segment/context.h"
#include "segment/lookup.h"
#include "segment/record.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct {
    smem_context *ctx;
    uint64_t words;
    unsigned found, absent;
    bool looks;
} finder;

/* As another user does: without the gate of the name, which is the owner's. */
static void find(const smem__point *point)
{
    smem__found found;
    (void)point;
    if (finder.looks)
        return;
    finder.looks = true; /* the look has points, too */
    int rc = smem__find_on(finder.ctx, &smem__sysv, check_name("a"), finder.ctx->place.uid, SMEM__LOOK, &found);
    CHECK(rc == 0 || rc == -ENOENT);
    finder.found += rc == 0;
    finder.absent += rc != 0;
    if (rc == 0) {
        const uint64_t *words = (const uint64_t *)((const char *)found.object.probe + found.header.data_offset);
        CHECK_EQ(found.header.nbytes, finder.words * sizeof *words);
        CHECK(words[0] == 7 && words[finder.words - 1] == 7);
        smem__found_close(&found);
    }
    finder.looks = false;
}

/* Its contents are there, of small ones and of those that are filled when they are mapped. */
TEST(a_sysv_segment_that_another_user_finds_is_whole)
{
    static const int64_t shapes[] = {1000, 1 << 20};
    const uint64_t seven = 7;
    for (int i = 0; i < 2; i++) {
        smem_segment *made;
        smem_spec spec = vector_of(SMEM_SYSV, check_name("a"));
        spec.dtype = "'<u8'";
        spec.shape = &shapes[i];
        spec.contents = &seven;
        spec.contents_size = sizeof seven;
        finder.ctx = open_in(NULL, 0, NULL);
        finder.words = (uint64_t)shapes[i];
        finder.found = finder.absent = 0;
        smem__at_point = find;
        CHECK_OK(smem_create(finder.ctx, &spec, &made));
        smem__at_point = NULL;
        CHECK(finder.found > 0 && finder.absent > 0); /* its maker was still in the call */
        smem_detach(made);
        smem_close(finder.ctx);
    }
}

/* ---- a family's file ------------------------------------------------------------ */

static struct {
    smem__place place;
    uint32_t edition;
} removed;

/* Somebody could have joined it by then. */
static void remove_once(const smem__point *point)
{
    char path[SMEM__PATH_MAX];
    smem__file file;
    smem__record record;
    if (strcmp(*point, "file.published") != 0 || removed.edition)
        return;
    CHECK_OK(smem__place_path(&removed.place, removed.place.uid, 'f', "finders", path));
    CHECK_OK(smem__file_open(path, removed.place.uid, true, &file));
    CHECK_OK(smem__record_read(&file, &record));
    smem__file_close(&file);
    removed.edition = record.edition;
    CHECK_EQ(unlink(path), 0);
}

/* It is removed before its maker has joined it, and made again: locks of those that joined it
   are not free in the second one. */
TEST(a_family_file_that_is_made_twice_is_of_two_editions)
{
    CHECK_OK(smem__place_find(&removed.place, check_directory()));
    smem__at_point = remove_once;
    smem_context *ctx = open_in("finders", 0, NULL);
    smem__at_point = NULL;
    CHECK(removed.edition != 0);
    CHECK(ctx->family.edition != 0 && ctx->family.edition != removed.edition);
    smem_close(ctx);
}
