/*
 * When a dropped segment's pages may be given out again: the warm cache of
 * src/c/segment/cache.c on POSIX segments, for the model checker Spin.
 *
 * One step is one system call, one atomic exchange or one write into a header;
 * any process can be killed between any two. A segment is an inode [i]; its
 * name and its nonce change together, so one number [name] stands for both.
 * Families are one step here; lifetime.pml has their files in full. Who leaves
 * loosens what it uses (lifetime.pml, too) and uses it on, until it is gone.
 * Segments with a name of the user's are never recycled, so there are none.
 *
 * Checked (assert):
 *   P1  no attach ends with memory that a test has freed, or that was given out
 *       again since the descriptor was made
 *   P2  a test takes no name while anybody maps the segment by a lock
 *   P3  nor while a ticket is valid
 *   P5  receiving what is validly in flight succeeds, unless someone unlinked it
 *   P7  all dead, then one sweep: no segment is left
 *   P8  no receiver is told that a sound segment is damaged
 *   R1  what is given out again is mapped by no other program, nor in flight
 *   R2  it was dropped by a living owner: what the dead left is never given out
 *   R3  it was not freed
 *   R4  what is used is locked, by its own mapping or by one that fork left it,
 *       or counted by who leaves
 *   R5  what is persistent is neither given out again nor freed by a test
 *   R6  no pages are emptied that somebody uses
 *   and no process waits for ever (invalid end states).
 *
 * The faults:
 *   FAULT_NO_PROOF              published, and kept by the state alone (R1)
 *   FAULT_NO_FORK_COUNT         private, and forked since it was made (R1)
 *   FAULT_RECLAIMED_IS_RECYCLED the sweep keeps what the dead left (R2)
 *   FAULT_SAME_NAME             proved, but name and nonce stay (P1)
 *   FAULT_TICKETS_IGNORED       kept though it is in flight (R1, P5)
 *   FAULT_TICKETS_BEFORE_PROOF  tickets read, then claimed (R1, P5)
 *   FAULT_OWN_LOCK_RELEASED     the lock is released on the mapping's open file,
 *                               which a forked child shares (R1)
 *   FAULT_CHILD_KEEPS_CACHE     a forked child gives out what it inherited (R1)
 *   FAULT_JOIN_AFTER_CLOSE      the claim ends, then the mapping is locked (R3)
 *   FAULT_AWAY_BEFORE_LOCK      who has it away compares the nonce, then locks (P1)
 *   FAULT_AWAY_WITHOUT_LOCK     the mapping comes back, and no page with a lock (R4)
 *   FAULT_HEADER_IN_ANY_ORDER   a death while it is described leaves a header
 *                               that nobody can read, and so nobody frees (P7)
 *   FAULT_AS_IT_WAS             whether it may be recycled is what the header said
 *                               when it was mapped (R1, R5)
 *   FAULT_FITNESS_BEFORE_PROOF  read, then claimed (R1, R5)
 *   FAULT_NOT_COUNTED           who leaves does not say that it uses it on (R1, R6)
 *   FAULT_LOOSE_THEN_COUNTED    it says so when its lock is gone (R1, R6)
 *   FAULT_COUNTED_BY_A_BIT      who comes back speaks for all that leave (R1, R6)
 *   FAULT_LATE_IS_DAMAGED       who comes too late takes a header that is being
 *                               written for a damaged one (P8)
 */

#ifndef NI
#define NI 2            /* segments that can be made */
#endif
#ifndef NG
#define NG 5            /* names that can be made */
#endif
#ifndef OPS
#define OPS 4           /* operations begun, by all processes together */
#endif
#ifndef MENU
#define MENU 255        /* which operations there are: */
#endif
#define M_CREATE 1
#define M_DROP 2
#define M_SEND 4
#define M_RECEIVE 8
#define M_FIND 16       /* attach a name that a directory shows */
#define M_UNLINK 32
#define M_SWEEP 64
#define M_TRIM 128
#define M_FORK 256
#define M_LEAVE 512
#define M_AWAY 1024     /* not an operation: what others use stays mapped */
#define M_PERSIST 2048
#define HAVE(m) ((MENU & (m)) != 0)
#define MAY(m) (ops > 0 && HAVE(m))

