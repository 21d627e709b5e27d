/*
 * When a POSIX segment's memory is freed, and by whom: the protocol of
 * src/c/segment/ and src/c/os/posix.c, for the model checker Spin.
 *
 * One step here is one system call, or one atomic exchange, of the C code. Any
 * process can be killed between any two steps. The comments name the C function
 * a step stands for; README.rst has the list, and what is left out.
 *
 * One name, two families (names 0 and 1), inodes 0 .. NI-1. An inode is never
 * used twice, so its number is also the segment's nonce; likewise the number of
 * a family file is the family's tag.
 *
 * Checked (assert):
 *   P1  no attach ends with memory that a test has freed
 *   P2  a test takes no name while anybody maps the segment, or looks at it
 *   P3  a test takes no name while a ticket is valid: issued, not freed, and its
 *       family never without a participant since
 *   P4  an unlink takes the name from the very segment it meant
 *   P5  receiving what is validly in flight succeeds, unless someone unlinked it
 *   P6  what is sent had its name when its ticket was published
 *   P7  all dead, then one sweep: no segment, no family file is left, but what
 *       another user's lock keeps
 *   P8  who takes a name away waits for no other user
 *   and no process waits for ever (invalid end states).
 *
 * The faults, each a -D that run shows to be caught:
 *   FAULT_OBSERVE_BEFORE_PUBLISH  sender looks at the name, then claims (P6)
 *   FAULT_TICKETS_BEFORE_LOCK     tester reads the tickets, then locks (P3)
 *   FAULT_FREE_BEFORE_MAP         receiver frees the ticket unlocked (P3)
 *   FAULT_NO_LOOK                 late unlink does not look at the inode (P4)
 *   FAULT_TAKE_WITHOUT_GATE       it looks, but is not in the gate (P4)
 *   FAULT_TAKE_WITHOUT_HOLD       nor holds the segment, where it should (P4)
 *   FAULT_CLAIM_WITHOUT_GATE      a claim that others can have is enough (P4)
 *   FAULT_WAIT_FOR_CLAIM          a name is not taken while others claim it (P8)
 *   FAULT_NO_NLINK_CHECK          attacher does not look at nlink (P1)
 *   FAULT_NO_SERIAL               a ticket frees whatever is in its slot (P3, P5)
 *   FAULT_TEST_OWN_MAPPED         dropper tests by its mapping's own lock (P2)
 *   FAULT_RENEW_DROPS_FIRST       forked child unmaps the family, then joins (P3)
 *   FAULT_JOIN_WITHOUT_LOOK       joiner does not look whether the file is at its path (P3)
 *   FAULT_LEAVE_LOOSE             who left and comes back maps without a lock (P3)
 *   FAULT_KEEP_CLAIM              who leaves keeps the exclusive lock (attachers starve)
 *   FAULT_LOCK_GOES_WITH_FD       a directory where mappings carry no lock is used (P2)
 *   FAULT_TEMP_PERSISTS           a half-done replace counts as persistent (P7)
 */

/* ---- size of the world; run sets these per scene -------------------------- */

#ifndef NI
#define NI 2            /* segments that can be made */
#endif
#define ND 2            /* descriptors that can be sent */
#ifndef NF
#define NF 4            /* family files that can be made */
#endif
#ifndef OPS
#define OPS 3           /* operations begun, by all processes together */
#endif
#ifndef KILLS
#define KILLS 1         /* can processes be killed? */
#endif
#ifndef MENU
#define MENU 511        /* which operations there are: */
#endif
#define M_CREATE 1
#define M_REPLACE 2
#define M_ATTACH 4
#define M_DROP 8
#define M_UNLINK 16
#define M_SEND 32
#define M_RECEIVE 64    /* and forget */
#define M_SWEEP 128
#define M_REJOIN 256    /* leave in mid-life, then come back */
#define M_PERSISTENT 512
#define M_FORK 1024
#define M_LEAVE 2048
#define M_JOIN 4096     /* families are joined, not given */
#define M_GIVEN 8192    /* inode 0 stands, and participant 1 maps it */
#define M_TWO 16384     /* two participants only */
#define M_STRANGER 32768 /* another user locks what he can open, for ever, and */
                        /*   with -DWRITEABLE can open it for writing */
