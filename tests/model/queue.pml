/*
 * A ring that several put into and several take from, of whom any may die: the
 * protocol of src/c/segment/queue.c, for the model checker Spin.
 *
 * One step is one store or load that others can see, or taking or giving back a
 * side's lock. One producer puts an item of one byte and one of three, or by its name
 * of two where there is no room; another puts one of two; two consumers
 * take, less the one that is left WITHOUT; up to KILLS of them are killed between any two steps, and who needs
 * the lock of the dead takes it over as it is (smem_lock_acquire, then
 * smem_lock_recover): nothing is mended. The tape has room for two items that
 * take what is kept for each, the
 * slots are one more than the limit. Somebody shuts the queue at any time. Sleep
 * is left out: who finds nothing looks again (smem_queue_get, smem_queue_put).
 *
 * Checked (assert):
 *   T1  what is taken is an item as it was put: its first byte and its last, of one put
 *   T2  no item is taken twice, and each producer's come in the order of its puts
 *   T3  an item that was put is in the queue until somebody takes it or dies taking it:
 *       who finds the queue shut and empty finds nothing in it afterwards
 *   T4  nobody waits for ever for the lock of the dead (invalid end states)
 *   T5  an item no longer than what is kept for each has room whenever a slot is free,
 *       and no byte is overwritten that is not taken yet
 *
 * The faults, each a -D that run shows to be caught:
 *   FAULT_PUBLISH_BEFORE_BYTES  the position moves before the bytes are there (T1)
 *   FAULT_MOVE_BEFORE_COPY      a consumer moves its position, then copies (T1)
 *   FAULT_KEEP_LOCK             the lock of the dead is nobody's to take over (T4)
 *   FAULT_END_WITHOUT_LOOK      shut and empty is the end, though a producer may
 *                               have looked before it was shut (T3)
 *   FAULT_CHARGE_BYTES          a small item is charged what it takes (T5)
 */
#define ITEMS 2 /* of producer 0; of the other one less */
#ifndef KILLS
#define KILLS 2
#endif
#ifndef WITHOUT
#define WITHOUT 3 /* one of the four, 1 or 3, that is not there */
#endif
#define LIMIT 2
#define SLOTS 3
#define ROOM 4
#define SPARE 2 /* bytes kept for each item that may still come */
#define N 4
#define FREE N
#define NOTHING 0

byte put_lock = FREE, get_lock = FREE;
byte put_position, get_position; /* never wrap here */
byte put_far, get_far;           /* where the other side was at the last look */
byte ends[SLOTS], charged[SLOTS]; /* never wrap; of the item before the first one: 0 */
byte tape[ROOM];
bool shut, ended;
bool alive[N] = true;
bool over[N];
byte kills = KILLS;
byte last[2]; /* the number of each producer's last item that was taken */
bool taken[2 * ITEMS];

#define VALUE(who, number) ((who) * ITEMS + (number) + 1)
#define SLOT(item) (((item) + SLOTS) % SLOTS)
#define END_OF(item) ends[SLOT(item)]
#define CHARGED_TO(item) charged[SLOT(item)]
#define WANTED(who, number) ((who) == 1 -> 2 : ((number) == 0 -> 1 : 3))
#ifdef FAULT_CHARGE_BYTES
#define CHARGE(size) (size)
#else
#define CHARGE(size) ((size) > SPARE -> (size) : SPARE)
#endif
#define USED (CHARGED_TO(put_position - 1) - CHARGED_TO(at - 1))
#define KEPT ((LIMIT - (put_position - at) - 1) * SPARE)
#define HAS_ROOM(size) (USED + CHARGE(size) + KEPT <= ROOM)

inline enter(lock, me) {
    atomic {
#ifdef FAULT_KEEP_LOCK
        lock == FREE -> lock = me
#else
        (lock == FREE || !alive[lock]) -> lock = me
#endif
    }
}

inline leave(lock) {
    lock = FREE
}

inline publish() {
    d_step { put_position++; assert(!ended) }
}

/* The first byte and the last; what is between is as the last. */
inline write(who, number) {
    tape[begin % ROOM] = VALUE(who, number);
    d_step {
        if
        :: size == 3 -> tape[(begin + 1) % ROOM] = VALUE(who, number)
        :: else -> skip
        fi;
        tape[(begin + size - 1) % ROOM] = VALUE(who, number)
    }
}

