/* Contract: creating, attaching in each mode, dropping. */
#include "contract.h"

#include "os/syscalls.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>
#include <unistd.h>

/* ---- creating and attaching ------------------------------------------------ */

/* A new segment holds zeros, and who attaches it by name sees what was written. */
TEST(data_is_shared_by_name)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *made = create(ctx, check_name("a"));
    for (int i = 0; i < COLUMNS; i++)
        CHECK(*at(made, i) == 0);
    *at(made, COLUMNS - 1) = 7;
    smem_segment *found = attach(other, check_name("a"), SMEM_READ_WRITE);
    CHECK(smem_data(found) != smem_data(made));
    CHECK(*at(found, COLUMNS - 1) == 7);
    *at(found, 0) = 3;
    CHECK(*at(made, 0) == 3);
    smem_detach(found);
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

/* Who attaches a segment learns all that its maker said of it. */
TEST(facts_travel_in_the_header)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    const int64_t shape[] = {3, 4, 2}, strides[] = {-64, 8, 32};
    smem_spec spec = {.name = check_name("facts"),
                      .backend = backend,
                      .flags = SMEM_NO_RESERVE,
                      .permissions = 0640,
                      .dtype = "{'names': ['x', 'y'], 'formats': ['<i4', '<f4']}",
                      .itemsize = 8,
                      .ndim = 3,
                      .shape = shape,
                      .strides = strides,
                      .start = 136,
                      .nbytes = 4000};
    smem_segment *made, *found;
    CHECK_OK(smem_create(ctx, &spec, &made));
    CHECK_OK(smem_attach(other, spec.name, SMEM_READ_ONLY, &found));
    const smem_info *of[] = {smem_info_of(made), smem_info_of(found)};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(of[i]->backend, backend);
        CHECK_EQ(of[i]->flags, 0);
        CHECK_STR(of[i]->name, spec.name);
        CHECK_STR(of[i]->dtype, spec.dtype);
        CHECK_EQ(of[i]->nbytes, 4000);
        CHECK_EQ(of[i]->start, 136);
        CHECK_EQ(of[i]->itemsize, 8);
        CHECK_EQ(of[i]->owner, geteuid());
        CHECK_EQ(of[i]->permissions, 0640);
        CHECK_EQ(of[i]->ndim, 3);
        CHECK(memcmp(of[i]->shape, shape, sizeof shape) == 0);
        CHECK(memcmp(of[i]->strides, strides, sizeof strides) == 0);
        CHECK_EQ(of[i]->data_offset % (uint64_t)sysconf(_SC_PAGESIZE), 0);
        CHECK(of[i]->size >= of[i]->data_offset + of[i]->nbytes);
        CHECK_EQ(of[i]->origin, smem_origin(ctx, backend));
        CHECK_EQ(smem_family_alive(other, of[i]->family), 1);
    }
    CHECK_EQ(of[0]->nonce, of[1]->nonce);
    CHECK_EQ(of[0]->kernel_id, of[1]->kernel_id);
    CHECK_EQ(of[0]->created, of[1]->created);
    smem_detach(found);
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

/* A dtype's text of the greatest length survives; one byte more is refused. */
TEST(longest_dtype)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    char text[SMEM_DTYPE_MAX + 2];
    smem_spec spec = vector(check_name("dtype"));
    smem_segment *made, *found;
    spec.dtype = text;
    memset(text, 'x', sizeof text);
    text[SMEM_DTYPE_MAX + 1] = '\0';
    CHECK_CODE(smem_create(ctx, &spec, &made), SMEM_E_ARGUMENT);
    text[SMEM_DTYPE_MAX] = '\0';
    CHECK_OK(smem_create(ctx, &spec, &made));
    CHECK_OK(smem_attach(other, spec.name, SMEM_READ_ONLY, &found));
    CHECK_STR(smem_info_of(found)->dtype, text);
    smem_detach(found);
    smem_detach(made);
    smem_close(other);
    smem_close(ctx);
}

