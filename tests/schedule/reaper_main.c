/* The reaper, a program of its own, as a function. */
#define main reaper_main
int reaper_main(int count, char **arguments);
#include "reaper/reaper.c"
