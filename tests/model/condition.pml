/*
 * Who goes on after a notification, when others give up at the same time: the
 * protocol of src/c/segment/condition.c, for the model checker Spin.
 *
 * One step is one atomic operation. Three threads wait once each; up to GIVE_UPS of
 * them give up, at any moment. Another notifies NOTIFIED times, one or all, under the
 * lock that those who begin to wait hold as well. A sleep ends by a wake-up only: that a
 * slice ends it, too, must not be needed where nobody dies.
 *
 * Checked (assert):
 *   C1  no more go on than were notified
 *   C2  one that was notified before it gives up, and is told that it was not, leaves no
 *       permit
 *   C3  nobody sleeps beside a permit that is its own
 *   C4  all who wait when all are notified go on, whoever comes later
 *   C5  all that wait and were not notified are counted
 *
 * The faults, each a -D that run shows to be caught:
 *   FAULT_PERMIT_STAYS  one that gives up leaves its permit where more wait than there are
 *                       permits, though they came later
 *   FAULT_LOOK_LATE     one that gives up looks at the counts after it has looked whether
 *                       any permit can be its own
 *   FAULT_WAKE_FIRST    those who sleep are woken before there is a permit
 *   FAULT_ALL_BY_PERMITS  notifying all gives a permit to each that waits
 *   FAULT_NO_GENERATION   the counts begin anew as the same counts
 */
#define N 3
#ifndef NOTIFIED
#define NOTIFIED 2
#endif
#ifndef GIVE_UPS
#define GIVE_UPS 1
#endif

bool locked;
byte waiting, permits, generation; /* one word */
byte next, mark, all, word;
byte ticket[N];
bool asleep[N];
bool waits[N], owed[N]; /* what is true: owed was notified with all others */
byte went_on, notified, give_ups = GIVE_UPS;

#define MINE(me) (ticket[me] < mark)
#define GOES(me) (ticket[me] < all)
#define LEFT(me) (owed[me] || GOES(me) || permits > 0 && MINE(me))
#define COUNTS(me) (asleep[me] && !GOES(me) -> 1 : 0)
#ifdef FAULT_NO_GENERATION
#define SAME (seen == waiting && seen_permits == permits)
#else
#define SAME (seen == waiting && seen_permits == permits && seen_generation == generation)
#endif

inline take_permit(me) { permits--; waiting--; went_on++; waits[me] = false }
inline forget() { seen = 0; seen_permits = 0; seen_generation = 0 } /* fewer states */
inline look() { seen = waiting; seen_permits = permits; seen_generation = generation }

/* All that wait now. */
inline owe() {
    if
    :: count == N -> owed[0] = waits[0]; owed[1] = waits[1]; owed[2] = waits[2]
    :: else -> skip
    fi
}

inline wake_all() { d_step { asleep[0] = false; asleep[1] = false; asleep[2] = false } }

inline wake() {
    if
    :: asleep[0] -> asleep[0] = false
    :: asleep[1] -> asleep[1] = false
    :: asleep[2] -> asleep[2] = false
    :: !asleep[0] && !asleep[1] && !asleep[2] -> skip
    fi
}

proctype waiter(byte me) {
    byte seen_word, seen, seen_permits, seen_generation;
    bool mine, due; /* due: a permit was its own, whatever it looked at */
    /* smem_condition_begin, under the lock */
    atomic {
        !locked && next == me; /* they are alike: in this order */
        ticket[me] = next;
        next++;
        seen_word = word;
        waiting++;
        waits[me] = true
    };
    do
    :: /* smem__goes_on: the counts, then the marks */
        atomic { look() };
        do
        :: GOES(me) -> atomic { went_on++; waits[me] = false; goto out }
        :: else ->
            if
            :: seen_permits > 0 && MINE(me) ->
                atomic {
                    if
                    :: SAME -> take_permit(me); goto out
                    :: else -> look()
                    fi
                }
            :: else -> atomic { forget(); break }
            fi
        od;
        /* the futex looks at the word before it sleeps */
        if
        :: atomic { seen_word == word -> asleep[me] = true };
end_asleep: if
            :: !asleep[me] -> skip
            :: atomic { asleep[me] && give_ups > 0 -> give_ups--; asleep[me] = false };
                break
            fi
        :: seen_word != word -> skip
        fi;
        seen_word = word
    od;
    /* smem_condition_cancel */
    do
    ::
#ifdef FAULT_LOOK_LATE
        mine = MINE(me);
#endif
        atomic { look(); due = MINE(me) && permits > 0 };
        if
        :: GOES(me) -> atomic { went_on++; waits[me] = false; break }
        :: else -> skip
        fi;
#ifndef FAULT_LOOK_LATE
        mine = MINE(me);
#endif
#ifdef FAULT_PERMIT_STAYS
        mine = mine && seen_permits == seen;
#endif
        atomic {
            if
            :: SAME ->
                if
                :: mine && permits > 0 -> take_permit(me)
                :: else -> waiting--; waits[me] = false; assert(!due && !owed[me])
                fi;
                break
            :: else -> skip
            fi
        }
    od;
out:
    atomic { forget(); seen_word = 0; mine = false; due = false; owed[me] = false; ticket[me] = 0 }
}

/* smem_condition_notify: the lock keeps others from beginning, and nothing else */
proctype notifier() {
    byte times, count, seen, seen_permits, seen_generation;
    bool to_all;
    do
    :: times < NOTIFIED ->
        times++;
        atomic {
            locked = true;
            if
            :: count = 1
            :: count = N
            fi;
            look()
        };
        if
        :: seen == 0 -> skip
        :: else ->
#ifdef FAULT_WAKE_FIRST
            word++;
            atomic { wake_all() };
#endif
            do
            ::
#ifndef FAULT_ALL_BY_PERMITS
                to_all = count >= seen - seen_permits;
#endif
                if
                :: to_all -> all = next
                :: else -> mark = next
                fi;
                atomic {
                    if
                    :: SAME && to_all ->
                        /* those that are not counted any more were counted as notified */
                        notified = notified + waiting - permits;
                        waiting = 0; permits = 0; generation++;
                        owe();
                        break
                    :: SAME && !to_all ->
                        owe();
                        if
                        :: count > waiting - permits -> count = waiting - permits
                        :: else -> skip
                        fi;
                        notified = notified + count;
                        permits = permits + count;
                        break
                    :: else -> look()
                    fi
                }
            od;
#ifndef FAULT_WAKE_FIRST
            word++;
            if
            :: count > 1 -> atomic { wake_all() }
            :: else -> atomic { wake() }
            fi
#endif
        fi;
        atomic { forget(); count = 0; to_all = false; locked = false }
    :: else -> break
    od
}

init {
    atomic { run waiter(0); run waiter(1); run waiter(2); run notifier() }
    timeout; /* nothing can happen any more */
    assert(went_on <= notified);
    assert(!(asleep[0] && LEFT(0)) && !(asleep[1] && LEFT(1)) && !(asleep[2] && LEFT(2)));
    assert(waiting >= COUNTS(0) + COUNTS(1) + COUNTS(2))
}