/* In one process the same segment in the same mode is mapped once, in another mode anew. */
TEST(one_mapping_per_mode)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *made = create(ctx, check_name("once"));
    smem_segment *again = attach(ctx, check_name("once"), SMEM_READ_WRITE);
    smem_segment *reader = attach(ctx, check_name("once"), SMEM_READ_ONLY);
    smem_segment *reader_again = attach(ctx, check_name("once"), SMEM_READ_ONLY);
    CHECK(again == made);
    CHECK(reader != made);
    CHECK(reader_again == reader);
    smem_detach(made);
    smem_detach(reader);
    CHECK(*at(again, 1) == 0 && *at(reader_again, 1) == 0);
    smem_info info = facts(again);
    smem_detach(again);
    CHECK(check_exists(&info));
    smem_detach(reader_again);
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

/* An unnamed segment gets a name of 128 random bits, by which it can be attached. */
TEST(unnamed_segments_have_random_names)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *a = create(ctx, NULL), *b = create(ctx, NULL);
    CHECK_EQ(strlen(smem_info_of(a)->name), 32);
    CHECK_EQ(strspn(smem_info_of(a)->name, "0123456789abcdef"), 32);
    CHECK(strcmp(smem_info_of(a)->name, smem_info_of(b)->name) != 0);
    CHECK(smem_info_of(a)->nonce != smem_info_of(b)->nonce);
    smem_segment *found = attach(other, smem_info_of(b)->name, SMEM_READ_WRITE);
    CHECK_EQ(smem_info_of(found)->nonce, smem_info_of(b)->nonce);
    smem_detach(found);
    smem_detach(b);
    smem_detach(a);
    smem_close(other);
    smem_close(ctx);
}

/* "posix:x" and "sysv:x" mean the name x on that backend only. */
TEST(prefix_chooses_the_backend)
{
    smem_context *ctx = check_open(NULL);
    const char *prefix = backend == SMEM_POSIX ? "posix:" : "sysv:";
    const char *wrong = backend == SMEM_POSIX ? "sysv:" : "posix:";
    char text[SMEM_NAME_MAX];
    smem_segment *made, *found;
    snprintf(text, sizeof text, "%s%s", prefix, check_name("prefix"));
    smem_spec spec = vector(text);
    spec.backend = SMEM_ANY;
    CHECK_OK(smem_create(ctx, &spec, &made));
    CHECK_EQ(smem_info_of(made)->backend, backend);
    CHECK_STR(smem_info_of(made)->name, check_name("prefix"));
    CHECK_OK(smem_attach(ctx, text, SMEM_READ_WRITE, &found));
    CHECK(found == made);
    CHECK_OK(smem_attach(ctx, check_name("prefix"), SMEM_READ_WRITE, &found));
    CHECK(found == made);
    smem_detach(found);
    smem_detach(found);
    snprintf(text, sizeof text, "%s%s", wrong, check_name("prefix"));
    check_no_name(ctx, text);
    spec.backend = backend;
    CHECK_CODE(smem_create(ctx, &spec, &found), SMEM_E_ARGUMENT);
    smem_detach(made);
    smem_close(ctx);
}

/* ---- modes ----------------------------------------------------------------- */

static void write_to(check_peer *parent, void *arg)
{
    (void)parent;
    signal(SIGSEGV, SIG_DFL);
    *(volatile char *)arg = 1;
}

/* A write to the data of a read-only mapping faults; its maker's changes are seen in it. */
TEST(read_only_mapping_faults)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *made = create(ctx, check_name("ro"));
    smem_segment *reader = attach(ctx, check_name("ro"), SMEM_READ_ONLY);
    check_peer first = check_fork(write_to, at(reader, 0));
    CHECK_EQ(check_wait(&first), 128 + SIGSEGV);
    check_peer last = check_fork(write_to, at(reader, COLUMNS - 1));
    CHECK_EQ(check_wait(&last), 128 + SIGSEGV);
    *at(made, 5) = 5;
    CHECK(*at(reader, 5) == 5);
    CHECK(*at(reader, 0) == 0);
    smem_detach(made);
    smem_detach(reader);
    smem_close(ctx);
}

