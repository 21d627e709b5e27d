/*
 * A small harness. Each test is a function in a process of its own, with a time
 * limit, in a directory of its own; after it nothing of the library may be
 * left: no file in that directory, no SysV segment, no fd, no child.
 *
 *   TEST(name) { CHECK_OK(smem_...); }
 *   int main(int argc, char **argv) { return check_main(argc, argv); }
 *
 * Arguments choose tests by name; without any all are run. The output is TAP.
 */
#ifndef CHECK_H
#define CHECK_H

#include "sharedmem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- tests --------------------------------------------------------------- */

typedef struct check_test {
    const char *name;
    void (*run)(void);
    struct check_test *next;
} check_test;

void check_add(check_test *test);
int check_main(int argc, char **argv);
/* As check_main(); the first argument is "posix" or "sysv", and goes to [backend]. */
int check_main_on_backend(int argc, char **argv, int *backend);

#define TEST(name)                                                            \
    static void name(void);                                                   \
    __attribute__((constructor)) static void check_add_##name(void)           \
    {                                                                         \
        static check_test test = {#name, name, NULL};                         \
        check_add(&test);                                                     \
    }                                                                         \
    static void name(void)

/* ---- checks -------------------------------------------------------------- */

void check_equal(const char *file, int line, const char *what, int64_t got, int64_t want);
void check_code(const char *file, int line, const char *what, int got, int want);
void check_text(const char *file, int line, const char *what, const char *got, const char *want);
void check_true(const char *file, int line, const char *what, bool got);
_Noreturn void check_skip(const char *why);
/* For what valgrind itself cannot do (make memcheck). */
bool check_in_valgrind(void);
void check_skip_in_valgrind(const char *why);

#define CHECK(condition) check_true(__FILE__, __LINE__, #condition, (condition))
#define CHECK_EQ(got, want)                                                   \
    check_equal(__FILE__, __LINE__, #got " == " #want, (int64_t)(got), (int64_t)(want))
#define CHECK_CODE(got, want) check_code(__FILE__, __LINE__, #got " == " #want, (got), (want))
#define CHECK_OK(got) check_code(__FILE__, __LINE__, #got, (got), 0)
#define CHECK_STR(got, want) check_text(__FILE__, __LINE__, #got " == " #want, (got), (want))

/* ---- where a test works -------------------------------------------------- */

/* The test's own directory, writable by everybody. */
const char *check_directory(void);
/* "check.<random>.<what>", one of a few static buffers: SysV keys are not per
   directory, so names must not be used by another run at the same time. */
const char *check_name(const char *what);
/* Become a participant in the directory; [family] as in smem_options. */
smem_context *check_open(const char *family);
/* Files of one kind of the user in the directory. */
unsigned check_files(char kind);
/* Does the kernel object still have a name? */
bool check_exists(const smem_info *info);
unsigned check_fds(void);
/* In the place of smem__sys.futex: nobody sleeps or wakes, and how many the last call would have woken. */
long check_note_wakes(const _Atomic uint32_t *word, int operation, uint32_t value,
                      const struct timespec *timeout, uint32_t bits);
extern uint32_t check_offered;
unsigned check_threads(void); /* started so far by this program */
/* What is left of the library: files, and SysV segments made since the start of
   the test. Says what on stderr when [say]. */
unsigned check_left(bool say);
/* Remove the SysV segments that are left. */
void check_remove_segments(void);

/* Skip where the kernel tells nothing of processes. */
void check_needs_proc(void);

/* ---- other processes ----------------------------------------------------- */

/* One end of a conversation between parent and child. */
typedef struct check_peer {
    pid_t pid;
    int in, out;
} check_peer;

typedef void check_body(check_peer *parent, void *arg);

/* Run [body] in a forked child, which ends with _exit(0) after it. */
check_peer check_fork(check_body *body, void *arg);
void check_tell(check_peer *peer, uint64_t word);
/* Waits; fails when the other side has ended. */
uint64_t check_hear(check_peer *peer);
/* Wait for the end: exit status, or 128 + signal. */
int check_wait(check_peer *child);
/* Close the way to a child that reads until then; it must end with success. */
void check_end(check_peer *child);
/* SIGKILL, then wait. */
void check_kill(check_peer *child);

#endif
