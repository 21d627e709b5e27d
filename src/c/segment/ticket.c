#include "segment/ticket.h"

#define SMEM__BITS(word) ((uint32_t)(word))
#define SMEM__SERIAL(word) ((uint32_t)((word) >> 32))

static uint64_t smem__ticket_name(unsigned book, unsigned bit, uint32_t serial)
{
    return (uint64_t)serial << 32 | book << 8 | bit;
}

/* A free bit of an open book of our family. */
static bool smem__book_take(smem__book *book, unsigned number, uint32_t family, uint64_t *out)
{
    uint64_t word = atomic_load(&book->word);
    while (SMEM__BITS(word) != 0 && SMEM__BITS(word) != UINT32_MAX &&
           atomic_load(&book->family) == family) {
        unsigned bit = (unsigned)__builtin_ctz(~SMEM__BITS(word));
        if (atomic_compare_exchange_weak(&book->word, &word, word | 1u << bit)) {
            *out = smem__ticket_name(number, bit, SMEM__SERIAL(word));
            return true;
        }
    }
    return false;
}

/*
 * Open an empty book. An odd serial says "being opened": no bit is given out
 * until tag and time are written and the serial is even again. Who dies in
 * between loses one book of the table, and nothing else. A taker cannot get a
 * bit under another family's tag: it reads the word before the tag, and its
 * exchange fails when the serial has moved on.
 */
static bool smem__book_open(smem__book *book, unsigned number, uint32_t family, int64_t now,
                            uint64_t *out)
{
    uint64_t word = atomic_load(&book->word);
    uint32_t serial = SMEM__SERIAL(word);
    if (SMEM__BITS(word) != 0 || serial % 2 != 0 ||
        !atomic_compare_exchange_strong(&book->word, &word, (uint64_t)(serial + 1) << 32))
        return false;
    atomic_store(&book->family, family);
    atomic_store(&book->since, (uint32_t)now);
    serial = serial + 2 ? serial + 2 : 2; /* 0 is no ticket's */
    atomic_store(&book->word, (uint64_t)serial << 32 | 1u);
    *out = smem__ticket_name(number, 0, serial);
    return true;
}

static int smem__pin(_Atomic uint32_t *pins, uint32_t family, uint64_t *out)
{
    *out = SMEM__TICKET_PIN;
    for (unsigned i = 0; i < SMEM__PINS; i++) {
        uint32_t old = 0;
        if (atomic_load(&pins[i]) == family ||
            atomic_compare_exchange_strong(&pins[i], &old, family) || old == family)
            return 0;
    }
    return SMEM_E_TICKETS;
}

int smem__ticket_take(smem__book *books, _Atomic uint32_t *pins, uint32_t family, int64_t now,
                      uint64_t *out)
{
    for (unsigned i = 0; i < SMEM__BOOKS; i++)
        if (smem__book_take(&books[i], i, family, out))
            return 0;
    for (unsigned i = 0; i < SMEM__BOOKS; i++)
        if (smem__book_open(&books[i], i, family, now, out))
            return 0;
    return smem__pin(pins, family, out);
}

void smem__ticket_free(smem__book *books, uint64_t ticket)
{
    unsigned number = ticket >> 8 & 0xffffff, bit = ticket & 0xff;
    if (ticket == SMEM__TICKET_PIN || number >= SMEM__BOOKS || bit >= 32)
        return;
    _Atomic uint64_t *at = &books[number].word;
    uint64_t word = atomic_load(at);
    while (SMEM__SERIAL(word) == ticket >> 32 && word & 1u << bit)
        if (atomic_compare_exchange_weak(at, &word, word & ~(uint64_t)(1u << bit)))
            return;
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
