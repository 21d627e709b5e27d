/*
 * Events. [word] is how often the event was set << 1 | whether it is set: who
 * waits goes on when it is set, and also when it was set and cleared meanwhile.
 */
#include "base/point.h"
#include "segment/lock.h"

#include <errno.h>

static _Atomic uint32_t *smem__event_word(smem_event *event)
{
    return (_Atomic uint32_t *)&event->word;
}

int smem_event_set(smem_segment *segment, smem_event *event)
{
    _Atomic uint32_t *word = smem__event_word(event);
    int rc = smem__may_change(segment, event, sizeof *event);
    if (rc != 0)
        return rc;
    uint32_t seen = atomic_load(word);
    do {
        if (seen & 1)
            return 0;
    } while (!atomic_compare_exchange_weak(word, &seen, seen + 3));
    SMEM__POINT("event.set", "an event is set, and those who wait sleep");
    smem__futex_wake(word, INT32_MAX);
    return 0;
}

int smem_event_clear(smem_segment *segment, smem_event *event)
{
    int rc = smem__may_change(segment, event, sizeof *event);
    if (rc == 0)
        atomic_fetch_and(smem__event_word(event), ~(uint32_t)1);
    return rc;
}

int smem_event_is_set(const smem_event *event)
{
    return (int)(atomic_load((const _Atomic uint32_t *)&event->word) & 1);
}

/* In slices, since who has set it may have died before it woke anybody. */
int smem_event_wait(smem_segment *segment, smem_event *event, int64_t deadline)
{
    const _Atomic uint32_t *word = smem__event_word(event);
    int64_t slice = SMEM__SLICE_FIRST;
    bool looked;
    int rc = smem__may_change(segment, event, sizeof *event);
    if (rc != 0)
        return rc;
    uint32_t first = atomic_load(word), seen = first;
    while (rc == 0 && !(seen & 1) && seen == first) {
        rc = smem__sleep(word, seen, deadline, &slice, &looked);
        SMEM__POINT("event.woken", "one who waited for an event is awake");
        seen = atomic_load(word);
        if (rc == -ETIMEDOUT && (seen & 1 || seen != first))
            rc = 0;
    }
    return rc;
}
