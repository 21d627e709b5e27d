#include "segment/ticket.h"

#include "base/point.h"

/* A book's word: serial (26 bits), how many of its tickets were given out (6),
   which of them are in flight (32). */
#define SMEM__BITS(word) ((uint32_t)(word))
#define SMEM__GIVEN(word) ((unsigned)((word) >> 32 & 63))
#define SMEM__SERIAL(word) ((uint32_t)((word) >> 38))

static uint64_t smem__word(uint32_t serial, unsigned given, uint32_t bits)
{
    return (uint64_t)serial << 38 | (uint64_t)given << 32 | bits;
}

static uint64_t smem__ticket_name(unsigned book, unsigned bit, uint32_t serial)
{
    return (uint64_t)serial << 32 | book << 8 | bit;
}

/*
 * The next ticket of an open book of our family. A bit is given out once in the
 * life of a serial: were it given out again when it is free, who loads the old
 * ticket a second time would free the new one.
 */
static bool smem__book_take(smem__book *book, unsigned number, uint32_t family, uint64_t *out)
{
    uint64_t word = atomic_load(&book->word);
    while (SMEM__BITS(word) != 0 && SMEM__GIVEN(word) < 32 &&
           atomic_load(&book->family) == family) {
        unsigned bit = SMEM__GIVEN(word);
        uint32_t serial = SMEM__SERIAL(word);
        uint64_t taken = smem__word(serial, bit + 1, SMEM__BITS(word) | (uint32_t)1 << bit);
        if (atomic_compare_exchange_weak(&book->word, &word, taken)) {
            SMEM__POINT("ticket.given", "one more ticket of an open book");
            *out = smem__ticket_name(number, bit, serial);
            return true;
        }
    }
    return false;
}

/*
 * Open a book that is empty or whose family is dead. An odd serial says "being
 * opened": no bit is given out until tag and time are written and the serial is
 * even again. Who dies in between loses one book of the table, and nothing else.
 * A taker cannot get a bit under another family's tag: it reads the word before
 * the tag, and its exchange fails when the serial has moved on.
 */
static bool smem__book_open(smem__book *book, unsigned number, uint64_t word, uint32_t family,
                            int64_t now, uint64_t *out)
{
    uint32_t serial = SMEM__SERIAL(word);
    if (serial % 2 != 0 ||
        !atomic_compare_exchange_strong(&book->word, &word, smem__word(serial + 1, 0, 0)))
        return false;
    SMEM__POINT("ticket.book-opening", "the serial is odd: the book is nobody's any more");
    atomic_store(&book->family, family);
    SMEM__POINT("ticket.book-tagged", "odd still; the book has its family's tag");
    atomic_store(&book->since, (uint32_t)now);
    serial = (serial + 2) & ((1u << 26) - 1);
    serial += serial ? 0 : 2; /* 0 is no ticket's */
    atomic_store(&book->word, smem__word(serial, 1, 1));
    SMEM__POINT("ticket.book-opened", "the first ticket of a book is in flight");
    *out = smem__ticket_name(number, 0, serial);
    return true;
}

static int smem__pin(_Atomic uint32_t *pins, uint32_t family, smem__family_judge *judge, void *arg,
                     uint64_t *out)
{
    *out = SMEM__TICKET_PIN;
    for (unsigned i = 0; i < SMEM__PINS; i++)
        if (atomic_load(&pins[i]) == family)
            return 0;
    for (unsigned i = 0; i < SMEM__PINS; i++) {
        uint32_t old = atomic_load(&pins[i]);
        if ((old == 0 || judge(arg, old) == 0) &&
            atomic_compare_exchange_strong(&pins[i], &old, family)) {
            SMEM__POINT("ticket.pinned", "the table is full: the segment stays with the family");
            return 0;
        }
    }
    return SMEM_E_TICKETS;
}

int smem__ticket_take(smem__book *books, _Atomic uint32_t *pins, uint32_t family, int64_t now,
                      smem__family_judge *judge, void *arg, uint64_t *out)
{
    for (unsigned i = 0; i < SMEM__BOOKS; i++)
        if (smem__book_take(&books[i], i, family, out))
            return 0;
    for (unsigned i = 0; i < SMEM__BOOKS; i++) {
        uint64_t word = atomic_load(&books[i].word);
        if (SMEM__BITS(word) == 0 && smem__book_open(&books[i], i, word, family, now, out))
            return 0;
    }
    for (unsigned i = 0; i < SMEM__BOOKS; i++) {
        uint64_t word = atomic_load(&books[i].word); /* before its family is judged */
        uint32_t owner = atomic_load(&books[i].family);
        if (owner != family && judge(arg, owner) == 0 &&
            smem__book_open(&books[i], i, word, family, now, out))
            return 0;
    }
    return smem__pin(pins, family, judge, arg, out);
}

bool smem__ticket_free(smem__book *books, uint64_t ticket)
{
    unsigned number = ticket >> 8 & 0xffffff, bit = ticket & 0xff;
    if (ticket == SMEM__TICKET_PIN || number >= SMEM__BOOKS || bit >= 32)
        return false;
    _Atomic uint64_t *at = &books[number].word;
    uint64_t word = atomic_load(at);
    while (SMEM__SERIAL(word) == ticket >> 32 && word & (uint64_t)1 << bit)
        if (atomic_compare_exchange_weak(at, &word, word & ~((uint64_t)1 << bit))) {
            SMEM__POINT("ticket.freed", "not in flight any more; the segment is mapped");
            return true;
        }
    return false;
}

void smem__ticket_count(const smem__layout *header, smem__family_judge *judge, void *arg,
                        smem_flight *out)
{
    *out = (smem_flight){0};
    for (unsigned i = 0; i < SMEM__BOOKS; i++) {
        unsigned n = (unsigned)__builtin_popcount(SMEM__BITS(header->books[i].word));
        if (n == 0)
            continue;
        if (judge(arg, header->books[i].family) == 0) {
            out->voided += n;
            continue;
        }
        out->tickets += n;
        if (out->oldest == 0 || header->books[i].since < out->oldest)
            out->oldest = header->books[i].since;
    }
    for (unsigned i = 0; i < SMEM__PINS; i++)
        if (header->pins[i] && judge(arg, header->pins[i]) != 0)
            out->pins++;
}
