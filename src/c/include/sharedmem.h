/*
 * sharedmem.h - arrays in shared memory: the C interface
 *
 * A segment is an object of the kernel (POSIX or SysV) that holds one array:
 * a header which says what the array is, then its bytes. Any process of the
 * same user can attach it by name and finds shape, strides and dtype there.
 * A segment is gone when the last process that can still reach it is gone,
 * however that process ended.
 *
 * Link with -lsharedmem, or compile the sources in src/c/base, os and segment into
 * a program (for 32 bits with -D_FILE_OFFSET_BITS=64; it is refused segments above
 * 2 GB: SMEM_E_SIZE).
 * C99 and C++ may include this file; the library itself is C11.
 *
 *
 * CAVEATS, each with its remedy
 *
 * Forked children. A child inherits every mapping and every reference, and
 *   its mappings keep the segments alive like the parent's.
 *   Of what smem_copy_at_fork() was called for they have a copy instead.
 *   Fix: nothing to do after fork(). After a raw clone(2), which runs no
 *   pthread_atfork handler, call only _exit() or execve().
 *
 * Pointers. smem_data() is valid until the last reference to that
 *   smem_segment is given back with smem_detach().
 *   Fix: take a reference of your own with smem_retain() for each place that
 *   keeps the pointer.
 *
 * Unsynchronised writes. The library shares memory, it does not order
 *   accesses: two processes that write one element race as two threads do.
 *   Fix: write to disjoint parts, or hold a lock.
 *
 * In flight. A name that was sent but not yet attached keeps nothing alive.
 *   Fix: issue a ticket (smem_ticket_issue), send it along, and attach with
 *   it; or keep the segment attached until the answer comes.
 *
 * Unlinking. smem_unlink() takes the name away from everybody; who has the
 *   segment attached keeps its memory.
 *   Fix: leave unlinking to the library; call it only for what is persistent
 *   or was sent and will not be received.
 *
 * Lack of room. The pages of a POSIX segment are reserved when it is made, so
 *   a full /dev/shm is an error code and never SIGBUS.
 *   Fix for SMEM_E_NO_ROOM: free or enlarge /dev/shm (docker run --shm-size),
 *   or use the SysV backend. SMEM_NO_RESERVE gives the guarantee up.
 *
 * Other programs. A process of the same uid can truncate the file under
 *   /dev/shm, and then an access raises SIGBUS in every process that maps it.
 *   Fix: none in user space; do not run programs that do that.
 *
 * Several users. Segments are private (0600) unless made otherwise. Another
 *   user's segment is attached only by naming the owner's uid. The owner can
 *   write to it, and truncate it, at any time.
 *   Fix: pass permissions at creation, owner at attaching. From an owner that is not
 *   trusted attach nothing: read the file.
 *
 * Threads. Every function may be called from any thread. A context or segment
 *   must not be used while another thread gives it back. No function is a point
 *   of cancellation; a thread whose cancellation is asynchronous, or comes in a
 *   function that you pass to one of these, keeps what the call holds.
 *   Fix: there, pthread_setcancelstate() around the call.
 *
 * Errors. Every int function returns 0 or a negative number: -errno of the
 *   system call that failed, or one of the SMEM_E codes below. Nothing is
 *   left half-made by a call that failed.
 */
#ifndef SHAREDMEM_H
#define SHAREDMEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef SMEM_EXPORTS /* while the shared library is built, which hides all else */
#pragma GCC visibility push(default)
#endif

#define SMEM_VERSION "0.1.0"

enum {
    SMEM_NAME_MAX = 200,     /* bytes of a name, without the final NUL */
    SMEM_NDIM_MAX = 64,      /* as NumPy */
    SMEM_DTYPE_MAX = 262144, /* bytes of a dtype's text: of thousands of fields */
    SMEM_FORMAT = 3          /* version of a segment's format */
};

/*
 * Result codes of the library's own, below every -errno.
 * X(name, number, errno twin, text, remedy)
 */
