/*
 * The one door between the protocol (segment/) and the kernel (os/).
 *
 * Three things are behind it: lockable files (lockfile.c), facts about
 * processes (process.c), and the two backends (posix.c, sysv.c) behind one
 * contract of function pointers. Every function returns 0 or a negative
 * result code (sharedmem.h) and undoes on failure what it did.
 */
#ifndef SMEM_BACKEND_H
#define SMEM_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SMEM__PATH_MAX = 4096 };

/* ---- where things are --------------------------------------------------- */

typedef struct smem__place {
    char directory[256]; /* of all files of ours; no slash at the end */
    bool has_posix;      /* false: only sysv can hold segments here */
    uint32_t uid;        /* effective */
    uint32_t anybody;    /* the uid whose files may be anybody's; UINT32_MAX: none */
    bool has_uid_map;    /* /proc has told it */
    size_t page;
    uint8_t boot[16];    /* boot id */
    uint64_t ipc;        /* inode of the IPC namespace, when it was found */
    uint64_t device;     /* st_dev of the directory: the mount */
    uint64_t pid_space;  /* inode of the PID namespace */
    bool huge;           /* ask for huge pages */
} smem__place;

/*
 * [directory] NULL: /dev/shm. Where that cannot be used, or a mapping there does not
 * carry its file's lock, a directory for the lock files alone. SMEM_E_PLACE: there is
 * none; SMEM_E_UNMAPPED: our files could not be told from anybody's.
 */
int smem__place_find(smem__place *place, const char *directory);
/* A child may be the first of another PID namespace. */
void smem__place_after_fork(smem__place *place);

/* The inode of the IPC namespace in which this thread would find a key now: unshare()
   changes it, and what another one's key leads to here says nothing of its segment. 0 where
   /proc does not say; an error when it would at another time. */
int smem__ipc_space(uint64_t *out);

/* Bytes that could be had without anybody's being killed; UINT64_MAX: unknown. */
uint64_t smem__memory_available(void);
/* Bytes that this process and those of its container may have at most. */
uint64_t smem__memory_total(void);
/* Bytes that the place's file system may hold; UINT64_MAX: no limit of its own. */
uint64_t smem__place_size(const smem__place *place);

/* Path of a file of ours: <directory>/smem.<uid>.<kind>.<name>; kind s, f, u, t or l. */
int smem__place_path(const smem__place *place, uint32_t uid, char kind, const char *name,
                     char out[SMEM__PATH_MAX]);

/* Visit the names of all files of [kind] of the user; stops at not 0. */
typedef int smem__visit_name(void *arg, const char *name);
int smem__place_each(const smem__place *place, char kind, smem__visit_name *visit, void *arg);

/* ---- lockable files ------------------------------------------------------ */

/*
 * Locks are open-file-description locks on single bytes. They belong to the
 * open file and to every mapping made from it: after smem__file_close() a
 * mapping carries them until its last piece is unmapped. Where the kernel knows
 * none flock stands in (flock.h), and only a pin carries those on other bytes than 0.
 */
enum { SMEM__SIDES = 4 };

/* A locked byte that is a file by itself (flock.h). */
typedef struct smem__side {
    int fd_plus_1; /* 0: none */
    bool pinned;   /* a mapping carries the lock */
    uint64_t byte;
} smem__side;

typedef struct smem__file {
    int fd;
    smem__side sides[SMEM__SIDES];
    uint64_t device, inode, links, size;
    uint32_t uid, mode;
} smem__file;

enum smem__lock { SMEM__UNLOCKED,
                  SMEM__SHARED,
                  SMEM__EXCLUSIVE };

/* Open an existing regular file; never follows a link, never blocks.
   -ENOENT; SMEM_E_SECURITY unless a regular file owned by [uid]. */
int smem__file_open(const char *path, uint32_t uid, bool writable, smem__file *out);
/* As above, with the shared lock on byte 0. -EAGAIN: somebody has it exclusively, or
   the file lost its name before it was locked. */
int smem__file_hold(const char *path, uint32_t uid, bool writable, smem__file *out);
/* As smem__file_open(); makes an empty file of mode 0600 when there is none. */
int smem__file_open_or_make(const char *path, uint32_t uid, smem__file *out);
/*
 * A file without a name, in [place], with the shared lock on byte 0. Where the kernel knows no O_TMPFILE it has
 * one of kind 't' until it is published or discarded; who died in between is
 * found by that name.
 */
