#include "base/point.h"

/* What a test does at each point; NULL: nothing. */
void (*smem__at_point)(const smem__point *point);