#define SMEM_STATUS_MAP(X)                                                     \
    X(EXISTS, 4001, EEXIST, "a segment of this name exists",                   \
      "attach it, choose another name, or pass replace")                       \
    X(NOT_FOUND, 4002, ENOENT, "no segment of this name exists",               \
      "check the name and that its last user is still alive")                  \
    X(REUSED, 4003, ENOENT, "the name belongs to another segment now",         \
      "the sender's segment was unlinked or replaced: send it again")          \
    X(FORMAT, 4004, EINVAL, "not a segment of this library, or damaged",       \
      "remove it by hand if nobody needs it")                                  \
    X(VERSION, 4005, EINVAL, "made by another version of this library",        \
      "use one version in all processes")                                      \
    X(SECURITY, 4006, EACCES, "not a file or segment that can be trusted",     \
      "somebody else made an object under this name: choose another name")     \
    X(NO_ROOM, 4007, ENOMEM, "no room for the segment",                        \
      "free memory, enlarge /dev/shm (docker run --shm-size) or use sysv")     \
    X(LIMIT, 4008, ENOSPC, "a limit on the number of segments is reached",     \
      "raise kernel.shmmni, free segments, or use the posix backend")          \
    X(TICKETS, 4009, ENOSPC, "too many descriptors of this segment in flight", \
      "receive or forget some of them")                                        \
    X(NAME, 4010, EINVAL, "not a valid name",                                  \
      "use 1 to 200 bytes without '/' and NUL")                                \
    X(SIZE, 4011, EOVERFLOW, "the size is negative or too large",              \
      "check shape and dtype")                                                 \
    X(ARGUMENT, 4012, EINVAL, "an argument has no valid value",                \
      "see the function's description")                                        \
    X(BUSY, 4013, EBUSY, "another process holds this name's lock",             \
      "try again; a stopped process may hold it")                              \
    X(UNLINKED, 4014, ENOENT, "the segment has no name any more",              \
      "it cannot be sent by name: send a copy")                                \
    X(PLACE, 4015, ENOSYS, "no shared memory is to be had here",               \
      "mount a tmpfs on /dev/shm, or use sysv")                                \
    X(OWNER_DIED, 4016, EOWNERDEAD, "the holder of the lock has died",          \
      "acquire it, see to what it guards, recover() and release it")           \
    X(NOT_HELD, 4017, EPERM, "the lock is not held by this process or thread", \
      "give back only what was taken")                                         \
    X(HELD, 4018, EBUSY, "this process holds locks",                           \
      "give them back first")                                                  \
    X(KIND, 4019, EINVAL, "the segment is of another kind",                    \
      "attach it as what it is: stat() says its dtype")                        \
    X(RELEASED, 4020, EOVERFLOW, "the semaphore was released more often than acquired", \
      "release once for each acquire")                                         \
    X(BROKEN, 4021, EPIPE, "the barrier is broken",                            \
      "reset() it when nobody waits any more")                                 \
    X(TORN, 4022, EIO, "the writer ended in the middle of a frame",            \
      "wait for the next one")                                                 \
    X(SHUT, 4023, EPIPE, "the queue was shut down",                            \
      "make a new one; nothing can be put into this one any more")              \
    X(LENGTH, 4024, EMSGSIZE, "an item has no room in the queue or in the buffer", \
      "lay it into a segment and put its name, or give a larger buffer")        \
    X(UNMAPPED, 4031, EPERM, "the kernel shows the owner of such files as it shows users whom this user namespace does not map", \
      "map the uid: unshare --map-root-user, a container's subuids, or another user than nobody") \
    X(EXPOSED, 4032, EACCES, "others can write to it, so what it holds is not trusted", \
      "take the permissions 022 away; sharedmem makes queues and locks with 600") \
    X(JOURNAL, 4033, EACCES, "smem.<uid>.u.journal, which sysv arrays need, is somebody else's or no plain file", \
      "remove it from /dev/shm, as root if it is another user's; posix arrays go on")

enum smem_status {
    SMEM_OK = 0,
#define SMEM_STATUS_ENUM(name, number, twin, text, remedy) SMEM_E_##name = -(number),
    SMEM_STATUS_MAP(SMEM_STATUS_ENUM)
#undef SMEM_STATUS_ENUM
        SMEM_STATUS_END = 0
};

/* Describe a result code. The strings are static; unknown codes get a text too, which is
   the calling thread's until its next one. */
const char *smem_error_text(int code);
const char *smem_error_name(int code);
const char *smem_error_remedy(int code);
/* The errno that stands for the code: -code for system errors, the twin else. */
int smem_error_errno(int code);

enum smem_backend { SMEM_ANY = 0,
                    SMEM_POSIX = 1,
                    SMEM_SYSV = 2 };

enum smem_mode {
    SMEM_READ_WRITE = 0,   /* 'r+': changes are seen by all */
    SMEM_READ_ONLY = 1,    /* 'r': a write to the data raises SIGSEGV */
    SMEM_COPY_ON_WRITE = 2 /* 'c': changes are this mapping's own */
};

enum smem_flags {
    SMEM_PERSISTENT = 1, /* stays until smem_unlink() */
    SMEM_REPLACE = 2,    /* take the name from an existing segment */
    SMEM_NO_RESERVE = 4, /* do not reserve pages: SIGBUS where room is short */
    SMEM_UNINITIALIZED = 8, /* the bytes may be anything */
    SMEM_UNPUBLISHED = 16 /* no name given: nobody attaches it before smem_publish() */
};

typedef struct smem_context smem_context; /* this process as a participant */
typedef struct smem_segment smem_segment; /* one mapping of one segment */

/* What to create. Zero everything, then set what is needed. */
typedef struct smem_spec {
    const char *name;   /* NULL: a random one. "posix:x" and "sysv:x" choose */
    int backend;        /* enum smem_backend */
    unsigned flags;     /* enum smem_flags */
    unsigned permissions; /* 0: 0600. Owner read and write are required */
    const char *dtype;  /* NumPy's descr text, for instance "'<f8'" */
    uint64_t itemsize;  /* bytes of one element */
    int ndim;
    const int64_t *shape;
    const int64_t *strides; /* in bytes; NULL: C order */
    uint64_t start;     /* byte of element (0, ..., 0) within the data */
    uint64_t nbytes;    /* bytes of data; 0: what shape and itemsize need */
    const void *contents;   /* what the data begin with, again and again until they end */
    uint64_t contents_size; /* 0: zeros */
} smem_spec;