#define HAVE(m) ((MENU & (m)) != 0)

#define MAY(m) (ops > 0 && HAVE(m) && family[me] != NONE)

#define NP 4            /* three participants, and the reclaimer at the end */
#define RECLAIMER 3
#define NONE 15
#define ANY 14

/* ---- the kernel's state: what dies with a process ------------------------- */

#define UNLOCKED 0
#define SHARED 1
#define EXCLUSIVE 2

byte maps[NP];          /* bit i: maps inode i, by a file that holds SHARED */
byte loose[NP];         /* bit i: maps inode i without a lock (has left) */
byte kept[NP];          /* bit i: maps inode i by a file that holds EXCLUSIVE */
byte fd[NP] = NONE;     /* the one segment file a process has open, */
byte lock[NP];          /*   its lock on byte 0 */
byte stranger = NONE;   /* inode that another user has locked, */
byte claws;             /*   and how */
byte family[NP] = NONE; /* family file that is mapped */
byte ffd[NP] = NONE;    /* family file that is open to join or to end it, */
byte flock[NP];         /*   and its lock */
byte probe[NP] = NONE;  /* family file locked EXCLUSIVE to see if it is dead */
bit gate[NP];           /* holds the name's gate (exclusive) */
bit dead[NP];           /* killed, exited, or not yet forked */

/* ---- the file system ------------------------------------------------------ */

byte at = NONE;         /* inode under the name */
byte temp = NONE;       /* inode under a temporary name (smem__file_replace) */
byte fpath[2] = NONE;   /* family files under their names */
byte made, fmade;       /* inodes and family files made so far */
byte persistent;        /* bit i: header flag of inode i */

/* ---- tickets: one slot in each header -------------------------------------- */

byte slot[NI];          /* 0, or 1 + number of the ticket in it (its serial) */
byte sent;              /* tickets issued so far; a descriptor is its ticket */
byte names[ND];         /* inode (nonce) that descriptor d names */
byte tag[ND];           /* family that issued it */
byte channel;           /* bit d: descriptor d can still be received */

/* ---- ghosts: only the properties read them --------------------------------- */

byte freed;             /* bit i: a test took the name of i */
byte taken;             /* bit i: unlink or replace took it */
byte spent;             /* bit d: the ticket of d was freed as it should be */
byte lapsed;            /* bit d: the family of d was without a participant */
byte belongs[NP] = NONE; /* family that a living process is a participant of */

byte ops = OPS;         /* operations that may still begin */
bit forked;

#define BIT(set, i) (((set) >> (i)) & 1)
#define MAPPED(i) (BIT(maps[0], i) || BIT(maps[1], i) || BIT(maps[2], i) || BIT(maps[3], i))
#define KEPT(i) (BIT(kept[0], i) || BIT(kept[1], i) || BIT(kept[2], i) || BIT(kept[3], i))
#define FD_HAS(p, i, l) (fd[p] == (i) && lock[p] == (l))
#define FD_LOCKED(i, l) (FD_HAS(0, i, l) || FD_HAS(1, i, l) || FD_HAS(2, i, l) || FD_HAS(3, i, l))
/* F_OFD_SETLK by a fresh fd that has no lock yet */
#define STRANGE(i, l) (stranger == (i) && claws == (l))
#define MAY_SHARE(i) (!FD_LOCKED(i, EXCLUSIVE) && !KEPT(i) && !STRANGE(i, EXCLUSIVE))
#ifndef FAULT_LOCK_GOES_WITH_FD
#define MAY_CLAIM(i) (MAY_SHARE(i) && !FD_LOCKED(i, SHARED) && !MAPPED(i) && !STRANGE(i, SHARED))
#else
#define MAY_CLAIM(i) (MAY_SHARE(i) && !FD_LOCKED(i, SHARED) && !STRANGE(i, SHARED))
#endif
#define GATE_IS_FREE (!gate[0] && !gate[1] && !gate[2] && !gate[3])
#define LINKED(i) (at == (i) || temp == (i))

