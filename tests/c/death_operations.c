/* The operations that a process is killed in. */
#include "death.h"

#include "os/syscalls.h"
#include "segment/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static smem__syscalls real;

static void keep_real(void)
{
    if (!real.open)
        real = smem__sys;
}

static int other_backend(int backend)
{
    return SMEM_POSIX + SMEM_SYSV - backend;
}

static void make(smem_context *ctx, int backend, const char *name, unsigned flags,
                 smem_segment **out)
{
    smem_spec spec = vector_of(backend, name);
    spec.flags = flags;
    CHECK_OK(smem_create(ctx, &spec, out));
    *first_of(*out) = 5;
}

/* ---- what the living prepares -------------------------------------------------- */

static void hold(living *l)
{
    make(l->ctx, l->backend, check_name("a"), 0, &l->held);
    noted->nonce = smem_info_of(l->held)->nonce;
}

static void hold_on_other_backend(living *l)
{
    make(l->ctx, other_backend(l->backend), check_name("a"), 0, &l->held);
}

static void keep_on(living *l, int backend)
{
    smem_segment *kept;
    make(l->ctx, backend, check_name("a"), SMEM_PERSISTENT, &kept);
    smem_detach(kept);
}

static void keep(living *l)
{
    keep_on(l, l->backend);
}

static void keep_on_other_backend(living *l)
{
    keep_on(l, other_backend(l->backend));
}

/* "a" is in flight and nowhere mapped. */
static void send(living *l)
{
    smem_segment *sent;
    make(l->ctx, l->backend, check_name("a"), 0, &sent);
    noted->nonce = smem_info_of(sent)->nonce;
    CHECK_OK(smem_ticket_issue(sent, &noted->ticket));
    smem_detach(sent);
}

/* Left by one who died: "a", its family's file, and a file of kind 't'. */
static void leave_stale(living *l)
{
    char path[128];
    snprintf(path, sizeof path, "%s/smem.%u.t.stale", check_directory(), (unsigned)geteuid());
    fflush(stderr);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        smem_segment *segment;
        make(open_in("stale", 0, NULL), l->backend, check_name("a"), 0, &segment);
        CHECK(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0);
        _exit(EXIT_SUCCESS);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

/* ---- what the victim has before -------------------------------------------------- */

static void have(victim *v)
{
    make(v->ctx, v->backend, check_name("a"), 0, &v->segment);
}

/* Whose lock others can hold, too: dropping it takes the gate. */
static void have_writeable(victim *v)
{
    smem_spec spec = vector_of(v->backend, check_name("a"));
    spec.permissions = 0660;
    CHECK_OK(smem_create(v->ctx, &spec, &v->segment));
}

static void have_attached(victim *v)
{
    CHECK_OK(smem_attach(v->ctx, check_name("a"), SMEM_READ_WRITE, &v->segment));
}

static void have_attached_for_reading(victim *v)
{
    CHECK_OK(smem_attach(v->ctx, check_name("a"), SMEM_READ_ONLY, &v->segment));
}

static void have_a_copy(victim *v)
{
    CHECK_OK(smem_attach(v->ctx, check_name("a"), SMEM_COPY_ON_WRITE, &v->segment));
}

static void have_sent(victim *v)
{
    have(v);
    CHECK_OK(smem_ticket_issue(v->segment, &noted->ticket));
    noted->nonce = smem_info_of(v->segment)->nonce;
}

static void have_a_book(victim *v)
{
    uint64_t ticket;
    have_attached(v);
    CHECK_OK(smem_ticket_issue(v->segment, &ticket));
}

static void have_all_books(victim *v)
{
    uint64_t ticket;
    have_attached(v);
    for (unsigned i = 0; i < SMEM__BOOKS * 32; i++)
        CHECK_OK(smem_ticket_issue(v->segment, &ticket));
}

static void have_unlinked(victim *v)
{
    have_attached(v);
    CHECK_OK(smem_unlink(v->ctx, check_name("a")));
}

/* Made without a name and known to nobody, by a participant that keeps what it drops. */
static void make_private(victim *v, const int64_t *count)
{
    smem_spec spec = vector_of(v->backend, NULL);
    spec.permissions = 0600;
    spec.flags = SMEM_UNPUBLISHED;
    spec.shape = count;
    CHECK_OK(smem_create(v->ctx, &spec, &v->segment));
}

static void have_private(victim *v)
{
    static const int64_t count[] = {1000};
    smem_close(v->ctx);
    setenv("SHAREDMEM_CACHE", "10000000", 1);
    v->ctx = open_in(v->kinship == JOINS ? "living" : "apart", 0, NULL);
    make_private(v, count);
}

static void have_idle(victim *v)
{
    have_private(v);
    smem_detach(v->segment);
}

static void have_published(victim *v)
{
    have_private(v);
    smem_publish(v->segment);
}

static int open_without_tmpfile(const char *path, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) != O_TMPFILE)
        return real.open(path, flags, mode);
    errno = EOPNOTSUPP;
    return -1;
}

