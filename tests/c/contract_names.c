/* Contract: who has a name, who takes it away, who sees it. */
#include "contract.h"
#include "os/syscalls.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- unlinking --------------------------------------------------------------- */

/* Unlinking takes the name from everybody; who has the segment keeps its memory. */
TEST(unlink_takes_only_the_name)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("unlink"));
    *at(segment, 0) = 5;
    CHECK_EQ(smem_is_current(segment), 1);
    CHECK_OK(smem_unlink(ctx, check_name("unlink")));
    CHECK_EQ(smem_is_current(segment), 0);
    check_no_name(ctx, check_name("unlink"));
    CHECK_CODE(smem_unlink(ctx, check_name("unlink")), SMEM_E_NOT_FOUND);
    CHECK_CODE(smem_unlink_segment(segment), SMEM_E_UNLINKED);
    CHECK(*at(segment, 0) == 5);
    smem_detach(segment);
    smem_close(ctx);
}

/* Unlinking a segment never takes the name from a newer one, nor does its last detach. */
TEST(late_unlink_spares_the_newer)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *old = create(ctx, check_name("late"));
    CHECK_OK(smem_unlink_segment(old));
    smem_segment *newer = create(ctx, check_name("late"));
    CHECK_CODE(smem_unlink_segment(old), SMEM_E_UNLINKED);
    CHECK_EQ(smem_is_current(newer), 1);
    CHECK_EQ(smem_is_current(old), 0);
    smem_detach(old);
    CHECK_EQ(smem_is_current(newer), 1);
    CHECK_OK(smem_unlink_segment(newer));
    smem_detach(newer);
    smem_close(ctx);
}

/* Another process's holder of an unlinked segment leaves without touching its successor. */
TEST(unlinked_by_another_process)
{
    smem_context *ctx = check_open(NULL);
    job todo = {.name = check_name("theirs")};
    check_peer child = check_fork(create_and_hold, &todo);
    check_hear(&child);
    smem_segment *seen = attach(ctx, check_name("theirs"), SMEM_READ_WRITE);
    CHECK_OK(smem_unlink(ctx, check_name("theirs")));
    smem_segment *mine = create(ctx, check_name("theirs"));
    finish(&child);
    CHECK_EQ(smem_is_current(mine), 1);
    CHECK(*at(seen, 0) == 42);
    smem_detach(seen);
    CHECK_EQ(smem_is_current(mine), 1);
    smem_detach(mine);
    smem_close(ctx);
}

/* ---- looking ----------------------------------------------------------------- */

/* A listing has each segment of the user once, whoever made it, and stops when told. */
TEST(list_has_each_segment)
{
    smem_context *ctx = check_open(NULL);
    job todo = {.name = check_name("list-c")};
    seen all = {.ctx = ctx};
    CHECK_OK(smem_list(ctx, see, &all));
    CHECK_EQ(all.count, 0);
    smem_segment *a = create(ctx, check_name("list-a")), *b = create(ctx, check_name("list-b"));
    check_peer child = check_fork(create_and_hold, &todo);
    check_hear(&child);
    CHECK_OK(smem_list(ctx, see, &all));
    CHECK_EQ(all.count, 3);
    for (unsigned i = 0; i < all.count; i++)
        for (unsigned j = 0; j < i; j++)
            CHECK(strcmp(all.names[i], all.names[j]) != 0);
    seen some = {.ctx = ctx, .stop_after = 2};
    CHECK_EQ(smem_list(ctx, see, &some), 99);
    CHECK_EQ(some.count, 2);
    finish(&child);
    CHECK_EQ(smem_is_current(a) + smem_is_current(b), 2);
    smem_detach(a);
    smem_detach(b);
    smem_close(ctx);
}

/* stat says what attach would, without attaching, and what is in flight. */
TEST(stat_says_what_attach_would)
{
    smem_context *ctx = check_open(NULL);
    smem_info info;
    smem_flight flight;
    CHECK_CODE(smem_stat(ctx, check_name("stat"), &info, &flight), SMEM_E_NOT_FOUND);
    CHECK_CODE(smem_stat(ctx, "", &info, &flight), SMEM_E_NAME);
    smem_segment *segment = create(ctx, check_name("stat"));
    CHECK_OK(smem_stat(ctx, check_name("stat"), &info, &flight));
    CHECK_EQ(info.nonce, smem_info_of(segment)->nonce);
    CHECK_EQ(info.kernel_id, smem_info_of(segment)->kernel_id);
    CHECK_EQ(info.origin, smem_info_of(segment)->origin);
    CHECK_EQ(info.size, smem_info_of(segment)->size);
    CHECK_STR(info.dtype, "'<f8'");
    CHECK_EQ(flight.tickets + flight.pins + flight.voided, 0);
    CHECK_EQ(flight.oldest, 0);
    smem_info_clear(&info);
    smem_detach(segment);
    smem_close(ctx);
}