int smem__file_make(const smem__place *place, uint32_t mode, smem__file *out);
/* Give a file without a name its first one. -EEXIST. */
int smem__file_publish(smem__file *file, const char *path);
/* Close a file that was made and not published. */
void smem__file_discard(smem__file *file);
/* Put [file], without a name yet, in the place of whatever [path] names. */
int smem__file_replace(const smem__place *place, smem__file *file, const char *path);
void smem__file_close(smem__file *file);
/* Renew links and size. */
int smem__file_stat(smem__file *file);
/* What others have locked the byte with, taking nothing: an enum smem__lock or an error. */
int smem__file_locked(const smem__file *file, uint64_t byte);
/* One try. -EAGAIN when another open file holds a lock that excludes it. */
int smem__file_lock(const smem__file *file, enum smem__lock lock, uint64_t byte);
/* Tries for a while: SMEM_E_BUSY when the other side does not let go. */
enum smem__patience { SMEM__AT_ONCE = 1,
                      SMEM__BRIEFLY = 40,
                      SMEM__SHORTLY = 200, /* where others than the user can hold it, too */
                      SMEM__LONG = 10000 }; /* turns */
int smem__file_lock_wait(const smem__file *file, enum smem__lock lock, uint64_t byte,
                         enum smem__patience patience);
/* Can other users hold locks on it that exclude shared ones? As its mode says. */
bool smem__others_can_lock(const smem__file *file);
/* Is this very file what [path] names? 1, 0 or an error. */
int smem__file_is_at(const smem__file *file, const char *path);
int smem__file_read(const smem__file *file, void *buf, size_t size, uint64_t offset);
int smem__file_write(const smem__file *file, const void *buf, size_t size, uint64_t offset);
int smem__file_resize(const smem__file *file, uint64_t size);
/* Another open file of the same inode, which holds no lock: an fd. */
int smem__file_reopen(const smem__file *file, bool writable);
/* What errno says of a failed mmap. */
int smem__map_code(void);
/* An inaccessible page that carries the file's locks. */
int smem__file_pin(const smem__file *file, size_t page, void **out);
/* The same, to be read and written: the file's first page. */
int smem__file_page(const smem__file *file, size_t page, void **out);
void smem__unpin(void *pin, size_t page);
int smem__path_unlink(const char *path);
int smem__path_rename(const char *path, const char *to);

/* Sleep until it can be had. */
int smem__file_lock_forever(const smem__file *file, enum smem__lock lock, uint64_t byte);
/* Does the kernel have locks on bytes? Known after the first lock. */
bool smem__byte_locks(void);

/* Give the processor away for a moment; [turn] counts the calls of one wait. */
void smem__backoff(unsigned turn);
void smem__nap(unsigned ms);

/* ---- sleeping on memory --------------------------------------------------- */

/*
 * Sleep while the word in shared memory is [expected]; [deadline] is in ns of
 * CLOCK_MONOTONIC, INT64_MAX: none. 0: it is another already. SMEM__WOKEN: counted by
 * the smem__futex_wake() of somebody. -ETIMEDOUT; -EINTR: a signal was handled.
 */
enum { SMEM__WOKEN = 1 };
int smem__futex_wait(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline);
/* Wake up to [count] of all processes that sleep on it. How many, or an error. */
int smem__futex_wake(const _Atomic uint32_t *word, int count);

/* ---- huge pages ---------------------------------------------------------- */

bool smem__huge_is_worth(const smem__place *place, uint64_t size);
/* Inaccessible addresses, to be mapped over, where huge pages can be mapped as such. */
int smem__aligned_room(size_t size, void **out);
/* Map [fd] shared, where its pages of 2 MB can be mapped as such. */
int smem__map_aligned(size_t size, int prot, int fd, void **out);
/* Make what is mapped here huge pages, as far as they can be had. */
int smem__huge_populate(void *base, size_t size);

/* ---- processes ----------------------------------------------------------- */

typedef struct smem__process {
    int64_t pid;        /* as seen in pid_space */
    uint64_t start;     /* clock ticks since boot; 0: not to be seen */
    uint64_t pid_space; /* inode of its PID namespace */
} smem__process;

/* -ESRCH when there is none. */
int smem__process_find(const smem__place *place, int pid, smem__process *out);
/* False only when it is known to be dead: another PID namespace cannot be seen. */
bool smem__process_alive(const smem__place *place, const smem__process *process);
/* The same one, as far as can be seen? */
bool smem__process_is(const smem__process *one, const smem__process *other);
/* Is there no such process in this one's PID namespace, whatever /proc hides? */
bool smem__process_is_gone(int pid);
int smem__process_self(void);
int smem__process_parent(int pid);
/* Name of the first file of [kind] of ours that the process maps. -ENOENT. */
int smem__process_maps(const smem__place *place, int pid, char kind, char *name, size_t size);
/* Does anybody on this machine hold that lock on a byte of this number, in whatever file
   and PID namespace? [known]: a byte that one holds oneself, which a list shows that is
   worth anything. 1, 0, or an error where that is not to be seen. */
