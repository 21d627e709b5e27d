/*
 * Frames are read whole or not at all.
 *
 *   test_frame posix|sysv [test...]
 */
#include "check.h"

#include "os/backend.h"
#include "os/syscalls.h"
#include "segment/context.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int backend;

enum { WORDS = 2000 };

typedef struct fixture {
    smem_context *ctx;
    smem_segment *segment;
    _Atomic uint64_t *words;
    uint64_t copy[WORDS];
} fixture;

static fixture *begin(void)
{
    static fixture f;
    static const int64_t shape[] = {WORDS};
    f.ctx = check_open(NULL);
    smem_spec spec = {.name = check_name("frame"), .backend = backend, .dtype = "'<u8'", .itemsize = 8, .ndim = 1, .shape = shape};
    CHECK_OK(smem_create(f.ctx, &spec, &f.segment));
    f.words = smem_data(f.segment);
    return &f;
}

static void end(fixture *f)
{
    smem_detach(f->segment);
    smem_close(f->ctx);
}

static void fill(fixture *f, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        atomic_store_explicit(&f->words[i], value, memory_order_relaxed);
}

static void write_frame(fixture *f, uint64_t value)
{
    CHECK_OK(smem_frame_begin(f->segment, SMEM_FOREVER));
    fill(f, value, WORDS);
    CHECK_OK(smem_frame_end(f->segment));
}

static int64_t soon(void)
{
    return smem_deadline(5000000);
}

TEST(a_frame_is_read_as_it_was_written)
{
    fixture *f = begin();
    uint64_t number = 9;
    CHECK_OK(smem_frame_read(f->segment, f->copy, &number, SMEM_NO_WAIT));
    CHECK_EQ(number, 0);
    write_frame(f, 5);
    write_frame(f, 6);
    CHECK_OK(smem_frame_read(f->segment, f->copy, &number, SMEM_NO_WAIT));
    CHECK_EQ(number, 2);
    CHECK_EQ(smem_frame_number(f->segment), 2);
    CHECK_EQ(memcmp(f->copy, smem_data(f->segment), sizeof f->copy), 0);
    CHECK_OK(smem_frame_wait(f->segment, 1, SMEM_NO_WAIT));
    CHECK_CODE(smem_frame_wait(f->segment, 2, soon()), -ETIMEDOUT);
    CHECK_CODE(smem_frame_end(f->segment), SMEM_E_NOT_HELD);
    CHECK_CODE(smem_frame_give_up(f->segment), SMEM_E_NOT_HELD);
    end(f);
}

TEST(while_one_writes_nobody_reads)
{
    fixture *f = begin();
    uint64_t number;
    CHECK_OK(smem_frame_begin(f->segment, SMEM_FOREVER));
    CHECK_CODE(smem_frame_begin(f->segment, soon()), -ETIMEDOUT);
    CHECK_CODE(smem_frame_read(f->segment, f->copy, &number, soon()), -ETIMEDOUT);
    CHECK_OK(smem_frame_end(f->segment));
    CHECK_OK(smem_frame_read_begin(f->segment, &number, SMEM_NO_WAIT));
    CHECK_EQ(smem_frame_read_end(f->segment, number), 1);
    write_frame(f, 1);
    CHECK_EQ(smem_frame_read_end(f->segment, number), 0);
    end(f);
}

TEST(a_frame_that_was_given_up_is_torn_until_the_next)
{
    fixture *f = begin();
    uint64_t number;
    CHECK_OK(smem_frame_begin(f->segment, SMEM_FOREVER));
    CHECK_OK(smem_frame_give_up(f->segment));
    CHECK_CODE(smem_frame_read(f->segment, f->copy, &number, SMEM_FOREVER), SMEM_E_TORN);
    CHECK_CODE(smem_frame_read(f->segment, f->copy, &number, SMEM_NO_WAIT), SMEM_E_TORN);
    write_frame(f, 3);
    CHECK_OK(smem_frame_read(f->segment, f->copy, &number, SMEM_FOREVER));
    CHECK_EQ(number, 1);
    end(f);
}

