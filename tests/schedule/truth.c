/* What arrays must hold, and which of them may go: what memory and names are held against. */
#include "schedule.h"

#include "segment/layout.h"

#include <unistd.h>

/* This process has left with it, so it keeps no name; nor does what it is given of it since.
   A visitor keeps the memory, and never the name. */
static bool keeps_no_name(int entry)
{
    if (shown->entries[entry].user != users_mine())
        return true;
    for (int i = 0; i < ACTORS; i++)
        if (shown->actors[i].pid == me->pid && shown->actors[i].held[entry] > shown->actors[i].named[entry])
            return true;
    return false;
}

static unsigned keepers(int number)
{
    unsigned count = 0;
    for (int i = 0; i < ACTORS; i++)
        count += shown->actors[i].leaving ? 0 : shown->actors[i].named[number];
    return count;
}

static void note_pause(int number, unsigned before)
{
    if (before > 0 && keepers(number) == 0)
        shown->entries[number].pauses++;
}

void truth_hold(int entry, int by)
{
    unsigned before = keepers(entry);
    bool nameless = keeps_no_name(entry);
    me->held[entry] = (uint8_t)(me->held[entry] + by);
    if (by > 0 ? !nameless : me->named[entry])
        me->named[entry] = (uint8_t)(me->named[entry] + by);
    note_pause(entry, before);
}

void truth_release(actor *one, int number, bool names_only)
{
    unsigned before = keepers(number);
    one->named[number] = 0;
    if (!names_only)
        one->held[number] = 0;
    note_pause(number, before);
}

void truth_release_all(actor *one, bool names_only)
{
    for (int i = 0; i < shown->entry_count; i++)
        if (one->held[i] || one->named[i])
            truth_release(one, i, names_only);
    if (!one->member)
        return;
    one->member = false;
    unsigned left = 0;
    for (int i = 0; i < ACTORS; i++)
        left += shown->actors[i].member && shown->actors[i].family == one->family;
    shown->family_ends[one->family] += left == 0;
}

/* What is made while somebody takes that name may be what he takes. */
int truth_new(int name, bool open, bool by_replace)
{
    WHEN(shown->entry_count == ENTRIES, "more arrays than are expected");
    int number = shown->entry_count++;
    bool taken = name >= 0 && shown->takers[name] > (by_replace ? 1 : 0);
    shown->entries[number] = (entry){.value = (uint64_t)number, .name = name, .open = open, .user = users_mine(), .taken = taken};
    return number;
}

/* One that is killed in it has taken the name or not: nothing is sure of it any more. */
void truth_taking(int name)
{
    shown->takers[name]++;
    for (int i = 0; i < shown->entry_count; i++)
        if (shown->entries[i].name == name)
            shown->entries[i].taken = true;
}

int truth_sure(int name)
{
    for (int i = 0; i < shown->entry_count; i++) {
        const entry *e = &shown->entries[i];
        if (e->name == name && !e->taken && (e->persistent || keepers(i) > 0))
            return i;
    }
    return -1;
}

/* It has ended since, or may be about to: what is sent meanwhile goes with it. */
bool truth_family_may_have_ended(const letter *l)
{
    for (int i = 0; i < ACTORS; i++)
        if (shown->actors[i].leaving && shown->actors[i].family == l->family)
            return true;
    return l->family_ends != shown->family_ends[l->family];
}

bool truth_all_go_on(void)
{
    bool ended = shown->died;
    for (int i = 0; i < ACTORS; i++)
        ended |= shown->family_ends[i] != 0;
    return !ended;
}

unsigned truth_count_tickets(const smem_segment *segment)
{
    const char *data = smem_data(segment);
    const smem__layout *header = (const smem__layout *)(data - smem_info_of(segment)->data_offset);
    unsigned tickets = 0;
    for (unsigned i = 0; i < SMEM__BOOKS; i++)
        tickets += (unsigned)__builtin_popcount((uint32_t)header->books[i].word);
    return tickets;
}

/* Those that are in flight have a ticket each, and there are no others. When a family has
   ended its tickets are nobody's, and may have been given out anew. */
void truth_of_tickets(const smem_segment *segment, int number)
{
    unsigned tickets = truth_count_tickets(segment), sent = 0;
    if (shown->moving || !truth_all_go_on() || planned->fails || shown->entries[number].taken)
        return; /* what is sent and has lost its name cannot be received, and keeps its ticket */
    for (const letter *l = shown->letters; l < shown->letters + LETTERS; l++)
        sent += l->full && l->entry == number;
    WHEN(tickets != sent, "array %d is in flight %u times, and has %u tickets", number, sent, tickets);
}

static int note_persistent(void *arg, const smem_info *info, const smem_flight *flight)
{
    smem_segment *segment;
    (void)flight;
    if (!(info->flags & SMEM_PERSISTENT) || smem_attach(arg, info->name, SMEM_READ_ONLY, &segment) != 0)
        return 0;
    uint64_t number = *(const uint64_t *)smem_data(segment);
    if (number < (uint64_t)shown->entry_count)
        shown->entries[number].stays = true;
    smem_detach(segment);
    return 0;
}

/* What was made persistent is there, with its contents. */
void truth_of_persistent(smem_context *last)
{
    smem_list(last, note_persistent, last);
    for (int i = 0; i < shown->entry_count; i++) {
        const entry *e = &shown->entries[i];
        WHEN(e->persistent && !e->taken && users_uid(e->user) == geteuid() && !e->stays, "array %d was persistent, and is gone", i);
    }
}