#define ND 2            /* descriptors that can be sent */
#define NP 4            /* three participants, and the reclaimer at the end */
#define NONE 15

#define UNLOCKED 0
#define SHARED 1
#define EXCLUSIVE 2

#define PUBLISHED 0
#define PRIVATE 1
#define IDLE 2

/* ---- the kernel's state: what dies with a process ------------------------- */

byte locked[NP];        /* bit i: its mapping of i holds SHARED */
byte family[NP];        /* participant of this family; NONE: dead */
byte fd[NP] = NONE;     /* the one segment file it has open, */
byte lock[NP];          /*   its lock on byte 0 */
bit dead[NP];

/* ---- its own memory ------------------------------------------------------- */

byte uses[NP];          /* bit i: the program has an array of it */
byte idle[NP];          /* bit i: in its cache */
byte away[NP];          /* bit i: mapped, not locked: others use it or will */
byte forkd[NP];         /* bit i: smem_segment.forks is not smem_context.forks */
byte same[NP];          /* bit i: its mapping is inherited: one open file for two */
#ifdef FAULT_AS_IT_WAS
byte unfit[NP];         /* bit i: its header said so when it was mapped */
#endif

/* ---- what stays ------------------------------------------------------------ */

byte path[NI] = NONE;   /* name under which the inode is linked */
byte nonce[NI];         /* name and nonce in its header */
byte state[NI];
bit writing[NI];        /* smem__cache_describe is at it */
bit broken[NI];         /* no header any more */
byte counted[NI];       /* loose uses, in its header's flags */
byte persistent;        /* bit i: in its header's flags */
byte slot[NI];          /* 0, or 1 + number of the ticket in it */
byte sent, means[ND], tag[ND], ticketed, channel;
byte made, names;

/* ---- ghosts ------------------------------------------------------------------ */

byte freed, taken, spent, lapsed;
byte orphan;            /* bit i: who had it last was killed */
byte epoch[NI];         /* how often it was given out */
byte told[ND];          /* epoch that the descriptor means */
byte inode[ND];

byte ops = OPS;
bit forked;

#define BIT(set, i) (((set) >> (i)) & 1)
#define WITH(set, i) ((set) | (1 << (i)))
#define WITHOUT(set, i) ((set) & ~(1 << (i)))
#define ANY4(has) (has(0) || has(1) || has(2) || has(3))
#define LOCKED(i) \
    (BIT(locked[0], i) || BIT(locked[1], i) || BIT(locked[2], i) || BIT(locked[3], i))
#define FD_HAS(p, i, l) (fd[p] == (i) && lock[p] == (l))
#define FD_LOCKED(i, l) (FD_HAS(0, i, l) || FD_HAS(1, i, l) || FD_HAS(2, i, l) || FD_HAS(3, i, l))
#define MAY_SHARE(i) (!FD_LOCKED(i, EXCLUSIVE))
#define MAY_CLAIM(i) (MAY_SHARE(i) && !FD_LOCKED(i, SHARED) && !LOCKED(i))
#define LIVES(f) (family[0] == (f) || family[1] == (f) || family[2] == (f))
#define VALID(d) (BIT(ticketed, d) && !BIT(lapsed, d) && !BIT(spent, d))
#define HOLDS(d, i) (sent > d && inode[d] == (i) && VALID(d))
#define IN_FLIGHT(i) (HOLDS(0, i) || HOLDS(1, i))
#define OTHER(p, i) ((p) != me && (BIT(uses[p], i) || BIT(idle[p], i) && family[p] != NONE && !BIT(same[p], i)))
#define REACHED(i) (OTHER(0, i) || OTHER(1, i) || OTHER(2, i))
#define FIT(i) (counted[i] == 0 && !BIT(persistent, i))         /* smem__may_recycle */
#ifdef FAULT_AS_IT_WAS
#define SEEMS_FIT(i) (!BIT(unfit[me], i))
#else
#define SEEMS_FIT(i) FIT(i)
#endif

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
    k = 0;
    do
    :: k < NI ->
        if
        :: killed && BIT(locked[p], k) && !BIT(locked[(p + 1) % 3], k) &&
           !BIT(locked[(p + 2) % 3], k) -> orphan = WITH(orphan, k)
        :: else
        fi;
        if
        :: w == k ->
            writing[k] = 0;
