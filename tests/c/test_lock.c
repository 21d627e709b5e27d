/*
 * Locks, whoever dies.
 *
 *   test_lock posix|sysv [test...]
 */
#include "check.h"

#include "os/backend.h"
#include "os/syscalls.h"
#include "segment/context.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int backend;

static const int64_t shape[] = {8};

/* Eight words, of which the first three are room for a lock. */
static smem_segment *make(smem_context *ctx, const char *name, unsigned flags)
{
    smem_spec spec = {.name = name, .backend = backend, .dtype = "'<u8'", .itemsize = 8, .ndim = 1, .shape = shape, .flags = flags};
    smem_segment *segment;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    return segment;
}

typedef struct fixture {
    smem_context *ctx;
    smem_segment *segment;
    smem_lock *lock;
    uint64_t *data;
} fixture;

static fixture begin(void)
{
    fixture f = {.ctx = check_open(NULL)};
    f.segment = make(f.ctx, check_name("lock"), 0);
    f.lock = smem_lock_of(f.segment);
    f.data = smem_data(f.segment);
    return f;
}

static void end(fixture *f)
{
    smem_detach(f->segment);
    smem_close(f->ctx);
}

static int take(fixture *f)
{
    return smem_lock_acquire(f->segment, f->lock, SMEM_FOREVER);
}

static int give(fixture *f)
{
    return smem_lock_release(f->segment, f->lock);
}

/* ---- alone --------------------------------------------------------------------- */

TEST(a_lock_is_taken_and_given_back)
{
    fixture f = begin();
    CHECK_EQ(smem_lock_state(f.segment, f.lock), SMEM_LOCK_FREE);
    CHECK_OK(take(&f));
    CHECK_EQ(smem_lock_state(f.segment, f.lock), SMEM_LOCK_HERE);
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, SMEM_NO_WAIT), -ETIMEDOUT);
    CHECK_OK(give(&f));
    CHECK_CODE(give(&f), SMEM_E_NOT_HELD);
    CHECK_CODE(smem_lock_recover(f.segment, f.lock), SMEM_E_NOT_HELD);
    CHECK_OK(smem_lock_acquire(f.segment, f.lock, SMEM_NO_WAIT));
    CHECK_OK(give(&f));
    end(&f);
}

TEST(a_lock_in_the_data_works_as_an_arrays_own)
{
    fixture f = begin();
    f.lock = smem_data(f.segment);
    CHECK_OK(take(&f));
    CHECK_OK(give(&f));
    for (int i = 0; i < 8; i++)
        CHECK_EQ(f.data[i], 0);
    end(&f);
}

static void no_lock_at(fixture *f, void *where)
{
    smem_lock *lock = where;
    uint32_t depth = 1;
    int pid;
    CHECK_CODE(smem_lock_try(f->segment, lock), -EACCES);
    CHECK_CODE(smem_lock_acquire(f->segment, lock, SMEM_NO_WAIT), -EACCES);
    CHECK_CODE(smem_lock_release(f->segment, lock), -EACCES);
    CHECK_CODE(smem_lock_recover(f->segment, lock), -EACCES);
    CHECK_CODE(smem_lock_state(f->segment, lock), -EACCES);
    CHECK_CODE(smem_lock_enter(f->segment, lock, SMEM_NO_WAIT), -EACCES);
    CHECK_CODE(smem_lock_exit(f->segment, lock), -EACCES);
    CHECK_CODE(smem_lock_is_mine(f->segment, lock), -EACCES);
    CHECK_CODE(smem_lock_exit_all(f->segment, lock, &depth), -EACCES);
    CHECK_CODE(smem_lock_enter_again(f->segment, lock, depth, SMEM_NO_WAIT), -EACCES);
    CHECK_CODE(smem_lock_holder(f->segment, lock, &pid), -EACCES);
    CHECK_CODE(smem_lock_break(f->segment, lock), -EACCES);
}