static void lack_tmpfile(victim *v)
{
    (void)v;
    keep_real();
    smem__sys.open = open_without_tmpfile;
}

static void *mmap_nothing(void *to, size_t size, int prot, int flags, int fd, off_t at)
{
    (void)to, (void)size, (void)prot, (void)flags, (void)fd, (void)at;
    errno = ENOMEM;
    return (void *)-1;
}

static void *shmat_nothing(int id, const void *at, int flags)
{
    (void)id, (void)at, (void)flags;
    errno = ENOMEM;
    return (void *)-1;
}

static void lack_address_space(victim *v)
{
    lack_tmpfile(v);
    smem__sys.mmap = mmap_nothing;
    smem__sys.shmat = shmat_nothing;
}

static int unlink_no_segment(const char *path)
{
    if (!strstr(path, ".s."))
        return real.unlink(path);
    errno = EPERM;
    return -1;
}

static int shmctl_no_removal(int id, int command, struct shmid_ds *buf)
{
    if (command != IPC_RMID)
        return real.shmctl(id, command, buf);
    errno = EPERM;
    return -1;
}

/* The old segment, on the other backend, cannot be made to lose its name. */
static void lack_permission(victim *v)
{
    keep_real();
    if (v->backend == SMEM_SYSV)
        smem__sys.unlink = unlink_no_segment;
    else
        smem__sys.shmctl = shmctl_no_removal;
}

static void remove_file(char kind, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/smem.%u.%c.%s", check_directory(), (unsigned)geteuid(), kind,
             name);
    unlink(path);
}

static void lose_family_file(victim *v)
{
    have_attached(v);
    remove_file('f', smem_family_name(v->ctx));
}

static void lose_journal(victim *v)
{
    have_attached(v);
    remove_file('u', "journal");
}

/* ---- operations -------------------------------------------------------------------- */

static void create_flagged(victim *v, const char *name, unsigned flags, int want)
{
    smem_spec spec = vector_of(v->backend, name);
    spec.flags = flags;
    CHECK_CODE(smem_create(v->ctx, &spec, &v->segment), want);
}

static void create(victim *v)
{
    create_flagged(v, check_name("a"), 0, 0);
}

static void create_unnamed(victim *v)
{
    create_flagged(v, NULL, 0, 0);
}

static void create_persistent(victim *v)
{
    create_flagged(v, check_name("a"), SMEM_PERSISTENT, 0);
}

static void create_in_vain(victim *v)
{
    create_flagged(v, check_name("a"), 0, SMEM_E_NO_ROOM);
}

static void replace(victim *v)
{
    create_flagged(v, check_name("a"), SMEM_REPLACE, 0);
}