#ifdef FAULT_HEADER_IN_ANY_ORDER
            broken[k] = 1;
#endif
        :: else
        fi;
        k++
    :: else -> break
    od;
    k = 0; w = NONE;
    locked[p] = 0; uses[p] = 0; idle[p] = 0; away[p] = 0; forkd[p] = 0; same[p] = 0;
    fd[p] = NONE; lock[p] = UNLOCKED; family[p] = NONE; dead[p] = 1;
    watch_families()
}

inline close_fd()
{
    d_step { fd[me] = NONE; lock[me] = UNLOCKED }
}

/* open by name */
inline open_name(label)
{
    d_step {
        fd[me] = NONE;
        if
        :: (label) == NONE
        :: (label) != NONE && path[0] == (label) -> fd[me] = 0
#if NI > 1
        :: (label) != NONE && path[1] == (label) -> fd[me] = 1
#endif
        :: else
        fi
    }
}

/* smem__posix_claim: a fresh open file; refused: it is closed */
inline claim(title)
{
    open_name(title);
    if
    :: fd[me] == NONE
    :: else ->
        d_step {
            if
            :: MAY_CLAIM(fd[me]) -> lock[me] = EXCLUSIVE
            :: else -> fd[me] = NONE
            fi
        }
    fi
}

/* smem__count_flight */
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

/* ---- the test (smem__last_one_out); [only]: nonce, or NONE for any ------------ */

inline take_name(called, by_test)                                /* smem__posix_unlink */
{
    if
    :: path[fd[me]] != called                                    /* smem__file_is_at */
    :: else ->
        d_step {
            if
            :: by_test ->
                assert(!LOCKED(fd[me]) && !FD_LOCKED(fd[me], SHARED)); /* P2 */
                assert(!IN_FLIGHT(fd[me]));                 /* P3 */
                assert(!BIT(persistent, fd[me]));           /* R5 */
                assert(!FIT(fd[me]) || !REACHED(fd[me]));   /* R6: smem__empty */
                freed = WITH(freed, fd[me])
            :: else -> taken = WITH(taken, fd[me])
            fi;
            path[fd[me]] = NONE
        }
    fi
}

inline last_one_out(under, only, by_sweep)
{
    claim(under);
    if
    :: fd[me] == NONE
    :: fd[me] != NONE && broken[fd[me]] -> close_fd()       /* smem__found_read */
    :: fd[me] != NONE && !broken[fd[me]] && only != NONE && nonce[fd[me]] != only ->
        close_fd()                                          /* smem__is_target */
    :: fd[me] != NONE && !broken[fd[me]] && (only == NONE || nonce[fd[me]] == only) &&
       BIT(persistent, fd[me]) -> close_fd()                /* smem__is_kept */
    :: else ->
        judge(fd[me]);
        if
        :: valid
        :: else ->
#ifdef FAULT_RECLAIMED_IS_RECYCLED
            if
            :: by_sweep ->
                d_step {
                    locked[me] = WITH(locked[me], fd[me]);
                    idle[me] = WITH(idle[me], fd[me]);
                    state[fd[me]] = IDLE
                }
            :: !by_sweep -> take_name(under, true)
            fi
#else
            take_name(under, true)
#endif
        fi;
        d_step { valid = 0; fd[me] = NONE; lock[me] = UNLOCKED }
    fi
}

