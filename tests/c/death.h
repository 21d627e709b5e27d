/*
 * What can be died in: the operations of test_death.c, and who takes part.
 *
 * The *living* is the process that runs a case: it holds, keeps in flight and
 * looks. The *victim* is a child that does one operation and is killed in it.
 */
#ifndef DEATH_H
#define DEATH_H

#include "check.h"

#include <sys/types.h>

/* How the victim came to be a participant. */
enum kinship {
    INHERITS = 1, /* forked from the living: its context, its mappings */
    JOINS = 2,    /* a process of its own in the family of the living */
    APART = 4     /* a process of its own in a family of its own */
};

typedef struct living {
    int backend;
    enum kinship victim;
    smem_context *ctx;
    smem_context *witness; /* of another family */
    smem_segment *other;   /* held, and nobody else's business */
    smem_segment *held;    /* "a", or NULL */
} living;

typedef struct victim {
    int backend;
    enum kinship kinship;
    smem_context *ctx;
    smem_segment *segment;
    uint64_t ticket;
} victim;

typedef struct operation {
    const char *name;
    unsigned kinds;             /* enum kinship, or'ed; 0: all */
    void (*prepare)(living *l); /* by the living, before */
    void (*before)(victim *v);  /* by the victim, not armed */
    void (*act)(victim *v);     /* armed */
    void (*judge)(living *l);   /* by the living, after; NULL: "a" may be gone */
    bool in_child;              /* only a child of the victim is to die */
} operation;

/* Execute this program anew as the reaper of a family, to be killed where the
   victim is to be. */
_Noreturn void become_reaper(const char *family);
/* Do it on both backends, be killed everywhere. */
void die_in(const operation *op);
/* Was somebody killed at each point that there is? */
void check_every_point(void);

/* What the living and the victim tell each other without a pipe. */
typedef struct note {
    uint64_t nonce, ticket;
} note;

extern note *noted; /* shared by all processes of a case */
/* How often did the victim pass this point? */
unsigned passed(const char *point);

smem_spec vector_of(int backend, const char *name);
double *first_of(smem_segment *segment);
/* A context in the test's directory. */
smem_context *open_in(const char *family, int parent, const char *reaper);

#endif