TEST(a_lock_lies_in_the_data_and_aligned_or_is_the_arrays_own)
{
    fixture f = begin();
    smem_lock elsewhere = {0};
    char *data = (char *)f.data;
    no_lock_at(&f, &elsewhere);
    CHECK_EQ(elsewhere.state, 0);
    no_lock_at(&f, NULL);
    no_lock_at(&f, data + 4);
    no_lock_at(&f, data + 48); /* its last 8 bytes would lie beyond 64 */
    no_lock_at(&f, data + 64);
    no_lock_at(&f, data - 8);
    no_lock_at(&f, (char *)f.lock + 8);
    CHECK_OK(smem_lock_acquire(f.segment, (smem_lock *)(void *)(data + 40), SMEM_NO_WAIT));
    CHECK_OK(smem_lock_release(f.segment, (smem_lock *)(void *)(data + 40)));
    end(&f);
}

static unsigned waited;

static long counting_futex(const _Atomic uint32_t *word, int operation, uint32_t value,
                           const struct timespec *timeout, uint32_t bits)
{
    (void)word, (void)operation, (void)value, (void)timeout, (void)bits;
    waited++;
    return 0;
}

TEST(an_uncontended_lock_makes_no_system_call)
{
    fixture f = begin();
    smem__sys.futex = counting_futex;
    for (int i = 0; i < 1000; i++) {
        CHECK_OK(take(&f));
        CHECK_OK(give(&f));
    }
    CHECK_EQ(waited, 0);
    end(&f);
}

static uint32_t offered;

static long note_wakes(const _Atomic uint32_t *word, int operation, uint32_t value,
                       const struct timespec *timeout, uint32_t bits)
{
    (void)word, (void)timeout, (void)bits;
    if (operation == FUTEX_WAKE)
        offered += value;
    return 0;
}

static const uint64_t somebody_waits = (uint64_t)1 << 31;

/* Without it he would find out by himself, a slice later. */
TEST(who_gives_a_lock_back_wakes_one_who_waits)
{
    fixture f = begin();
    smem__syscalls real = smem__sys;
    smem__sys.futex = note_wakes;
    CHECK_OK(take(&f));
    atomic_fetch_or((_Atomic uint64_t *)&f.lock->state, somebody_waits);
    CHECK_OK(give(&f));
    CHECK_EQ(offered, 1);
    CHECK_OK(take(&f)); /* nobody is there any more, for all that is known */
    CHECK_OK(give(&f));
    CHECK_EQ(offered, 1);
    smem__sys = real;
    end(&f);
}

static void *take_in_a_thread(void *arg)
{
    CHECK_OK(smem_lock_acquire(((fixture *)arg)->segment, ((fixture *)arg)->lock, SMEM_FOREVER));
    return NULL;
}

TEST(who_has_waited_knows_that_others_may_wait)
{
    fixture f = begin();
    pthread_t thread;
    _Atomic uint64_t *state = (_Atomic uint64_t *)&f.lock->state;
    CHECK_OK(take(&f));
    CHECK_OK(pthread_create(&thread, NULL, take_in_a_thread, &f));
    while (!(atomic_load(state) & somebody_waits))
        sched_yield();
    CHECK_OK(give(&f));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK(atomic_load(state) & somebody_waits);
    CHECK_OK(give(&f));
    CHECK_EQ(atomic_load(state), 0);
    end(&f);
}

TEST(a_wait_ends_with_its_deadline)
{
    fixture f = begin();
    CHECK_OK(take(&f));
    int64_t deadline = smem_deadline(20000000);
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, deadline), -ETIMEDOUT);
    CHECK(smem_deadline(1) >= deadline);
    CHECK_OK(give(&f));
    CHECK_OK(take(&f));
    CHECK_OK(give(&f));
    CHECK_EQ(smem_deadline(0), SMEM_NO_WAIT);
    CHECK_EQ(smem_deadline(-1), SMEM_NO_WAIT);
    CHECK_EQ(smem_deadline(INT64_MAX), SMEM_FOREVER);
    end(&f);
}

static void on_signal(int number)
{
    (void)number;
}

