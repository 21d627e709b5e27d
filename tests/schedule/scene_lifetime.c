/*
 * Making, finding, sending, dropping, keeping and leaving arrays: one scene of all that can
 * be done with arrays, one of few arrays that are mostly on their way, and one in which all
 * want the same name, mostly of two users.
 *
 * Each array begins with its own number in the ledger (schedule.h), and its second and last
 * element are what its last writer wrote. An actor that holds it looks at each of its steps.
 */
#include "schedule.h"

#include <inttypes.h>
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

static const uint8_t flight_weights[OPERATIONS] = {
    [MAKE] = 1, [MAKE_NAMED] = 1, [ATTACH] = 6, [SEND] = 28, [RECEIVE] = 26, [DROP] = 22, [WRITE] = 4, [PERSIST] = 1, [LEAVE] = 2, [RECLAIM] = 5, [TRIM] = 1, [FORK] = 2, [THREAD] = 2, [EXIT] = 2, [EXEC] = 1};

static const uint8_t names_weights[OPERATIONS] = {
    [MAKE_NAMED] = 26, [ATTACH] = 40, [DROP] = 34, [REPLACE] = 8, [UNLINK] = 6, [WRITE] = 4, [PERSIST] = 2, [RECLAIM] = 4, [LOOK] = 2, [FORK] = 2, [EXIT] = 1};

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
             "array %d does not hold what was written to it: %" PRIx64 " %" PRIx64 " %" PRIx64 ", not %" PRIx64,
             handles[i].entry, words[0], words[1], *last_of(handles[i].segment), e->value);
    }
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
    truth_hold((int)number, 1);
    if (me->leaves != me->leaves_before)
        truth_release(me, (int)number, true); /* another thread has left meanwhile */
    look();
}

static void drop(int i)
{
    smem_segment *segment = handles[i].segment;
    int number = handles[i].entry;
    handles[i].segment = NULL;
    truth_hold(number, -1);
    smem_detach(segment);
}

