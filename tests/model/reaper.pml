/*
 * The reaper: what it frees when nobody uses the library any more
 * (src/c/reaper/reaper.c, src/c/segment/reaper.c, src/c/os/watch.c), for the
 * model checker Spin.
 *
 * One family of two participants, one segment, and a process of another family
 * that sweeps, so that three look at the segment at once. A participant can be
 * killed between any two steps, and its end takes three: the kernel reports that
 * the family's file was closed, then the lock of that file goes, then what else
 * it had mapped. One step is one system call otherwise.
 *
 * Time is two assumptions, which the pauses of reaper.c stand for: five seconds
 * after a report (SMEM__LAST_MS) the process that it was about has ended; 50 ms
 * after a sweep (SMEM__SOON_MS) a test that another one was at is over. Nothing
 * else waits for time. The reaper is not killed here: then the next participant
 * does its work, which is what lifetime.pml ends with. Honorary members are left
 * out: to the reaper they are participants whose end another fd reports.
 *
 * Checked (assert):
 *   P2  a test takes no name while anybody maps the segment
 *   P3  nor while a ticket is valid
 *   Q1  at most one reaper guards the family
 *   Q2  all participants gone, and nobody uses the library: no segment, no file of
 *       the family, no reaper is left. Two things are left to the next participant:
 *       the file of a family whose members made and attached nothing, for which no
 *       reaper was started; and what a process maps that is killed inside
 *       smem_leave, when its family has ended and the reaper with it.
 *   and nobody waits for ever but a reaper for participants (invalid end states).
 *
 * The faults:
 *   FAULT_SWEEP_ONCE           one look after a report, which may be too early (Q2)
 *   FAULT_LOOK_BEFORE_WATCH    looked once, then watched: who dies in between is missed (Q2)
 *   FAULT_REST_ONCE            one sweep at the end, while another looks (Q2)
 *   FAULT_TOO_LATE_TO_GUARD    who finds no family to guard any more does not sweep (Q2)
 *   FAULT_START_AFTER_CREATE   the reaper is started when the segment stands (Q2)
 *   FAULT_NO_BYTE1             a second reaper does not ask whether there is one (Q1)
 *   FAULT_DEAD_BY_REPORT       the report is taken for the end of the family (P2, P3)
 */

#ifndef OPS
#define OPS 3           /* operations begun, by all processes together */
#endif
#define NP 5            /* two participants, a stranger, two reapers */
#define STRANGER 2
#define FIRST 3         /* reaper */
#define NONE 15

#define BIT(set, i) (((set) >> (i)) & 1)

/* what dies with a process */
bit pin[2];             /* maps the family's file, and its shared lock */
bit maps[2];            /* maps the segment, and its shared lock */
byte over = NONE;       /* who holds the exclusive lock of the family's file */
byte claims = NONE;     /* who holds the exclusive lock of the segment */
byte guards;            /* bit r: reaper r holds byte 1 */
byte watches;           /* bit r: its watch is open */
bit dying[2], dead[2];
bit ended[NP];          /* reapers */

/* what stays */
bit file = 1;           /* the family's */
bit at;                 /* the segment's name */
bit ticket;
byte reports;           /* bit r: an event waits for reaper r */
byte started;           /* reapers so far */

bit made, lapsed, ever; /* ghosts */
bit gap;                /* killed while it left: a member no more, and mapping still */
byte ops = OPS;

#define DYING (dying[0] || dying[1])
#define MEMBERS (pin[0] || pin[1])
#define MAPPED (maps[0] || maps[1])

inline report() { reports = reports | watches }

/* smem__last_one_out. [guarded]: smem_context.guarded or .dying: 1 alive, 0 dead,
   NONE: to be looked up */
inline test(guarded)
{
    d_step {                                                /* smem__posix_claim */
        if
        :: at && !MAPPED && claims == NONE -> claims = me
        :: else
        fi
    }
    if
    :: claims == me ->
        d_step {                                            /* smem__judge */
            if
            :: !ticket -> alive = 0
            :: ticket && guarded != NONE -> alive = guarded
            :: else -> alive = (file && (MEMBERS || over != NONE)) /* smem__family_seems_alive */
            fi
        }
        if
        :: !alive ->
            d_step {
                assert(!MAPPED);                            /* P2 */
                assert(!ticket || lapsed);                  /* P3 */
                at = 0
            }
        :: else
        fi;
        d_step { claims = NONE; alive = 0 }
    :: else
    fi
}

/* ---- participants --------------------------------------------------------------- */

chan kill[2] = [0] of { bit };

/* smem__reaper_ensure, smem__family_is_guarded, smem__spawn */
inline ensure()
{
    d_step {
        if
        :: guards == 0 && started < 2 -> started++; ever = 1 /* runs from now on */
        :: else
        fi
    }
}

inline leave()
{
    d_step { pin[me] = 0; report(); lapsed = lapsed | !MEMBERS }; /* smem__family_leave */
    d_step {
        if
        :: file && !MEMBERS && over == NONE -> over = me
        :: else
        fi
    }
    maps[me] = 0;                                           /* smem__leave_segments */
    if
    :: over == me -> test(0)                                /* ctx->dying */
    :: else -> test(NONE)
    fi;
    if
    :: over == me ->                                        /* smem__family_bury */
        d_step { file = 0; report() };
        d_step { over = NONE; report() }
    :: else
    fi
}

