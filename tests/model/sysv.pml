/*
 * When a SysV segment's memory is freed, and by whom: the protocol of
 * src/c/segment/ and src/c/os/sysv.c, for the model checker Spin.
 *
 * The kernel counts attachments and knows no lock, so the gate of the name
 * stands for the lock: shared to attach, exclusive to create, unlink and judge.
 * The journal says which keys are ours, since they cannot be listed by name.
 * Families are one step here; lifetime.pml has their files in full.
 *
 * One step is one system call or one atomic exchange; any process can be killed
 * between any two. Properties as in lifetime.pml:
 *   P1  no attach ends with memory that a test has freed
 *   P2  a test removes no segment that anybody else has attached
 *   P3  a test removes no segment with a valid ticket
 *   P4  a test removes the very segment it meant
 *   P5  receiving what is validly in flight succeeds, unless someone unlinked it
 *   P7  all dead, then one sweep: no segment and no journal entry is left
 *
 * The faults:
 *   FAULT_NO_GATE                attach without the gate (P1, P2)
 *   FAULT_TICKETS_BEFORE_COUNT   tester reads the tickets, then counts (P3)
 *   FAULT_COUNT_ONCE             tester counts before it attaches, under no gate (P2)
 *   FAULT_FREE_BEFORE_MAP        receiver frees the ticket, then attaches (P3)
 *   FAULT_JOURNAL_AFTER_SHMGET   a maker's death leaves what nobody finds (P7)
 *   FAULT_ANOTHER_DIRECTORY      each process passes a gate of its own (P1, P2)
 *   FAULT_REUSED_ID              late test does not look at the nonce (P4)
 */

#ifndef NI
#define NI 2            /* segments that can be made */
#endif
#ifndef OPS
#define OPS 4           /* operations begun, by all processes together */
#endif
#define ND 2            /* descriptors that can be sent */
#define NP 4            /* three participants, and the reclaimer at the end */
#define NONE 15
#define ANY 14

#define UNLOCKED 0
#define SHARED 1
#define EXCLUSIVE 2

/* what dies with a process */
byte maps[NP];          /* bit i: has segment i attached, for its user */
byte probe[NP] = NONE;  /* segment attached afresh, to look at or to judge */
byte gate[NP];          /* how it holds the gate */
byte family[NP] = NONE; /* participant of this family: 0, 0, 1 */
bit dead[NP];

/* what stays */
byte key = NONE;        /* segment that has the key */
byte journal;           /* bit i: entry of segment i */
byte whole;             /* bit i: header complete (magic written) */
byte made;
byte slot[NI];          /* 0, or 1 + number of the ticket in it */
byte sent, names[ND], tag[ND], channel;

/* ghosts */
byte freed, taken, spent, lapsed;

byte ops = OPS;
bit forked;

#define BIT(set, i) (((set) >> (i)) & 1)
#define ATTACHED(p, i) (BIT(maps[p], i) + (probe[p] == (i)))
#define NATTCH(i) (ATTACHED(0, i) + ATTACHED(1, i) + ATTACHED(2, i) + ATTACHED(3, i))
#ifndef FAULT_ANOTHER_DIRECTORY
#define HELD(l) (gate[0] == (l) || gate[1] == (l) || gate[2] == (l) || gate[3] == (l))
#else
#define HELD(l) (gate[0] == (l) && me == 0 || gate[1] == (l) && me == 1 || gate[2] == (l) && me == 2)
#endif
#define LIVES(f) (family[0] == (f) || family[1] == (f) || family[2] == (f) || family[3] == (f))
#define VALID(d) (!BIT(lapsed, d) && !BIT(spent, d))
#define HOLDS(d, i) (sent > d && names[d] == (i) && VALID(d))
#define IN_FLIGHT(i) (HOLDS(0, i) || HOLDS(1, i))

inline watch_families()
{
    if
    :: sent > 0 && !LIVES(tag[0]) -> lapsed = lapsed | 1
    :: else
    fi;
    if
    :: sent > 1 && !LIVES(tag[1]) -> lapsed = lapsed | 2
    :: else
    fi
}

inline vanish(p)
{
    maps[p] = 0; probe[p] = NONE; gate[p] = UNLOCKED; family[p] = NONE; dead[p] = 1;
    watch_families()
}

/* smem__gate_enter */
inline enter_exclusive()
{
    d_step { !HELD(SHARED) && !HELD(EXCLUSIVE) -> gate[me] = EXCLUSIVE }
}

inline free_ticket(d)
{
    if
    :: slot[names[d]] == 1 + d -> slot[names[d]] = 0
    :: else
    fi;
    spent = spent | (1 << d)
}

