/*
 * Making, finding, sending, dropping, keeping and leaving arrays.
 *
 * Each array begins with its own number in the ledger (schedule.h), and its second and last
 * element are what its last writer wrote. An actor that holds it looks at each of its steps.
 */
#include "schedule.h"

#include <string.h>

enum operations { NONE,
                  MAKE,
                  MAKE_NAMED,
                  ATTACH,
                  SEND,
                  RECEIVE,
                  DROP,
                  WRITE,
                  UNLINK,
                  REPLACE,
                  PERSIST,
                  LEAVE,
                  RECLAIM,
                  TRIM,
                  LOOK,
                  FORK,
                  THREAD,
                  EXIT,
                  EXEC,
                  REMOVE_FILE,
                  OPERATIONS };

static const char *const names[] = {"none", "make", "make-named", "attach", "send", "receive",
                                    "drop", "write", "unlink", "replace", "persist", "leave",
                                    "reclaim", "trim", "look", "fork", "thread", "exit", "exec", "remove-file"};

/* How often each comes among a hundred or so. */
static const uint8_t weights[OPERATIONS] = {
    [MAKE] = 22, [MAKE_NAMED] = 6, [ATTACH] = 10, [SEND] = 12, [RECEIVE] = 14, [DROP] = 18, [WRITE] = 8, [UNLINK] = 3, [REPLACE] = 3, [PERSIST] = 3, [LEAVE] = 3, [RECLAIM] = 3, [TRIM] = 2, [LOOK] = 2, [FORK] = 2, [THREAD] = 2, [EXIT] = 1, [EXEC] = 1, [REMOVE_FILE] = 1};

enum { HANDLES = 6,
       NAMES = 3,
       SMALL = 16,
       LARGE = 40000 };

/* Of each thread its own. */
static _Thread_local struct {
    smem_segment *segment;
    int entry;
} handles[HANDLES];
static smem_context *ctx;

/* ---- the truth ---------------------------------------------------------------------- */

static uint64_t *words_of(const smem_segment *segment)
{
    return smem_data(segment);
}

static uint64_t *last_of(const smem_segment *segment)
{
    return words_of(segment) + smem_info_of(segment)->shape[0] - 1;
}

static void look(void)
{
    for (int i = 0; i < HANDLES; i++) {
        if (!handles[i].segment)
            continue;
        const uint64_t *words = words_of(handles[i].segment);
        const entry *e = &shown->entries[handles[i].entry];
        WHEN(words[0] != (uint64_t)handles[i].entry || words[1] != e->value ||
                 *last_of(handles[i].segment) != e->value,
             "array %d does not hold what was written to it", handles[i].entry);
    }
}

static void count_hold(int entry, int by)
{
    me->held[entry] = (uint8_t)(me->held[entry] + by);
    if (by > 0 || me->named[entry]) /* who has left does not keep names */
        me->named[entry] = (uint8_t)(me->named[entry] + by);
}

static unsigned keepers(int number)
{
    unsigned count = 0;
    for (int i = 0; i < ACTORS; i++)
        count += shown->actors[i].leaving ? 0 : shown->actors[i].named[number];
    return count;
}

static void release_one(actor *one, int number, bool names_only)
{
    unsigned before = keepers(number);
    one->named[number] = 0;
    if (!names_only)
        one->held[number] = 0;
    if (before > 0 && keepers(number) == 0)
        shown->entries[number].pauses++;
}

void entries_released(actor *one, bool names_only)
{
    for (int i = 0; i < shown->entry_count; i++)
        if (one->held[i] || one->named[i])
            release_one(one, i, names_only);
    if (!one->member)
        return;
    one->member = false;
    unsigned left = 0;
    for (int i = 0; i < ACTORS; i++)
        left += shown->actors[i].member && shown->actors[i].family == one->family;
    shown->family_ends[one->family] += left == 0;
}

/* What is made while somebody takes that name may be what he takes. */
static int new_entry(int name, bool by_replace)
{
    WHEN(shown->entry_count == ENTRIES, "more arrays than are expected");
    int number = shown->entry_count++;
    bool taken = name >= 0 && shown->takers[name] > (by_replace ? 1 : 0);
    shown->entries[number] = (entry){.value = (uint64_t)number, .name = name, .taken = taken};
    return number;
}

/* ---- handles --------------------------------------------------------------------------- */

static int free_handle(void)
{
    for (int i = 0; i < HANDLES; i++)
        if (!handles[i].segment)
            return i;
    return -1;
}

static int some_handle(unsigned which)
{
    for (unsigned i = 0; i < HANDLES; i++)
        if (handles[(which + i) % HANDLES].segment)
            return (int)((which + i) % HANDLES);
    return -1;
}