TEST(who_only_reads_or_has_a_copy_does_not_write)
{
    fixture *f = begin();
    smem_segment *reader;
    uint64_t number;
    write_frame(f, 4);
    CHECK_OK(smem_attach(f->ctx, check_name("frame"), SMEM_READ_ONLY, &reader));
    CHECK_CODE(smem_frame_begin(reader, SMEM_NO_WAIT), -EACCES);
    CHECK_OK(smem_frame_read(reader, f->copy, &number, SMEM_NO_WAIT));
    CHECK_EQ(f->copy[WORDS - 1], 4);
    smem_detach(reader);
    end(f);
}

enum { FRAMES = 3000 };

static void write_many(check_peer *parent, void *arg)
{
    (void)parent;
    for (uint64_t i = 1; i <= FRAMES; i++)
        write_frame(arg, i);
}

TEST(no_reader_sees_a_torn_frame)
{
    fixture *f = begin();
    check_peer writer = check_fork(write_many, f);
    uint64_t number = 0;
    while (number < FRAMES) {
        CHECK_OK(smem_frame_wait(f->segment, number, SMEM_FOREVER));
        CHECK_OK(smem_frame_read(f->segment, f->copy, &number, SMEM_FOREVER));
        for (unsigned i = 0; i < WORDS; i++)
            CHECK_EQ(f->copy[i], number);
    }
    CHECK_EQ(check_wait(&writer), 0);
    end(f);
}

static void *read_many(void *arg)
{
    static _Thread_local uint64_t copy[WORDS];
    fixture *f = arg;
    uint64_t number = 0;
    while (number < FRAMES) {
        CHECK_OK(smem_frame_read(f->segment, copy, &number, SMEM_FOREVER));
        CHECK(copy[0] == number && copy[WORDS - 1] == number);
    }
    return NULL;
}

TEST(nor_does_a_thread)
{
    fixture *f = begin();
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, read_many, f), 0);
    write_many(NULL, f);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    end(f);
}

static void write_half(check_peer *parent, void *arg)
{
    fixture *f = arg;
    CHECK_OK(smem_frame_begin(f->segment, SMEM_FOREVER));
    fill(f, 99, WORDS / 2);
    check_tell(parent, 1);
    check_hear(parent);
}

TEST(after_the_writers_death_there_is_no_frame_but_the_next)
{
    fixture *f = begin();
    uint64_t number;
    write_frame(f, 1);
    check_peer writer = check_fork(write_half, f);
    check_hear(&writer);
    CHECK_CODE(smem_frame_read(f->segment, f->copy, &number, smem_deadline(100000000)),
               -ETIMEDOUT); /* it lives: it may go on */
    check_kill(&writer);
    CHECK_CODE(smem_frame_read(f->segment, f->copy, &number, SMEM_FOREVER), SMEM_E_TORN);
    CHECK_EQ(smem_frame_number(f->segment), 1);
    write_frame(f, 2);
    CHECK_OK(smem_frame_read(f->segment, f->copy, &number, SMEM_FOREVER));
    CHECK_EQ(number, 2);
    CHECK_EQ(f->copy[0], 2);
    end(f);
}

/* Who waits finds it by himself, but later. */
TEST(the_end_of_a_frame_wakes_all_who_wait_for_one)
{
    fixture *f = begin();
    smem__layout *header = f->segment->mapping.base;
    smem__sys.futex = check_note_wakes;
    write_frame(f, 1);
    CHECK_EQ(check_offered, 0);
    atomic_store(&header->viewers, 1);
    write_frame(f, 2);
    CHECK_EQ(check_offered, INT32_MAX);
    atomic_store(&header->viewers, 0);
    end(f);
}

int main(int argc, char **argv)
{
    return check_main_on_backend(argc, argv, &backend);
}