typedef struct pids {
    unsigned count;
    int of[8];
} pids;

static int note_pid(void *arg, int pid, const char *command)
{
    pids *all = arg;
    CHECK(*command != '\0');
    all->of[all->count++ % 8] = pid;
    return 0;
}

/* The holders of a segment are the processes that map it. */
TEST(holders_are_who_maps_it)
{
    check_needs_proc();
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("holders"));
    job todo = {.name = check_name("holders")};
    pids alone = {0}, both = {0};
    CHECK_OK(smem_holders(ctx, smem_info_of(segment), note_pid, &alone));
    CHECK_EQ(alone.count, 1);
    CHECK_EQ(alone.of[0], getpid());
    check_peer child = check_fork(hold, &todo);
    begin(&child);
    CHECK_OK(smem_holders(ctx, smem_info_of(segment), note_pid, &both));
    CHECK_EQ(both.count, 2);
    CHECK_EQ(both.of[0] + both.of[1], getpid() + child.pid);
    finish(&child);
    smem_detach(segment);
    smem_close(ctx);
}

/* ---- names --------------------------------------------------------------------- */

/* A living segment's name is not given out again, on neither backend. */
TEST(names_are_exclusive)
{
    smem_context *ctx = check_open(NULL);
    smem_spec elsewhere = vector(check_name("name"));
    smem_segment *segment = create(ctx, check_name("name")), *second;
    elsewhere.backend = other_backend();
    CHECK_CODE(try_create(ctx, check_name("name"), 0, &second), SMEM_E_EXISTS);
    CHECK_CODE(smem_create(ctx, &elsewhere, &second), SMEM_E_EXISTS);
    CHECK_EQ(smem_is_current(segment), 1);
    smem_detach(segment);
    job todo = {.name = check_name("name")};
    check_peer child = check_fork(create_and_hold, &todo);
    check_hear(&child);
    CHECK_CODE(try_create(ctx, check_name("name"), 0, &second), SMEM_E_EXISTS);
    finish(&child);
    segment = create(ctx, check_name("name"));
    smem_detach(segment);
    smem_close(ctx);
}

/* The name of a segment that only the dead used is free: create reclaims it. */
TEST(create_reclaims_a_stale_name)
{
    smem_context *ctx = check_open(NULL);
    job todo = {.name = check_name("stale")};
    check_peer child = check_fork(create_and_hold, &todo);
    uint64_t nonce = check_hear(&child);
    check_kill(&child);
    smem_segment *segment = create(ctx, check_name("stale"));
    CHECK(smem_info_of(segment)->nonce != nonce);
    CHECK(*at(segment, 0) == 0);
    smem_detach(segment);
    smem_close(ctx);
}

/* A name with a ticket in flight is not stale. */
TEST(a_ticket_keeps_the_name)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, check_name("kept"));
    smem_info info = facts(segment);
    uint64_t ticket;
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    smem_detach(segment);
    CHECK_CODE(try_create(ctx, check_name("kept"), 0, &segment), SMEM_E_EXISTS);
    CHECK_OK(smem_forget(ctx, info.backend, info.name, info.nonce, ticket));
    smem_detach(create(ctx, check_name("kept")));
    smem_close(ctx);
}

static void replace_on(int with)
{
    smem_context *ctx = check_open(NULL), *other = check_open(NULL);
    smem_segment *old = create(other, check_name("replaced")), *newer;
    *at(old, 0) = 1;
    smem_spec spec = vector(check_name("replaced"));
    spec.backend = with;
    spec.flags = SMEM_REPLACE;
    CHECK_OK(smem_create(ctx, &spec, &newer));
    CHECK_EQ(smem_info_of(newer)->backend, with);
    CHECK(*at(newer, 0) == 0 && *at(old, 0) == 1);
    CHECK_EQ(smem_is_current(old), 0);
    smem_segment *found = attach(ctx, check_name("replaced"), SMEM_READ_WRITE);
    CHECK(found == newer);
    smem_detach(found);
    CHECK_CODE(smem_unlink_segment(old), SMEM_E_UNLINKED);
    smem_detach(old);
    CHECK_EQ(smem_is_current(newer), 1);
    smem_detach(newer);
    check_no_name(ctx, check_name("replaced"));
    smem_close(other);
    smem_close(ctx);
}