/* What a segment is. Filled from a checked copy of its header. */
typedef struct smem_info {
    int backend;
    unsigned flags;        /* SMEM_PERSISTENT */
    char name[SMEM_NAME_MAX + 1];
    uint64_t nonce;        /* tells apart segments that had one name */
    uint64_t size;         /* bytes of the segment, header included */
    uint64_t data_offset;  /* where the data begins */
    uint64_t nbytes;       /* bytes of data */
    uint64_t start;        /* of element (0, ..., 0), from data_offset */
    uint64_t itemsize;
    int64_t created;       /* seconds since 1970 */
    uint32_t owner;        /* uid, by the kernel's word */
    uint32_t permissions;
    uint32_t family;       /* tag of the creator's family */
    uint32_t origin;       /* tag of the boot and namespace it lives in */
    int64_t kernel_id;     /* inode of a POSIX segment, shmid of a SysV one */
    int mapped;            /* 1: somebody maps it, by the kernel's word */
    int idle;              /* 1: kept by who dropped it; nobody can attach it */
    int elsewhere;         /* 1: its families cannot be seen from here (another
                              /dev/shm, one IPC namespace): it is not judged */
    int ndim;
    int64_t shape[SMEM_NDIM_MAX];
    int64_t strides[SMEM_NDIM_MAX];
    char *dtype;           /* freed by smem_info_clear() */
} smem_info;

/* What keeps a segment alive apart from mappings. */
typedef struct smem_flight {
    unsigned tickets; /* descriptors in flight whose family lives */
    unsigned pins;    /* living families for which the table was full */
    unsigned voided;  /* tickets of dead families: they keep nothing alive */
    int64_t oldest;   /* seconds since 1970 of the oldest valid one, or 0 */
} smem_flight;

/* ---- context ---------------------------------------------------------- */

typedef struct smem_options {
    const char *family;    /* NULL: $SHAREDMEM_FAMILY, an ancestor's, or new */
    int parent;            /* pid of a multiprocessing parent, or 0 */
    const char *directory; /* NULL: /dev/shm */
    const char *reaper;    /* program to start; NULL: the installed one, if any */
    int observe;           /* 1: look only, for tools */
} smem_options;

/*
 * Become a participant: join or make a family. Keeps no fd and starts no
 * process; the first call that maps a segment starts the family's reaper, a
 * small program that frees what is left when all participants are killed, and
 * ends with the family. SHAREDMEM_REAPER=0 in the environment forbids it.
 * [options] may be NULL. A forked child uses its parent's context as it is.
 * An observer joins no family, and frees nothing but what it is asked to; it
 * becomes a participant when it first creates, receives or issues a ticket.
 * SMEM_E_PLACE when neither in /dev/shm nor in a fall-back directory a mapping keeps
 * the lock of its file; SMEM_E_UNMAPPED where the kernel shows other users as this
 * one; SMEM_E_SECURITY when somebody else's file stands where ours must be.
 */
int smem_open(const smem_options *options, smem_context **out);

/*
 * Leave. Mappings that still have references stay usable and go with the
 * process; what nobody else can reach loses its name now. Idempotent per
 * process; the context may be used again afterwards (it joins anew).
 */
void smem_leave(smem_context *ctx);

/* smem_leave(), then free the context. No segment may be used afterwards. */
void smem_close(smem_context *ctx);

/* The family's name, to be handed to other programs as SHAREDMEM_FAMILY. */
const char *smem_family_name(smem_context *ctx);

/* Is the family with this tag (smem_info.family) alive? 1, 0 or an error. */
int smem_family_alive(smem_context *ctx, uint32_t tag);

/* Leave the family for a new one. [name] NULL: a random name. */
int smem_new_family(smem_context *ctx, const char *name);

/* Tag of the boot and of the namespace that [backend]'s names live in. */
uint32_t smem_origin(smem_context *ctx, int backend);

/* ---- segments --------------------------------------------------------- */

/*
 * Create a segment, of zero bytes or [contents], and map it. It is visible to others only
 * when its header is complete. Names are exclusive over both backends:
 * SMEM_E_EXISTS unless the old one is stale (nobody maps it, no valid ticket,
 * not persistent) or SMEM_REPLACE is given.
 * SMEM_E_NO_ROOM, SMEM_E_LIMIT, SMEM_E_SIZE, SMEM_E_NAME, SMEM_E_ARGUMENT.
 */
int smem_create(smem_context *ctx, const smem_spec *spec, smem_segment **out);

