/* Contract: fork, exec, the ways to end, and families. */
#include "contract.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- fork, exec, exit ---------------------------------------------------------------- */

/* Child: use the inherited segment when the parent says so. */
static void use_inherited(check_peer *parent, void *arg)
{
    const job *todo = arg;
    check_hear(parent);
    CHECK(*at(todo->segment, 0) == 1);
    *at(todo->segment, 0) = 2;
    smem_segment *found = attach(todo->ctx, todo->name, SMEM_READ_WRITE);
    CHECK(found == todo->segment);
    smem_detach(found);
    smem_detach(todo->segment);
    check_tell(parent, 1);
    check_hear(parent);
}

/* A forked child keeps what its parent drops, and frees it when it drops it itself. */
TEST(fork_child_keeps_what_parent_drops)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("fork"));
    smem_info info = facts(segment);
    job todo = {ctx, check_name("fork"), segment, 0};
    *at(segment, 0) = 1;
    check_peer child = check_fork(use_inherited, &todo);
    smem_detach(segment);
    CHECK(check_exists(&info));
    check_tell(&child, 0);
    check_hear(&child);
    CHECK(!check_exists(&info));
    finish(&child);
    smem_close(ctx);
}

/* Child: write into what it has a copy of, leave, and drop it when the parent says so. */
static void write_into_copy(check_peer *parent, void *arg)
{
    const job *todo = arg;
    uint64_t last = smem_info_of(todo->segment)->nbytes / sizeof(double) - 1, ticket;
    CHECK_EQ(smem_mode_of(todo->segment), SMEM_COPY_ON_WRITE);
    CHECK(*at(todo->segment, 0) == 1 && *at(todo->segment, (int)last) == 2);
    *at(todo->segment, 0) = 3;
    CHECK_CODE(smem_ticket_issue(todo->segment, &ticket), SMEM_E_UNLINKED);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) { /* a copy of the copy */
        CHECK(*at(todo->segment, 0) == 3);
        *at(todo->segment, 0) = 4;
        smem_detach(todo->segment);
        _exit(EXIT_SUCCESS);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    check_tell(parent, 1);
    check_hear(parent);
    smem_leave(todo->ctx);
    CHECK(*at(todo->segment, 0) == 3 && *at(todo->segment, (int)last) == 2);
    check_tell(parent, 1);
    check_hear(parent);
    CHECK(*at(todo->segment, 0) == 3 && *at(todo->segment, (int)last) == 2);
    smem_detach(todo->segment);
}

static smem_spec doubles(const int64_t *length)
{
    return (smem_spec){.backend = backend,
                       .dtype = "'<f8'",
                       .itemsize = sizeof(double),
                       .ndim = 1,
                       .shape = length};
}

static void give_child_a_copy(int64_t length)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment, *next;
    smem_spec spec = doubles(&length);
    spec.flags = SMEM_UNPUBLISHED;
    CHECK_OK(smem_create(ctx, &spec, &segment));
    smem_copy_at_fork(segment);
    *at(segment, 0) = 1;
    *at(segment, (int)length - 1) = 2;
    smem_info info = facts(segment);
    job todo = {ctx, NULL, segment, 0};
    check_peer child = check_fork(write_into_copy, &todo);
    check_hear(&child);
    CHECK(*at(segment, 0) == 1 && *at(segment, (int)length - 1) == 2);
    check_tell(&child, 0);
    check_hear(&child);
    CHECK_EQ(smem_is_current(segment), 1);
    smem_detach(segment);
    spec.flags = 0;
    CHECK_OK(smem_create(ctx, &spec, &next)); /* zeros, elsewhere than what the child shows */
    finish(&child);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK(!check_exists(&info));
    smem_detach(next);
    smem_close(ctx);
}

/* What is its owner's alone a forked child has a copy of, to its end; nothing is left. */
TEST(fork_child_has_a_copy)
{
    give_child_a_copy(100);
}

/* So it is with what is mapped apart from its lock. */
TEST(fork_child_has_a_large_copy)
{
    give_child_a_copy(100000);
}

/* What was made of its memory later is shared with children again. */
TEST(what_is_recycled_is_shared_again)
{
    smem_context *ctx = check_open(NULL);
    int64_t length = 100;
    smem_segment *segment;
    smem_spec spec = doubles(&length);
    CHECK_OK(smem_create(ctx, &spec, &segment));
    smem_copy_at_fork(segment);
    smem_detach(segment);
    CHECK_OK(smem_create(ctx, &spec, &segment));
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        *at(segment, 0) = 5;
        _exit(EXIT_SUCCESS);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK(*at(segment, 0) == 5);
    smem_detach(segment);
    smem_close(ctx);
}