#define MEMBER(f) (family[0] == (f) || family[1] == (f) || family[2] == (f) || family[3] == (f))
#define FFD_HAS(p, f, l) (ffd[p] == (f) && flock[p] == (l))
#define FFD_LOCKED(f, l) \
    (FFD_HAS(0, f, l) || FFD_HAS(1, f, l) || FFD_HAS(2, f, l) || FFD_HAS(3, f, l))
#define PROBED(f) (probe[0] == (f) || probe[1] == (f) || probe[2] == (f) || probe[3] == (f))
#define FMAY_SHARE(f) (!FFD_LOCKED(f, EXCLUSIVE) && !PROBED(f))
#define FMAY_CLAIM(f) (FMAY_SHARE(f) && !FFD_LOCKED(f, SHARED) && !MEMBER(f))

#define BELONGS(f) \
    (belongs[0] == (f) || belongs[1] == (f) || belongs[2] == (f) || belongs[3] == (f))
#define VALID(d) (!BIT(lapsed, d) && !BIT(spent, d))
#define HOLDS(d, i) (sent > d && names[d] == (i) && VALID(d))
#if ND == 2
#define IN_FLIGHT(i) (HOLDS(0, i) || HOLDS(1, i))
#else
#error "IN_FLIGHT: one HOLDS for each descriptor"
#endif

/* Note which tickets just lost the last participant of their family. */
inline watch_families()
{
    k = 0;
    do
    :: k < sent ->
        if
        :: !BELONGS(tag[k]) -> lapsed = lapsed | (1 << k)
        :: else
        fi;
        k++
    :: else -> break
    od;
    k = 0
}

/* The kernel takes back what a process had, in one step. */
inline vanish(p)
{
    maps[p] = 0; loose[p] = 0; kept[p] = 0;
    fd[p] = NONE; lock[p] = UNLOCKED;
    family[p] = NONE; belongs[p] = NONE; ffd[p] = NONE; flock[p] = UNLOCKED; probe[p] = NONE;
    gate[p] = 0; dead[p] = 1;
    watch_families()
}

inline close_fd()
{
    d_step { fd[me] = NONE; lock[me] = UNLOCKED }
}

/* ---- is anything valid in flight? (smem__count_flight, smem__judge) -------- */

/* [o]: the inode. Sets [valid]. An own family is known to live; another's file
   is looked for and locked, after the ticket was read. */
inline judge(o)
{
    d_step {
        valid = 0;
        t = (slot[o] == 0 -> NONE : tag[slot[o] - 1]);     /* smem__found_read */
        if
        :: t == NONE
        :: t != NONE && t == ending -> t = NONE             /* ctx->dying */
        :: else -> valid = 1
        fi
    }
    if
    :: t != NONE && family[me] != t ->
        d_step {                                            /* smem__family_lives */
            if
            :: fpath[0] != t && fpath[1] != t -> valid = 0  /* no file: dead */
            :: else ->
                if
                :: FMAY_CLAIM(t) -> probe[me] = t; valid = 0
                :: else
                fi
            fi;
            t = NONE
        }
        if
        :: probe[me] != NONE -> probe[me] = NONE            /* close */
        :: else
        fi
    :: else -> t = NONE
    fi
}

/* ---- taking a name (smem__posix_unlink), fd[me] is open --------------------- */

inline take_name(path, by_test)
{
#ifndef FAULT_NO_LOOK
    if
    :: path != fd[me]                                       /* smem__file_is_at */
    :: path == fd[me] ->
#else
    if
    :: path == NONE
    :: path != NONE ->
#endif
        d_step {                                            /* unlink */
            assert(path == fd[me]);                         /* P4 */
            if
            :: by_test ->
                assert(!MAPPED(path) && !KEPT(path));       /* P2 */
                assert(!FD_LOCKED(path, SHARED));
                assert(!IN_FLIGHT(path));                   /* P3 */
                freed = freed | (1 << path)
            :: else -> taken = taken | (1 << path)
            fi;
            path = NONE;
            gone = 1
        }
    fi
}

/* ---- the test of a dropper and of the sweep (smem__last_one_out) ------------ */

/* A segment under another name than its header tells is a replace that died
   half-way, and not persistent. */