proctype Participant(byte me)
{
    bit alive;
    {
end_idle:
        do
        :: d_step { ops > 0 && !made -> ops--; made = 1 };
#ifndef FAULT_START_AFTER_CREATE
            ensure();                                       /* smem__begin_mapping */
#endif
            d_step { at = 1; maps[me] = 1 };                /* smem_create */
#ifdef FAULT_START_AFTER_CREATE
            ensure()
#else
            skip
#endif
        :: d_step { ops > 0 && maps[me] && !ticket -> ops-- };
            ticket = 1                                      /* smem_ticket_issue */
        :: d_step { ops > 0 && at && ticket && !maps[me] && claims == NONE -> ops-- };
            ensure();
            d_step {                                        /* smem_receive */
                if
                :: at && claims == NONE -> maps[me] = 1
                :: else
                fi
            }
            if
            :: maps[me] -> ticket = 0
            :: else
            fi
        :: d_step { ops > 0 && maps[me] -> ops-- };
            maps[me] = 0;                                   /* smem_detach */
            test(1)
        :: d_step { ops > 0 -> ops-- }; leave(); break
        od;
        dead[me] = 1
    } unless {
        atomic {
            kill[me]?_;                                     /* SIGKILL */
            d_step { gap = gap | !pin[me]; dying[me] = 1; alive = 0; report() } /* its files are closed, */
        }
    };
    if
    :: dying[me] ->
        d_step {                                            /* then its locks go, */
            pin[me] = 0;
            lapsed = lapsed | !MEMBERS;
            if
            :: over == me -> over = NONE
            :: else
            fi;
            if
            :: claims == me -> claims = NONE
            :: else
            fi
        }
        d_step { maps[me] = 0; dying[me] = 0; dead[me] = 1 } /* then other mappings */
    :: else
    fi
}

proctype Killer()
{
end:
    do
    :: kill[0]!0
    :: kill[1]!0
    od
}

/* Another family's participant or reaper, which sweeps once, at any time. */
proctype Stranger(byte me)
{
    bit alive;
end_still:
    test(NONE)
}

/* ---- the reaper -------------------------------------------------------------------- */

/* smem__family_has_ended: 1, 0, or 2 for -ENOENT */
inline look()
{
    d_step {
        if
#ifdef FAULT_DEAD_BY_REPORT
        :: DYING -> over = me
#endif
        :: !MEMBERS && over == NONE -> over = me
        :: else
        fi;
        result = (over != me -> 0 : (file -> 1 : 2))
    }
}

proctype Reaper(byte me)
{
    bit alive, again, gone;
    byte result;
end_unborn:
    started > me - FIRST;
    d_step {                                                /* smem__family_guard */
        if
        :: !file -> gone = 1
#ifndef FAULT_NO_BYTE1
        :: file && guards != 0 -> skip
#endif
        :: else -> guards = guards | (1 << (me - FIRST)); assert(guards != 3) /* Q1 */
        fi
    }
    if
    :: BIT(guards, me - FIRST) ->
#ifndef FAULT_LOOK_BEFORE_WATCH
        watches = watches | (1 << (me - FIRST));            /* smem__watch_open */
#endif
#ifndef FAULT_LOOK_BEFORE_WATCH
        again = 1;
#endif
        do                                                  /* smem__guard */
        :: look();
            if
            :: result != 0 -> break
            :: else -> test(1)                              /* smem__reap_some */
            fi;
#ifdef FAULT_LOOK_BEFORE_WATCH
            watches = watches | (1 << (me - FIRST));
#endif
end_asleep:
            if                                              /* smem__watch_wait */
            :: BIT(reports, me - FIRST) ->
                reports = reports & ~(1 << (me - FIRST));
#ifndef FAULT_SWEEP_ONCE
                again = 1
#else
                again = 0
#endif
            :: again && !BIT(reports, me - FIRST) && !DYING -> again = 0 /* SMEM__LAST_MS */
            fi
        od;
        if
        :: result == 1 -> file = 0                          /* smem__family_bury */
        :: else
        fi;
        d_step {
            if
            :: over == me -> over = NONE
            :: else
            fi;
            guards = guards & ~(1 << (me - FIRST));
            watches = watches & ~(1 << (me - FIRST))
        }
        gone = 1
    :: else
    fi;
#ifdef FAULT_TOO_LATE_TO_GUARD
    gone = gone && result != 0;
#endif
    if
    :: gone ->
        test(NONE);                                         /* smem__reap_rest */
#ifndef FAULT_REST_ONCE
        !DYING && claims == NONE;                           /* SMEM__SOON_MS */
        test(NONE)
#endif
    :: else
    fi;
    ended[me] = 1
}

proctype Monitor()
{
end_waiting:
    dead[0] && dead[1];
    timeout;                                                /* nobody has anything to do */
    assert(!at || gap);                                     /* Q2 */
    assert(!ever || !file);
    assert(started < 1 || ended[FIRST]);
    assert(started < 2 || ended[FIRST + 1])
}

init
{
    atomic {
        pin[0] = 1;
        pin[1] = 1;
        run Participant(0);
        run Participant(1);
        run Stranger(STRANGER);
        run Reaper(FIRST);
        run Reaper(FIRST + 1);
        run Killer();
        run Monitor()
    }
}