/*
 * Map an existing segment. In one process the same segment in the same mode
 * is mapped once. SMEM_E_NOT_FOUND, SMEM_E_FORMAT, SMEM_E_VERSION,
 * SMEM_E_SECURITY, -EACCES, -ENOMEM.
 */
int smem_attach(smem_context *ctx, const char *name, int mode, smem_segment **out);

/* As smem_attach() for a segment of the user [owner], as its bits permit. */
int smem_attach_owned(smem_context *ctx, const char *name, int mode,
                      uint32_t owner, smem_segment **out);

/*
 * Attach what a descriptor names: the segment must carry [nonce], else
 * SMEM_E_REUSED. A [ticket] that is not 0 is freed once the segment is mapped.
 */
int smem_receive(smem_context *ctx, int backend, const char *name,
                 uint64_t nonce, int mode, uint64_t ticket, smem_segment **out);

/* Attach, or create when there is none; racing processes agree on one. */
int smem_attach_or_create(smem_context *ctx, const smem_spec *spec,
                          smem_segment **out, int *created);

/* One more reference. Returns [segment]. */
smem_segment *smem_retain(smem_segment *segment);

/*
 * Give a reference back; the last one unmaps. When nobody else maps the
 * segment and nothing valid is in flight its memory is freed.
 */
void smem_detach(smem_segment *segment);

/* The bytes of the data, smem_info.nbytes of them. */
void *smem_data(const smem_segment *segment);
/*
 * Copy to the beginning of the data, the fastest way: past the caches, and by two
 * threads, where that pays. SMEM_E_ARGUMENT: read-only, or longer than the data.
 */
int smem_fill(smem_segment *segment, const void *contents, uint64_t nbytes);
/*
 * What is in the segment is its owner's alone: in a child that is forked from now on it is
 * mapped copy-on-write where it is here (SysV: copied), so what the child writes nobody else
 * sees. Pages that the child has not written to may show what is written here later. Without
 * memory for a copy the child can only read it. Not for what others attach by name, too.
 */
void smem_copy_at_fork(smem_segment *segment);
/* How many threads a copy into a segment may use, in this process and in those that
   are forked from it; 0: as many as pay. */
void smem_limit_threads(smem_context *ctx, unsigned threads);
/* How it was attached: enum smem_mode. */
int smem_mode_of(const smem_segment *segment);
/* Valid as long as the segment. */
const smem_info *smem_info_of(const smem_segment *segment);
/* From now on it can be attached by name. To be called before the name of a
   segment that was made SMEM_UNPUBLISHED is given to anybody. */
void smem_publish(smem_segment *segment);

/* From now on it is SMEM_PERSISTENT: who makes one and fills it only then makes it so
   leaves nothing half-filled when he is killed. SMEM_E_ARGUMENT for another user's
   segment or a copy, SMEM_E_UNLINKED for what smem_leave() could not hold any longer. */
int smem_persist(smem_segment *segment);

/* 1 while the segment's name still leads to it, else 0. */
int smem_is_current(const smem_segment *segment);

/* Take this segment's own name away. SMEM_E_UNLINKED when it has none. */
int smem_unlink_segment(smem_segment *segment);

/* ---- names ------------------------------------------------------------ */

/* Take a name away. Who has the segment attached keeps its memory. */
int smem_unlink(smem_context *ctx, const char *name);
/* Fill [info] (then smem_info_clear() it) and, unless NULL, [flight]. */
int smem_stat(smem_context *ctx, const char *name, smem_info *info, smem_flight *flight);
/* Free what smem_stat() put into [info]; the struct itself is the caller's. */
void smem_info_clear(smem_info *info);

/* Call [visit] for each segment of the user; stops when it returns not 0.
   Neither this nor smem_stat() changes anything or is in anybody's way. */
typedef int smem_visit(void *arg, const smem_info *info, const smem_flight *flight);
int smem_list(smem_context *ctx, smem_visit *visit, void *arg);

/* Call [visit] for each process whose /proc/PID/maps shows the segment. */
typedef int smem_visit_holder(void *arg, int pid, const char *command);
int smem_holders(smem_context *ctx, const smem_info *info, smem_visit_holder *visit, void *arg);

/* The same for all segments in one pass over /proc; other files of the same file
   system and other SysV segments come along. [kernel_id] as in smem_info. */
typedef int smem_visit_mapping(void *arg, int backend, int64_t kernel_id, int pid,
                               const char *command);
int smem_mappings(smem_context *ctx, smem_visit_mapping *visit, void *arg);

/* Count the user's families; those that are dead have left a file only. */
int smem_families(smem_context *ctx, unsigned *alive, unsigned *dead);

/* ---- in flight -------------------------------------------------------- */

/*
 * Issue a ticket: the segment stays until the ticket is freed by
 * smem_receive() or smem_forget(), or until this family has no live
 * participant. SMEM_E_UNLINKED, SMEM_E_TICKETS.
 */
int smem_ticket_issue(smem_segment *segment, uint64_t *ticket);

/* Free a ticket of a segment that is attached here, as smem_receive() does.
   1: it was in flight until now, which of all callers exactly one is told. */