/* Replacing gives the name to the new segment; who holds the old one keeps its memory. */
TEST(replace)
{
    replace_on(backend);
}

/* Replacing takes a name from the other backend, too. */
TEST(replace_across_backends)
{
    replace_on(other_backend());
}

/* Replacing works where nothing is to be replaced, and on what is stale. */
TEST(replace_nothing)
{
    smem_context *ctx = check_open(NULL);
    job todo = {.name = check_name("nothing")};
    smem_segment *segment;
    CHECK_OK(try_create(ctx, check_name("nothing"), SMEM_REPLACE, &segment));
    smem_detach(segment);
    check_peer child = check_fork(create_and_hold, &todo);
    check_hear(&child);
    check_kill(&child);
    CHECK_OK(try_create(ctx, check_name("nothing"), SMEM_REPLACE, &segment));
    CHECK(*at(segment, 0) == 0);
    smem_detach(segment);
    smem_close(ctx);
}

static void replace_again_and_again(check_peer *parent, void *arg)
{
    const job *todo = arg;
    smem_context *ctx = check_open(NULL);
    check_hear(parent);
    for (int i = 0; i < 100; i++) {
        smem_segment *made, *found;
        CHECK_OK(try_create(ctx, todo->name, SMEM_REPLACE, &made));
        *at(made, 0) = (double)smem_info_of(made)->nonce;
        int rc = smem_attach(ctx, todo->name, SMEM_READ_WRITE, &found);
        if (rc == 0) {
            double mark = *at(found, 0);
            CHECK(mark == 0 || mark == (double)smem_info_of(found)->nonce);
            smem_detach(found);
        } else
            CHECK_CODE(rc, SMEM_E_NOT_FOUND);
        smem_detach(made);
    }
    smem_close(ctx);
}

/* Processes that replace one name at once never mix segments up and leave none. */
TEST(replace_race)
{
    enum { CHILDREN = 4 };
    check_peer children[CHILDREN];
    job todo = {.name = check_name("race")};
    for (int i = 0; i < CHILDREN; i++)
        children[i] = check_fork(replace_again_and_again, &todo);
    for (int i = 0; i < CHILDREN; i++)
        check_tell(&children[i], 0);
    for (int i = 0; i < CHILDREN; i++)
        CHECK_EQ(check_wait(&children[i]), 0);
    smem_context *ctx = check_open(NULL);
    CHECK_OK(smem_reclaim(ctx, NULL));
    check_no_name(ctx, check_name("race"));
    smem_close(ctx);
}

/* A persistent segment stays with nobody attached, through leaving and reclaiming, until unlinked. */
TEST(persistent_stays_until_unlinked)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment, *second;
    CHECK_OK(try_create(ctx, check_name("kept"), SMEM_PERSISTENT, &segment));
    smem_info info = facts(segment);
    CHECK_EQ(info.flags, SMEM_PERSISTENT);
    *at(segment, 3) = 33;
    smem_detach(segment);
    smem_close(ctx);
    ctx = check_open(NULL);
    CHECK_OK(smem_reclaim(ctx, NULL));
    CHECK(check_exists(&info));
    CHECK_CODE(try_create(ctx, check_name("kept"), 0, &second), SMEM_E_EXISTS);
    segment = attach(ctx, check_name("kept"), SMEM_READ_ONLY);
    CHECK(*at(segment, 3) == 33);
    smem_detach(segment);
    CHECK_OK(smem_unlink(ctx, check_name("kept")));
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

static void create_and_persist(check_peer *parent, void *arg)
{
    const job *todo = arg;
    smem_segment *segment = create(check_open(NULL), todo->name);
    if (todo->number)
        CHECK_OK(smem_persist(segment));
    check_tell(parent, 1);
    check_hear(parent);
}

/* What is made persistent when it is full goes with a maker who is killed before, and stays after. */
TEST(persistent_from_then_on)
{
    smem_context *ctx = check_open(NULL);
    for (uint64_t persist = 0; persist < 2; persist++) {
        job todo = {.name = check_name("later"), .number = persist};
        check_peer child = check_fork(create_and_persist, &todo);
        check_hear(&child);
        check_kill(&child);
        CHECK_OK(smem_reclaim(ctx, NULL));
        CHECK_CODE(smem_unlink(ctx, todo.name), persist ? 0 : SMEM_E_NOT_FOUND);
    }
    smem_segment *copy, *segment = create(ctx, NULL); /* one without a name, too */
    smem_info info = facts(segment);
    CHECK_OK(smem_persist(segment));
    CHECK(smem_info_of(segment)->flags & SMEM_PERSISTENT);
    CHECK_OK(smem_attach(ctx, info.name, SMEM_COPY_ON_WRITE, &copy));
    CHECK_CODE(smem_persist(copy), SMEM_E_ARGUMENT);
    smem_detach(copy);
    smem_detach(segment);
    CHECK(check_exists(&info));
    CHECK_OK(smem_unlink(ctx, info.name));
    smem_close(ctx);
}