static void wait_for_parent(check_peer *parent, void *arg)
{
    (void)arg;
    check_tell(parent, 1);
    check_hear(parent);
}

/* What only a killed child kept is freed by its parent's next reclaim. */
TEST(killed_child_is_reclaimed)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("fork"));
    smem_info info = facts(segment);
    smem_reclaimed reclaimed;
    check_peer child = check_fork(wait_for_parent, NULL);
    check_hear(&child);
    smem_detach(segment);
    CHECK_OK(smem_reclaim(ctx, &reclaimed));
    CHECK_EQ(reclaimed.segments, 0);
    CHECK(check_exists(&info));
    check_kill(&child);
    CHECK_OK(smem_reclaim(ctx, &reclaimed));
    CHECK_EQ(reclaimed.segments, 1);
    CHECK_EQ(reclaimed.bytes, info.size);
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

/* A child that ends by _exit neither frees nor keeps what its parent has. */
TEST(child_ends_by_exit)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("fork"));
    smem_info info = facts(segment);
    check_peer child = check_fork(wait_for_parent, NULL);
    check_hear(&child);
    finish(&child);
    CHECK_EQ(smem_is_current(segment), 1);
    smem_detach(segment);
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

/* Child: attach, then become another program, which repeats what the parent tells it. */
static void attach_and_exec(check_peer *parent, void *arg)
{
    const job *todo = arg;
    smem_context *ctx = check_open(NULL);
    attach(ctx, todo->name, SMEM_READ_WRITE);
    CHECK_EQ(dup2(parent->in, 0), 0);
    CHECK_EQ(dup2(parent->out, 1), 1);
    check_tell(parent, 1);
    execlp("cat", "cat", (char *)NULL);
}

/* A process that execs another program keeps nothing, though it lives on. */
TEST(exec_keeps_nothing)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("exec"));
    smem_info info = facts(segment);
    job todo = {.name = check_name("exec")};
    check_peer child = check_fork(attach_and_exec, &todo);
    check_hear(&child);
    CHECK_EQ(begin(&child), 0); /* that was cat */
    smem_detach(segment);
    CHECK(!check_exists(&info));
    check_end(&child);
    smem_close(ctx);
}

/* Child: a segment is mapped in all modes when the process leaves by itself. */
static void leave_with_mappings(check_peer *parent, void *arg)
{
    const job *todo = arg;
    smem_context *ctx = check_open(NULL);
    smem_segment *segments[4];
    segments[0] = create(ctx, todo->name);
    *at(segments[0], 0) = 1;
    for (int mode = 0; mode < 3; mode++)
        segments[mode + 1] = attach(ctx, todo->name, mode);
    check_tell(parent, 1);
    check_hear(parent);
    smem_leave(ctx);
    for (int i = 0; i < 4; i++)
        CHECK(*at(segments[i], 0) == 1); /* views may be used until the end */
    check_tell(parent, 1);
    check_hear(parent);
}

/* Who leaves with segments mapped takes their names when nobody else can reach them. */
TEST(leaving_takes_the_names)
{
    smem_context *ctx = check_open(NULL);
    job todo = {.name = check_name("leave")};
    check_peer child = check_fork(leave_with_mappings, &todo);
    check_hear(&child);
    smem_segment *segment = attach(ctx, check_name("leave"), SMEM_READ_WRITE);
    smem_detach(segment);
    check_tell(&child, 0);
    check_hear(&child);
    check_no_name(ctx, check_name("leave"));
    finish(&child);
    smem_close(ctx);
}