/* smem__drop: what is not kept, and what is evicted. Its lock goes with it. */
inline let_go(o, known)
{
    d_step { locked[me] = WITHOUT(locked[me], o); same[me] = WITHOUT(same[me], o) };
    last_one_out(known, known, false)
}

/* ---- keeping ------------------------------------------------------------------ */

/* The mapping stays, its lock goes. */
inline part(o)
{
    d_step {
        locked[me] = WITHOUT(locked[me], o);
#ifdef FAULT_OWN_LOCK_RELEASED
        k = 0;
        do
        :: k < NP ->
            if
            :: BIT(same[k], o) -> locked[k] = WITHOUT(locked[k], o)
            :: else
            fi;
            k++
        :: else -> break
        od;
        k = 0;
#endif
        same[me] = WITHOUT(same[me], o)
    }
}

/* smem__posix_is_mapped */
inline expect(o)
{
    if
    :: fd[me] != NONE && fd[me] != o -> close_fd()
    :: else
    fi
}

/* smem__posix_claim_mapped. A page apart that carries the lock goes before the name is
   opened; else the mapping is laid over itself from what was opened: from then on it
   has that file's locks, the claim too, until it is unmapped. */
inline claim_mapped(o, title)
{
    if
    :: part(o); open_name(title); expect(o)                 /* smem__unpin */
    :: open_name(title);
        expect(o);
        if
        :: fd[me] == NONE
        :: else -> part(o)                                  /* smem__posix_lay */
        fi
    fi;
    if
    :: fd[me] == NONE
    :: else ->
        d_step {                                            /* smem__posix_claim_open */
            if
            :: MAY_CLAIM(fd[me]) -> lock[me] = EXCLUSIVE
            :: else -> fd[me] = NONE
            fi
        }
    fi
}

/* smem__cache_prove, smem__cache_own. Sets [kept], or [spoilt]. [old]: smem_info.name */
inline prove(o, old)
{
#ifdef FAULT_TICKETS_BEFORE_PROOF
    judge(o);
#endif
#ifdef FAULT_FITNESS_BEFORE_PROOF
    spoilt = !SEEMS_FIT(o);
#endif
    claim_mapped(o, old);
    if
    :: fd[me] == NONE                                       /* -EBUSY, -ENOENT */
    :: fd[me] != NONE && nonce[o] != old -> close_fd()
    :: else ->
#ifndef FAULT_FITNESS_BEFORE_PROOF
        spoilt = !SEEMS_FIT(o);
#endif
#ifndef FAULT_TICKETS_BEFORE_PROOF
        judge(o);
#endif
#ifdef FAULT_TICKETS_IGNORED
        valid = 0;
#endif
        if
        :: valid || names >= NG || spoilt
        :: else ->
#ifndef FAULT_SAME_NAME
            if
            :: path[o] != old                               /* smem__posix_rename */
            :: else -> d_step { path[o] = names; names++; kept = 1 }
            fi;
            if
            :: kept ->                                      /* poke, one pwrite */
                d_step { nonce[o] = path[o]; state[o] = IDLE; slot[o] = 0 }
            :: else
            fi;
#else
            d_step {
                if
                :: path[o] != old
                :: else -> state[o] = IDLE; slot[o] = 0; kept = 1
                fi
            };
#endif
#ifdef FAULT_JOIN_AFTER_CLOSE
            close_fd();
#endif
            if                                              /* smem__posix_join */
            :: kept ->
                d_step {
                    locked[me] = WITH(locked[me], o);
                    lock[me] = SHARED;
                    orphan = WITHOUT(orphan, o)             /* its owner is alive, and drops it */
                }
            :: else
            fi
        fi;
        d_step { valid = 0; fd[me] = NONE; lock[me] = UNLOCKED }
    fi
    /* -EBUSY is remembered, and tried again at the next call: here, by the sweep */
}