static void replace_for_good(victim *v)
{
    create_flagged(v, check_name("a"), SMEM_REPLACE | SMEM_PERSISTENT, 0);
}

static void replace_in_vain(victim *v)
{
    create_flagged(v, check_name("a"), SMEM_REPLACE, -EPERM);
}

static void attach(victim *v)
{
    have_attached(v);
}

static void attach_or_create(victim *v)
{
    int created;
    smem_spec spec = vector_of(v->backend, check_name("a"));
    CHECK_OK(smem_attach_or_create(v->ctx, &spec, &v->segment, &created));
}

static void receive_as(victim *v, int mode)
{
    CHECK_OK(smem_receive(v->ctx, v->backend, check_name("a"), noted->nonce, mode, noted->ticket,
                          &v->segment));
    CHECK(*first_of(v->segment) == 5);
}

static void receive(victim *v)
{
    receive_as(v, SMEM_READ_WRITE);
}

static void receive_copy(victim *v)
{
    receive_as(v, SMEM_COPY_ON_WRITE);
}

static void forget(victim *v)
{
    CHECK_OK(smem_forget(v->ctx, v->backend, check_name("a"), noted->nonce, noted->ticket));
}

static void issue(victim *v)
{
    CHECK_OK(smem_ticket_issue(v->segment, &v->ticket));
}

static void issue_in_vain(victim *v)
{
    CHECK_CODE(smem_ticket_issue(v->segment, &v->ticket), SMEM_E_UNLINKED);
}

static void detach(victim *v)
{
    smem_detach(v->segment);
}

static void unlink_by_name(victim *v)
{
    CHECK_OK(smem_unlink(v->ctx, check_name("a")));
}

static void unlink_attached(victim *v)
{
    CHECK_OK(smem_unlink_segment(v->segment));
}

/* Fewer elements than the idle one has: its header may not say that they reach
   further than the data. */
static void reuse(victim *v)
{
    static const int64_t fewer[] = {600};
    make_private(v, fewer);
    CHECK_EQ(smem_info_of(v->segment)->nbytes, 4800);
}

static int see_row(void *arg, const smem_info *info, const smem_flight *flight)
{
    (void)arg, (void)info, (void)flight;
    return 0;
}

static void list(victim *v)
{
    CHECK_OK(smem_list(v->ctx, see_row, NULL));
}

static void look(victim *v)
{
    smem_info info;
    int rc = smem_stat(v->ctx, check_name("a"), &info, NULL);
    if (rc == 0)
        smem_info_clear(&info);
}

static void reclaim(victim *v)
{
    CHECK_OK(smem_reclaim(v->ctx, NULL));
}

static void leave(victim *v)
{
    smem_leave(v->ctx);
}

static void leave_and_come_back(victim *v)
{
    smem_leave(v->ctx);
    reclaim(v);
}

static void change_family(victim *v)
{
    CHECK_OK(smem_new_family(v->ctx, NULL));
}

/* In a family whose file a dead one has left, with a parent that is no member. */
static void join(victim *v)
{
    pid_t victim_pid = getpid(), parent = fork();
    CHECK(parent >= 0);
    if (parent == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == victim_pid)
            pause();
        _exit(EXIT_SUCCESS);
    }
    smem_context *ctx = open_in("stale", (int)parent, NULL);
    (void)v;
    smem_leave(ctx);
}

static void fork_child(victim *v)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(*first_of(v->segment) == 5);
        kill(getpid(), SIGKILL);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK(*first_of(v->segment) == 5);
}

/* The reaper of the victim's own family, which ends after it. */
static void guard(victim *v)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        become_reaper(smem_family_name(v->ctx));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

/* A first segment starts the reaper. */
static void create_with_reaper(victim *v)
{
    CHECK(getenv("SMEM_TEST_REAPER") != NULL); /* by tests/c/meson.build */
    setenv("SHAREDMEM_REAPER", "1", 1);
    smem_close(v->ctx);
    v->ctx = open_in("apart", 0, getenv("SMEM_TEST_REAPER"));
    create(v);
}