static const uint64_t SMEM__UNKNOWN_BYTE = UINT64_MAX;
int smem__byte_is_listed(enum smem__lock lock, uint64_t byte, uint64_t known);
/* Visit what each process maps that can be seen from here: inodes of the place's
   file system, ids of SysV segments; each of a process as often as it maps it. */
typedef int smem__visit_mapping(void *arg, int backend, int64_t kernel_id, int pid,
                                const char *command);
int smem__process_each_mapping(const smem__place *place, smem__visit_mapping *visit, void *arg);
int smem__random(void *buf, size_t size);
/* 128 random bits in hexadecimal. */
enum { SMEM__RANDOM_NAME = 33 };
int smem__random_name(char out[SMEM__RANDOM_NAME]);
/* A name and a nonce, in one system call. */
int smem__random_identity(char out[SMEM__RANDOM_NAME], uint64_t *nonce);
int64_t smem__now(void);           /* seconds since 1970 */
/* Run [function] in a thread beside this one, which gets no signals; false where there
   is but one processor for both, or no thread to be had. */
bool smem__start_beside(void *(*function)(void *), void *arg, pthread_t *out);
/* No pthread_cancel() of the calling thread comes through, until that is undone with what
   was returned. System calls do it by themselves (syscalls.c). */
int smem__no_cancel(void);
void smem__cancel_as(int before);
uint64_t smem__monotonic_us(void);
int64_t smem__monotonic_ns(void);
const char *smem__environment(const char *name);

/* ---- the reaper's ----------------------------------------------------------- */

/*
 * Start [path] with [arguments] (the first is its own name; NULL ends them) and
 * an empty environment, and wait until the process that was started has ended:
 * the program goes on in a child of its own, so that it is nobody's here to wait
 * for. An error when it could not be started or did not end with 0.
 */
int smem__spawn(const char *path, char *const arguments[]);
/* The program's side: close every fd, go on in a child with a session of its own. */
int smem__detach_from_parent(void);

/*
 * Wait until a process ends that had [path] open for writing or mapped from such
 * an open file, or one of those added by its pid. Only the process that opens a
 * watch uses it.
 */
enum { SMEM__WATCHED_MAX = 16 };
typedef struct smem__watch {
    int inotify; /* -1: the path is not watched */
    int pidfds[SMEM__WATCHED_MAX];
    unsigned count;
    bool blind; /* a process could not be added: waits are short */
} smem__watch;
int smem__watch_open(const char *path, smem__watch *out);
/* Watch this one too, until the next wait is over. */
void smem__watch_process(smem__watch *watch, const smem__place *place,
                         const smem__process *process);
/* 1: something ended. 0: [timeout_ms] (-1: none) is over. */
int smem__watch_wait(smem__watch *watch, int timeout_ms);
void smem__watch_close(smem__watch *watch);

/* ---- backends ------------------------------------------------------------ */

/*
 * A kernel object that this process has its hands on but has not mapped for
 * users. While it is open as opened (not as claimed) nobody can prove that it
 * is unused; while it is claimed nobody can attach it.
 */
typedef struct smem__object {
    smem__file file; /* posix: fd and lock; sysv: uid and mode only */
    int id;          /* sysv: shmid */
    int32_t key;     /* sysv */
    uint64_t attached; /* sysv: how many attachments there were when it was found */
    void *probe;     /* sysv: where it is attached for reading */
    uint64_t size;
    int64_t kernel_id; /* inode or shmid */
    bool writable;
    bool mapped;     /* when it was looked at, somebody else mapped it */
    bool resident;   /* all its pages are there, though it is new */
    bool stays;      /* sysv: it could be neither attached nor removed */
    bool apart;      /* to be mapped so that it is soon loosened */
} smem__object;

/* How an object is opened. Who only looks holds nothing on posix (on sysv: for a
   moment, within the gate), so that no process that drops is refused because of it. The one in
   the gate of the name may take that away: no claim of another user's prevents that. */
enum smem__reach { SMEM__LOOK,
                   SMEM__READ,
                   SMEM__WRITE,
                   SMEM__TAKE };

/* From this size on a segment is mapped apart from its lock, and loosened mappings
   of it are kept: a small one is mapped anew in less time. */
enum { SMEM__APART_FROM = 1 << 18 };

typedef struct smem__mapping {
    void *base;
    size_t size;
    int64_t kernel_id;
    uint64_t device;
    bool shares; /* false: private pages, which nobody else ever sees */
    void *pin;   /* posix: the page that carries the lock, where [base] does not */
    bool apart;  /* posix: shared, and [base] never carries it */
    bool visits; /* attached, not made here: probably used by others, too */
} smem__mapping;

