/*
 * Who goes on after a notification, when others give up at the same time: the
 * protocol of src/c/segment/condition.c, for the model checker Spin.
 *
 * One step is one atomic operation. Three threads wait once each; up to GIVE_UPS of
 * them give up, at any moment. Another notifies NOTIFIED times, one at a time, under
 * the lock that those who begin to wait hold as well. A sleep ends by a wake-up only:
 * that a slice ends it, too, must not be needed where nobody dies.
 *
 * Checked (assert):
 *   C1  no more go on than were notified
 *   C2  one that was notified before it gives up, and is told that it was not, leaves no
 *       permit
 *   C3  nobody sleeps beside a permit that is its own
 *
 * The faults, each a -D that run shows to be caught:
 *   FAULT_PERMIT_STAYS  one that gives up leaves its permit where more wait than there are
 *                       permits, though they came later
 *   FAULT_LOOK_LATE     one that gives up looks at the counts after it has looked whether
 *                       any permit can be its own
 *   FAULT_WAKE_FIRST    those who sleep are woken before there is a permit
 */
#define N 3
#ifndef NOTIFIED
#define NOTIFIED 2
#endif
#ifndef GIVE_UPS
#define GIVE_UPS 1
#endif

bool locked;
byte waiting, permits;     /* one word */
byte next, mark, word;
byte ticket[N];
bool asleep[N];
byte went_on, notified, give_ups = GIVE_UPS;

#define MINE(me) (ticket[me] < mark)

inline take_permit(me) { permits--; waiting--; went_on++ }

inline wake() {
    if
    :: asleep[0] -> asleep[0] = false
    :: asleep[1] -> asleep[1] = false
    :: asleep[2] -> asleep[2] = false
    :: !asleep[0] && !asleep[1] && !asleep[2] -> skip
    fi
}

proctype waiter(byte me) {
    byte seen_word, seen, seen_permits;
    bool mine, due; /* due: a permit was its own, whatever it looked at */
    /* smem_condition_begin, under the lock */
    atomic {
        !locked;
        ticket[me] = next;
        next++;
        seen_word = word;
        waiting++
    };
    do
    :: /* smem__take_permit: the mark, then the counts */
        if
        :: MINE(me) ->
            if
            :: atomic { permits > 0 -> take_permit(me) }; goto out
            :: permits == 0 -> skip
            fi
        :: else -> skip
        fi;
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
        atomic { seen = waiting; seen_permits = permits; due = MINE(me) && permits > 0 };
#ifndef FAULT_LOOK_LATE
        mine = MINE(me);
#endif
#ifdef FAULT_PERMIT_STAYS
        mine = mine && seen_permits == seen;
#endif
        atomic {
            if
            :: seen == waiting && seen_permits == permits ->
                if
                :: mine && permits > 0 -> take_permit(me)
                :: else -> waiting--; assert(!due)
                fi;
                break
            :: else -> skip
            fi
        }
    od;
out:
    skip
}

/* smem_condition_notify: the lock keeps others from beginning, and nothing else */
proctype notifier() {
    byte times, seen, seen_permits, more;
    do
    :: times < NOTIFIED ->
        times++;
        atomic { locked = true; notified++ };
        atomic { seen = waiting; seen_permits = permits };
        if
        :: seen == 0 -> skip
        :: else ->
            mark = next;
#ifdef FAULT_WAKE_FIRST
            word++;
            atomic { wake() };
#endif
            do
            :: atomic {
                more = (seen > seen_permits -> 1 : 0);
                if
                :: seen == waiting && seen_permits == permits -> permits = permits + more; break
                :: else -> seen = waiting; seen_permits = permits
                fi }
            od;
#ifndef FAULT_WAKE_FIRST
            word++;
            if
            :: more -> atomic { wake() }
            :: else -> skip
            fi
#endif
        fi;
        locked = false
    :: else -> break
    od
}

init {
    atomic { run waiter(0); run waiter(1); run waiter(2); run notifier() }
    timeout; /* nothing can happen any more */
    assert(went_on <= notified);
    assert(!(asleep[0] && permits > 0 && MINE(0)) && !(asleep[1] && permits > 0 && MINE(1)) &&
           !(asleep[2] && permits > 0 && MINE(2)))
}