TEST(a_signal_ends_a_wait)
{
    fixture f = begin();
    struct sigaction action = {.sa_handler = on_signal};
    struct itimerspec often = {.it_value.tv_nsec = 1000000, .it_interval.tv_nsec = 1000000};
    timer_t timer;
    CHECK_OK(take(&f));
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
    CHECK_EQ(timer_settime(timer, 0, &often, NULL), 0);
    CHECK_CODE(take(&f), -EINTR);
    timer_delete(timer);
    CHECK_OK(give(&f));
    end(&f);
}

TEST(a_thread_takes_a_lock_again_and_gives_it_back_as_often)
{
    fixture f = begin();
    uint32_t depth;
    for (int i = 0; i < 3; i++)
        CHECK_OK(smem_lock_enter(f.segment, f.lock, SMEM_FOREVER));
    CHECK_OK(smem_lock_exit_all(f.segment, f.lock, &depth));
    CHECK_EQ(depth, 3);
    CHECK_EQ(smem_lock_state(f.segment, f.lock), SMEM_LOCK_FREE);
    CHECK_OK(smem_lock_enter_again(f.segment, f.lock, depth, SMEM_FOREVER));
    for (int i = 0; i < 3; i++)
        CHECK_OK(smem_lock_exit(f.segment, f.lock));
    CHECK_CODE(smem_lock_exit(f.segment, f.lock), SMEM_E_NOT_HELD);
    CHECK_CODE(smem_lock_exit_all(f.segment, f.lock, &depth), SMEM_E_NOT_HELD);
    end(&f);
}

static void *enter_and_exit(void *arg)
{
    fixture *f = arg;
    CHECK_CODE(smem_lock_enter(f->segment, f->lock, SMEM_NO_WAIT), -ETIMEDOUT);
    CHECK_CODE(smem_lock_exit(f->segment, f->lock), SMEM_E_NOT_HELD);
    return NULL;
}

