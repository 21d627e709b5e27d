/*
 * Points of the protocol at which a process can be told to die.
 *
 *   SMEM__POINT("create.complete", "complete and mapped; posix: without a name");
 *
 * The first text names the point, the second says what is so for everybody else
 * if the process ends there. They stand between any two system calls that change
 * what others see, and after each step of the ticket table. In a build with
 * -Ddeath_points=true a test sets the hook and dies in it (tests/c/test_death.c),
 * and doc/reference/death-points.rst lists them from here. In every other build
 * they are nothing.
 */
#ifndef SMEM_POINT_H
#define SMEM_POINT_H

#ifdef SMEM_DEATH_POINTS

enum { SMEM__POINT_NAME = 32 };

/* All names lie side by side in a section of their own: an array for the test. */
typedef char smem__point[SMEM__POINT_NAME];
extern const smem__point __start_smem_points[], __stop_smem_points[];

__attribute__((visibility("default"))) extern void (*smem__at_point)(const smem__point *point);

#define SMEM__POINT(name, state)                                              \
    do {                                                                      \
        static const smem__point smem__here                                   \
            __attribute__((section("smem_points"), used)) = name;             \
        if (smem__at_point)                                                   \
            smem__at_point(&smem__here);                                      \
    } while (0)

#else

#define SMEM__POINT(name, state) ((void)0)

#endif

#endif