#if defined(FAULT_NO_PROOF)
#define MAY_KEEP(i) true
#elif defined(FAULT_NO_FORK_COUNT)
#define MAY_KEEP(i) (state[i] == PRIVATE)
#else
#define MAY_KEEP(i) (state[i] == PRIVATE && !BIT(forkd[me], i)) /* smem__cache_is_exclusive */
#endif

/* smem_detach: the last reference, and room for it in the cache or not */
inline drop(i)
{
    d_step { n = nonce[i]; uses[me] = WITHOUT(uses[me], i) };
    if
    :: SEEMS_FIT(i) ->                                      /* smem__cache_keep */
        if
        :: MAY_KEEP(i) -> kept = 1
        :: else -> prove(i, n)
        fi;
        if
        :: kept -> d_step { state[i] = IDLE; idle[me] = WITH(idle[me], i) } /* smem__cache_put */
        :: !kept && spoilt -> let_go(i, n)                  /* SMEM__UNFIT */
        :: else ->
            if
            :: d_step {                                     /* smem__cache_send_away */
                    HAVE(M_AWAY) && !BIT(locked[me], i) -> away[me] = WITH(away[me], i)
                }
            :: d_step {                                     /* smem__drop_tested: unmapped */
                    locked[me] = WITHOUT(locked[me], i);
                    same[me] = WITHOUT(same[me], i)
                }
            fi
        fi
    :: let_go(i, n)
    fi;
    d_step { n = NONE; kept = 0; spoilt = 0 }
}

/* smem_persist: one step, whatever is counted */
inline persist(i)
{
    state[i] = PUBLISHED;
    d_step {
        if
        :: path[i] != NONE -> persistent = WITH(persistent, i)
        :: else
        fi
    }
}

/* smem__header_count */
inline count(i, more)
{
    d_step {
#ifdef FAULT_COUNTED_BY_A_BIT
        counted[i] = more
#else
        counted[i] = (more -> counted[i] + 1 : counted[i] - 1)
#endif
    }
}

/* smem__leave_segments, one after another. It is used on. */
inline leave_segment(i)
{
    n = nonce[i];
#if !defined(FAULT_NOT_COUNTED) && !defined(FAULT_LOOSE_THEN_COUNTED)
    count(i, 1);
#endif
    d_step {                                                /* smem__posix_loosen */
        locked[me] = WITHOUT(locked[me], i); same[me] = WITHOUT(same[me], i)
    }
#ifdef FAULT_LOOSE_THEN_COUNTED
    count(i, 1);
#endif
    last_one_out(n, n, false);
    open_name(n);                                           /* smem__posix_tighten */
    if
    :: fd[me] == NONE
    :: else ->
        d_step { MAY_SHARE(fd[me]) -> lock[me] = SHARED };
        d_step { locked[me] = WITH(locked[me], fd[me]) };
#ifndef FAULT_NOT_COUNTED
        count(i, 0);
#endif
        close_fd()
    fi;
    n = NONE
}

/* smem__cache_reuse, smem__cache_describe */
inline reuse(i)
{
    d_step {
        idle[me] = WITHOUT(idle[me], i);
        forkd[me] = WITHOUT(forkd[me], i);
        assert(!REACHED(i) && !IN_FLIGHT(i));               /* R1 */
        assert(!BIT(orphan, i));                            /* R2 */
        assert(!BIT(freed, i));                             /* R3 */
        assert(!BIT(persistent, i));                        /* R5 */
        epoch[i]++;
        uses[me] = WITH(uses[me], i);
        writing[i] = 1;
        w = i
    }
    d_step { state[i] = PRIVATE; writing[i] = 0; w = NONE }
}

inline make()                                               /* smem__create: cold */
{
    d_step {                                                /* O_TMPFILE .. linkat */
        if
        :: made < NI && names < NG ->
            j = made; made++;
            path[j] = names; nonce[j] = names; names++;
            state[j] = PRIVATE;
            locked[me] = WITH(locked[me], j);
            uses[me] = WITH(uses[me], j)
        :: else
        fi
    }
}