TEST(what_a_thread_has_entered_another_cannot)
{
    fixture f = begin();
    pthread_t thread;
    CHECK_OK(smem_lock_enter(f.segment, f.lock, SMEM_FOREVER));
    CHECK_EQ(pthread_create(&thread, NULL, enter_and_exit, &f), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_OK(smem_lock_exit(f.segment, f.lock));
    end(&f);
}

static void *give_back(void *arg)
{
    CHECK_OK(give(arg));
    return NULL;
}

TEST(what_a_thread_has_taken_another_may_give_back)
{
    fixture f = begin();
    pthread_t thread;
    CHECK_OK(take(&f));
    CHECK_EQ(pthread_create(&thread, NULL, give_back, &f), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(smem_lock_state(f.segment, f.lock), SMEM_LOCK_FREE);
    end(&f);
}

TEST(a_private_copy_has_no_lock)
{
    fixture f = begin();
    smem_segment *copy, *reader;
    CHECK_OK(smem_attach(f.ctx, check_name("lock"), SMEM_COPY_ON_WRITE, &copy));
    CHECK_CODE(smem_lock_acquire(copy, smem_lock_of(copy), SMEM_NO_WAIT), -EACCES);
    CHECK_OK(smem_attach(f.ctx, check_name("lock"), SMEM_READ_ONLY, &reader));
    CHECK_CODE(smem_lock_acquire(reader, smem_data(reader), SMEM_NO_WAIT), -EACCES);
    CHECK_OK(smem_lock_acquire(reader, smem_lock_of(reader), SMEM_NO_WAIT));
    CHECK_EQ(smem_lock_state(f.segment, f.lock), SMEM_LOCK_HERE);
    CHECK_OK(smem_lock_release(reader, smem_lock_of(reader)));
    smem_detach(copy);
    smem_detach(reader);
    end(&f);
}

/* ---- with others ------------------------------------------------------------------ */

enum { ROUNDS = 20000,
       PROCESSES = 3 };

static void count_up(check_peer *parent, void *arg)
{
    fixture *f = arg;
    (void)parent;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(take(f));
        f->data[3] = f->data[3] + 1;
        CHECK_OK(give(f));
    }
}

TEST(one_process_at_a_time_holds_it)
{
    fixture f = begin();
    check_peer peers[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        peers[i] = check_fork(count_up, &f);
    for (int i = 0; i < PROCESSES; i++)
        CHECK_EQ(check_wait(&peers[i]), 0);
    CHECK_EQ(f.data[3], (uint64_t)PROCESSES * ROUNDS);
    end(&f);
}

static void *count_up_in_thread(void *arg)
{
    count_up(NULL, arg);
    return NULL;
}

TEST(one_thread_at_a_time_holds_it)
{
    fixture f = begin();
    pthread_t threads[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, count_up_in_thread, &f), 0);
    for (int i = 0; i < PROCESSES; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(f.data[3], (uint64_t)PROCESSES * ROUNDS);
    end(&f);
}

static void be_no_holder(check_peer *parent, void *arg)
{
    fixture *f = arg;
    (void)parent;
    CHECK_EQ(smem_lock_state(f->segment, f->lock), SMEM_LOCK_ELSEWHERE);
    CHECK_CODE(give(f), SMEM_E_NOT_HELD);
    CHECK_CODE(smem_lock_exit(f->segment, f->lock), SMEM_E_NOT_HELD);
    CHECK_CODE(smem_lock_enter(f->segment, f->lock, smem_deadline(150000000)), -ETIMEDOUT);
}

TEST(a_forked_child_holds_nothing)
{
    fixture f = begin();
    CHECK_OK(smem_lock_enter(f.segment, f.lock, SMEM_FOREVER));
    check_peer child = check_fork(be_no_holder, &f);
    CHECK_EQ(check_wait(&child), 0);
    CHECK_OK(smem_lock_exit(f.segment, f.lock));
    end(&f);
}

/* ---- deaths ---------------------------------------------------------------------- */

static void take_and_say(check_peer *parent, void *arg)
{
    fixture *f = arg;
    CHECK_OK(take(f));
    f->data[3] = 1; /* half-changed */
    check_tell(parent, 1);
    check_hear(parent);
}

static void attach_take_and_say(check_peer *parent, void *arg)
{
    fixture f = {.ctx = check_open("another")};
    CHECK_OK(smem_attach(f.ctx, arg, SMEM_READ_WRITE, &f.segment));
    f.lock = smem_lock_of(f.segment);
    f.data = smem_data(f.segment);
    take_and_say(parent, &f);
    _exit(EXIT_SUCCESS);
}

TEST(after_the_holders_death_the_next_one_is_told)
{
    fixture f = begin();
    check_peer child = check_fork(take_and_say, &f);
    check_hear(&child);
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, smem_deadline(150000000)), -ETIMEDOUT);
    check_kill(&child);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_EQ(smem_lock_state(f.segment, f.lock), SMEM_LOCK_HERE);
    CHECK_OK(smem_lock_recover(f.segment, f.lock));
    CHECK_OK(give(&f));
    CHECK_OK(take(&f));
    CHECK_OK(give(&f));
    end(&f);
}

TEST(until_it_is_recovered_everybody_is_told)
{
    fixture f = begin();
    check_peer child = check_fork(take_and_say, &f);
    check_hear(&child);
    check_kill(&child);
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, SMEM_NO_WAIT), SMEM_E_OWNER_DIED);
    CHECK_OK(give(&f));
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, SMEM_NO_WAIT), SMEM_E_OWNER_DIED);
    CHECK_OK(smem_lock_recover(f.segment, f.lock));
    CHECK_OK(give(&f));
    CHECK_OK(take(&f));
    CHECK_OK(give(&f));
    end(&f);
}

TEST(a_holder_of_another_family_is_seen_to_live_and_to_die)
{
    fixture f = begin();
    check_peer child = check_fork(attach_take_and_say, (void *)check_name("lock"));
    check_hear(&child);
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, smem_deadline(150000000)), -ETIMEDOUT);
    check_kill(&child);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_OK(smem_lock_recover(f.segment, f.lock));
    CHECK_OK(give(&f));
    CHECK_OK(smem_reclaim(f.ctx, NULL));
    end(&f);
}

static void remove_file_of(const char *family)
{
    char path[128];
    snprintf(path, sizeof path, "%s/smem.%u.f.%s", check_directory(), (unsigned)geteuid(), family);
    CHECK_EQ(unlink(path), 0);
}