int smem_ticket_free(smem_segment *segment, uint64_t ticket);

/* Free a ticket without attaching. Freeing twice, or a void one, does nothing. */
int smem_forget(smem_context *ctx, int backend, const char *name, uint64_t nonce, uint64_t ticket);

/* ---- locks -------------------------------------------------------------- */

/*
 * A lock in shared memory that outlives its holder. Zero bytes are a free one; it
 * lies aligned to 8 in a segment of this user's, attached here for writing, or
 * is an array's own (smem_lock_of(), which an array attached for reading has as
 * well). -EACCES anywhere else; SMEM_E_PLACE for a SysV segment that was made
 * beside another /dev/shm than is seen here, where a death could not be seen.
 *
 * The holder is a process: any of its threads may give back what another has
 * taken, and a thread that ends is no death. A forked child holds nothing. When
 * the holder has died, however it ended, the next one gets the lock and
 * SMEM_E_OWNER_DIED. What the lock guards may be half-changed then; until
 * smem_lock_recover() says that it is not, everybody who gets the lock is told so.
 * Nobody waits longer for the dead than 64 ms or so. A holder that cannot be seen, in
 * another PID namespace where the kernel's list of locks is not to be had, counts as
 * alive: smem_lock_holder() tells, and smem_lock_break() ends the wait.
 *
 * Taking and giving back an uncontended lock makes no system call. Who waits
 * sleeps, and a signal's handler ends that with -EINTR, to be called again.
 */
typedef struct smem_lock {
    uint64_t state, thread;
    uint32_t depth, process;
} smem_lock;

#define SMEM_NO_WAIT INT64_C(0)
#define SMEM_FOREVER INT64_MAX

/* That many nanoseconds from now, as deadlines are given: on CLOCK_MONOTONIC. */
int64_t smem_deadline(int64_t ns);

/* One try, without a look whether a holder lives: -EBUSY, and -ENOLCK before the first
   smem_lock_acquire() of a process. */
int smem_lock_try(smem_segment *segment, smem_lock *lock);
/* Take it. 0, or SMEM_E_OWNER_DIED: it is held here. -ETIMEDOUT, -EINTR, -EACCES;
   -ENOLCK: this process cannot be told from others, its family's file is gone. */
int smem_lock_acquire(smem_segment *segment, smem_lock *lock, int64_t deadline);
/* Give it back. SMEM_E_NOT_HELD. */
int smem_lock_release(smem_segment *segment, smem_lock *lock);
/* What the lock guards is in order again. SMEM_E_NOT_HELD. */
int smem_lock_recover(smem_segment *segment, smem_lock *lock);

enum smem_lock_state { SMEM_LOCK_FREE = 0,
                       SMEM_LOCK_HERE = 1, /* held by this process */
                       SMEM_LOCK_ELSEWHERE = 2 };
/* What was so a moment ago. */
int smem_lock_state(const smem_segment *segment, const smem_lock *lock);

/* The same by a thread, which may take it again while it holds it and gives it
   back as often. A lock is used by these functions or by those above. */
int smem_lock_enter(smem_segment *segment, smem_lock *lock, int64_t deadline);
int smem_lock_exit(smem_segment *segment, smem_lock *lock);
/* Does this thread hold it? */
int smem_lock_is_mine(smem_segment *segment, smem_lock *lock);
/* Give it back however often it was taken, and take it as often again. */
int smem_lock_exit_all(smem_segment *segment, smem_lock *lock, uint32_t *depth);
int smem_lock_enter_again(smem_segment *segment, smem_lock *lock, uint32_t depth, int64_t deadline);

/*
 * Who holds it? [pid]: as it is here, or 0 where that is not to be said: another PID
 * namespace, or a holder that has taken it this very moment.
 */
enum smem_holder { SMEM_HOLDER_NONE = 0,
                   SMEM_HOLDER_LIVES = 1,
                   SMEM_HOLDER_DEAD = 2, /* the next one gets the lock */
                   SMEM_HOLDER_UNSEEN = 3 };
int smem_lock_holder(smem_segment *segment, const smem_lock *lock, int *pid);
/* Take it from a holder that does not live, or is not seen to: as if it had died. -EBUSY:
   it lives. SMEM_E_NOT_HELD: nobody has it. A process that holds it all the same is told
   when it gives it back. */
int smem_lock_break(smem_segment *segment, smem_lock *lock);
/* The locks that the library knows of in a segment, by number: the array's own, the
   frame's writer's, those of what has the segment for itself. NULL: no more. */
smem_lock *smem_lock_at(smem_segment *segment, unsigned number);

/* The array's own lock, which lies in its header. */
smem_lock *smem_lock_of(smem_segment *segment);

/* ---- conditions, events, semaphores, barriers ---------------------------------- */

/*
 * As in Python's threading, in shared memory, for threads of any processes. Like a
 * lock each may lie in any segment for writing, aligned to 8; zero bytes are a
 * new one (a semaphore and a barrier have to be started with their numbers, which
 * may be done by everybody). Or it has a segment of its own: smem_sync_create().
 *
 * A process that is killed while it waits, or after it was woken and before it
 * goes on, takes nobody's wake-up with it: who still waits gets it after 64 ms or
 * so. -EINTR is returned as for locks.
 */
