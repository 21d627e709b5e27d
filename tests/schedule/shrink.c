/* A failing plan made shorter: what can be left out without its passing is left out. */
#include "schedule.h"

#include <ctype.h>
#include <string.h>

static unsigned runs;
static char wanted[1024]; /* what must go wrong */

/* Without the numbers, and without who and where. */
static void gist(const char *failure, char out[1024])
{
    const char *colon = strchr(failure, ':');
    for (const char *c = colon ? colon + 2 : failure; *c; c++)
        if (!isdigit((unsigned char)*c))
            *out++ = *c;
    *out = '\0';
}

static bool still_fails(void)
{
    runs++;
    char got[1024];
    if (interrupted || run_plan(true))
        return false;
    gist(shown->failure, got);
    return strcmp(got, wanted) == 0;
}

/* Half of what is there, then a quarter, and so on: events are many. */
static void shrink_events(void)
{
    for (unsigned size = planned->event_count; size >= 1; size /= 2)
        for (unsigned from = 0; from < planned->event_count; from += size) {
            uint8_t before[EVENTS];
            bool any = false;
            for (unsigned i = from; i < from + size && i < planned->event_count; i++) {
                before[i] = planned->events[i].off;
                any |= !before[i];
                planned->events[i].off = 1;
            }
            if (!any || still_fails())
                continue;
            for (unsigned i = from; i < from + size && i < planned->event_count; i++)
                planned->events[i].off = before[i];
        }
}

static void shrink_ops(void)
{
    for (int a = ACTORS - 1; a >= 0; a--)
        for (int i = OPS - 1; i >= 0; i--) {
            op kept = planned->ops[a][i];
            if (!kept.code)
                continue;
            planned->ops[a][i].code = 0;
            if (!still_fails())
                planned->ops[a][i] = kept;
        }
}

unsigned shrink_plan(void)
{
    runs = 0;
    gist(shown->failure, wanted);
    if (!still_fails())
        return runs;
    bool tracing = shown->tracing;
    shown->tracing = false;
    shrink_ops();
    shrink_events();
    shrink_ops();
    shown->tracing = tracing;
    return runs;
}