TEST(a_holder_whose_familys_file_was_removed_lives)
{
    fixture f = begin();
    check_peer child = check_fork(attach_take_and_say, (void *)check_name("lock"));
    check_hear(&child);
    remove_file_of("another");
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, smem_deadline(150000000)), -ETIMEDOUT);
    check_kill(&child);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_OK(give(&f));
    end(&f);
}

/* The holder maps the file that was removed; the byte of its number is free in the one
   that another member has made since. */
TEST(a_holder_whose_familys_file_was_made_anew_lives_until_it_dies)
{
    fixture f = begin();
    check_peer child = check_fork(take_and_say, &f);
    check_hear(&child);
    remove_file_of(smem_family_name(f.ctx));
    CHECK_OK(smem_reclaim(f.ctx, NULL)); /* makes it anew */
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, smem_deadline(150000000)), -ETIMEDOUT);
    check_kill(&child);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_OK(give(&f));
    end(&f);
}

static void take_and_make_anew(check_peer *parent, void *arg)
{
    fixture *f = arg;
    CHECK_OK(take(f));
    check_tell(parent, 1);
    check_hear(parent);
    CHECK_OK(smem_reclaim(f->ctx, NULL)); /* moves to the new file, with its number */
    check_tell(parent, 2);
    check_hear(parent);
    CHECK_OK(give(f));
    CHECK_OK(take(f));
    check_tell(parent, 3);
    check_hear(parent);
}

TEST(a_holder_that_makes_its_familys_file_anew_keeps_what_it_holds)
{
    fixture f = begin();
    check_peer child = check_fork(take_and_make_anew, &f);
    check_hear(&child);
    remove_file_of(smem_family_name(f.ctx));
    check_tell(&child, 1);
    check_hear(&child);
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, smem_deadline(150000000)), -ETIMEDOUT);
    CHECK_OK(smem_reclaim(f.ctx, NULL)); /* moves there as well */
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, smem_deadline(150000000)), -ETIMEDOUT);
    check_tell(&child, 1);
    check_hear(&child);
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, smem_deadline(150000000)), -ETIMEDOUT);
    check_kill(&child);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_OK(give(&f));
    end(&f);
}

/* Without /proc/locks, and with a pid that says nothing here. */
static int no_list(const char *path, int flags, mode_t mode)
{
    if (strcmp(path, "/proc/locks") == 0) {
        errno = ENOENT;
        return -1;
    }
    return open(path, flags, mode);
}

TEST(a_holder_that_nobody_sees_lives_until_its_lock_is_broken)
{
    fixture f = begin();
    int pid;
    check_peer child = check_fork(attach_take_and_say, (void *)check_name("lock"));
    check_hear(&child);
    CHECK_EQ(smem_lock_holder(f.segment, f.lock, &pid), SMEM_HOLDER_LIVES);
    CHECK_EQ(pid, child.pid);
    CHECK_CODE(smem_lock_break(f.segment, f.lock), -EBUSY);
    remove_file_of("another");
    smem__syscalls real = smem__sys;
    smem__sys.open = no_list;
    f.lock->process = 0; /* of another PID namespace */
    CHECK_EQ(smem_lock_holder(f.segment, f.lock, &pid), SMEM_HOLDER_UNSEEN);
    CHECK_EQ(pid, 0);
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, smem_deadline(150000000)), -ETIMEDOUT);
    CHECK_OK(smem_lock_break(f.segment, f.lock));
    CHECK_CODE(smem_lock_break(f.segment, f.lock), SMEM_E_NOT_HELD);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_EQ(smem_lock_holder(f.segment, f.lock, &pid), SMEM_HOLDER_LIVES);
    CHECK_EQ(pid, getpid());
    CHECK_OK(smem_lock_recover(f.segment, f.lock));
    CHECK_OK(give(&f));
    CHECK_EQ(smem_lock_holder(f.segment, f.lock, &pid), SMEM_HOLDER_NONE);
    smem__sys = real;
    check_kill(&child);
    end(&f);
}