inline trim(i)                                              /* smem__cache_trim */
{
    d_step { n = nonce[i]; idle[me] = WITHOUT(idle[me], i) };
    let_go(i, n);
    n = NONE
}

/* ---- sending, receiving, finding ------------------------------------------------ */

/* smem_ticket_issue; or a descriptor without a ticket, which keeps nothing */
inline send(i)
{
    state[i] = PUBLISHED;                                   /* smem_publish */
    d_step {
        if
        :: sent < ND ->
            d = sent; sent++;
            means[d] = nonce[i]; inode[d] = i; told[d] = epoch[i]; tag[d] = family[me];
            if
            :: slot[i] == 0 -> slot[i] = 1 + d; ticketed = WITH(ticketed, d) /* smem__ticket_take */
            :: else -> channel = WITH(channel, d)           /* by name only */
            fi
        :: else
        fi
    }
    if
    :: d != NONE && BIT(ticketed, d) ->
        if
        :: path[i] == means[d] -> channel = WITH(channel, d) /* smem_is_current */
        :: else -> d_step { slot[i] = 0; spent = WITH(spent, d) }
        fi
    :: else
    fi;
    d = NONE
}

/* a program that pickles by name: not in flight */
inline tell(i)
{
    state[i] = PUBLISHED;
    d_step {
        if
        :: sent < ND ->
            means[sent] = nonce[i]; inode[sent] = i; told[sent] = epoch[i]; tag[sent] = family[me];
            channel = WITH(channel, sent);
            sent++
        :: else
        fi
    }
}

#define DESCRIBED(i) (writing[i] || broken[i])

/* smem_attach: smem__find_candidate, smem__attach_found. Sets [got]: the inode.
   [by]: descriptor, or NONE when a directory showed the name. */
inline open_and_map(wanted, by)
{
    got = NONE;
    do
    :: open_name(wanted);
#ifdef FAULT_AWAY_BEFORE_LOCK
        back = (fd[me] != NONE && BIT(away[me], fd[me]) && nonce[fd[me]] == wanted);
#endif
        if
        :: fd[me] == NONE -> break
        :: else
        fi;
        d_step {                                            /* smem__file_hold */
            if
            :: MAY_SHARE(fd[me]) -> lock[me] = SHARED
            :: else -> fd[me] = NONE
            fi
        }
        if
        :: fd[me] == NONE
        :: fd[me] != NONE && path[fd[me]] == NONE -> close_fd()
        :: else ->
            d_step {                                        /* smem__found_read */
                k = (DESCRIBED(fd[me]) -> NONE : nonce[fd[me]]);
                pub = (state[fd[me]] == PUBLISHED);
#ifdef FAULT_AWAY_BEFORE_LOCK
                if
                :: back -> k = wanted
                :: else
                fi;
                back = 0
#endif
            }
            if
            :: k != wanted ->                                    /* smem__has_name */
#ifdef FAULT_LATE_IS_DAMAGED
                assert(by == NONE || k != NONE);             /* P8 */
#endif
                if
                :: path[fd[me]] == wanted -> assert(by == NONE); close_fd(); break /* P8 */
                :: path[fd[me]] != wanted -> close_fd()          /* renamed: again */
                fi
            :: else -> break
            fi;
            k = 0
        fi
    od;
    k = 0;
    if
    :: fd[me] == NONE
    :: fd[me] != NONE && !pub -> close_fd()                 /* smem__attach_found */
    :: else ->
        d_step {                                            /* mmap */
            assert(!BIT(freed, fd[me]));                    /* P1 */
            assert(by == NONE || told[by] == epoch[fd[me]]);
            assert(by == NONE || inode[by] == fd[me]);
            got = fd[me];
            orphan = WITHOUT(orphan, got);                  /* a living owner again */
#ifdef FAULT_AWAY_WITHOUT_LOCK
            if
            :: BIT(away[me], got)
            :: else -> locked[me] = WITH(locked[me], got)
            fi;
#else
            locked[me] = WITH(locked[me], got);             /* or smem__posix_join */
#endif
            assert(!BIT(idle[me], got) && BIT(locked[me], got)); /* R4 */
#ifdef FAULT_AS_IT_WAS
            unfit[me] = (FIT(got) -> WITHOUT(unfit[me], got) : WITH(unfit[me], got));
#endif
            away[me] = WITHOUT(away[me], got);              /* smem__cache_return */
            uses[me] = WITH(uses[me], got);
            forkd[me] = WITHOUT(forkd[me], got);
            same[me] = WITHOUT(same[me], got)
        }
        close_fd()
    fi;
    pub = 0
}

