/*
 * One bound on the idle memory of a family: the ledger of src/c/segment/share.c
 * in the family's file, for the model checker Spin.
 *
 * One step is one system call; any process can be killed between any two. The
 * bound is 2 steps of memory, and so is the most that one asks for: what matters
 * is whether two requests fit together or not. The threads of a process ask
 * under one lock, and are one here. A family that is left and one that is joined
 * are the same file, which the bound can only make harder to keep.
 *
 * Checked (assert):
 *   L1  what all participants may keep is never more than the bound
 *   L2  nobody may keep more than its slot says
 *   L3  all dead, then one tidying: the ledger is empty, and who asks is given all
 *   and no process waits for ever (invalid end states).
 *
 * The faults:
 *   FAULT_OBSERVE_BEFORE_PUBLISH  look what the others have, then say it (L1)
 *   FAULT_TIDY_WITHOUT_LOCK       a slot is seen to be free, then cleared (L1, L2)
 *   FAULT_SHARE_OUTLIVES_SLOT     who leaves keeps its share in the next family (L1, L2)
 *   FAULT_SAY_LESS_THEN_KEEP_LESS the slot is lowered first (L1, L2)
 *   FAULT_CHILD_KEEPS_SLOT        a forked child counts on its parent's slot (L1, L2)
 *   FAULT_NO_TIDYING              what the dead had is nobody's (L3)
 */

#define BOUND 2
#ifndef OPS
#define OPS 5           /* operations begun, by all processes together */
#endif
#define NS 4            /* slots */
#define NP 4            /* three participants, and the reaper */
#define REAPER 3
#define NONE 15

/* what dies with a process */
byte slot[NP] = NONE;   /* smem__family.slot */
byte share[NP];         /* smem__family.share */
bit dead[NP];
/* what stays */
byte holds[NS];         /* bit p: p has the open file that holds the slot's lock */
byte says[NS];

byte ops = OPS;
bit forked;

#define BIT(set, i) (((set) >> (i)) & 1)
#define TOTAL (says[0] + says[1] + says[2] + says[3])
#define HONEST(p) (share[p] == 0 || slot[p] != NONE && share[p] <= says[slot[p]])

inline check()
{
    assert(share[0] + share[1] + share[2] <= BOUND);        /* L1 */
    assert(HONEST(0) && HONEST(1) && HONEST(2))             /* L2 */
}

inline unlock_all(p)
{
    holds[0] = holds[0] & ~(1 << (p));
    holds[1] = holds[1] & ~(1 << (p));
    holds[2] = holds[2] & ~(1 << (p));
    holds[3] = holds[3] & ~(1 << (p))
}

/* smem__share_claim, under the lock of the family's file that is to be pinned */
inline join()
{
    s = 0;
    do
    :: s < NS ->
        d_step {
            if
            :: holds[s] == 0 -> holds[s] = 1 << me; got = 1
            :: else -> s++
            fi
        }
        if
        :: got -> says[s] = 0; break
        :: else
        fi
    :: else -> break
    od;
    skip;
    d_step {
        slot[me] = (got -> s : NONE);
        s = 0; got = 0
    }
}

/* smem__share_set, more than before */
inline ask(want)
{
    d_step {
        before = says[slot[me]];
        got = (TOTAL - before + want <= BOUND)
    }
    if
    :: got ->
        says[slot[me]] = want;                              /* publish */
#ifndef FAULT_OBSERVE_BEFORE_PUBLISH
        got = (TOTAL <= BOUND);                             /* observe */
#endif
        if
        :: got -> d_step { share[me] = want; check() }
        :: else -> says[slot[me]] = before
        fi
    :: else
    fi;
    d_step { got = 0; before = 0 }
}

/* smem__cache_give_back */
inline give_back()
{
#ifdef FAULT_SAY_LESS_THEN_KEEP_LESS
    d_step { says[slot[me]] = 0; check() };
    share[me] = 0
#else
    share[me] = 0;
    d_step { says[slot[me]] = 0; check() }
#endif
}