#ifdef FAULT_TEMP_PERSISTS
#define KEEPS(path) true
#else
#define KEEPS(path) (at == fd[me])
#endif

/* Where others can have the claim, too, the gate is tried (smem__take_claimed). */
inline take_claimed(path)
{
#if defined(WRITEABLE) && !defined(FAULT_CLAIM_WITHOUT_GATE)
    d_step {
        if
        :: GATE_IS_FREE -> gate[me] = 1; entered = 1
        :: else
        fi
    }
    if
    :: gate[me] -> take_name(path, true)
    :: else                                                 /* tried again by a sweep */
    fi;
    if
    :: entered -> d_step { gate[me] = 0; entered = 0 }
    :: else
    fi
#else
    take_name(path, true)
#endif
}

/* [fd] holds the claim: read, judge, unlink. */
inline judged(path)
{
#ifndef FAULT_TICKETS_BEFORE_LOCK
    judge(fd[me]);
#endif
    if
    :: valid
    :: !valid && BIT(persistent, fd[me]) && KEEPS(path)
    :: else -> take_claimed(path)
    fi;
    valid = 0
}

/* [path]: at or temp. [want]: inode, or ANY. Sets [gone] when it took the name. */
inline last_one_out(path, want)
{
    d_step { gone = 0; fd[me] = path };                     /* fresh open by name */
    if
    :: fd[me] == NONE
    :: fd[me] != NONE && want != ANY && fd[me] != want -> close_fd() /* another inode */
    :: else ->
#ifdef FAULT_TICKETS_BEFORE_LOCK
        judge(fd[me]);
#endif
        d_step {                                            /* smem__posix_claim */
            if
            :: MAY_CLAIM(fd[me]) -> lock[me] = EXCLUSIVE
            :: else -> fd[me] = NONE                        /* refused: leave */
            fi
        }
        if
        :: fd[me] == NONE
        :: else ->
            judged(path);
            close_fd()
        fi
    fi
}

/* ---- attach (smem__posix_open, smem__map_new); the ticket comes after -------- */

#ifdef FAULT_NO_NLINK_CHECK
#define STALE(i) false
#else
#define STALE(i) (!LINKED(i))
#endif

/* smem__ticket_free: one atomic exchange, and only of this very ticket. */
inline free_ticket(d)
{
    if
#ifdef FAULT_NO_SERIAL
    :: slot[names[d]] != 0 -> slot[names[d]] = 0
#else
    :: slot[names[d]] == 1 + d -> slot[names[d]] = 0
#endif
    :: else
    fi;
    spent = spent | (1 << d)
}

/* [want]: nonce, or ANY. Sets [got]. [d]: descriptor, or NONE. */
inline open_and_map(want, d)
{
    got = 0;
    do
    :: fd[me] = at;                                         /* smem__file_open */
        if
        :: fd[me] == NONE -> break                          /* SMEM_E_NOT_FOUND */
        :: else
        fi;
#ifdef FAULT_FREE_BEFORE_MAP
        if
        :: want == ANY
        :: want != ANY && want != fd[me]
        :: else -> d_step { free_ticket(d); spent = spent & ~(1 << d) }
        fi;
#endif
        d_step {
            if
            :: MAY_SHARE(fd[me]) -> lock[me] = SHARED
            :: else ->
                assert(!KEPT(fd[me]));                      /* a test ends soon */
                fd[me] = NONE                               /* EAGAIN */
            fi
        }
        if
        :: fd[me] == NONE                                   /* again, from the name */
        :: fd[me] != NONE && STALE(fd[me]) -> close_fd()    /* fstat: nlink 0, again */
        :: else -> break
        fi
    od;
    if
    :: fd[me] == NONE
    :: fd[me] != NONE && want != ANY && want != fd[me] -> close_fd() /* SMEM_E_REUSED */
    :: else ->
        d_step {                                            /* mmap */
            assert(!BIT(freed, fd[me]));                    /* P1 */
            maps[me] = maps[me] | (1 << fd[me]);
            got = 1
        }
        close_fd()
    fi
}

/* ---- operations ------------------------------------------------------------ */