/* A user's own names are not the other's. */
static int whose(int name, int user)
{
    return name < 0 ? -1 : name + NAMES * user;
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

/* ---- operations --------------------------------------------------------------------------- */

static int make(const op *o, int name, unsigned flags)
{
    smem_segment *segment;
    if (free_handle() < 0)
        return 0;
    bool open = planned->users > 1 && o->c % 2;
    int number = truth_new(whose(name, users_mine()), open, flags & SMEM_REPLACE);
    static _Thread_local uint64_t first[4096];
    for (int i = 0; i < 4096; i++)
        first[i] = (uint64_t)number;
    int64_t count = o->b % 16 == 0 ? LARGE : SMALL + o->b % 3;
    smem_spec spec = {.name = name < 0 ? NULL : name_text(name), .backend = planned->backend, .dtype = "'<u8'", .itemsize = 8, .ndim = 1, .shape = &count, .contents = first, .contents_size = sizeof first, .permissions = open ? 0666 : 0600, .flags = flags | (name < 0 ? SMEM_UNPUBLISHED : 0)};
    int rc = smem_create(ctx, &spec, &segment);
    WHEN(rc != 0 && name < 0 && !planned->fails, "an unnamed array is not to be had: %s",
         smem_error_name(rc));
    if (rc == 0)
        keep(segment);
    return rc;
}

static int attach(const op *o)
{
    smem_segment *segment;
    int name = o->a % NAMES, user = o->b % planned->users;
    bool mine = user == users_mine();
    if (free_handle() < 0)
        return 0;
    int sure = truth_sure(whose(name, user));
    uint32_t pauses = sure < 0 ? 0 : shown->entries[sure].pauses;
    int rc = mine ? smem_attach(ctx, name_text(name), SMEM_READ_WRITE, &segment)
                  : smem_attach_owned(ctx, name_text(name), SMEM_READ_WRITE, users_uid(user), &segment);
    if (rc == 0)
        keep(segment);
    else if (sure >= 0 && (mine || shown->entries[sure].open) && !shown->entries[sure].taken && !planned->fails)
        WHEN(shown->entries[sure].pauses == pauses || shown->entries[sure].persistent,
             "array %d has holders, and its name leads nowhere: %s", sure, smem_error_name(rc));
    return rc;
}

static int send_one(const op *o, int i)
{
    letter *l = &shown->letters[o->a % LETTERS];
    uint64_t ticket;
    const smem_info *info = smem_info_of(handles[i].segment);
    int rc = smem_ticket_issue(handles[i].segment, &ticket);
    if (rc != 0)
        return rc;
    me->member = true; /* again, if it or another thread has left */
    if (l->full)
        return smem_ticket_free(handles[i].segment, ticket), 0;
    *l = (letter){.full = true, .backend = info->backend, .entry = handles[i].entry, .family = me->family, .nonce = info->nonce, .ticket = ticket, .family_ends = shown->family_ends[me->family]};
    strcpy(l->name, info->name);
    return 0;
}

static int send(const op *o)
{
    int i = some_handle(o->b);
    if (i < 0 || shown->letters[o->a % LETTERS].full)
        return 0;
    shown->moving++;
    int rc = send_one(o, i);
    shown->moving--;
    truth_of_tickets(handles[i].segment, handles[i].entry);
    return rc;
}

static int receive(const op *o)
{
    smem_segment *segment;
    letter *at = &shown->letters[o->a % LETTERS], l = *at;
    if (!l.full || (planned->users > 1 && l.family != me->family) || free_handle() < 0)
        return 0;
    at->full = false;
    shown->moving++;
    int rc = smem_receive(ctx, l.backend, l.name, l.nonce, SMEM_READ_WRITE, l.ticket, &segment);
    shown->moving--;
    if (rc == 0) {
        truth_of_tickets(segment, l.entry);
        WHEN(words_of(segment)[0] != (uint64_t)l.entry, "array %d was sent and %llu came", l.entry,
             (unsigned long long)words_of(segment)[0]);
        keep(segment);
    } else if (!planned->fails && !shown->removed_files && !shown->entries[l.entry].taken)
        WHEN(!truth_family_may_have_ended(&l), "array %d was in flight and is gone: %s",
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
            truth_release_all(&shown->actors[i], true);
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

static void *run_beside(void *nothing);

static int do_one(const op *o)
{
    int rc = 0, name = o->a % NAMES;
    me->leaves_before = me->leaves;
    switch (o->code) {
    case MAKE: rc = make(o, -1, 0); break;
    case MAKE_NAMED: rc = make(o, name, 0); break;
    case REPLACE:
        truth_taking(whose(name, users_mine()));
        rc = make(o, name, SMEM_REPLACE);
        shown->takers[whose(name, users_mine())]--;
        break;
    case UNLINK:
        truth_taking(whose(name, users_mine()));
        rc = smem_unlink(ctx, name_text(name));
        shown->takers[whose(name, users_mine())]--;
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
    case FORK: rc = script_fork(act); break;
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
        truth_release_all(me, false);
        smem_close(ctx);
    }
    schedule_ask(ENDS, actor_number(me));
}

/* ---- scripts ------------------------------------------------------------------------------- */

static void plan_lifetime(plan *p, uint64_t *random)
{
    plan_by_weight(p, random, weights, OPERATIONS);
}

static void plan_flight(plan *p, uint64_t *random)
{
    plan_by_weight(p, random, flight_weights, OPERATIONS);
    for (int i = 0; i < 2; i++)
        p->ops[i][0].code = i ? MAKE : MAKE_NAMED;
}

static void plan_names(plan *p, uint64_t *random)
{
    plan_by_weight(p, random, names_weights, OPERATIONS);
    for (int actor = 0; actor < ACTORS; actor++)
        for (int i = 0; i < OPS; i++)
            if (p->ops[actor][i].code != DROP)
                p->ops[actor][i].a = 0;
}

static void tidy(smem_context *last)
{
    truth_of_persistent(last);
    for (int i = 0; i < NAMES; i++)
        smem_unlink(last, name_text(i));
    /* what was made persistent without a name of the user's, too */
    for (int i = 0; i < LETTERS; i++)
        if (shown->letters[i].full)
            smem_forget(last, shown->letters[i].backend, shown->letters[i].name,
                        shown->letters[i].nonce, shown->letters[i].ticket);
}

const scene scene_lifetime = {"lifetime", OPERATIONS, names, plan_lifetime, act, look, tidy};
const scene scene_names = {"names", OPERATIONS, names, plan_names, act, look, tidy};
const scene scene_flight = {"flight", OPERATIONS, names, plan_flight, act, look, tidy};