/* smem_leave, smem_new_family: under fork_lock, so nothing is kept in between */
inline move()
{
    d_step {
        unlock_all(me);
        slot[me] = NONE;
#ifndef FAULT_SHARE_OUTLIVES_SLOT
        share[me] = 0
#endif
    }
    join();
    d_step { check() }
}

/* smem__family_renew: a forked child's own slot; then it lets go of its parent's */
inline renew()
{
#ifdef FAULT_CHILD_KEEPS_SLOT
    d_step { slot[me] = inherited; inherited = NONE }
#else
    join();
    d_step {
        if
        :: inherited != NONE -> holds[inherited] = holds[inherited] & ~(1 << me)
        :: else
        fi;
        inherited = NONE
    }
#endif
}

/* smem__share_tidy */
inline tidy()
{
    s = 0;
    do
    :: s < NS && says[s] != 0 ->
#ifdef FAULT_TIDY_WITHOUT_LOCK
        got = (holds[s] == 0);
        if
        :: got -> d_step { says[s] = 0; check() }
        :: else
        fi;
#else
        d_step {
            if
            :: holds[s] == 0 -> holds[s] = 1 << me; got = 1
            :: else
            fi
        }
        if
        :: got -> d_step { says[s] = 0; check() }; holds[s] = holds[s] & ~(1 << me)
        :: else
        fi;
#endif
        got = 0;
        s++
    :: s < NS && says[s] == 0 -> s++
    :: s >= NS -> break
    od;
    skip;
    d_step { s = 0; got = 0 }
}

chan kill[NP] = [0] of { bit };
byte inherited = NONE;  /* slot whose lock a forked child shares with its parent */

proctype Participant(byte me)
{
    byte s, before;
    bit got;
end_unborn:
    !dead[me];
    {
        if
        :: me == 2 -> renew()
        :: else -> join()
        fi;
end_idle:
        do
        :: d_step { ops > 0 && slot[me] != NONE && share[me] < 2 -> ops-- };
            if
            :: share[me] == 0 -> ask(1)
            :: ask(2)
            fi
        :: d_step { ops > 0 && share[me] > 0 && slot[me] != NONE -> ops-- }; give_back()
        :: d_step { ops > 0 -> ops-- }; move()
        :: d_step {
                ops > 0 && me < 2 && !forked && slot[me] != NONE ->
                ops--;
                forked = 1;
                inherited = slot[me];
                holds[inherited] = holds[inherited] | 4;
                dead[2] = 0
            }
        od
    } unless {
        atomic {                                            /* SIGKILL */
            kill[me]?_;
            d_step {
                unlock_all(me);
                slot[me] = NONE; share[me] = 0; dead[me] = 1;
                s = 0; before = 0; got = 0
            }
        }
    }
}

/* Tidies whenever it wakes, until it is killed; and after all are dead. */
proctype Reaper(byte me)
{
    byte s;
    bit got;
    {
end_asleep:
        do
        :: d_step { ops > 0 -> ops-- }; tidy()
        od
    } unless {
        atomic {
            kill[me]?_;
            d_step { unlock_all(me); dead[me] = 1; s = 0; got = 0 }
        }
    }
}

proctype Killer()
{
end:
    do
    :: kill[0]!0
    :: kill[1]!0
    :: kill[2]!0
    :: kill[REAPER]!0
    od
}

/* The next reaper, and the next participant. */
proctype Next(byte me)
{
    byte s, before;
    bit got;
end_waiting:
    dead[0] && dead[1] && dead[2] && dead[REAPER];
    dead[me] = 0;
#ifndef FAULT_NO_TIDYING
    tidy();
#endif
    join();
    ask(2);
    assert(share[me] == 2 && TOTAL == 2)                    /* L3 */
}

init
{
    atomic {
        dead[2] = 1;
        run Participant(0);
        run Participant(1);
        run Participant(2);
        run Reaper(REAPER);
        run Killer();
        run Next(0)
    }
}
