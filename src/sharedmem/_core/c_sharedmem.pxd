# Mirror of src/c/include/sharedmem.h.
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "sharedmem.h" nogil:
    enum:
        SMEM_NAME_MAX
        SMEM_NDIM_MAX
        SMEM_DTYPE_MAX
        SMEM_FORMAT
        SMEM_E_EXISTS
        SMEM_E_SHUT
        SMEM_E_LENGTH
        SMEM_E_UNLINKED
        SMEM_E_OWNER_DIED
        SMEM_E_NOT_HELD
        SMEM_LOCK_FREE
        SMEM_LOCK_HERE
        SMEM_LOCK_ELSEWHERE
        SMEM_HOLDER_NONE
        SMEM_HOLDER_LIVES
        SMEM_HOLDER_DEAD
        SMEM_HOLDER_UNSEEN
        SMEM_KIND_LOCK
        SMEM_KIND_RECURSIVE
        SMEM_KIND_CONDITION
        SMEM_KIND_EVENT
        SMEM_KIND_SEMAPHORE
        SMEM_KIND_BARRIER
        SMEM_ANY
        SMEM_POSIX
        SMEM_SYSV
        SMEM_READ_WRITE
        SMEM_READ_ONLY
        SMEM_COPY_ON_WRITE
        SMEM_PERSISTENT
        SMEM_REPLACE
        SMEM_NO_RESERVE
        SMEM_UNINITIALIZED
        SMEM_UNPUBLISHED

    const char *SMEM_VERSION

    const char *smem_error_text(int code)
    const char *smem_error_name(int code)
    const char *smem_error_remedy(int code)
    int smem_error_errno(int code)

    ctypedef struct smem_context:
        pass
    ctypedef struct smem_segment:
        pass

    ctypedef struct smem_spec:
        const char *name
        int backend
        unsigned flags
        unsigned permissions
        const char *dtype
        uint64_t itemsize
        int ndim
        const int64_t *shape
        const int64_t *strides
        const void *contents
        uint64_t contents_size
        uint64_t start
        uint64_t nbytes

    ctypedef struct smem_info:
        int backend
        unsigned flags
        char name[201]
        uint64_t nonce
        uint64_t size
        uint64_t data_offset
        uint64_t nbytes
        uint64_t start
        uint64_t itemsize
        int64_t created
        uint32_t owner
        uint32_t permissions
        uint32_t family
        uint32_t origin
        int64_t kernel_id
        int mapped
        int idle
        int elsewhere
        int ndim
        int64_t shape[64]
        int64_t strides[64]
        char *dtype

    ctypedef struct smem_flight:
        unsigned tickets
        unsigned pins
        unsigned voided
        int64_t oldest

    ctypedef struct smem_options:
        const char *family
        int parent
        const char *directory
        const char *reaper
        int observe

    ctypedef struct smem_reclaimed:
        unsigned segments
        unsigned families
        uint64_t bytes

    int smem_open(const smem_options *options, smem_context **out)
    void smem_leave(smem_context *ctx)
    void smem_close(smem_context *ctx)
    const char *smem_family_name(smem_context *ctx)
    int smem_family_alive(smem_context *ctx, uint32_t tag)
    int smem_new_family(smem_context *ctx, const char *name)
    uint32_t smem_origin(smem_context *ctx, int backend)

    int smem_create(smem_context *ctx, const smem_spec *spec, smem_segment **out)
    int smem_attach(smem_context *ctx, const char *name, int mode, smem_segment **out)
    int smem_attach_owned(smem_context *ctx, const char *name, int mode, uint32_t owner,
                          smem_segment **out)
    int smem_receive(smem_context *ctx, int backend, const char *name, uint64_t nonce, int mode,
                     uint64_t ticket, smem_segment **out)
    int smem_attach_or_create(smem_context *ctx, const smem_spec *spec, smem_segment **out,
                              int *created)
    smem_segment *smem_retain(smem_segment *segment)
    void smem_detach(smem_segment *segment)
    void *smem_data(const smem_segment *segment)
    int smem_fill(smem_segment *segment, const void *contents, uint64_t nbytes)
    void smem_copy_at_fork(smem_segment *segment)
    void smem_limit_threads(smem_context *ctx, unsigned threads)
    int smem_mode_of(const smem_segment *segment)
    const smem_info *smem_info_of(const smem_segment *segment)
    void smem_publish(smem_segment *segment)
    int smem_persist(smem_segment *segment)
    int smem_is_current(const smem_segment *segment)
    int smem_unlink_segment(smem_segment *segment)

    int smem_unlink(smem_context *ctx, const char *name)
    int smem_stat(smem_context *ctx, const char *name, smem_info *info, smem_flight *flight)
    void smem_info_clear(smem_info *info)
    ctypedef int smem_visit(void *arg, const smem_info *info, const smem_flight *flight) noexcept
    int smem_list(smem_context *ctx, smem_visit *visit, void *arg)
    ctypedef int smem_visit_holder(void *arg, int pid, const char *command) noexcept
    int smem_holders(smem_context *ctx, const smem_info *info, smem_visit_holder *visit, void *arg)
    ctypedef int smem_visit_mapping(void *arg, int backend, int64_t kernel_id, int pid,
                                    const char *command) noexcept
    int smem_mappings(smem_context *ctx, smem_visit_mapping *visit, void *arg)
    int smem_families(smem_context *ctx, unsigned *alive, unsigned *dead)

    int smem_ticket_issue(smem_segment *segment, uint64_t *ticket)
    int smem_ticket_free(smem_segment *segment, uint64_t ticket)
    int smem_forget(smem_context *ctx, int backend, const char *name, uint64_t nonce,
                    uint64_t ticket)
    int smem_reclaim(smem_context *ctx, smem_reclaimed *out)
    int smem_reclaim_segment(smem_context *ctx, const smem_info *info, int in_flight)

    uint64_t smem_trim(smem_context *ctx, uint64_t keep)

    ctypedef struct smem_statistics:
        uint64_t mapped
        uint64_t mapped_bytes
        uint64_t idle
        uint64_t idle_bytes
        uint64_t away
        uint64_t away_bytes
        uint64_t bound
        uint64_t created
        uint64_t reused
        uint64_t attached
        uint64_t returned
        uint64_t kept
        uint64_t evicted
        uint64_t reclaimed
        uint64_t reclaimed_bytes

    void smem_stats(smem_context *ctx, smem_statistics *out)

    ctypedef struct smem_queue:
        smem_segment *segment
        uint32_t limit
        uint64_t spare
        int gives_way

    ctypedef struct smem_queue_spec:
        const char *name
        int backend
        unsigned flags
        unsigned permissions
        uint32_t limit
        uint64_t room
        uint64_t spare

    int smem_queue_create(smem_context *ctx, const smem_queue_spec *spec, smem_queue *out)
    int smem_queue_open(smem_segment *segment, smem_queue *out)
    int smem_queue_put(const smem_queue *queue, const void *item, uint64_t length,
                       int64_t deadline)
    int smem_queue_get(const smem_queue *queue, void *buffer, uint64_t capacity,
                       uint64_t *length, int64_t deadline)
    int smem_queue_try_put(const smem_queue *queue, const void *item, uint64_t length)
    int smem_queue_try_get(const smem_queue *queue, void *buffer, uint64_t capacity,
                           uint64_t *length)
    void smem_queue_pass_on(const smem_queue *queue)
    uint32_t smem_queue_count(const smem_queue *queue)
    void smem_queue_shut(const smem_queue *queue)
    int smem_queue_done(const smem_queue *queue)
    int smem_queue_join(const smem_queue *queue, int64_t deadline)
    int64_t smem_deadline(int64_t ns)

    ctypedef struct smem_lock:
        uint64_t state
        uint64_t thread
        uint32_t depth

    int smem_lock_try(smem_segment *segment, smem_lock *lock)
    int smem_lock_acquire(smem_segment *segment, smem_lock *lock, int64_t deadline)
    int smem_lock_release(smem_segment *segment, smem_lock *lock)
    int smem_lock_recover(smem_segment *segment, smem_lock *lock)
    int smem_lock_state(const smem_segment *segment, const smem_lock *lock)
    int smem_lock_holder(smem_segment *segment, const smem_lock *lock, int *pid)
    int smem_lock_break(smem_segment *segment, smem_lock *lock)
    smem_lock *smem_lock_at(smem_segment *segment, unsigned number)
    int smem_lock_enter(smem_segment *segment, smem_lock *lock, int64_t deadline)
    int smem_lock_exit(smem_segment *segment, smem_lock *lock)
    int smem_lock_is_mine(smem_segment *segment, smem_lock *lock)
    int smem_lock_exit_all(smem_segment *segment, smem_lock *lock, uint32_t *depth)
    int smem_lock_enter_again(smem_segment *segment, smem_lock *lock, uint32_t depth,
                              int64_t deadline)
    smem_lock *smem_lock_of(smem_segment *segment)

    ctypedef struct smem_condition:
        uint64_t counts

    ctypedef struct smem_wait:
        uint64_t ticket

    int smem_condition_begin(smem_segment *segment, smem_condition *condition, smem_wait *wait)
    int smem_condition_sleep(smem_segment *segment, smem_condition *condition, smem_wait *wait,
                             int64_t deadline)
    int smem_condition_cancel(smem_segment *segment, smem_condition *condition,
                              const smem_wait *wait)
    int smem_condition_notify(smem_segment *segment, smem_condition *condition, uint32_t count)

    ctypedef struct smem_event:
        uint32_t word

    int smem_event_set(smem_segment *segment, smem_event *event)
    int smem_event_clear(smem_segment *segment, smem_event *event)
    int smem_event_is_set(const smem_event *event)
    int smem_event_wait(smem_segment *segment, smem_event *event, int64_t deadline)

    ctypedef struct smem_semaphore:
        uint64_t state

    int smem_semaphore_acquire(smem_segment *segment, smem_semaphore *semaphore, int64_t deadline)
    int smem_semaphore_release(smem_segment *segment, smem_semaphore *semaphore, uint32_t count)
    uint32_t smem_semaphore_value(const smem_semaphore *semaphore)

    ctypedef struct smem_barrier:
        uint32_t phase
        uint32_t count
        uint32_t parties
        uint32_t broken

    int smem_barrier_arrive(smem_segment *segment, smem_barrier *barrier, uint32_t *phase,
                            int64_t deadline)
    int smem_barrier_sleep(smem_segment *segment, smem_barrier *barrier, uint32_t phase,
                           int64_t deadline)
    int smem_barrier_give_up(smem_segment *segment, smem_barrier *barrier, uint32_t phase)
    int smem_barrier_open(smem_segment *segment, smem_barrier *barrier, int broken)
    int smem_barrier_abort(smem_segment *segment, smem_barrier *barrier)
    int smem_barrier_reset(smem_segment *segment, smem_barrier *barrier)
    int smem_barrier_waiting(const smem_barrier *barrier)

    ctypedef struct smem_sync_spec:
        const char *name
        int backend
        int kind
        unsigned flags
        unsigned permissions
        uint32_t value
        uint32_t limit

    int smem_sync_create(smem_context *ctx, const smem_sync_spec *spec, smem_segment **out)
    int smem_sync_attach(smem_context *ctx, const char *name, int kind, smem_segment **out)
    int smem_sync_attach_or_create(smem_context *ctx, const smem_sync_spec *spec,
                                   smem_segment **out, int *created)
    int smem_sync_check(smem_segment *segment, int kind, uint32_t *value, uint32_t *limit)

    enum:
        SMEM_LOAD
        SMEM_STORE
        SMEM_EXCHANGE
        SMEM_FETCH_ADD
        SMEM_FETCH_SUB
        SMEM_FETCH_MAX
        SMEM_FETCH_MIN
        SMEM_FETCH_OR
        SMEM_FETCH_AND
        SMEM_FETCH_XOR
        SMEM_RELAXED
        SMEM_ACQUIRE
        SMEM_RELEASE
        SMEM_ACQ_REL
        SMEM_SEQ_CST

    int smem_atomic(void *element, int kind, unsigned width, int operation, int order,
                    uint64_t operand, uint64_t *before)
    int smem_atomic_compare_exchange(void *element, unsigned width, int order, uint64_t *expected,
                                     uint64_t desired)

    int smem_frame_begin(smem_segment *segment, int64_t deadline)
    int smem_frame_end(smem_segment *segment)
    int smem_frame_give_up(smem_segment *segment)
    uint64_t smem_frame_number(const smem_segment *segment)
    int smem_frame_wait(smem_segment *segment, uint64_t newer_than, int64_t deadline)
    int smem_frame_read_begin(smem_segment *segment, uint64_t *number, int64_t deadline)
    int smem_frame_read_end(const smem_segment *segment, uint64_t number)