/* A read-only mapping stays read-only when its process has left but others have not. */
TEST(read_only_stays_so_after_leaving)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *made = create(other, check_name("ro"));
    smem_segment *reader = attach(ctx, check_name("ro"), SMEM_READ_ONLY);
    smem_leave(ctx);
    CHECK(*at(reader, 0) == 0);
    check_peer child = check_fork(write_to, at(reader, 0));
    CHECK_EQ(check_wait(&child), 128 + SIGSEGV);
    smem_detach(reader);
    smem_detach(made);
    smem_close(ctx);
    smem_close(other);
}

/* What is written to a copy-on-write mapping stays there, and nobody else sees it. */
TEST(copy_on_write_is_isolated)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *made = create(ctx, check_name("cow"));
    *at(made, 0) = 1;
    smem_segment *copy = attach(ctx, check_name("cow"), SMEM_COPY_ON_WRITE);
    smem_segment *second = attach(ctx, check_name("cow"), SMEM_COPY_ON_WRITE);
    CHECK(copy != second);
    CHECK(*at(copy, 0) == 1);
    *at(copy, 0) = 2;
    CHECK(*at(made, 0) == 1 && *at(second, 0) == 1);
    *at(made, 0) = 3;
    CHECK(*at(copy, 0) == 2);
    smem_detach(second);
    smem_detach(made);
    CHECK(*at(copy, 0) == 2);
    smem_detach(copy);
    check_no_name(ctx, check_name("cow"));
    smem_close(ctx);
}

/* Each receiver of a copy-on-write mapping has a copy of its own. */
TEST(received_copies_are_isolated)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *made = create(ctx, check_name("cow")), *a, *b;
    CHECK_OK(receive(ctx, smem_info_of(made), SMEM_COPY_ON_WRITE, 0, &a));
    CHECK_OK(receive(ctx, smem_info_of(made), SMEM_COPY_ON_WRITE, 0, &b));
    CHECK(a != b);
    *at(a, 0) = 1;
    CHECK(*at(b, 0) == 0);
    smem_detach(a);
    smem_detach(b);
    smem_detach(made);
    smem_close(ctx);
}

/* ---- dropping -------------------------------------------------------------- */

/* The last reference frees the kernel's object at once, an earlier one does not. */
TEST(last_reference_frees)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("drop"));
    smem_info info = facts(segment);
    CHECK(smem_retain(segment) == segment);
    smem_detach(segment);
    CHECK(check_exists(&info));
    CHECK(*at(segment, 0) == 0);
    smem_detach(segment);
    CHECK(!check_exists(&info));
    check_no_name(ctx, check_name("drop"));
    smem_detach(NULL);
    smem_close(ctx);
}

/* A segment lives while an unrelated process maps it, and goes with that process. */
TEST(another_process_keeps_it)
{
    smem_context *ctx = check_open(NULL);
    job todo = {.name = check_name("held")};
    check_peer child = check_fork(hold, &todo); /* before it could inherit a mapping */
    smem_segment *segment = create(ctx, check_name("held"));
    smem_info info = facts(segment);
    CHECK_EQ(begin(&child), info.nonce);
    smem_detach(segment);
    CHECK(check_exists(&info));
    finish(&child);
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

/* Attaching and leaving by others changes nothing for who stays. */
TEST(visitors_change_nothing)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("visit"));
    job todo = {.name = check_name("visit")};
    for (int i = 0; i < 5; i++) {
        check_peer child = check_fork(hold, &todo);
        begin(&child);
        if (i % 2)
            check_kill(&child);
        else
            finish(&child);
        CHECK_EQ(smem_is_current(segment), 1);
    }
    smem_segment *again = attach(ctx, check_name("visit"), SMEM_READ_WRITE);
    CHECK(again == segment);
    smem_detach(again);
    smem_detach(segment);
    smem_close(ctx);
}