/* ---- what is so after it -------------------------------------------------------------- */

/* The name still leads to what the living holds. */
static void still_named(living *l)
{
    CHECK(*first_of(l->held) == 5);
    CHECK_EQ(smem_is_current(l->held), 1);
}

static void unharmed(living *l)
{
    CHECK(*first_of(l->held) == 5);
}

/* The name leads to one of the two that persist. */
static void one_of_both(living *l)
{
    smem_segment *found;
    CHECK_OK(smem_attach(l->witness, check_name("a"), SMEM_READ_ONLY, &found));
    CHECK_EQ(smem_info_of(found)->flags, SMEM_PERSISTENT);
    smem_detach(found);
}

/* Neither of the two comes to light after an unlink. */
static void unlinkable(living *l)
{
    smem_segment *found;
    CHECK_OK(smem_unlink(l->witness, check_name("a")));
    CHECK_CODE(smem_attach(l->witness, check_name("a"), SMEM_READ_ONLY, &found),
               SMEM_E_NOT_FOUND);
}

static void receivable(living *l)
{
    smem_segment *received;
    CHECK_OK(smem_receive(l->ctx, l->backend, check_name("a"), noted->nonce, SMEM_READ_WRITE,
                          noted->ticket, &received));
    CHECK(*first_of(received) == 5);
    smem_detach(received);
}

/* Who died before the ticket was freed has not received it. */
static void received_or_not(living *l)
{
    if (passed("ticket.freed") == 0)
        receivable(l);
}

/* What the victim sent outlives it, as long as its family does. */
static void in_flight(living *l)
{
    if (l->victim != APART)
        receivable(l);
}

/* ---- all of them ----------------------------------------------------------------------- */

