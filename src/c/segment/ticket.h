/*
 * Tickets: what keeps a segment alive for descriptors in flight.
 *
 * The table in the header has books of 32 tickets. A book belongs to one
 * family while one of its bits is set; each time it is opened anew its serial
 * goes up by one. A ticket is (book, bit, serial), so freeing it is one
 * exchange that succeeds at most once, and never touches a later ticket that
 * has got the same bit.
 *
 * Why the two halves of a book need not change in one step. The table is
 * *judged* only under the claim, when nobody maps the segment; it is *changed*
 * only by who maps it, or holds its shared lock to free a ticket. So a judge
 * sees a table at rest, whatever its last writer was doing when it died: a
 * book that was opened and not yet used holds no bit, and counts for nothing.
 *
 * Why tickets of dead families stay. To free one, somebody would have to decide
 * that the family is dead, and act on it later. Judges ignore them instead;
 * the family is looked at *after* the book was read, and a family that is dead
 * then was dead or about to be when it issued: tags are random, never re-used.
 */
#ifndef SMEM_TICKET_H
#define SMEM_TICKET_H

#include "segment/layout.h"

#include <stdbool.h>

/* A ticket that stands for the sticky pin: there is nothing to free. */
#define SMEM__TICKET_PIN UINT64_MAX

/* Issue one for [family]. Table full: a pin. SMEM_E_TICKETS: pins full too. */
int smem__ticket_take(smem__book *books, _Atomic uint32_t *pins, uint32_t family, int64_t now,
                      uint64_t *out);
/* Idempotent; a ticket that is not in the table frees nothing. */
void smem__ticket_free(smem__book *books, uint64_t ticket);

/* 1 alive, 0 dead, or an error, which counts as alive. */
typedef int smem__family_judge(void *arg, uint32_t family);

/* Count what is in flight. For a judgement the caller has claimed the segment. */
void smem__ticket_count(const smem__layout *header, smem__family_judge *judge, void *arg,
                        smem_flight *out);

static inline bool smem__in_flight(const smem_flight *flight)
{
    return flight->tickets || flight->pins;
}

#endif