static void keep(smem_segment *segment)
{
    uint64_t number = words_of(segment)[0];
    WHEN(number >= (uint64_t)shown->entry_count, "attached an array that nobody made");
    int i = free_handle();
    handles[i].segment = segment;
    handles[i].entry = (int)number;
    count_hold((int)number, 1);
    if (me->leaves != me->leaves_before)
        release_one(me, (int)number, true); /* another thread has left meanwhile */
    look();
}

static void drop(int i)
{
    smem_segment *segment = handles[i].segment;
    int number = handles[i].entry;
    handles[i].segment = NULL;
    unsigned before = keepers(number);
    count_hold(number, -1);
    if (before > 0 && keepers(number) == 0)
        shown->entries[number].pauses++;
    smem_detach(segment);
}

static void drop_all(void)
{
    for (int i = 0; i < HANDLES; i++)
        if (handles[i].segment)
            drop(i);
}

static const char *name_text(int name)
{
    static const char *const texts[NAMES] = {"schedule.a", "schedule.b", "schedule.c"};
    return texts[name];
}

/* One that is killed in it has taken the name or not: nothing is sure of it any more. */
static void taking(int name)
{
    shown->takers[name]++;
    for (int i = 0; i < shown->entry_count; i++)
        if (shown->entries[i].name == name)
            shown->entries[i].taken = true;
}

/* ---- operations --------------------------------------------------------------------------- */

static int make(const op *o, int name, unsigned flags)
{
    smem_segment *segment;
    if (free_handle() < 0)
        return 0;
    int number = new_entry(name, flags & SMEM_REPLACE);
    static _Thread_local uint64_t first[4096];
    for (int i = 0; i < 4096; i++)
        first[i] = (uint64_t)number;
    int64_t count = o->b % 16 == 0 ? LARGE : SMALL + o->b % 3;
    smem_spec spec = {.name = name < 0 ? NULL : name_text(name), .backend = planned->backend, .dtype = "'<u8'", .itemsize = 8, .ndim = 1, .shape = &count, .contents = first, .contents_size = sizeof first, .flags = flags | (name < 0 ? SMEM_UNPUBLISHED : 0)};
    int rc = smem_create(ctx, &spec, &segment);
    WHEN(rc != 0 && name < 0 && !planned->fails, "an unnamed array is not to be had: %s",
         smem_error_name(rc));
    if (rc == 0)
        keep(segment);
    return rc;
}

/* An entry that this name must lead to as long as nothing below happens to it. */
static int sure_entry(int name)
{
    for (int i = 0; i < shown->entry_count; i++) {
        const entry *e = &shown->entries[i];
        if (e->name == name && !e->taken && (e->persistent || keepers(i) > 0))
            return i;
    }
    return -1;
}

static int attach(const op *o)
{
    smem_segment *segment;
    int name = o->a % NAMES;
    if (free_handle() < 0)
        return 0;
    int sure = sure_entry(name);
    uint32_t pauses = sure < 0 ? 0 : shown->entries[sure].pauses;
    int rc = smem_attach(ctx, name_text(name), SMEM_READ_WRITE, &segment);
    if (rc == 0)
        keep(segment);
    else if (sure >= 0 && !shown->entries[sure].taken && !planned->fails)
        WHEN(shown->entries[sure].pauses == pauses || shown->entries[sure].persistent,
             "array %d has holders, and its name leads nowhere: %s", sure, smem_error_name(rc));
    return rc;
}

static int send(const op *o)
{
    letter *l = &shown->letters[o->a % LETTERS];
    int i = some_handle(o->b);
    uint64_t ticket;
    if (i < 0 || l->full)
        return 0;
    const smem_info *info = smem_info_of(handles[i].segment);
    bool rejoins = !me->member;
    int rc = smem_ticket_issue(handles[i].segment, &ticket);
    if (rejoins)
        me->member = true;
    if (rc != 0)
        return rc;
    if (l->full)
        return smem_ticket_free(handles[i].segment, ticket), 0;
    *l = (letter){.full = true, .backend = info->backend, .entry = handles[i].entry, .family = me->family, .nonce = info->nonce, .ticket = ticket, .family_ends = shown->family_ends[me->family]};
    strcpy(l->name, info->name);
    return 0;
}

/* It has ended since, or may be about to: what is sent meanwhile goes with it. */
static bool family_may_have_ended(const letter *l)
{
    for (int i = 0; i < ACTORS; i++)
        if (shown->actors[i].leaving && shown->actors[i].family == l->family)
            return true;
    return l->family_ends != shown->family_ends[l->family];
}

static int receive(const op *o)
{
    smem_segment *segment;
    letter *at = &shown->letters[o->a % LETTERS], l = *at;
    if (!l.full || free_handle() < 0)
        return 0;
    at->full = false;
    int rc = smem_receive(ctx, l.backend, l.name, l.nonce, SMEM_READ_WRITE, l.ticket, &segment);
    if (rc == 0) {
        WHEN(words_of(segment)[0] != (uint64_t)l.entry, "array %d was sent and %llu came", l.entry,
             (unsigned long long)words_of(segment)[0]);
        keep(segment);
    } else if (!planned->fails && !shown->removed_files && !shown->entries[l.entry].taken)
        WHEN(!family_may_have_ended(&l), "array %d was in flight and is gone: %s",
             l.entry, smem_error_name(rc));
    return rc;
}