typedef struct smem_condition {
    uint64_t counts, next, mark, all;
    uint32_t word, spare;
} smem_condition;

/* One wait of one thread, in private memory. */
typedef struct smem_wait {
    uint64_t ticket;
    uint32_t word;
    int64_t slice;
} smem_wait;

/*
 * Wait for a notification: begin while the lock is held that guards what is waited
 * for, give that back, sleep until 0 (notified) or -ETIMEDOUT, and take it again.
 * After -EINTR sleep again, or cancel: 1 when there was a notification after all.
 * Whoever notifies holds the same lock.
 */
int smem_condition_begin(smem_segment *segment, smem_condition *condition, smem_wait *wait);
int smem_condition_sleep(smem_segment *segment, smem_condition *condition, smem_wait *wait,
                         int64_t deadline);
int smem_condition_cancel(smem_segment *segment, smem_condition *condition, const smem_wait *wait);
/* Let [count] of those who wait go on; all with UINT32_MAX. */
int smem_condition_notify(smem_segment *segment, smem_condition *condition, uint32_t count);
/* All of it in one, with a lock that was taken by smem_lock_acquire(). The lock is
   held again when it returns: 0, SMEM_E_OWNER_DIED, -ETIMEDOUT, -EINTR. */
int smem_condition_wait(smem_segment *segment, smem_condition *condition, smem_lock *lock,
                        int64_t deadline);

typedef struct smem_event {
    uint32_t word, spare;
} smem_event;

int smem_event_set(smem_segment *segment, smem_event *event);
int smem_event_clear(smem_segment *segment, smem_event *event);
int smem_event_is_set(const smem_event *event);
/* Who waits goes on after a set, even if a clear follows at once. */
int smem_event_wait(smem_segment *segment, smem_event *event, int64_t deadline);

typedef struct smem_semaphore {
    uint64_t state;
    uint32_t limit, waiters;
} smem_semaphore;

/* With [value] units, and never more than [limit] (0: INT32_MAX). Only the first
   one's numbers count. SMEM_E_ARGUMENT. */
int smem_semaphore_start(smem_segment *segment, smem_semaphore *semaphore, uint32_t value,
                         uint32_t limit);
/* A unit belongs to nobody: what a process has when it dies is not given back. */
int smem_semaphore_acquire(smem_segment *segment, smem_semaphore *semaphore, int64_t deadline);
/* SMEM_E_RELEASED, and nothing is changed, above the limit. */
int smem_semaphore_release(smem_segment *segment, smem_semaphore *semaphore, uint32_t count);
uint32_t smem_semaphore_value(const smem_semaphore *semaphore);

typedef struct smem_barrier {
    smem_lock lock;
    uint64_t resets;
    uint32_t phase, count, parties, broken;
} smem_barrier;

int smem_barrier_start(smem_segment *segment, smem_barrier *barrier, uint32_t parties);
/*
 * Arrive: the number of those who were there before, or SMEM_E_BROKEN, -EINTR,
 * -ETIMEDOUT. The last one (parties - 1) must open it, or say that it is broken;
 * its death in between breaks it, too. The others sleep until it is open (0) or
 * broken. A wait that ends otherwise is to be given up, which breaks the barrier:
 * SMEM_E_BROKEN, or 0 when it was open meanwhile.
 */
int smem_barrier_arrive(smem_segment *segment, smem_barrier *barrier, uint32_t *phase,
                        int64_t deadline);
int smem_barrier_sleep(smem_segment *segment, smem_barrier *barrier, uint32_t phase,
                       int64_t deadline);
int smem_barrier_give_up(smem_segment *segment, smem_barrier *barrier, uint32_t phase);
int smem_barrier_open(smem_segment *segment, smem_barrier *barrier, int broken);
/* Whoever waits, and whoever comes from now on, finds it broken; or waits anew. */
int smem_barrier_abort(smem_segment *segment, smem_barrier *barrier);
int smem_barrier_reset(smem_segment *segment, smem_barrier *barrier);
/* How many wait; SMEM_E_BROKEN. */
int smem_barrier_waiting(const smem_barrier *barrier);

/*
 * One of them in a segment of its own, found by its name and kind. [value] and
 * [limit]: a semaphore's, a barrier's parties, else 0. Another kind: SMEM_E_KIND.
 * smem_data() is the struct; a condition's is a smem_lock and then the condition.
 */
enum smem_kind { SMEM_KIND_LOCK = 0,
                 SMEM_KIND_RECURSIVE = 1, /* to be used by smem_lock_enter() and so on */
                 SMEM_KIND_CONDITION = 2,
                 SMEM_KIND_EVENT = 3,
                 SMEM_KIND_SEMAPHORE = 4,
                 SMEM_KIND_BARRIER = 5 };