/* smem__count_flight. Read after the count: before it, one could be issued. */
inline judge(o)
{
    d_step {
        valid = 0;
        if
        :: slot[o] != 0 && LIVES(tag[slot[o] - 1]) -> valid = 1
        :: else
        fi
    }
}

/* IPC_RMID, then the journal (smem__take_name). [o] is attached or open. */
inline remove(o, by_test)
{
    d_step {
        if
        :: by_test ->
            assert(want == ANY || want == (o));             /* P4 */
            assert(NATTCH(o) == 1 + own);                   /* P2 */
            assert(!IN_FLIGHT(o));                          /* P3 */
            freed = freed | (1 << (o))
        :: else -> taken = taken | (1 << (o))
        fi;
        if
        :: key == (o) -> key = NONE
        :: else
        fi
    }
    journal = journal & ~(1 << (o))
}

/* smem__last_one_out, under the exclusive gate. [want]: nonce, or ANY; [own]:
   mappings of it in this very process. Unless alone: leave. */
inline last_one_out()
{
#ifdef FAULT_COUNT_ONCE
    d_step {
        probe[me] = key;
        if
        :: probe[me] != NONE && NATTCH(probe[me]) != 1 + own -> probe[me] = NONE
        :: else
        fi
    }
    gate[me] = UNLOCKED;
#else
    probe[me] = key;                                        /* smem__sysv_claim: shmat, */
#endif
    if
    :: probe[me] != NONE ->
#ifdef FAULT_TICKETS_BEFORE_COUNT
        judge(probe[me]);
#endif
        if
#ifndef FAULT_COUNT_ONCE
        :: NATTCH(probe[me]) != 1 + own                     /*   nattch */
#endif
#ifndef FAULT_REUSED_ID
        :: want != ANY && want != probe[me]                 /* smem__is_target */
#endif
        :: else ->
#ifndef FAULT_TICKETS_BEFORE_COUNT
            judge(probe[me]);
#endif
            if
            :: valid
            :: else -> remove(probe[me], true)
            fi
        fi;
        d_step { probe[me] = NONE; valid = 0 }              /* shmdt */
    :: else
    fi
}

/* smem__attach: under the shared gate shmget, shmat, nonce. Sets [got]. */
inline attach(nonce)
{
#ifndef FAULT_NO_GATE
    d_step { !HELD(EXCLUSIVE) -> gate[me] = SHARED };
#endif
    i = key;                                                /* shmget, SHM_DEST */
    if
    :: i == NONE                                            /* SMEM_E_NOT_FOUND */
    :: i != NONE && (nonce != ANY && nonce != i || !BIT(whole, i))
    :: else ->
        d_step {                                            /* shmat */
            assert(!BIT(freed, i));                         /* P1 */
            maps[me] = maps[me] | (1 << i);
            got = 1
        }
    fi;
    i = NONE;
    gate[me] = UNLOCKED
}

/* smem_create: journal, shmget, shmat, header, magic last */
inline create()
{
    enter_exclusive();
    want = ANY;
    last_one_out();                                         /* smem__clear_name */
    if
    :: key == NONE && made < NI ->
        d_step { i = made; made++ };
#ifndef FAULT_JOURNAL_AFTER_SHMGET
        journal = journal | (1 << i);                       /* smem__journal_birth */
#endif
        key = i;                                            /* shmget */
        maps[me] = maps[me] | (1 << i);                     /* shmat */
#ifdef FAULT_JOURNAL_AFTER_SHMGET
        journal = journal | (1 << i);
#endif
        whole = whole | (1 << i);                           /* smem__birth_write */
        i = NONE
    :: else                                                 /* SMEM_E_EXISTS */
    fi;
    gate[me] = UNLOCKED
}

/* smem_detach: shmdt, then the test under the gate */
inline drop()
{
    maps[me] = maps[me] & ~(1 << j);
    enter_exclusive();
    want = j;
    last_one_out();
    gate[me] = UNLOCKED
}

/* smem_unlink: SHM_DEST; who has it attached keeps it */
inline unlink_name()
{
    enter_exclusive();
    i = key;
    if
    :: i != NONE -> remove(i, false)
    :: else
    fi;
    i = NONE;
    gate[me] = UNLOCKED
}

/* smem_ticket_issue: publish, then observe; no gate, it is attached */
inline send()
{
    d_step {
        if
        :: slot[j] == 0 && sent < ND ->
            d = sent; sent++;
            slot[j] = 1 + d; names[d] = j; tag[d] = family[me]
        :: else
        fi
    }
    if
    :: d == NONE
    :: d != NONE && key == j -> channel = channel | (1 << d)
    :: else -> d_step { free_ticket(d) }
    fi;
    d = NONE
}

