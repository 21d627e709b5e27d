/*
 * Tickets: what keeps a segment alive for descriptors in flight.
 *
 * The table in the header has books of 32 tickets. A book belongs to one
 * family while one of its bits is set; each time it is opened anew its serial
 * goes up. A ticket is (book, bit, serial), and no bit is given out twice under
 * one serial; so freeing a ticket is one exchange that succeeds at most once,
 * and never touches a later one.
 *
 * Why the two halves of a book need not change in one step. The table is
 * *judged* only under the claim, when nobody maps the segment; it is *changed*
 * only by who maps it, or holds its shared lock to free a ticket. So a judge
 * sees a table at rest, whatever its last writer was doing when it died: a
 * book that was opened and not yet used holds no bit, and counts for nothing.
 *
 * Why tickets of dead families stay. Judges ignore them: the family is looked at
 * *after* the book was read, and one that is dead then never comes back (tags
 * are random, never re-used). Only when the table is full is the book of a dead
 * family opened anew, by an exchange that fails if it changed since.
 */
#ifndef SMEM_TICKET_H
#define SMEM_TICKET_H

#include "segment/layout.h"

#include <stdbool.h>

/* A ticket that stands for the sticky pin: there is nothing to free. */
#define SMEM__TICKET_PIN UINT64_MAX

/* Idempotent; a ticket that is not in the table frees nothing. Of all who free
   one ticket exactly one is told that it was in flight. */
bool smem__ticket_free(smem__book *books, uint64_t ticket);

/* 1 alive, 0 dead, or an error, which counts as alive. */
typedef int smem__family_judge(void *arg, uint32_t family);

/* Issue one for [family]. Table full: a pin. SMEM_E_TICKETS: pins full too. */
int smem__ticket_take(smem__book *books, _Atomic uint32_t *pins, uint32_t family, int64_t now,
                      smem__family_judge *judge, void *arg, uint64_t *out);

/* Count what is in flight. For a judgement the caller has claimed the segment. */
void smem__ticket_count(const smem__layout *header, smem__family_judge *judge, void *arg,
                        smem_flight *out);

static inline bool smem__in_flight(const smem_flight *flight)
{
    return flight->tickets || flight->pins;
}

#endif