typedef struct smem__backend {
    const char *name;
    int number;     /* enum smem_backend */
    /* How many kernel names one name may have: the caller goes through all. */
    unsigned candidates;
    /* Attaching and dropping need the gate of the name (no lock of their own). */
    bool needs_gate;

    /* A new object of zero bytes that nobody can find yet (posix), or that a
       finder takes for half-made while its header is zero (sysv).
       SMEM_E_NO_ROOM, SMEM_E_LIMIT; -EEXIST: the next candidate. */
    int (*create)(const smem__place *place, const char *name, unsigned candidate,
                  uint64_t size, uint32_t mode, bool reserve, smem__object *out);
    /* Let it be found. -EEXIST. [replace]: in one step in place of the old one. */
    int (*publish)(const smem__place *place, const char *name, bool replace, smem__object *object);
    /* Undo a create that was not published. Not 0: it is still there. */
    int (*discard)(smem__object *object);
    /* Find by name and hold, or look. -ENOENT; -EAGAIN: being ended, try again. */
    int (*open)(const smem__place *place, const char *name, unsigned candidate, uint32_t uid,
                enum smem__reach reach, smem__object *out);
    int (*read)(const smem__object *object, void *buf, size_t size, uint64_t offset);
    /* Write into the header of an object that is open for writing. */
    int (*poke)(const smem__object *object, const void *buf, size_t size, uint64_t offset);
    /* Map all of it, the header for writing where possible, the data from
       [data_offset] on as [mode] says. The mapping holds the object open.
       SMEM_E_SIZE: larger than this process may have anything. */
    int (*map)(const smem__place *place, smem__object *object, int mode, uint64_t data_offset,
               smem__mapping *out);
    void (*close)(smem__object *object);
    void (*unmap)(smem__mapping *mapping);
    /* Let what was inherited shared be this process's own, copy-on-write, where it is. It
       holds the segment still. NULL: that cannot be done. */
    int (*part_from_parent)(const smem__place *place, const char *name, smem__mapping *mapping);
    /* Loosen this mapping, which is the only one here, and claim what it maps. Not 0:
       it is loosened, or not mapped any more ([base] is NULL). NULL: that cannot be done. */
    int (*claim_mapped)(const smem__place *place, const char *name, smem__mapping *mapping,
                        smem__object *out);
    /* Let a loosened mapping hold the segment again, from an object that is claimed
       (by it) or open (where it is apart); it is not claimed any more. */
    int (*join)(const smem__object *object, smem__mapping *mapping);
    /* Free the data's pages of a claimed object without a name, though loosened
       mappings of others still show them. NULL: there are none. */
    int (*empty)(const smem__object *object, uint64_t data_offset);
    /* Give a claimed object that has [name] another one. -ENOENT: it has not. */
    int (*rename)(const smem__place *place, const char *name, const char *to,
                  const smem__object *object);
    /* Does the name lead to this object? */
    bool (*is_at)(const smem__place *place, const char *name, const smem__object *object);
    /* This mapping shall not count any more, though it stays usable: at exit, and
       while it is idle. */
    int (*loosen)(const smem__place *place, const char *name, smem__mapping *mapping);
    /* Undo that. Not 0: it holds nothing still. */
    int (*tighten)(const smem__place *place, const char *name, smem__mapping *mapping);
    /* Find by name and prove that nobody maps it; it cannot be attached while
       claimed. -EBUSY: somebody maps it. [mapping]: NULL, or one of the [own]
       mappings of this process that were loosened. */
    int (*claim)(const smem__place *place, const char *name, unsigned candidate,
                 smem__mapping *mapping, unsigned own, smem__object *out);
    /* Take the name away, if it still leads to this object: else -ENOENT. It is opened
       for that in the gate, or claimed, and where others can lock it in the gate. */
    int (*unlink)(const smem__place *place, const char *name, smem__object *object);
    /* Does the name lead to what is mapped here? */
    bool (*is_current)(const smem__place *place, const char *name, unsigned candidate,
                       const smem__mapping *mapping);
} smem__backend;

/* Let the data of a mapping be read only, from [data_offset] on. */
int smem__mapping_protect(const smem__mapping *mapping, uint64_t data_offset);
/* Put a private copy where a mapping is, which shows the segment no more and does not hold it. */
int smem__mapping_copy(smem__mapping *mapping);

extern const smem__backend smem__posix;
extern const smem__backend smem__sysv;

/* The SysV key that [candidate] stands for. Never IPC_PRIVATE. */
int32_t smem__sysv_key(uint32_t uid, const char *name, unsigned candidate);
/* The name of the segment behind [key] is not known: look at it by its key. */
int smem__sysv_look_key(int32_t key, uint32_t uid, smem__object *out);
/* Claim by key what nobody has attached; [changed]: when it was made. */
int smem__sysv_claim_key(int32_t key, uint32_t uid, int64_t *changed, smem__object *out);

#endif
