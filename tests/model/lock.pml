/*
 * Who gets a lock that one after the other gives back, and any may die: the
 * protocol of src/c/segment/lock.c, for the model checker Spin.
 *
 * One step is one atomic operation or one system call. Three processes want the
 * lock once each; up to KILLS of them are killed between any two steps. A sleep is
 * a futex's: it begins only while the word is as expected, and ends by a wake-up
 * or with its slice, after which the sleeper asks whether the holder lives.
 *
 * Checked (assert):
 *   H1  two living processes never hold the lock at once
 *   H2  who gets it after a death is told, until somebody has recovered it
 *   H3  nobody waits for ever
 *
 * The faults, each a -D that run shows to be caught:
 *   FAULT_TAKE_ANYTHING  the dead holder's lock is taken without comparing (H1)
 *   FAULT_NO_SLICE       sleeps end by wake-ups only: a killed one's is lost (H3)
 *   FAULT_NO_MARK        who was woken takes it without the mark of those who wait:
 *                        where nobody dies and SLICES is 0 the others sleep on (H3)
 *   FAULT_LOST_IS_DEAD   the holder's byte, free in a family's file that was made anew, proves
 *                        its death (H1)
 *   FAULT_BYTE_ALONE     nothing but that byte does, though a child of the dead one has it (H3)
 *   FAULT_FORGET_DAMAGE  giving back clears the damage (H2)
 */
#ifndef KILLS
#define KILLS 2
#endif
#ifndef SLICES
#ifdef FAULT_NO_SLICE
#define SLICES 0
#else
#define SLICES 1
#endif
#endif
#define N 3
#define FREE 3

byte holder = FREE;
bool waiters, damaged;
bool alive[N] = true;
bool inside[N], asleep[N], done[N];
bool lost;              /* somebody removed the family's file, another is there */
bool inherited[N];      /* a child that could open nothing keeps the byte locked */
bool hurt;              /* one has died inside, and nobody has recovered it */
byte kills = KILLS;

#define DIES(me) (!alive[me])

/* smem__take, smem__take_from_dead: within the step that changes the state */
inline take(me, told) {
    inside[me] = true;
    assert(!(me != 0 && alive[0] && inside[0]) && !(me != 1 && alive[1] && inside[1]) &&
           !(me != 2 && alive[2] && inside[2]));
    assert(!hurt || told)
}

/* smem__futex_wake of one, by smem_lock_release */
inline wake() {
    if
    :: asleep[0] -> asleep[0] = false
    :: asleep[1] -> asleep[1] = false
    :: asleep[2] -> asleep[2] = false
    :: !asleep[0] && !asleep[1] && !asleep[2] -> skip
    fi
}

proctype process(byte me) {
    byte seen, seen_damaged;
    bool waited, told, mark, over;
    {
        skip;
again:
        seen = holder;
        if
        :: seen == FREE ->
            atomic {
                if
                :: holder == FREE ->
                    holder = me;
                    told = damaged;
#ifndef FAULT_NO_MARK
                    waiters = waiters || waited;
#endif
                    take(me, told);
                    goto held
                :: else -> goto again
                fi
            }
        :: else ->
            atomic {
                if
                :: holder == seen -> waiters = true; waited = true
                :: else -> goto again
                fi
            }
            /* smem__sleep: the futex looks at the word once more before it sleeps */
            atomic {
                if
                :: holder == seen && waiters -> asleep[me] = true
                :: else -> goto again
                fi
            }
#if SLICES == 0
            asleep[me] == false; over = false;
#else
            if
            :: asleep[me] == false -> over = false
            :: atomic { asleep[me] -> asleep[me] = false; over = true }
            fi;
#endif
            if
            :: !over -> goto again
            :: else ->
                seen = holder;
                if
                :: seen == FREE -> goto again
                :: else -> skip
                fi;
                /* smem__holder_lives: the process itself, else the byte in the file of its
                   edition. What neither shows lives. */
                if
#ifdef FAULT_LOST_IS_DEAD
                :: lost || !alive[seen] -> skip
                :: !lost && alive[seen] -> goto again
#else
#ifdef FAULT_BYTE_ALONE
                :: !alive[seen] && !inherited[seen] -> skip
                :: alive[seen] -> goto again
                :: !alive[seen] && inherited[seen] -> holder != seen; goto again /* for ever */
#else
                :: !alive[seen] -> skip
                :: alive[seen] -> goto again
#endif
#endif
                fi;
                atomic {
#ifdef FAULT_TAKE_ANYTHING
                    if
                    :: true ->
#else
                    if
                    :: holder == seen ->
#endif
                        holder = me;
                        waiters = true;
                        damaged = true;
                        told = true;
                        take(me, told);
                        goto held
                    :: else -> goto again
                    fi
                }
            fi
        fi;
held:
        /* recovers what it was told of, or gives it back as it is */
        if
        :: told -> d_step { damaged = false; hurt = false }
        :: true -> skip
        fi;
        atomic {
            mark = waiters;
            waiters = false;
#ifdef FAULT_FORGET_DAMAGE
            damaged = false;
#endif
            inside[me] = false;
            holder = FREE
        }
        if
        :: mark -> atomic { wake() }
        :: else -> skip
        fi;
        done[me] = true
    } unless { DIES(me) }
}

proctype killer() {
    do
    :: kills > 0 ->
        atomic {
            kills--;
            if
            :: alive[0] && !done[0] -> alive[0] = false; asleep[0] = false; hurt = hurt || inside[0]
            :: alive[1] && !done[1] -> alive[1] = false; asleep[1] = false; hurt = hurt || inside[1]
            :: alive[2] && !done[2] -> alive[2] = false; asleep[2] = false; hurt = hurt || inside[2]
            :: true -> skip
            fi
        }
    :: kills == 0 -> break
    od
}

/* Both at any moment, or never. */
proctype others() {
    if
    :: lost = true
    :: inherited[0] = true
    :: skip
    fi
}

init {
    atomic {
        run others();
        run process(0);
        run process(1);
        run process(2);
        run killer()
    }
    timeout; /* nothing can happen any more */
    assert((done[0] || !alive[0]) && (done[1] || !alive[1]) && (done[2] || !alive[2]))
}