/* Who leaves spares what somebody else maps. */
TEST(leaving_spares_what_others_map)
{
    smem_context *ctx = check_open(NULL);
    job todo = {.name = check_name("leave")};
    check_peer child = check_fork(leave_with_mappings, &todo);
    check_hear(&child);
    smem_segment *segment = attach(ctx, check_name("leave"), SMEM_READ_ONLY);
    check_tell(&child, 0);
    check_hear(&child);
    CHECK_EQ(smem_is_current(segment), 1);
    CHECK(*at(segment, 0) == 1);
    smem_info info = facts(segment);
    smem_detach(segment);
    CHECK(check_exists(&info)); /* the child still uses it */
    finish(&child);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

/* Leaving is idempotent, its segments may be detached after it, and the next use joins anew. */
TEST(leave_and_come_back)
{
    smem_context *ctx = check_open("again");
    smem_segment *segment = create(ctx, check_name("leave"));
    *at(segment, 0) = 1;
    smem_info info = facts(segment);
    smem_leave(ctx);
    CHECK(!check_exists(&info));
    CHECK_EQ(check_files('f') + check_files('s') + check_files('u'), 0);
    smem_leave(ctx);
    CHECK(*at(segment, 0) == 1);
    smem_segment *newer = create(ctx, check_name("leave"));
    CHECK_EQ(check_files('f'), 1);
    CHECK_STR(smem_family_name(ctx), "again");
    smem_detach(segment);
    CHECK_EQ(smem_is_current(newer), 1);
    smem_detach(newer);
    smem_close(ctx);
}

/* ---- many of them -------------------------------------------------------------------- */

enum { CROWD = 1000 };

/* Child: by its parent's context, or one of its own; one element is its own. */
static void attach_in_a_crowd(smem_context *ctx, int number, int ready, int go)
{
    char byte = 0;
    if (number % 10 == 1)
        ctx = check_open(NULL);
    smem_segment *segment = attach(ctx, check_name("crowd"), SMEM_READ_WRITE);
    *at(segment, number) = number;
    CHECK_EQ(write(ready, &byte, 1), 1);
    CHECK_EQ(read(go, &byte, 1), 0); /* until the other end is closed */
    CHECK(*at(segment, number) == number);
    smem_detach(segment);
    smem_leave(ctx);
    _exit(EXIT_SUCCESS);
}

/* A thousand participants use one segment; the death of half of them and its maker's leaving change nothing. */
TEST(thousand_processes)
{
    check_skip_in_valgrind("a thousand valgrinds");
    int ready[2], go[2], status;
    char byte;
    static pid_t pids[CROWD];
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("crowd"));
    smem_info info = facts(segment);
    CHECK_EQ(pipe(ready) | pipe(go), 0);
    for (int i = 0; i < CROWD; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(go[1]);
            attach_in_a_crowd(ctx, i, ready[1], go[0]);
        }
        CHECK(pids[i] > 0);
    }
    close(go[0]);
    close(ready[1]);
    for (int i = 0; i < CROWD; i++)
        CHECK_EQ(read(ready[0], &byte, 1), 1);
    for (int i = 0; i < CROWD; i++)
        CHECK(*at(segment, i) == i);
    smem_detach(segment);
    for (int i = 0; i < CROWD; i += 2)
        CHECK_EQ(kill(pids[i], SIGKILL), 0);
    for (int i = 0; i < CROWD; i += 2)
        CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK(check_exists(&info));
    close(go[1]);
    for (int i = 1; i < CROWD; i += 2) {
        CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
        CHECK_EQ(status, 0);
    }
    close(ready[0]);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

/* ---- families --------------------------------------------------------------------------- */

static void tell_family(check_peer *parent, void *arg)
{
    (void)arg;
    smem_context *ctx = check_open(NULL);
    const char *name = smem_family_name(ctx);
    for (size_t i = 0; i <= strlen(name); i++)
        check_tell(parent, (unsigned char)name[i]);
    smem_close(ctx);
}

static void check_childs_family(const char *want)
{
    char got[SMEM_NAME_MAX + 1];
    size_t i = 0;
    check_peer child = check_fork(tell_family, NULL);
    do
        got[i] = (char)check_hear(&child);
    while (got[i++] && i < sizeof got);
    CHECK_EQ(check_wait(&child), 0);
    CHECK_STR(got, want);
}

/* A child joins its ancestor's family, or the one that the environment names. */
TEST(children_join_the_family)
{
    check_needs_proc();
    smem_context *ctx = check_open(NULL);
    check_childs_family(smem_family_name(ctx));
    CHECK_EQ(setenv("SHAREDMEM_FAMILY", "by-environment", 1), 0);
    check_childs_family("by-environment");
    CHECK_EQ(unsetenv("SHAREDMEM_FAMILY"), 0);
    smem_close(ctx);
}

/* Who takes a new family leaves the old one, whose tickets become void with its last member. */
TEST(new_family)
{
    smem_context *ctx = check_open("old");
    smem_segment *segment = create(ctx, check_name("family"));
    uint32_t tag = smem_info_of(segment)->family;
    uint64_t ticket;
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    CHECK_EQ(smem_family_alive(ctx, tag), 1);
    CHECK_OK(smem_new_family(ctx, NULL));
    CHECK(strcmp(smem_family_name(ctx), "old") != 0);
    CHECK_EQ(smem_family_alive(ctx, tag), 0);
    CHECK_EQ(check_files('f'), 1);
    CHECK_EQ(flight_of(ctx, check_name("family")).voided, 1);
    CHECK_OK(smem_new_family(ctx, "named"));
    CHECK_STR(smem_family_name(ctx), "named");
    smem_detach(segment);
    check_no_name(ctx, check_name("family"));
    smem_close(ctx);
}