/* smem__posix_open_to_take, in the gate. [fd] is NONE: there is none, or again. */
inline open_to_take()
{
    fd[me] = at;
#ifndef FAULT_TAKE_WITHOUT_HOLD
    if
    :: fd[me] == NONE
    :: else ->
        d_step {
            if
            :: MAY_SHARE(fd[me]) -> lock[me] = SHARED
#if defined(WRITEABLE) && !defined(FAULT_WAIT_FOR_CLAIM)
            :: else                                         /* the gate is enough */
#else
            :: else ->
                assert(!KEPT(fd[me]));                      /* a test ends soon, */
                assert(!STRANGE(fd[me], EXCLUSIVE));        /*   a stranger does not (P8) */
                fd[me] = NONE
#endif
            fi
        }
        if
        :: fd[me] != NONE && !LINKED(fd[me]) -> close_fd()
        :: else
        fi
    fi
#endif
}

#ifdef FAULT_TAKE_WITHOUT_GATE
#define ENTER_GATE skip
#else
#define ENTER_GATE d_step { GATE_IS_FREE -> gate[me] = 1 }
#endif

/* smem_create. Leaves the new segment mapped, or the name to who has it. */
inline create(replace, stays)
{
    ENTER_GATE;                                             /* smem__gate_enter */
    last_one_out(at, ANY);                                  /* smem__clear_name */
    if
    :: !replace && at != NONE                               /* SMEM_E_EXISTS */
    :: d_step {                                             /* O_TMPFILE, lock, header, mmap */
            made < NI ->
            i = made;
            made++;
            maps[me] = maps[me] | (1 << i);
            if
            :: stays -> persistent = persistent | (1 << i)
            :: else
            fi
        };
        do
        :: !replace || at == NONE ->
            d_step {                                        /* linkat is exclusive */
                if
                :: at == NONE -> at = i; i = NONE
                :: else
                fi
            }
            if
            :: i == NONE -> break
            :: i != NONE && !replace -> maps[me] = maps[me] & ~(1 << i); break /* EEXIST */
            :: else
            fi
        :: replace && at != NONE ->
            open_to_take();                                 /* smem__posix_put_in_place */
            if
            :: fd[me] == NONE
            :: else ->
                if
                :: temp != NONE ->                          /* one such name is modelled */
                    d_step { maps[me] = maps[me] & ~(1 << i); i = NONE };
                    close_fd();
                    break
                :: else ->
                    temp = i;                               /* smem__file_replace: linkat, */
                    d_step {                                /*   rename */
                        assert(at == fd[me] || at == NONE); /* P4 */
                        if
                        :: at != NONE -> taken = taken | (1 << at)
                        :: else
                        fi;
                        at = i;
                        temp = NONE;
                        i = NONE
                    }
                    close_fd();
                    break
                fi
            fi
        od;
        i = NONE
    :: else
    fi;
    gate[me] = 0                                            /* smem__gate_leave */
}

/* smem_detach: the last reference. */
inline drop(j)
{
#ifdef FAULT_TEST_OWN_MAPPED
    /* the mapping's own file: its lock is raised, others' are not looked at */
    d_step { fd[me] = j; lock[me] = EXCLUSIVE; maps[me] = maps[me] & ~(1 << j) };
    if
    :: at == j -> judged(at)
    :: else
    fi;
    close_fd()
#else
    maps[me] = maps[me] & ~(1 << j);                        /* munmap */
    last_one_out(at, j)                                     /* smem__test */
#endif
}

/* smem_unlink */
inline unlink_name()
{
    ENTER_GATE;
    do
    :: at == NONE -> break
    :: else ->
        open_to_take();
        if
        :: fd[me] == NONE
        :: else -> take_name(at, false); close_fd(); break
        fi
    od;
    gone = 0;
    gate[me] = 0
}