static void hold_without_fds(check_peer *parent, void *arg)
{
    fixture *f = arg;
    struct rlimit none = {0, 0};
    CHECK_OK(take(f));
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    pid_t child = fork(); /* it can open nothing, and goes on with its parent's page */
    if (child == 0)
        pause();
    check_tell(parent, (uint64_t)child);
    check_hear(parent);
}

TEST(a_child_that_could_become_no_member_keeps_nothing_locked)
{
    fixture f = begin();
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    check_peer peer = check_fork(hold_without_fds, &f);
    pid_t grandchild = (pid_t)check_hear(&peer);
    check_kill(&peer);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_OK(smem_lock_recover(f.segment, f.lock));
    CHECK_OK(give(&f));
    kill(grandchild, SIGKILL);
    CHECK_EQ(waitpid(grandchild, NULL, 0), grandchild);
    end(&f);
}

static void *stay(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static void hold_and_end_the_first_thread(check_peer *parent, void *arg)
{
    pthread_t thread;
    CHECK_OK(take(arg));
    CHECK_EQ(pthread_create(&thread, NULL, stay, arg), 0);
    check_tell(parent, 1);
    pthread_exit(NULL);
}

/* It looks like a zombie then. */
TEST(a_holder_whose_first_thread_has_ended_lives)
{
    fixture f = begin();
    check_peer child = check_fork(hold_and_end_the_first_thread, &f);
    char path[64], line[256], *state = NULL;
    check_hear(&child);
    snprintf(path, sizeof path, "/proc/%d/stat", (int)child.pid);
    do {
        FILE *stat = fopen(path, "r");
        CHECK(stat && fgets(line, sizeof line, stat));
        fclose(stat);
        state = strrchr(line, ')') + 2;
    } while (*state != 'Z');
    CHECK_CODE(smem_lock_acquire(f.segment, f.lock, smem_deadline(150000000)), -ETIMEDOUT);
    check_kill(&child);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_OK(give(&f));
    end(&f);
}

static void fork_then_hold(check_peer *parent, void *arg)
{
    fixture *f = arg;
    CHECK_OK(take(f));
    pid_t child = fork();
    if (child == 0)
        pause();
    check_tell(parent, (uint64_t)child);
    check_hear(parent);
}

TEST(a_child_of_the_dead_holder_keeps_nothing_locked)
{
    fixture f = begin();
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    check_peer peer = check_fork(fork_then_hold, &f);
    pid_t grandchild = (pid_t)check_hear(&peer);
    check_kill(&peer);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_OK(smem_lock_recover(f.segment, f.lock));
    CHECK_OK(give(&f));
    kill(grandchild, SIGKILL);
    CHECK_EQ(waitpid(grandchild, NULL, 0), grandchild);
    end(&f);
}

static void hold_and_exec(check_peer *parent, void *arg)
{
    (void)parent;
    CHECK_OK(take(arg));
    execl("/bin/sleep", "sleep", "1000", (char *)NULL);
    _exit(EXIT_FAILURE);
}

TEST(a_holder_that_becomes_another_program_has_died)
{
    fixture f = begin();
    check_peer child = check_fork(hold_and_exec, &f);
    while (smem_lock_state(f.segment, f.lock) == SMEM_LOCK_FREE)
        smem__nap(1);
    CHECK_CODE(take(&f), SMEM_E_OWNER_DIED);
    CHECK_OK(give(&f));
    check_kill(&child);
    end(&f);
}

static void wait_for_it(check_peer *parent, void *arg)
{
    fixture *f = arg;
    check_tell(parent, 1);
    int rc = take(f);
    check_tell(parent, (uint64_t)(int64_t)rc);
    if (rc == SMEM_E_OWNER_DIED)
        CHECK_OK(smem_lock_recover(f->segment, f->lock));
    CHECK_OK(give(f));
}

TEST(one_waiter_gets_it_from_the_dead_and_the_others_after_him)
{
    fixture f = begin();
    check_peer peers[PROCESSES], holder = check_fork(take_and_say, &f);
    int died = 0;
    check_hear(&holder);
    for (int i = 0; i < PROCESSES; i++) {
        peers[i] = check_fork(wait_for_it, &f);
        check_hear(&peers[i]);
    }
    check_kill(&holder);
    for (int i = 0; i < PROCESSES; i++) {
        died += (int64_t)check_hear(&peers[i]) == SMEM_E_OWNER_DIED;
        CHECK_EQ(check_wait(&peers[i]), 0);
    }
    CHECK_EQ(died, 1);
    CHECK_EQ(smem_lock_state(f.segment, f.lock), SMEM_LOCK_FREE);
    end(&f);
}

TEST(a_waiter_that_is_killed_takes_no_wake_up_with_it)
{
    fixture f = begin();
    for (int round = 0; round < 20; round++) {
        CHECK_OK(take(&f));
        check_peer victim = check_fork(wait_for_it, &f), other = check_fork(wait_for_it, &f);
        check_hear(&victim);
        check_hear(&other);
        CHECK_OK(give(&f));
        CHECK_EQ(kill(victim.pid, SIGKILL), 0); /* wherever it is */
        check_wait(&victim);
        int rc = (int)(int64_t)check_hear(&other);
        CHECK(rc == 0 || rc == SMEM_E_OWNER_DIED);
        CHECK_EQ(check_wait(&other), 0);
    }
    end(&f);
}

/* ---- leaving ----------------------------------------------------------------------- */

TEST(who_holds_a_lock_stays_a_member)
{
    fixture f = begin();
    CHECK_OK(take(&f));
    CHECK_CODE(smem_new_family(f.ctx, NULL), SMEM_E_HELD);
    CHECK_OK(give(&f));
    CHECK_OK(smem_new_family(f.ctx, NULL));
    CHECK_OK(take(&f));
    CHECK_OK(give(&f));
    end(&f);
}

static void see_it_held(check_peer *parent, void *arg)
{
    smem_context *ctx = check_open("another");
    smem_segment *segment;
    CHECK_OK(smem_attach(ctx, arg, SMEM_READ_WRITE, &segment));
    check_tell(parent, 1);
    check_hear(parent);
    CHECK_CODE(smem_lock_acquire(segment, smem_lock_of(segment), smem_deadline(150000000)),
               -ETIMEDOUT);
    check_tell(parent, 2);
    check_hear(parent);
    CHECK_OK(smem_lock_acquire(segment, smem_lock_of(segment), SMEM_FOREVER));
    CHECK_OK(smem_lock_release(segment, smem_lock_of(segment)));
    smem_detach(segment);
    smem_close(ctx);
}

TEST(a_lock_that_is_held_when_its_process_leaves_is_its_own_until_it_ends)
{
    fixture f = begin();
    check_peer other = check_fork(see_it_held, (void *)check_name("lock"));
    check_hear(&other);
    CHECK_OK(take(&f));
    smem_leave(f.ctx);
    check_tell(&other, 1);
    check_hear(&other);
    CHECK_OK(give(&f));
    check_tell(&other, 1);
    CHECK_EQ(check_wait(&other), 0);
    f.ctx->stays = false;
    end(&f);
}

TEST(after_a_leave_the_next_lock_joins_again)
{
    fixture f = begin();
    smem_leave(f.ctx);
    CHECK_OK(take(&f));
    CHECK_OK(give(&f));
    end(&f);
}

TEST(a_recycled_segment_has_a_free_lock)
{
    setenv("SHAREDMEM_CACHE", "1000000", 1);
    fixture f = begin();
    uint64_t where = 0;
    for (int i = 0; i < 2; i++) {
        smem_segment *one = make(f.ctx, NULL, SMEM_UNPUBLISHED);
        CHECK(i == 0 || where == (uint64_t)(uintptr_t)smem_data(one));
        where = (uint64_t)(uintptr_t)smem_data(one);
        CHECK_OK(smem_lock_acquire(one, smem_lock_of(one), SMEM_NO_WAIT));
        smem_lock_of(one)->depth = 5;
        smem_detach(one);
    }
    f.ctx->held = 0; /* they went with their locks */
    end(&f);
}

int main(int argc, char **argv)
{
    return check_main_on_backend(argc, argv, &backend);
}