/* A family that ended comes back with another tag: its old tickets stay void. */
TEST(a_dead_family_does_not_come_back)
{
    smem_context *ctx = check_open("mine");
    check_peer child = check_fork(send_and_end, "theirs");
    check_hear(&child);
    check_hear(&child);
    smem_segment *segment = attach(ctx, check_name("sent"), SMEM_READ_WRITE);
    check_kill(&child);
    smem_context *other = check_open("theirs");
    CHECK_EQ(smem_family_alive(ctx, smem_info_of(segment)->family), 0);
    CHECK_EQ(flight_of(ctx, check_name("sent")).voided, 1);
    smem_detach(segment);
    check_no_name(ctx, check_name("sent"));
    smem_close(other);
    smem_close(ctx);
}

/* A family's name is a file's name: what cannot be one is refused. */
TEST(bad_family_names)
{
    smem_context *ctx = check_open(NULL), *none;
    char text[SMEM_NAME_MAX + 2];
    memset(text, 'f', sizeof text);
    text[SMEM_NAME_MAX + 1] = '\0';
    const char *bad[] = {"a/b", "/", text};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        smem_options options = {.family = bad[i], .directory = check_directory()};
        CHECK_CODE(smem_open(&options, &none), SMEM_E_NAME);
        CHECK_CODE(smem_new_family(ctx, bad[i]), SMEM_E_NAME);
    }
    smem_detach(create(ctx, check_name("family"))); /* the context works on */
    smem_close(ctx);
}

/* Child: open as a worker whose parent has not opened anything; send; end. */
static void send_as_worker(check_peer *parent, void *arg)
{
    (void)arg;
    smem_options options = {.parent = (int)parent->pid, .directory = check_directory()};
    smem_context *ctx;
    uint64_t ticket;
    CHECK_OK(smem_open(&options, &ctx));
    smem_segment *segment = create(ctx, check_name("worker"));
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    check_tell(parent, smem_info_of(segment)->nonce);
    check_tell(parent, ticket);
}

/* Child: a multiprocessing parent, which opens only when its worker has ended. */
static void receive_from_worker(check_peer *parent, void *arg)
{
    (void)arg;
    smem_segment *received;
    check_peer worker = check_fork(send_as_worker, NULL);
    uint64_t nonce = check_hear(&worker), ticket = check_hear(&worker);
    CHECK_EQ(check_wait(&worker), 0);
    smem_context *other = check_open("other");
    CHECK_OK(smem_reclaim(other, NULL));
    CHECK_EQ(flight_of(other, check_name("worker")).tickets, 1);
    smem_close(other);
    smem_context *ctx = check_open(NULL);
    CHECK_EQ(check_files('f'), 1);
    CHECK_OK(smem_receive(ctx, backend, check_name("worker"), nonce, SMEM_READ_WRITE, ticket,
                          &received));
    smem_detach(received);
    smem_close(ctx);
    check_tell(parent, 1);
}

/* The parent of a worker keeps the worker's family alive until it ends itself. */
TEST(parent_is_an_honorary_member)
{
    check_needs_proc();
    check_peer child = check_fork(receive_from_worker, NULL);
    check_hear(&child);
    CHECK_EQ(check_wait(&child), 0);
    smem_context *ctx = check_open("another");
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_EQ(check_files('f'), 1);
    smem_close(ctx);
}

/* A reaper that comes when its family has ended, and buried it, frees what that
   kept: somebody may have looked at it while the last member left. */
TEST(reaper_comes_late)
{
    check_needs_proc();
    char path[512], *nothing[] = {NULL};
    char *arguments[] = {"sharedmem-reaper", (char *)check_directory(), "theirs", NULL};
    const char *program = getenv("SMEM_TEST_REAPER"); /* by tests/c/meson.build */
    pid_t pid;
    CHECK(program != NULL);
    smem_context *ctx = check_open(NULL);
    check_peer child = check_fork(send_and_end, "theirs");
    check_hear(&child);
    check_hear(&child);
    check_tell(&child, 0);
    CHECK_EQ(check_wait(&child), 0);
    snprintf(path, sizeof path, "%s/smem.%u.f.theirs", check_directory(), (unsigned)geteuid());
    CHECK_EQ(unlink(path), 0); /* as who leaves last does */
    CHECK_EQ(flight_of(ctx, check_name("sent")).voided, 1);
    CHECK_EQ(posix_spawn(&pid, program, NULL, NULL, arguments, nothing), 0);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    smem_info info;
    while (smem_stat(ctx, check_name("sent"), &info, NULL) == 0) {
        smem_info_clear(&info);
        usleep(1000); /* the runner ends a test that does not end */
    }
    check_no_name(ctx, check_name("sent"));
    smem_close(ctx);
}