/* smem_ticket_issue, then the descriptor goes into a channel. */
inline send(j)
{
#ifdef FAULT_OBSERVE_BEFORE_PUBLISH
    held = (at == j);
    if
    :: held && slot[j] == 0 && sent < ND ->
        d_step {
            d = sent; sent++;
            slot[j] = 1 + d; names[d] = j; tag[d] = family[me];
            held = (at == j)
        }
        d_step { assert(held); channel = channel | (1 << d); held = 0; d = NONE }
    :: else -> held = 0
    fi
#else
    d_step {                                                /* smem__ticket_take */
        if
        :: slot[j] == 0 && sent < ND ->
            d = sent; sent++;
            slot[j] = 1 + d; names[d] = j; tag[d] = family[me];
            held = (at == j)
        :: else
        fi
    }
    if
    :: d == NONE                                            /* table full */
    :: d != NONE && at == j ->                              /* smem_is_current */
        d_step { assert(held); channel = channel | (1 << d); held = 0; d = NONE } /* P6 */
    :: else -> d_step { free_ticket(d); held = 0; d = NONE } /* SMEM_E_UNLINKED */
    fi
#endif
}

/* smem_receive. What fails must not have been validly in flight. */
inline receive(d)
{
    if
    :: BIT(maps[me], names[d])                              /* smem__table_take */
        -> got = 1
    :: else ->
        open_and_map(names[d], d);
        assert(got || !VALID(d) || BIT(taken, names[d]))    /* P5 */
    fi;
    if
    :: got -> d_step { free_ticket(d); got = 0 }            /* only now that it is mapped */
    :: else
    fi
}

/* smem_reclaim: each name, then the files of dead families. */
inline bury(n)
{
    d_step {                                                /* smem__record_is_dead */
        if
        :: fpath[n] != NONE && FMAY_CLAIM(fpath[n]) -> probe[me] = fpath[n]
        :: else
        fi
    }
    if
    :: probe[me] != NONE ->
        if
        :: fpath[n] == probe[me] -> fpath[n] = NONE         /* is_at; unlink */
        :: else
        fi;
        probe[me] = NONE
    :: else
    fi
}

inline sweep()
{
    last_one_out(at, ANY);                                  /* smem__sweep_posix */
    if
    :: temp != NONE -> last_one_out(temp, ANY)
    :: else
    fi;
    gone = 0;
    bury(0);                                                /* smem__family_bury_dead */
    bury(1)
}

/* smem__family_join: dead, then a new file; alive, then a mapping of it. */
inline join()
{
    do
    :: family[me] == NONE && fpath[kin] == NONE ->          /* smem__family_make */
        if
        :: fmade < NF ->
            d_step {                                        /* linkat is exclusive */
                if
                :: fpath[kin] == NONE -> fpath[kin] = fmade; family[me] = fmade; belongs[me] = fmade; fmade++
                :: else
                fi
            }
        :: else -> break                                    /* the model has no more of them */
        fi
    :: family[me] == NONE && fpath[kin] != NONE ->
        ffd[me] = fpath[kin];                               /* smem__file_open */
        if
        :: ffd[me] == NONE
        :: d_step {                                         /* smem__record_is_dead */
            ffd[me] != NONE && FMAY_CLAIM(ffd[me]) -> flock[me] = EXCLUSIVE };
            if
            :: fpath[kin] == ffd[me] -> fpath[kin] = NONE   /* is_at; unlink */
            :: else
            fi
        :: ffd[me] != NONE && !FMAY_CLAIM(ffd[me]) ->
            d_step {
                if
                :: FMAY_SHARE(ffd[me]) -> flock[me] = SHARED
                :: else -> ffd[me] = NONE                   /* EAGAIN: being ended */
                fi
            }
            if
            :: ffd[me] == NONE
#ifndef FAULT_JOIN_WITHOUT_LOOK
            :: ffd[me] != NONE && fpath[kin] != ffd[me]     /* smem__file_is_at */
#endif
            :: else -> d_step { family[me] = ffd[me]; belongs[me] = ffd[me] } /* smem__family_enter */
            fi
        fi;
        d_step { ffd[me] = NONE; flock[me] = UNLOCKED }
    :: else -> break
    od
}

/* smem__posix_tighten: a loose mapping gets a lock again, if it has its name.
   Else a ticket could be published while a tester, who was not refused, already
   read the tickets. */
inline tighten(j)
{
    fd[me] = at;
    if
    :: fd[me] == j ->
        d_step { MAY_SHARE(fd[me]) -> lock[me] = SHARED };  /* waits for a test's end */
        d_step { maps[me] = maps[me] | (1 << j); loose[me] = loose[me] & ~(1 << j) }
    :: else
    fi;
    close_fd()
}