typedef struct smem_sync_spec {
    const char *name;
    int backend, kind;
    unsigned flags; /* SMEM_PERSISTENT, SMEM_REPLACE, SMEM_UNPUBLISHED */
    unsigned permissions;
    uint32_t value, limit;
} smem_sync_spec;

int smem_sync_create(smem_context *ctx, const smem_sync_spec *spec, smem_segment **out);
int smem_sync_attach(smem_context *ctx, const char *name, int kind, smem_segment **out);
int smem_sync_attach_or_create(smem_context *ctx, const smem_sync_spec *spec, smem_segment **out,
                               int *created);
/* Is this segment one of that kind? 0 or SMEM_E_KIND; then fills the numbers, and
   starts it if nobody has. */
int smem_sync_check(smem_segment *segment, int kind, uint32_t *value, uint32_t *limit);

/* ---- frames ----------------------------------------------------------------------- */

/*
 * An array that is written as a whole, again and again, and read as a whole: a
 * sequence lock in its header. Readers are in nobody's way, and take a frame only
 * if nothing was written meanwhile. Frames are numbered from 1.
 *
 * Between begin and end, or give_up, one process writes; others wait to write. A
 * writer that dies, or gives up, leaves no frame: who reads gets SMEM_E_TORN until
 * the next one is complete, and never what is half-written. The next writer finds
 * what the dead one left, and writes all of it. A ring of arrays keeps the last
 * complete frame, too (examples/frames).
 */
int smem_frame_begin(smem_segment *segment, int64_t deadline);
int smem_frame_end(smem_segment *segment);
int smem_frame_give_up(smem_segment *segment);
/* The number of the newest complete frame. */
uint64_t smem_frame_number(const smem_segment *segment);
/* Wait for a frame with a higher number than [newer_than]. -ETIMEDOUT, -EINTR. */
int smem_frame_wait(smem_segment *segment, uint64_t newer_than, int64_t deadline);
/* Copy all of the data, smem_info.nbytes of them. SMEM_E_TORN, -ETIMEDOUT, -EINTR. */
int smem_frame_read(smem_segment *segment, void *out, uint64_t *number, int64_t deadline);
/* For a copy of one's own: it is whole if the second one returns 1. */
int smem_frame_read_begin(smem_segment *segment, uint64_t *number, int64_t deadline);
int smem_frame_read_end(const smem_segment *segment, uint64_t number);

/* ---- atomics ---------------------------------------------------------------------- */

/*
 * One element, changed at once for all processes. C11 programs may use <stdatomic.h> on
 * the element itself; this is for those that know its type at run time only.
 * [kind] and [width] as NumPy's dtype.kind ('b', 'i', 'u', 'f') and itemsize (1, 2,
 * 4 or 8), in the machine's byte order; values are the element's bytes in the low
 * ones of 64 bits. Integers wrap. What [order] asks for is the least that is done.
 * SMEM_E_ARGUMENT: an operation that the kind has not, or an element that is not
 * aligned to its width.
 */
enum smem_operation { SMEM_LOAD = 0,
                      SMEM_STORE = 1,
                      SMEM_EXCHANGE = 2,
                      SMEM_FETCH_ADD = 3, /* and so on: not of bools */
                      SMEM_FETCH_SUB = 4,
                      SMEM_FETCH_MAX = 5,
                      SMEM_FETCH_MIN = 6,
                      SMEM_FETCH_OR = 7, /* and so on: not of floats */
                      SMEM_FETCH_AND = 8,
                      SMEM_FETCH_XOR = 9 };

enum smem_order { SMEM_RELAXED = 0,
                  SMEM_ACQUIRE = 2,
                  SMEM_RELEASE = 3,
                  SMEM_ACQ_REL = 4,
                  SMEM_SEQ_CST = 5 };

/* [before]: the element's value until then. */
int smem_atomic(void *element, int kind, unsigned width, int operation, int order, uint64_t operand,
                uint64_t *before);
/* 1: it was [expected], bit by bit, and is [desired] now. 0: [expected] is what it is. */
int smem_atomic_compare_exchange(void *element, unsigned width, int order, uint64_t *expected,
                                 uint64_t desired);

/* ---- reclaiming ------------------------------------------------------- */

typedef struct smem_reclaimed {
    unsigned segments, families;
    uint64_t bytes;
} smem_reclaimed;

/*
 * Free every segment of the user that nobody maps, no valid ticket holds and
 * that is not persistent. Called by the library itself every so often.
 */
int smem_reclaim(smem_context *ctx, smem_reclaimed *out);

/*
 * The same for this very segment (backend, name, nonce and kernel_id count);
 * [in_flight] 1: also when tickets hold it, whose descriptors can then not be
 * received any more. 1 freed; 0 not, since somebody maps it, a ticket holds it or
 * it is persistent. SMEM_E_NOT_FOUND.
 */
int smem_reclaim_segment(smem_context *ctx, const smem_info *info, int in_flight);

/* ---- warm memory ------------------------------------------------------ */