/* ---- what /proc does not show ----------------------------------------------------------- */

typedef struct message {
    char name[SMEM_NAME_MAX + 1];
    uint64_t nonce, ticket;
} message;

static smem_context *open_beneath(int parent)
{
    smem_options options = {.directory = check_directory(), .parent = parent};
    smem_context *ctx;
    CHECK_OK(smem_open(&options, &ctx));
    return ctx;
}

static void send_to_parent(int fd)
{
    CHECK_EQ(prctl(PR_SET_DUMPABLE, 1), 0);
    smem_context *ctx = open_beneath(getppid());
    smem_segment *segment = create(ctx, NULL);
    message sent = {.nonce = smem_info_of(segment)->nonce};
    *at(segment, 0) = 7;
    smem_publish(segment);
    strcpy(sent.name, smem_info_of(segment)->name);
    CHECK_OK(smem_ticket_issue(segment, &sent.ticket));
    CHECK_EQ(write(fd, &sent, sizeof sent), sizeof sent);
    smem_detach(segment);
    smem_close(ctx);
}

/* It takes no part until its child has ended, and is not to be seen by it. */
static void receive_from_child(void)
{
    enum { NOBODY = 65534 };
    int fds[2], status;
    message got;
    smem_segment *segment;
    CHECK_EQ(setgid(NOBODY), 0);
    CHECK_EQ(setuid(NOBODY), 0);
    CHECK_EQ(prctl(PR_SET_DUMPABLE, 0), 0);
    CHECK_EQ(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        send_to_parent(fds[1]);
        _exit(EXIT_SUCCESS);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_EQ(read(fds[0], &got, sizeof got), sizeof got);
    CHECK_EQ(prctl(PR_SET_DUMPABLE, 1), 0);
    smem_context *ctx = open_beneath(0);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK_OK(smem_receive(ctx, backend, got.name, got.nonce, SMEM_READ_WRITE, got.ticket,
                          &segment));
    CHECK(*at(segment, 0) == 7);
    smem_detach(segment);
    smem_close(ctx);
}

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* For the children to come: they count the time since the boot from another moment. */
static void shift_time(void)
{
    static const char offsets[] = "boottime 100000 0";
    int fd = unshare(CLONE_NEWTIME) == 0 ? open("/proc/self/timens_offsets", O_WRONLY) : -1;
    if (fd < 0 || write(fd, offsets, strlen(offsets)) < 0)
        _exit(77);
    close(fd);
}

static const char shifted[] = "hidepid=0";

/* [arg]: the options of /proc; NULL: that of the namespace outside stays. */
static void in_a_pid_namespace(check_peer *parent, void *arg)
{
    int status;
    (void)parent;
    if (unshare(CLONE_NEWNS | CLONE_NEWPID) != 0)
        _exit(77);
    pid_t first = fork();
    if (first == 0) {
        CHECK_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        CHECK_EQ(arg ? mount("proc", "/proc", "proc", 0, arg) : 0, 0);
        if (arg == shifted)
            shift_time();
        receive_from_child();
        _exit(EXIT_SUCCESS);
    }
    CHECK_EQ(waitpid(first, &status, 0), first);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

static void receive_in_a_pid_namespace(const char *options)
{
    if (geteuid() != 0)
        check_skip("another PID namespace takes root");
    check_peer child = check_fork(in_a_pid_namespace, (void *)(uintptr_t)options);
    int status = check_wait(&child);
    if (status == 77)
        check_skip("no namespace can be made here");
    CHECK_EQ(status, 0);
}

TEST(hidden_parent_keeps_what_is_in_flight)
{
    receive_in_a_pid_namespace("hidepid=2");
}

/* There a pid is another process, or none. */
TEST(parent_beside_the_proc_of_another_namespace_keeps_what_is_in_flight)
{
    check_needs_proc();
    receive_in_a_pid_namespace(NULL);
}

TEST(parent_of_a_time_namespace_keeps_what_is_in_flight)
{
    receive_in_a_pid_namespace(shifted);
}
