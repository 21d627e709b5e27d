#include "base/point.h"

#ifdef SMEM_DEATH_POINTS
/* What a test does at each point; NULL: nothing. File-scope state that only a
   build for that test has. */
void (*smem__at_point)(const smem__point *point);
#else
typedef int smem__no_points; /* a file must declare something */
#endif