inline receive()
{
    if
    :: BIT(maps[me], names[d]) -> got = 1
    :: else ->
#ifdef FAULT_FREE_BEFORE_MAP
        d_step { free_ticket(d); spent = spent & ~(1 << d) }
#endif
        attach(names[d]);
        assert(got || !VALID(d) || BIT(taken, names[d]))    /* P5 */
    fi;
    if
    :: got -> d_step { free_ticket(d); got = 0 }
    :: else
    fi
}

/* smem__sweep_sysv: each entry; the gate is not waited for */
inline sweep()
{
    j = 0;
    do
    :: j < NI && BIT(journal, j) ->
        if
        :: d_step { !HELD(SHARED) && !HELD(EXCLUSIVE) -> gate[me] = EXCLUSIVE };
            if
            :: key == j ->
                if
                :: NATTCH(j) == 0 -> want = j; last_one_out() /* smem__sysv_claim_key */
                :: else
                fi
            :: else -> journal = journal & ~(1 << j)        /* no such key: done with */
            fi;
            gate[me] = UNLOCKED
        :: HELD(SHARED) || HELD(EXCLUSIVE)
        fi;
        j++
    :: j < NI && !BIT(journal, j) -> j++
    :: j >= NI -> break
    od;
    j = NONE
}

/* smem_leave: the family first; mappings stay, so the count must be 1 + own */
inline leave()
{
    d_step { family[me] = NONE; watch_families() };
    j = 0;
    do
    :: j < NI && BIT(maps[me], j) ->
        enter_exclusive();
        d_step { want = j; own = 1 };
        last_one_out();
        own = 0;
        gate[me] = UNLOCKED;
        j++
    :: j < NI && !BIT(maps[me], j) -> j++
    :: j >= NI -> break
    od;
    j = NONE;
    sweep()
}

chan kill[3] = [0] of { bit };

proctype Participant(byte me)
{
    byte i = NONE, j = NONE, d = NONE, want = ANY;
    bit valid, got, own;
end_unborn:
    !dead[me];
    {
end_idle:
        do
        :: d_step { ops > 0 && made < NI -> ops-- }; create()
        :: d_step { ops > 0 && key != NONE -> ops-- }; attach(ANY); got = 0
        :: d_step { ops > 0 && key != NONE -> ops-- }; unlink_name()
        :: d_step { ops > 0 -> ops-- }; sweep()
        :: d_step { ops > 0 -> ops-- }; leave(); break
        :: d_step {                                         /* fork: nattch doubles */
                ops > 0 && me < 2 && dead[2] && !forked ->
                ops--;
                forked = 1;
                maps[2] = maps[me]; family[2] = family[me];
                dead[2] = 0
            }
        :: d_step { ops > 0 && maps[me] != 0 -> ops-- };
            if
            :: BIT(maps[me], 0) -> j = 0
            :: BIT(maps[me], 1) -> j = 1
            fi;
            if
            :: drop()
            :: send()
            fi;
            j = NONE
        :: d_step { ops > 0 && channel != 0 -> ops-- };
            if
            :: BIT(channel, 0) -> d = 0
            :: BIT(channel, 1) -> d = 1
            fi;
            if
            :: channel = channel & ~(1 << d)                /* a queue */
            :: skip                                         /* a broadcast */
            fi;
            receive();
            d = NONE
        od;
        skip;
        d_step { vanish(me) }                               /* exit */
    } unless {
        atomic {                                            /* SIGKILL */
            kill[me]?_;
            d_step {
                vanish(me);
                i = NONE; j = NONE; d = NONE; want = ANY;   /* fewer states */
                valid = 0; got = 0; own = 0
            }
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
    od
}

proctype Reclaimer(byte me)
{
    byte j = NONE, want = ANY;
    bit valid, own;
end_waiting:
    dead[0] && dead[1] && dead[2];
    sweep();
    assert(key == NONE && journal == 0)                     /* P7 */
}

init
{
    atomic {
        family[0] = 0;
        family[1] = 0;
#ifdef FORK
        dead[2] = 1;
#else
        family[2] = 1;
        forked = 1;
#endif
        made = 1; key = 0; journal = 1; whole = 1; maps[0] = 1; /* given */
        run Participant(0);
        run Participant(1);
        run Participant(2);
        run Killer();
        run Reclaimer(3)
    }
}