/* A persistent segment can be replaced by one that is not. */
TEST(replace_persistent)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    CHECK_OK(try_create(ctx, check_name("kept"), SMEM_PERSISTENT, &segment));
    smem_detach(segment);
    CHECK_OK(try_create(ctx, check_name("kept"), SMEM_REPLACE, &segment));
    smem_info info = facts(segment);
    smem_detach(segment);
    CHECK(!check_exists(&info));
    smem_close(ctx);
}

static void attach_or_create(check_peer *parent, void *arg)
{
    const job *todo = arg;
    smem_context *ctx = check_open(NULL);
    smem_segment *segment;
    int created;
    smem_spec spec = vector(todo->name);
    check_hear(parent);
    CHECK_OK(smem_attach_or_create(ctx, &spec, &segment, &created));
    check_tell(parent, smem_info_of(segment)->nonce);
    check_tell(parent, (uint64_t)created);
    check_hear(parent);
    smem_detach(segment);
    smem_close(ctx);
}

/* Of processes that attach or create one name at once, one creates and all get that one. */
TEST(attach_or_create_race)
{
    enum { CHILDREN = 12,
           ROUNDS = 5 };
    for (int round = 0; round < ROUNDS; round++) {
        check_peer children[CHILDREN];
        job todo = {.name = check_name("race")};
        uint64_t nonce = 0, created = 0;
        for (int i = 0; i < CHILDREN; i++)
            children[i] = check_fork(attach_or_create, &todo);
        for (int i = 0; i < CHILDREN; i++)
            check_tell(&children[i], 0);
        for (int i = 0; i < CHILDREN; i++) {
            uint64_t theirs = check_hear(&children[i]);
            CHECK(i == 0 || theirs == nonce);
            nonce = theirs;
            created += check_hear(&children[i]);
        }
        CHECK_EQ(created, 1);
        for (int i = 0; i < CHILDREN; i++)
            finish(&children[i]);
    }
}

static struct {
    ssize_t (*getrandom)(void *buf, size_t size, unsigned flags);
    smem_context *ctx;
    smem_segment *made;
} meanwhile;

/* The nonce of what is being created: there was no such name, and its gate is not entered yet. */
static ssize_t create_meanwhile(void *buf, size_t size, unsigned flags)
{
    smem_spec spec = vector(check_name("meanwhile"));
    spec.backend = other_backend();
    smem__sys.getrandom = meanwhile.getrandom;
    CHECK_OK(smem_create(meanwhile.ctx, &spec, &meanwhile.made));
    return smem__sys.getrandom(buf, size, flags);
}

/* A process that would create on one backend takes what another has just created on the other. */
TEST(attach_or_create_while_another_creates_elsewhere)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *found;
    int created;
    smem_spec spec = vector(check_name("meanwhile"));
    meanwhile.ctx = check_open(NULL);
    meanwhile.getrandom = smem__sys.getrandom;
    smem__sys.getrandom = create_meanwhile;
    CHECK_OK(smem_attach_or_create(ctx, &spec, &found, &created));
    CHECK(meanwhile.made);
    CHECK_EQ(created, 0);
    CHECK_EQ(smem_info_of(found)->nonce, smem_info_of(meanwhile.made)->nonce);
    smem_detach(found);
    smem_detach(meanwhile.made);
    smem_close(ctx);
    smem_close(meanwhile.ctx);
}

/* Attach or create on one backend, where the other has the name, says that it exists. */
TEST(attach_or_create_elsewhere)
{
    smem_context *ctx = check_open(NULL);
    smem_segment *made = create(ctx, check_name("taken")), *segment;
    char text[SMEM_NAME_MAX];
    int created;
    snprintf(text, sizeof text, "%s:%s", backend == SMEM_POSIX ? "sysv" : "posix",
             check_name("taken"));
    smem_spec spec = vector(text);
    spec.backend = SMEM_ANY;
    CHECK_CODE(smem_attach_or_create(ctx, &spec, &segment, &created), SMEM_E_EXISTS);
    CHECK_EQ(smem_is_current(made), 1);
    smem_detach(made);
    smem_close(ctx);
}
