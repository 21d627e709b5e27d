/* The locks between the threads of one process: nobody blocks in one with the baton. */
#include "schedule.h"

#include <errno.h>
#include <pthread.h>

int __real_pthread_mutex_lock(pthread_mutex_t *lock);
int __real_pthread_mutex_unlock(pthread_mutex_t *lock);
int __real_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __real_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __real_pthread_rwlock_unlock(pthread_rwlock_t *lock);

/* Where it is free that is no step: a thread that runs on is as good as one that comes first. */
#define TAKE(name, type, try)                                 \
    int __wrap_##name(type *lock);                            \
    int __wrap_##name(type *lock)                             \
    {                                                         \
        int rc;                                               \
        if (!me || shown->over)                               \
            return __real_##name(lock);                       \
        while ((rc = try(lock)) == EBUSY || rc == EAGAIN)     \
            schedule_wait(ON_CHANGE, INT64_MAX);              \
        return rc;                                            \
    }

#define GIVE(name, type)                                      \
    int __wrap_##name(type *lock);                            \
    int __wrap_##name(type *lock)                             \
    {                                                         \
        int rc = __real_##name(lock);                         \
        if (me)                                               \
            schedule_changed();                               \
        return rc;                                            \
    }

TAKE(pthread_mutex_lock, pthread_mutex_t, pthread_mutex_trylock)
TAKE(pthread_rwlock_rdlock, pthread_rwlock_t, pthread_rwlock_tryrdlock)
TAKE(pthread_rwlock_wrlock, pthread_rwlock_t, pthread_rwlock_trywrlock)
GIVE(pthread_mutex_unlock, pthread_mutex_t)
GIVE(pthread_rwlock_unlock, pthread_rwlock_t)
