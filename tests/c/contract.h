/* What the parts of the contract share. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "check.h"
#include "segment/layout.h"

extern int backend; /* of this run */
int other_backend(void);

enum { COLUMNS = 1000 };

/* A vector of [COLUMNS] doubles, larger than a page. */
smem_spec vector(const char *name);
smem_segment *create(smem_context *ctx, const char *name);
int try_create(smem_context *ctx, const char *name, unsigned flags, smem_segment **out);
smem_segment *attach(smem_context *ctx, const char *name, int mode);
int receive(smem_context *ctx, const smem_info *info, int mode, uint64_t ticket,
            smem_segment **out);
double *at(smem_segment *segment, int i);
/* The facts of a segment outlive it. */
smem_info facts(const smem_segment *segment);
smem__layout *header_of(smem_segment *segment);
void check_no_name(smem_context *ctx, const char *name);
smem_flight flight_of(smem_context *ctx, const char *name);

/* For smem_list(): notes the names, in at most 8 rows. */
typedef struct seen {
    smem_context *ctx;
    unsigned count, stop_after;
    char names[8][SMEM_NAME_MAX + 1];
} seen;

int see(void *arg, const smem_info *info, const smem_flight *flight);

/* ---- what children do ---------------------------------------------------- */

typedef struct job {
    smem_context *ctx;
    const char *name;
    smem_segment *segment;
    uint64_t number;
} job;

/* When told attach the job's name as a participant of its own, say so, hold until told. */
void hold(check_peer *parent, void *arg);
/* Create it as a participant of its own, say so, hold until told. */
void create_and_hold(check_peer *parent, void *arg);
/* Create check_name("sent") in the family [arg], issue a ticket, tell nonce and
   ticket, and end by _exit when told. */
void send_and_end(check_peer *parent, void *arg);

/* Let a child that waits begin; the first word that it says. */
uint64_t begin(check_peer *child);
/* Let a child that holds end. */
void finish(check_peer *child);

#endif