inline receive(d)
{
    if
    :: BIT(uses[me], inode[d]) && nonce[inode[d]] == means[d] -> got = inode[d] /* smem__table_take */
    :: else ->
        open_and_map(means[d], d);
        assert(got != NONE || !VALID(d) || BIT(taken, inode[d])) /* P5 */
    fi;
    if
    :: got != NONE && BIT(ticketed, d) ->
        d_step {
            assert(told[d] == epoch[got]);                  /* P1 */
            if
            :: slot[got] == 1 + d -> slot[got] = 0          /* smem__ticket_free */
            :: else
            fi;
            spent = WITH(spent, d)
        }
    :: else
    fi;
    got = NONE
}

inline unlink_name(wanted)                                       /* smem_unlink */
{
    open_name(wanted);
    if
    :: fd[me] == NONE
    :: else -> take_name(wanted, false); close_fd()
    fi
}

inline sweep()                                              /* smem__sweep_posix */
{
    d_step { n = path[0] };
    if
    :: n != NONE -> last_one_out(n, NONE, true)
    :: else
    fi;
#if NI > 1
    d_step { n = path[1] };
    if
    :: n != NONE -> last_one_out(n, NONE, true)
    :: else
    fi;
#endif
    n = NONE
}

/* smem__cache_after_fork: before the child does anything else */
inline after_fork()
{
#ifndef FAULT_CHILD_KEEPS_CACHE
    do
    :: idle[me] != 0 ->
        if
        :: BIT(idle[me], 0) -> j = 0
        :: BIT(idle[me], 1) -> j = 1
        fi;
        d_step {                                            /* munmap; nobody is told */
            idle[me] = WITHOUT(idle[me], j);
            locked[me] = WITHOUT(locked[me], j);
            same[me] = WITHOUT(same[me], j);
            j = NONE
        }
    :: else -> break
    od
#else
    d_step { same[me] = 0 }                                 /* it takes them for its own */
#endif
}

/* ---- processes ---------------------------------------------------------------------- */

inline pick(set)
{
    if
    :: BIT(set, 0) -> j = 0
#if NI > 1
    :: BIT(set, 1) -> j = 1
#endif
    fi
}

chan kill[3] = [0] of { bit };