static int write_to(const op *o)
{
    int i = some_handle(o->a);
    if (i < 0)
        return 0;
    uint64_t value = shown->steps << 8 | o->b;
    words_of(handles[i].segment)[1] = *last_of(handles[i].segment) = value;
    shown->entries[handles[i].entry].value = value;
    return 0;
}

static int persist(const op *o)
{
    int i = some_handle(o->a);
    if (i < 0 || !me->named[handles[i].entry])
        return 0;
    entry *e = &shown->entries[handles[i].entry];
    bool named = smem_is_current(handles[i].segment) == 1;
    int rc = smem_persist(handles[i].segment);
    e->persistent |= rc == 0 && named && !e->taken;
    return rc;
}

/* All threads of the process leave: what one of them makes until it is over has no name to
   count on. */
static void leaving(bool begins)
{
    for (int i = 0; i < ACTORS; i++)
        if (shown->actors[i].pid == me->pid) {
            entries_released(&shown->actors[i], true);
            shown->actors[i].leaves++;
            shown->actors[i].leaving = begins;
        }
}

static int leave(void)
{
    leaving(true);
    smem_leave(ctx);
    leaving(false);
    shown->family_ends[me->family]++; /* what was sent meanwhile may have gone with it */
    return 0;
}

static int ignore_row(void *arg, const smem_info *info, const smem_flight *flight)
{
    (void)info, (void)flight;
    return arg != NULL;
}

static void act(void);

static int fork_one(void)
{
    pid_t pid = schedule_fork();
    if (pid == 0)
        act();
    return pid < 0 ? -1 : 0;
}

static void *run_beside(void *nothing);

static int do_one(const op *o)
{
    int rc = 0;
    me->leaves_before = me->leaves;
    switch (o->code) {
    case MAKE: rc = make(o, -1, 0); break;
    case MAKE_NAMED: rc = make(o, o->a % NAMES, 0); break;
    case REPLACE:
        taking(o->a % NAMES);
        rc = make(o, o->a % NAMES, SMEM_REPLACE);
        shown->takers[o->a % NAMES]--;
        break;
    case UNLINK:
        taking(o->a % NAMES);
        rc = smem_unlink(ctx, name_text(o->a % NAMES));
        shown->takers[o->a % NAMES]--;
        break;
    case ATTACH: rc = attach(o); break;
    case SEND: rc = send(o); break;
    case RECEIVE: rc = receive(o); break;
    case DROP:
        if (some_handle(o->a) >= 0)
            drop(some_handle(o->a));
        break;
    case WRITE: rc = write_to(o); break;
    case PERSIST: rc = persist(o); break;
    case LEAVE: rc = leave(); break;
    case RECLAIM: rc = smem_reclaim(ctx, NULL); break;
    case TRIM: smem_trim(ctx, 0); break;
    case LOOK: rc = smem_list(ctx, ignore_row, NULL); break;
    case FORK: rc = fork_one(); break;
    case THREAD: rc = schedule_thread(run_beside); break;
    case REMOVE_FILE: rc = schedule_remove_file(); break;
    default: break;
    }
    return rc;
}

/* True: to the end of the script; else it is to end without a word. */
static bool run_script(void)
{
    const op *o;
    while ((o = script_next()) && o->code != EXIT && o->code != EXEC)
        script_result(o, do_one(o));
    if (o)
        schedule_ask(o->code == EXEC ? EXECS : ENDS, actor_number(me));
    drop_all();
    return !o;
}

static void *run_beside(void *nothing)
{
    run_script();
    return nothing;
}

static void act(void)
{
    if (!ctx)
        ctx = schedule_open();
    if (run_script()) {
        schedule_join();
        entries_released(me, false);
        smem_close(ctx);
    }
    schedule_ask(ENDS, actor_number(me));
}

/* ---- scripts ------------------------------------------------------------------------------- */

static void plan_lifetime(plan *p, uint64_t *random)
{
    plan_by_weight(p, random, weights, OPERATIONS);
}

static void tidy(smem_context *last)
{
    for (int i = 0; i < NAMES; i++)
        smem_unlink(last, name_text(i));
    /* what was made persistent without a name of the user's, too */
    for (int i = 0; i < LETTERS; i++)
        if (shown->letters[i].full)
            smem_forget(last, shown->letters[i].backend, shown->letters[i].name,
                        shown->letters[i].nonce, shown->letters[i].ticket);
}

const scene scene_lifetime = {"lifetime", OPERATIONS, names, plan_lifetime, act, look, tidy};
