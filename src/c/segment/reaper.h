/*
 * The reaper: what frees the rest when nobody is left to do it.
 *
 * One process for each family, a program of its own (reaper/reaper.c), which
 * holds byte 1 of the family's file. Whoever maps a segment and finds the byte
 * free starts one; of two that were started at once the second ends at once.
 * It is a convenience of time, never of safety: it sweeps as any participant
 * does, and where it cannot start the next participant sweeps.
 */
#ifndef SMEM_REAPER_H
#define SMEM_REAPER_H

#include "segment/context.h"

/* The path to be started, to be freed: [given], the installed one, or NULL. */
char *smem__reaper_program(const char *given);

/* To be called by who is going to map a segment, outside of any operation. */
void smem__reaper_ensure(smem_context *ctx);

#endif
