/*
 * Included before every file of the core in the build that is scheduled: each access to a
 * shared atomic is a step of its own, at which another process may go on. What lies in
 * memory of the process alone is none (mapped.c knows which is which).
 */
#ifndef SCHEDULE_ACCESS_H
#define SCHEDULE_ACCESS_H

#include <stdatomic.h>

void schedule_access(const volatile void *address);

#define SCHEDULE_FIRST(address, access) (schedule_access(address), (access))

#undef atomic_load_explicit
#undef atomic_load
#undef atomic_store_explicit
#undef atomic_store
#undef atomic_exchange_explicit
#undef atomic_exchange
#undef atomic_fetch_add_explicit
#undef atomic_fetch_add
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_or_explicit
#undef atomic_fetch_or
#undef atomic_fetch_and_explicit
#undef atomic_fetch_and
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_weak_explicit
#undef atomic_compare_exchange_weak

#define atomic_load_explicit(p, order) SCHEDULE_FIRST(p, __atomic_load_n(p, order))
#define atomic_load(p) atomic_load_explicit(p, __ATOMIC_SEQ_CST)
#define atomic_store_explicit(p, v, order) SCHEDULE_FIRST(p, __atomic_store_n(p, v, order))
#define atomic_store(p, v) atomic_store_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_exchange_explicit(p, v, order) SCHEDULE_FIRST(p, __atomic_exchange_n(p, v, order))
#define atomic_exchange(p, v) atomic_exchange_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_add_explicit(p, v, order) SCHEDULE_FIRST(p, __atomic_fetch_add(p, v, order))
#define atomic_fetch_add(p, v) atomic_fetch_add_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_sub_explicit(p, v, order) SCHEDULE_FIRST(p, __atomic_fetch_sub(p, v, order))
#define atomic_fetch_sub(p, v) atomic_fetch_sub_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_or_explicit(p, v, order) SCHEDULE_FIRST(p, __atomic_fetch_or(p, v, order))
#define atomic_fetch_or(p, v) atomic_fetch_or_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_and_explicit(p, v, order) SCHEDULE_FIRST(p, __atomic_fetch_and(p, v, order))
#define atomic_fetch_and(p, v) atomic_fetch_and_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_compare_exchange_strong_explicit(p, e, d, yes, no) \
    SCHEDULE_FIRST(p, __atomic_compare_exchange_n(p, e, d, 0, yes, no))
#define atomic_compare_exchange_strong(p, e, d) \
    atomic_compare_exchange_strong_explicit(p, e, d, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define atomic_compare_exchange_weak_explicit(p, e, d, yes, no) \
    atomic_compare_exchange_strong_explicit(p, e, d, yes, no)
#define atomic_compare_exchange_weak(p, e, d) atomic_compare_exchange_strong(p, e, d)

#endif