proctype Participant(byte me)
{
    byte j = NONE, d = NONE, n = NONE, k, got = NONE, w = NONE;
    bit valid, kept, pub, killed, back, spoilt;

end_unborn:
    !dead[me];
    {
        if
        :: HAVE(M_FORK) && me == 2 -> after_fork()
        :: else
        fi;
end_idle:
        do
        :: d_step { MAY(M_CREATE) && (idle[me] != 0 || made < NI && names < NG) -> ops-- };
            if
            :: idle[me] != 0 -> pick(idle[me]); reuse(j)
            :: make()                                       /* nothing idle fits */
            fi;
            j = NONE
        :: d_step { MAY(M_DROP) && uses[me] != 0 -> ops-- };
            pick(uses[me]);
            drop(j);
            j = NONE
        :: d_step { MAY(M_SEND) && uses[me] != 0 && sent < ND -> ops-- };
            pick(uses[me]);
            if
            :: send(j)
            :: tell(j)
            fi;
            j = NONE
        :: d_step { MAY(M_RECEIVE) && channel != 0 -> ops-- };
            if
            :: BIT(channel, 0) -> d = 0
            :: BIT(channel, 1) -> d = 1
            fi;
            if
            :: channel = WITHOUT(channel, d)                /* a queue */
            :: skip                                         /* loaded twice */
            fi;
            receive(d);
            d = NONE
        :: d_step { MAY(M_FIND) && path[0] != NONE -> ops--; n = path[0] };
            open_and_map(n, NONE);
            d_step { got = NONE; n = NONE }
        :: d_step { MAY(M_UNLINK) && path[0] != NONE -> ops--; n = path[0] };
            unlink_name(n);
            n = NONE
        :: d_step { MAY(M_SWEEP) -> ops-- }; sweep()
        :: d_step { MAY(M_TRIM) && idle[me] != 0 -> ops-- };
            pick(idle[me]);
            trim(j);
            j = NONE
        :: d_step { MAY(M_LEAVE) -> ops-- };
            do
            :: idle[me] != 0 -> pick(idle[me]); trim(j)
            :: else -> break
            od;
            j = 0;
            do
            :: j < NI && BIT(uses[me], j) && BIT(locked[me], j) -> leave_segment(j); j++
            :: j < NI && !(BIT(uses[me], j) && BIT(locked[me], j)) -> j++
            :: j >= NI -> break
            od;
            j = NONE;
            break
        :: d_step { MAY(M_PERSIST) && uses[me] != 0 && persistent == 0 -> ops-- };
            pick(uses[me]);
            persist(j);
            j = NONE
        :: d_step {                                         /* fork, under fork_lock */
                MAY(M_FORK) && me < 2 && dead[2] && !forked ->
                ops--;
                forked = 1;
                forkd[me] = uses[me];                       /* smem__before_fork */
                locked[2] = locked[me]; uses[2] = uses[me]; idle[2] = idle[me];
                forkd[2] = forkd[me]; family[2] = family[me];
                same[me] = locked[me]; same[2] = locked[me];
                dead[2] = 0
            }
        od;
        skip;
        d_step { vanish(me) }
    } unless {
        atomic {                                            /* SIGKILL */
            kill[me]?_;
            d_step {
                killed = 1;
                vanish(me);
                j = NONE; d = NONE; n = NONE; k = 0; got = NONE;
                valid = 0; kept = 0; pub = 0; killed = 0; back = 0; spoilt = 0
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
    byte n = NONE;
    bit valid;
end_waiting:
    dead[0] && dead[1] && dead[2];
    sweep();
#ifndef FAULT_RECLAIMED_IS_RECYCLED
    assert(path[0] == NONE || BIT(persistent, 0));          /* P7 */
#if NI > 1
    assert(path[1] == NONE || BIT(persistent, 1))
#endif
#endif
}

init
{
    atomic {
        family[0] = 0;
        family[1] = 0;
        family[3] = NONE;
        if
        :: HAVE(M_FORK) -> dead[2] = 1; family[2] = NONE
        :: else -> family[2] = 1; forked = 1
        fi;
        made = 1; names = 1; path[0] = 0; state[0] = PRIVATE; /* one array, of process 0 */
        locked[0] = 1; uses[0] = 1;
#ifdef AWAY                                                 /* told of, dropped, and away */
        state[0] = PUBLISHED; away[1] = 1; sent = 1; channel = 1;
#endif
#ifdef ALL                                                  /* told of, and used by all */
        state[0] = PUBLISHED; locked[1] = 1; uses[1] = 1; locked[2] = 1; uses[2] = 1;
#endif
        run Participant(0);
        run Participant(1);
        run Participant(2);
        run Killer();
        run Reclaimer(3)
    }
}