/* Two contexts of one process are two participants: the segment stays for the second. */
TEST(two_contexts_in_one_process)
{
    smem_context *ctx = check_open(NULL), *other = check_open("second");
    CHECK(strcmp(smem_family_name(ctx), smem_family_name(other)) != 0);
    smem_segment *a = create(ctx, check_name("two"));
    smem_segment *b = attach(other, check_name("two"), SMEM_READ_WRITE);
    smem_info info = facts(a);
    *at(a, 0) = 9;
    smem_detach(a);
    smem_close(ctx);
    CHECK(check_exists(&info));
    CHECK(*at(b, 0) == 9);
    smem_detach(b);
    CHECK(!check_exists(&info));
    smem_close(other);
}

static void *attach_and_detach(void *arg)
{
    const job *todo = arg;
    for (int i = 0; i < 300; i++) {
        smem_segment *segment;
        int rc = smem_attach(todo->ctx, todo->name, i % 3, &segment);
        CHECK_OK(rc);
        CHECK(*at(segment, 1) == 11);
        smem_detach(segment);
    }
    return NULL;
}

/* Threads attach and detach one segment in all modes at once, while the process forks. */
TEST(threads_share_a_context)
{
    enum { THREADS = 4,
           FORKS = 10 };
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("threads"));
    pthread_t threads[THREADS];
    job todo = {.ctx = ctx, .name = check_name("threads")};
    *at(segment, 1) = 11;
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, attach_and_detach, &todo), 0);
    for (int i = 0; i < FORKS; i++) {
        check_peer child = check_fork(hold, &todo);
        begin(&child);
        finish(&child);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    smem_detach(segment);
    check_no_name(ctx, check_name("threads"));
    smem_close(ctx);
}

static void *create_and_detach(void *arg)
{
    const job *todo = arg;
    for (int i = 0; i < 100; i++) {
        smem_segment *segment;
        int rc = try_create(todo->ctx, i % 2 ? todo->name : NULL, 0, &segment);
        if (rc == SMEM_E_EXISTS)
            continue;
        CHECK_OK(rc);
        *at(segment, 0) += 1;
        CHECK(*at(segment, 0) == 1);
        smem_detach(segment);
    }
    return NULL;
}

/* Threads that create one name and many at once get a segment each, or an error code. */
TEST(threads_create_at_once)
{
    enum { THREADS = 4 };
    smem_context *ctx = check_open(NULL);
    pthread_t threads[THREADS];
    job todo = {.ctx = ctx, .name = check_name("threads")};
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, create_and_detach, &todo), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_OK(smem_reclaim(ctx, NULL));
    check_no_name(ctx, check_name("threads"));
    smem_close(ctx);
}

/* ---- what cannot be undone --------------------------------------------------- */

static void *no_shmat(int id, const void *at, int flags)
{
    (void)id, (void)at, (void)flags;
    errno = EACCES;
    return (void *)-1;
}

static int no_removal(int id, int command, struct shmid_ds *st)
{
    if (command != IPC_RMID)
        return shmctl(id, command, st);
    errno = EPERM;
    return -1;
}

/* A segment that could be neither attached nor removed stays journalled: a sweep frees it. */
TEST(sysv_segment_that_is_not_undone_is_swept)
{
    smem_reclaimed freed;
    smem_segment *made;
    smem_context *ctx = check_open(NULL);
    if (backend == SMEM_SYSV) {
        smem__syscalls before = smem__sys;
        smem__sys.shmat = no_shmat;
        smem__sys.shmctl = no_removal;
        CHECK_CODE(try_create(ctx, check_name("a"), 0, &made), -EACCES);
        smem__sys = before;
        CHECK_OK(smem_reclaim(ctx, &freed));
        CHECK_EQ(freed.segments, 1);
    }
    smem_close(ctx);
}