/* smem_leave: the family first, then what is still mapped, then, if the family
   ended with us, everything that only it kept; its file last. */
inline leave()
{
    d_step { t = family[me]; family[me] = NONE; belongs[me] = NONE; watch_families() };
    d_step {                                                /* smem__family_leave */
        if
        :: t != NONE && fpath[kin] == t && FMAY_CLAIM(t) ->
            ffd[me] = t; flock[me] = EXCLUSIVE; ending = t
        :: else
        fi;
        t = NONE
    }
    j = 0;
    do                                                      /* smem__leave_segments */
    :: j < NI && BIT(maps[me], j) && at == j ->
        d_step {                                            /* smem__posix_loosen */
            maps[me] = maps[me] & ~(1 << j);
            loose[me] = loose[me] | (1 << j)
        }
        d_step { gone = 0; fd[me] = at };                   /* smem__leave_segment */
        if
        :: fd[me] == NONE
        :: fd[me] != NONE && fd[me] != j -> close_fd()
        :: else ->
#ifdef FAULT_TICKETS_BEFORE_LOCK
            judge(fd[me]);
#endif
            if
            :: d_step { MAY_CLAIM(fd[me]) -> lock[me] = EXCLUSIVE };
                judged(at);
#ifdef FAULT_KEEP_CLAIM
                if
                :: !gone -> kept[me] = kept[me] | (1 << j)
                :: else
                fi;
#endif
                close_fd()
            :: d_step { !MAY_CLAIM(fd[me]) -> fd[me] = NONE }
            fi
        fi;
        if
#ifndef FAULT_LEAVE_LOOSE
        :: !gone && BIT(loose[me], j) && !KEPT(j) -> tighten(j)
#endif
        :: else
        fi;
        j++
    :: j < NI && !(BIT(maps[me], j) && at == j) -> j++
    :: j >= NI -> break
    od;
    skip;
    d_step { j = NONE; gone = 0 };
    if
    :: ending != NONE ->
        sweep();
        if
        :: fpath[kin] == ending -> fpath[kin] = NONE        /* smem__family_bury */
        :: else
        fi;
        d_step { ffd[me] = NONE; flock[me] = UNLOCKED; ending = NONE }
    :: else
    fi
}

/* smem__rejoin, by the first operation after smem_leave. */
inline rejoin()
{
    join()
}

/* The forked child maps the family itself, then unmaps what it inherited: the
   two count as one here, so there is something to see in the fault only. */
inline renew()
{
#ifdef FAULT_RENEW_DROPS_FIRST
    family[me] = NONE;
    join()
#else
    skip
#endif
}

/* ---- processes ---------------------------------------------------------------- */

#ifdef FAULT_LEAVE_LOOSE
#define USABLE(j) (BIT(maps[me], j) || BIT(loose[me], j))
#else
#define USABLE(j) (BIT(maps[me], j))
#endif

chan kill[3] = [0] of { bit };

