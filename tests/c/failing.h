/*
 * A table of system calls (os/syscalls.h) in which any of them can be made to
 * fail, and operations to do it in.
 */
#ifndef FAILING_H
#define FAILING_H

#include "check.h"

#include "calls.h"

enum call {
#define NUMBER(name, type, bad, parameters, arguments) CALL_##name,
    CALLS(NUMBER)
#undef NUMBER
        CALL_COUNT
};

_Static_assert(sizeof(smem__syscalls) / sizeof(void (*)(void)) == CALL_COUNT,
               "each member of the table can fail");

typedef struct fault {
    enum call call;
    unsigned at;  /* the first one is 1; 0: none */
    int error;
    bool for_good;
    bool on; /* calls are counted */
} fault;

extern fault armed;

/* Shared with what an operation forks. */
typedef struct fault_log {
    bool fired;
    unsigned made[CALL_COUNT]; /* while armed, whether with a fault or without */
} fault_log;

extern fault_log *logged;

void replace_table(void);

/* ---- operations -------------------------------------------------------------- */

/* [ctx] does what may fail; [other] is a participant beside it. */
typedef struct scene {
    smem_context *ctx, *other;
    smem_segment *held;   /* other's; it begins with a 5 */
    smem_segment *result; /* ctx's, of the operation or for it */
    uint64_t ticket;
    smem_info info; /* of what is stale or was kept */
} scene;

typedef struct operation {
    const char *name;
    void (*prepare)(scene *s);
    int (*act)(scene *s);
    void (*judge)(scene *s, int rc); /* whether what it returned is true */
    void (*finish)(scene *s);        /* what [prepare] began */
    bool any_code;                   /* what it returns reaches nobody but the reaper */
} operation;

extern int backend; /* of this run */

/* Let it fail at each place in each way. */
void fail_in(const operation *op);

#endif