/*
 * What a process drops stays mapped for what it makes next, up to a bound for all
 * of its family ($SHAREDMEM_CACHE in bytes; when that is not set the least of 512 MB,
 * a sixteenth of the memory and a quarter of /dev/shm). It comes back
 * when a segment cannot be made for want of room, when the process ends, and by
 * smem_trim(), which returns how many bytes it freed.
 */
uint64_t smem_trim(smem_context *ctx, uint64_t keep);

typedef struct smem_statistics {
    uint64_t mapped, mapped_bytes; /* segments in use here */
    uint64_t idle, idle_bytes;     /* kept for what is made next */
    uint64_t away, away_bytes;     /* in use elsewhere, their mapping kept */
    uint64_t bound;                /* on both kinds of bytes, of all the family */
    /* since smem_open(), or the fork: */
    uint64_t created;  /* segments made anew */
    uint64_t reused;   /* made of an idle one */
    uint64_t attached; /* mapped anew */
    uint64_t returned; /* attached by a mapping that was away */
    uint64_t kept, evicted; /* made idle; given up for others or for the bound */
    uint64_t reclaimed, reclaimed_bytes; /* of the dead, by this process */
} smem_statistics;

/* What this process has and has done. */
void smem_stats(smem_context *ctx, smem_statistics *out);

/* ---- queues ----------------------------------------------------------- */

/*
 * A bounded queue of byte strings, for any number of producers and consumers. It is all
 * of the data of a segment of this user's that is attached for writing, and valid as
 * long as that. Deadlines are as for locks. A process that dies in a call has done all
 * of it or nothing, and stands in nobody's way: the others go on, who slept after a
 * second at most.
 */
typedef struct smem_queue {
    smem_segment *segment;
    uint64_t slots, room, spare; /* checked: never read again from the segment */
    uint32_t limit;
    int gives_way; /* 0; the caller may set it: see smem_queue_pass_on() */
} smem_queue;

/*
 * [limit] items at most, in [room] bytes, a power of two. With [spare] bytes kept for
 * each item that may still come, at most room / limit, a put never waits for bytes:
 * an item counts as [spare] bytes at least, see smem_queue_put(). The rest as in smem_spec.
 */
typedef struct smem_queue_spec {
    const char *name;
    int backend;
    unsigned flags;
    unsigned permissions;
    uint32_t limit;
    uint64_t room, spare;
} smem_queue_spec;

/* A queue in a segment of its own, out->segment, which is the caller's to detach. Who
   finds its name finds all of it. */
int smem_queue_create(smem_context *ctx, const smem_queue_spec *spec, smem_queue *out);

/* SMEM_E_KIND: what has this name is no queue, or one of another version. */
int smem_queue_attach(smem_context *ctx, const char *name, smem_queue *out);

/* The same in a segment that is attached, or was received. */
int smem_queue_open(smem_segment *segment, smem_queue *out);

/*
 * Put an item. SMEM_E_LENGTH: it is longer than the queue could ever hold, or there is
 * no room for it now beside the spare bytes of the others; an item of at most [spare]
 * bytes always fits, such as the name of a segment that holds the rest.
 * SMEM_E_SHUT; -EAGAIN: full, and not to wait; -ETIMEDOUT, -EINTR while waiting.
 */
int smem_queue_put(const smem_queue *queue, const void *item, uint64_t length, int64_t deadline);

/*
 * Take the first item. [length] is its length; when that is more than [capacity]
 * the item stays and the result is SMEM_E_LENGTH. SMEM_E_SHUT: shut and empty.
 * -EAGAIN: empty, and not to wait; -ETIMEDOUT, -EINTR while waiting.
 */
int smem_queue_get(const smem_queue *queue, void *buffer, uint64_t capacity, uint64_t *length,
                   int64_t deadline);

/*
 * The same without waiting for anybody: -EBUSY where it would have to, since another
 * has the lock, or nobody can tell without waiting whether a queue that was shut is empty.
 * The others wait for such a holder, even when they are not to wait for items: for a
 * second at most, should it be stopped.
 */
int smem_queue_try_put(const smem_queue *queue, const void *item, uint64_t length);
int smem_queue_try_get(const smem_queue *queue, void *buffer, uint64_t capacity, uint64_t *length);

/*
 * Who sleeps in a call of a queue whose [gives_way] is set gets -EINTR whenever it
 * was woken, before it puts or takes anything: time to do what a signal asks for, and
 * to call again. Who then does not call again says so here, and another one is woken.
 */
void smem_queue_pass_on(const smem_queue *queue);

/* Items in the queue at this moment. */
uint32_t smem_queue_count(const smem_queue *queue);

/* No more puts, from any process. What is in it can still be taken. */
void smem_queue_shut(const smem_queue *queue);

/* An item that was taken is done; SMEM_E_ARGUMENT when all are. */
int smem_queue_done(const smem_queue *queue);

/* Wait until all that was put is done. -ETIMEDOUT, -EINTR. */
int smem_queue_join(const smem_queue *queue, int64_t deadline);

#ifdef SMEM_EXPORTS
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