proctype Participant(byte me)
{
    byte kin = (me == 2 && !HAVE(M_FORK) -> 1 : 0);
    byte i = NONE, j = NONE, d = NONE, t = NONE, k, ending = NONE;
    bit valid, gone, got, held, entered;

    if
    :: HAVE(M_FORK) && me == 2 ->
end_unborn:
        !dead[me]
    :: else
    fi;
    {
        if
        :: HAVE(M_FORK) && me == 2 -> renew()               /* smem__family_renew */
        :: else -> join()
        fi;
end_idle:
        do
        :: d_step { MAY(M_CREATE) && made < NI -> ops-- }; create(false, false)
        :: d_step { MAY(M_REPLACE) && made < NI -> ops-- }; create(true, false)
        :: d_step { MAY(M_PERSISTENT) && made < NI -> ops-- }; create(true, true)
        :: d_step { MAY(M_ATTACH) && at != NONE -> ops-- }; open_and_map(ANY, NONE); got = 0
        :: d_step { MAY(M_UNLINK) && at != NONE -> ops-- }; unlink_name()
        :: d_step { MAY(M_SWEEP) -> ops-- }; sweep()
        :: d_step { MAY(M_LEAVE) -> ops-- }; leave(); break        /* exit */
        :: d_step { MAY(M_REJOIN) && fmade < NF -> ops-- }; leave(); rejoin()
        :: d_step {                                         /* fork */
                MAY(M_FORK) && me < 2 && dead[2] && !forked ->
                ops--;
                forked = 1;
                maps[2] = maps[me]; loose[2] = loose[me];
                family[2] = family[me]; belongs[2] = family[me];
                dead[2] = 0
            }
        :: d_step { MAY(M_DROP) && maps[me] != 0 -> ops-- };
            if
            :: BIT(maps[me], 0) -> j = 0
            :: BIT(maps[me], 1) -> j = 1
            :: BIT(maps[me], 2) -> j = 2
            fi;
            drop(j);
            d_step { j = NONE; gone = 0 }
        :: d_step { MAY(M_SEND) && (maps[me] | loose[me]) != 0 -> ops-- };
            if
            :: USABLE(0) -> j = 0
            :: USABLE(1) -> j = 1
            :: USABLE(2) -> j = 2
            :: else -> j = NONE
            fi;
            if
            :: j != NONE -> send(j); j = NONE
            :: else
            fi
        :: d_step { MAY(M_RECEIVE) && channel != 0 -> ops-- };
            if
            :: BIT(channel, 0) -> d = 0
            :: BIT(channel, 1) -> d = 1
            :: BIT(channel, 2) -> d = 2
            fi;
            if
            :: channel = channel & ~(1 << d)            /* a queue */
            :: skip                                     /* a broadcast: loaded twice */
            fi;
            receive(d);
            d = NONE
        od;
        skip;
        d_step { vanish(me) }
    } unless {
        atomic {                                            /* SIGKILL */
            kill[me]?_;
            d_step {
                vanish(me);
                i = NONE; j = NONE; d = NONE; t = NONE; k = 0; ending = NONE;
                valid = 0; gone = 0; got = 0; held = 0; entered = 0 /* fewer states */
            }
        }
    }
}

/* SIGKILL, at any step of anybody. */
proctype Killer()
{
end:
    do
    :: kill[0]!0
    :: kill[1]!0
    :: kill[2]!0
    od
}

/* Locks what is under the name, and never lets go. */
proctype Stranger()
{
end_out:
    do
    :: d_step { at != NONE && MAY_SHARE(at) -> stranger = at; claws = SHARED }; break
#ifdef WRITEABLE
    :: d_step { at != NONE && MAY_CLAIM(at) -> stranger = at; claws = EXCLUSIVE }; break
#endif
    od
}

/* The next participant of the user, when all others are gone. */
proctype Reclaimer(byte me)
{
    byte t = NONE, ending = NONE;
    bit valid, gone, entered;
end_waiting:
    dead[0] && dead[1] && dead[2];
    sweep();
    assert(at == NONE || BIT(persistent, at) || stranger == at); /* P7 */
    assert(temp == NONE || stranger == temp);
    assert(fpath[0] == NONE && fpath[1] == NONE)
}

init
{
    atomic {
        if
        :: HAVE(M_FORK) || HAVE(M_TWO) -> dead[2] = 1
        :: else
        fi;
        if
        :: !HAVE(M_JOIN) ->
            fmade = 1;
            fpath[0] = 0;
            family[0] = 0;
            family[1] = 0;
            belongs[0] = 0;
            belongs[1] = 0;
            if
            :: !HAVE(M_FORK) && !HAVE(M_TWO) -> fpath[1] = 1; family[2] = 1; belongs[2] = 1; fmade = 2
            :: else
            fi
        :: else
        fi;
        if
        :: HAVE(M_GIVEN) -> made = 1; at = 0; maps[1] = 1
        :: else
        fi;
        run Participant(0);
        run Participant(1);
        if
        :: !HAVE(M_TWO) -> run Participant(2)
        :: else
        fi;
        if
        :: KILLS -> run Killer()
        :: else
        fi;
        if
        :: HAVE(M_STRANGER) -> run Stranger()
        :: else
        fi;
        run Reclaimer(3)
    }
}