/* The holder's, between enter and leave; [done] when it is in the queue. */
inline append(who, number, done) {
    done = false;
    if
    :: shut -> refused = true
    :: else ->
        at = put_far;
        if
        :: put_position - at == LIMIT ->
            at = get_position;
            put_far = at
        :: else -> skip
        fi;
        if
        :: put_position - at == LIMIT -> skip
        :: else ->
            if
            :: !HAS_ROOM(WANTED(who, number)) ->
                at = get_position;
                put_far = at
            :: else -> skip
            fi;
            d_step {
                size = WANTED(who, number);
                if
                :: !HAS_ROOM(size) ->
                    assert(size > SPARE); /* it lies elsewhere: its name is put */
                    size = SPARE;
                    assert(HAS_ROOM(size))
                :: else -> skip
                fi;
                begin = END_OF(put_position - 1);
                assert(begin + size - END_OF(get_position - 1) <= ROOM);
                total = CHARGED_TO(put_position - 1) + CHARGE(size)
            };
#ifdef FAULT_PUBLISH_BEFORE_BYTES
            CHARGED_TO(put_position) = total;
            END_OF(put_position) = begin + size;
            publish();
            write(who, number);
#else
            write(who, number);
            CHARGED_TO(put_position) = total;
            END_OF(put_position) = begin + size;
            publish();
#endif
            done = true
        fi
    fi
}

inline receive() {
    assert(first != NOTHING && first == second);
    assert(!taken[first - 1]);
    assert(last[(first - 1) / ITEMS] < (first - 1) % ITEMS + 1);
    taken[first - 1] = true;
    last[(first - 1) / ITEMS] = (first - 1) % ITEMS + 1
}

/* The holder's, between enter and leave; [done] when it has one. */
inline take(done) {
    done = false;
    at = get_far;
    if
    :: at == get_position ->
        was_shut = shut;
        at = put_position;
        get_far = at
    :: else -> skip
    fi;
    if
    :: at == get_position -> skip
    :: else ->
        begin = END_OF(get_position - 1);
        end = END_OF(get_position);
#ifdef FAULT_MOVE_BEFORE_COPY
        get_position++;
        first = tape[begin % ROOM];
        second = tape[(end - 1) % ROOM];
        d_step { receive() };
#else
        first = tape[begin % ROOM];
        second = tape[(end - 1) % ROOM];
        d_step { get_position++; receive() };
#endif
        done = true
    fi
}

/* Nobody who looked before it was shut puts any more. */
inline settle(me) {
#ifndef FAULT_END_WITHOUT_LOOK
    enter(put_lock, me);
    leave(put_lock);
#endif
    settled = true
}

/* Who has ended is one state, whatever it knew. */
inline rest() {
    at = 0;
    begin = 0;
    number = 0;
    done = false;
    refused = false
}

proctype producer(byte me) {
    byte at, begin, number, size, total;
    bool done, refused;
    {
        do
        :: number < ITEMS - me && !refused ->
            !shut && put_position - get_position < LIMIT || shut; /* asleep until then */
            enter(put_lock, me);
            append(me, number, done);
            d_step {
                leave(put_lock);
                at = 0; begin = 0; size = 0; total = 0;
                if
                :: done -> number++
                :: else -> skip
                fi;
                done = false
            }
        :: else -> break
        od;
        atomic { over[me] = true; rest(); size = 0; total = 0 }
    } unless { atomic { !alive[me]; rest(); size = 0; total = 0 } }
}

proctype consumer(byte me) {
    byte at, begin, end, number, first, second;
    bool done, refused, was_shut, settled;
    {
        do
        :: put_position != get_position || shut; /* asleep until then */
            enter(get_lock, me);
            take(done);
            atomic {
            leave(get_lock); at = 0; begin = 0; end = 0; first = 0; second = 0;
            if
            :: !done && was_shut && settled ->
                ended = true;
                break
            :: !done && was_shut && !settled -> was_shut = false
            :: else -> done = false; was_shut = false; goto next
            fi
            };
            settle(me);
next:       skip
        od;
        atomic { over[me] = true; rest(); end = 0; first = 0; second = 0; was_shut = false; settled = false }
    } unless { atomic { !alive[me]; rest(); end = 0; first = 0; second = 0; was_shut = false; settled = false } }
}

proctype killer() {
    do
    :: kills > 0 ->
        atomic {
            kills--;
            if
            :: alive[0] && !over[0] -> alive[0] = false
            :: alive[1] && !over[1] -> alive[1] = false
            :: alive[2] && !over[2] -> alive[2] = false
            :: alive[3] && !over[3] -> alive[3] = false
            :: true -> skip
            fi
        }
    :: kills == 0 -> break
    od
}

init {
    atomic {
        run producer(0);
        run consumer(2);
        if
        :: WITHOUT != 1 -> run producer(1)
        :: else -> over[1] = true
        fi;
        if
        :: WITHOUT != 3 -> run consumer(3)
        :: else -> over[3] = true
        fi;
        run killer()
    }
    shut = true;
    timeout; /* nothing can happen any more */
    assert((over[0] || !alive[0]) && (over[1] || !alive[1]));
    assert((over[2] || !alive[2]) && (over[3] || !alive[3]));
    assert(put_position == get_position || (!alive[2] && (!alive[3] || WITHOUT == 3)))
}