#define OPERATION(name, ...)                                                  \
    TEST(name)                                                                \
    {                                                                         \
        static const operation op = {#name, __VA_ARGS__};                     \
        die_in(&op);                                                          \
    }

OPERATION(create_named, .act = create)
OPERATION(create_random, .act = create_unnamed)
OPERATION(create_that_persists, .act = create_persistent)
OPERATION(create_over_stale, .prepare = leave_stale, .act = create)
OPERATION(create_without_tmpfile, .kinds = JOINS | APART, .before = lack_tmpfile, .act = create)
OPERATION(create_that_fails, .kinds = JOINS | APART, .before = lack_address_space,
          .act = create_in_vain)
OPERATION(replace_held, .prepare = hold, .act = replace, .judge = unharmed)
OPERATION(replace_that_persists, .prepare = hold, .act = replace_for_good, .judge = unharmed)
OPERATION(replace_kept, .prepare = keep, .act = replace_for_good, .judge = one_of_both)
OPERATION(replace_kept_elsewhere, .prepare = keep_on_other_backend, .act = replace_for_good,
          .judge = one_of_both)
OPERATION(replace_and_unlink, .prepare = hold, .act = replace_for_good, .judge = unlinkable)
OPERATION(unlink_kept, .prepare = keep, .act = unlink_by_name)
OPERATION(replace_without_tmpfile, .kinds = JOINS | APART, .prepare = hold,
          .before = lack_tmpfile, .act = replace, .judge = unharmed)
OPERATION(replace_other_backend, .prepare = hold_on_other_backend, .act = replace,
          .judge = unharmed)
OPERATION(replace_that_fails, .kinds = JOINS | APART, .prepare = hold_on_other_backend,
          .before = lack_permission, .act = replace_in_vain, .judge = still_named)
OPERATION(attach_held, .prepare = hold, .act = attach, .judge = still_named)
OPERATION(attach_for_reading, .prepare = hold, .act = have_attached_for_reading,
          .judge = still_named)
OPERATION(attach_private, .prepare = hold, .act = have_a_copy, .judge = still_named)
OPERATION(attach_or_create_new, .act = attach_or_create)
OPERATION(receive_sent, .prepare = send, .act = receive, .judge = received_or_not)
OPERATION(receive_private, .prepare = send, .act = receive_copy, .judge = received_or_not)
OPERATION(forget_sent, .prepare = send, .act = forget, .judge = received_or_not)
OPERATION(issue_first, .prepare = hold, .before = have_attached, .act = issue,
          .judge = still_named)
OPERATION(issue_second, .prepare = hold, .before = have_a_book, .act = issue,
          .judge = still_named)
OPERATION(issue_when_full, .kinds = JOINS | APART, .prepare = hold, .before = have_all_books,
          .act = issue, .judge = still_named)
OPERATION(issue_unlinked, .prepare = hold, .before = have_unlinked, .act = issue_in_vain,
          .judge = unharmed)
OPERATION(detach_last, .before = have, .act = detach)
OPERATION(detach_last_writeable, .before = have_writeable, .act = detach)
OPERATION(detach_shared, .prepare = hold, .before = have_attached, .act = detach,
          .judge = still_named)
OPERATION(detach_copy, .prepare = hold, .before = have_a_copy, .act = detach,
          .judge = still_named)
OPERATION(detach_in_flight, .before = have_sent, .act = detach, .judge = in_flight)
OPERATION(keep_private, .kinds = JOINS | APART, .before = have_private, .act = detach)
OPERATION(keep_published, .kinds = JOINS | APART, .before = have_published, .act = detach)
OPERATION(reuse_idle, .kinds = JOINS | APART, .before = have_idle, .act = reuse)
OPERATION(leave_with_idle, .kinds = JOINS | APART, .before = have_idle, .act = leave)
OPERATION(unlink_name, .prepare = hold, .act = unlink_by_name, .judge = unharmed)
OPERATION(unlink_own, .prepare = hold, .before = have_attached, .act = unlink_attached,
          .judge = unharmed)
OPERATION(list_all, .prepare = hold, .act = list, .judge = still_named)
OPERATION(look_at_stale, .prepare = leave_stale, .act = look)
OPERATION(reclaim_stale, .prepare = leave_stale, .act = reclaim)
OPERATION(reclaim_without_family_file, .kinds = APART, .prepare = hold,
          .before = lose_family_file, .act = reclaim, .judge = still_named)
OPERATION(reclaim_without_journal, .kinds = JOINS | APART, .prepare = hold,
          .before = lose_journal, .act = reclaim, .judge = still_named)
OPERATION(leave_with_own, .before = have, .act = leave)
OPERATION(leave_with_shared, .prepare = hold, .before = have_attached, .act = leave,
          .judge = still_named)
OPERATION(leave_for_reading, .prepare = hold, .before = have_attached_for_reading, .act = leave,
          .judge = still_named)
OPERATION(leave_with_a_copy, .prepare = hold, .before = have_a_copy, .act = leave,
          .judge = still_named)
OPERATION(leave_with_published, .kinds = JOINS | APART, .before = have_published, .act = leave)
OPERATION(leave_with_sent, .before = have_sent, .act = leave, .judge = in_flight)
OPERATION(leave_and_return, .kinds = JOINS | APART, .before = have, .act = leave_and_come_back)
OPERATION(change_families, .prepare = hold, .before = have_attached, .act = change_family,
          .judge = still_named)
OPERATION(join_over_stale, .prepare = leave_stale, .act = join)
OPERATION(forked_child, .before = have, .act = fork_child, .in_child = true)
OPERATION(start_reaper, .kinds = APART, .act = create_with_reaper)
OPERATION(guard_as_reaper, .kinds = APART, .before = have, .act = guard, .in_child = true)

/* The last one: each point is where somebody was killed above. A point that is
   not may be deleted, or lacks an operation. */
TEST(every_point_was_died_at)
{
    check_every_point();
}
