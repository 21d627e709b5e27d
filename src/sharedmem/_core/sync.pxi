# Locks and their relatives, as parts of the one extension: each a pointer into a
# segment, which it keeps mapped. They wait without the GIL and let signal
# handlers run. A signal may have come with the wake-up, or, on a busy machine, long before
# its thread ran again: so handlers run once more when the wait is over, and what was taken is given
# back when one raises.

from operator import index as _index
from threading import TIMEOUT_MAX as _TIMEOUT_MAX

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EBUSY, EINTR, ENOLCK, ETIMEDOUT

HOLDER_NONE, HOLDER_LIVES = SMEM_HOLDER_NONE, SMEM_HOLDER_LIVES
HOLDER_DEAD, HOLDER_UNSEEN = SMEM_HOLDER_DEAD, SMEM_HOLDER_UNSEEN
KIND_LOCK, KIND_RECURSIVE, KIND_CONDITION = SMEM_KIND_LOCK, SMEM_KIND_RECURSIVE, SMEM_KIND_CONDITION
KIND_EVENT, KIND_SEMAPHORE, KIND_BARRIER = SMEM_KIND_EVENT, SMEM_KIND_SEMAPHORE, SMEM_KIND_BARRIER


cdef int64_t NO_WAIT = smem_deadline(0)
cdef int64_t FOREVER = smem_deadline(0x7fffffffffffffff)


cpdef double seconds_of(timeout) except? -1:
    """What a caller has given as so many seconds."""
    cdef double seconds
    try:
        seconds = timeout
    except TypeError:
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}") from None
    if seconds != seconds:
        raise ValueError("timeout must be a number of seconds, not nan")
    return seconds


def integer_of(value, str what):
    """What a caller has given as an integer."""
    try:
        return _index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, not {value!r}") from None


cdef int64_t deadline_of(timeout) except -1:
    """In C's terms; None is for ever, and what is over is no wait."""
    cdef double seconds
    if timeout is None:
        return FOREVER
    seconds = seconds_of(timeout)
    if seconds > 9e9:
        return FOREVER
    return smem_deadline(<int64_t>(seconds * 1e9))


cdef class Synchronizer:
    """Something at a place in a segment. Not usable before bind()."""
    cdef Segment segment
    cdef smem_segment *c
    cdef void *at

    def bind(self, Segment segment not None, Py_ssize_t offset):
        """To `offset` bytes from the segment's data; -1 means the array's own lock."""
        if offset >= 0 and <uint64_t>offset + 8 > segment.facts.nbytes:
            raise ValueError("that is outside of the segment")
        self.segment, self.c = segment, segment.c
        self.at = smem_lock_of(segment.c) if offset < 0 else <char *>smem_data(segment.c) + offset

    cdef void *place(self) except NULL:
        if self.at == NULL:
            raise ValueError(f"this {type(self).__name__} was not made by calling its class")
        return self.at

    @property
    def _segment(self):
        self.place()
        return self.segment

    @property
    def _offset(self):
        self.place()
        if self.at == smem_lock_of(self.c):
            return -1
        return <char *>self.at - <char *>smem_data(self.c)


cdef class CoreLock(Synchronizer):
    cdef bint recursive

    def set_recursive(self):
        self.recursive = True

    cdef int wait(self, int64_t deadline) except 1:
        """0 or a negative code; SMEM_E_OWNER_DIED means that it is held, too."""
        cdef smem_lock *lock = <smem_lock *>self.place()
        cdef int code = -EBUSY if self.recursive else smem_lock_try(self.c, lock)
        if code != -EBUSY and code != -ENOLCK:
            return code
        while True:
            with nogil:
                if self.recursive:
                    code = smem_lock_enter(self.c, lock, deadline)
                else:
                    code = smem_lock_acquire(self.c, lock, deadline)
            if code == 0 or code == SMEM_E_OWNER_DIED:
                self.keep_unless_interrupted()
            if code != -EINTR:
                return code
            PyErr_CheckSignals()

    cdef int keep_unless_interrupted(self) except -1:
        try:
            return PyErr_CheckSignals()
        except BaseException:
            self.give_back()
            raise

    cdef int give_back(self) except 1:
        cdef smem_lock *lock = <smem_lock *>self.place()
        if self.recursive:
            return smem_lock_exit(self.c, lock)
        return smem_lock_release(self.c, lock)

    def acquire(self, bint blocking=True, timeout=-1):
        cdef int64_t deadline = FOREVER
        if not blocking:
            if timeout is not None and timeout != -1:
                raise ValueError("can't specify a timeout for a non-blocking call")
            deadline = NO_WAIT
        elif timeout is not None and timeout != -1:
            if seconds_of(timeout) < 0:
                raise ValueError("timeout value must be a non-negative number")
            if timeout > _TIMEOUT_MAX:
                raise OverflowError("timeout value is too large")
            deadline = deadline_of(timeout)
        cdef int code = self.wait(deadline)
        if code == -ETIMEDOUT:
            return False
        if code < 0:
            check(code, self.segment.name)
        return True

    def release(self):
        cdef int code = self.give_back()
        if code < 0:
            check(code, self.segment.name)

    def __enter__(self):
        cdef int code = self.wait(FOREVER)
        if code < 0:
            if code == SMEM_E_OWNER_DIED:  # nobody will call __exit__()
                self.give_back()
            check(code, self.segment.name)
        return True

    def __exit__(self, kind, error, traceback):
        cdef int code = self.give_back()
        if code < 0:
            check(code, self.segment.name)

    def recover(self):
        check(smem_lock_recover(self.c, <smem_lock *>self.place()), self.segment.name)

    def locked(self):
        return smem_lock_state(self.c, <smem_lock *>self.place()) != SMEM_LOCK_FREE

    def _is_owned(self):
        cdef smem_lock *lock = <smem_lock *>self.place()
        if self.recursive:
            return bool(smem_lock_is_mine(self.c, lock))
        return smem_lock_state(self.c, lock) == SMEM_LOCK_HERE

    def _holder(self):
        """enum smem_holder, and the pid or 0."""
        cdef smem_lock *lock = <smem_lock *>self.place()
        cdef int pid = 0, code
        with nogil:
            code = smem_lock_holder(self.c, lock, &pid)
        check(code, self.segment.name)
        return code, pid

    def _release_save(self):
        cdef uint32_t depth = 1
        if self.recursive:
            check(smem_lock_exit_all(self.c, <smem_lock *>self.place(), &depth), self.segment.name)
        else:
            self.release()
        return depth

    def _acquire_restore(self, uint32_t depth):
        """The lock is held afterwards, also when a signal's handler raises; a second one ends it."""
        cdef smem_lock *lock = <smem_lock *>self.place()
        cdef int code
        raised = None
        while True:
            try:
                code = self.wait(FOREVER)
                break
            except BaseException as error:
                if raised is not None:
                    raise
                raised = error
        if self.recursive and (code == 0 or code == SMEM_E_OWNER_DIED):
            lock.depth = depth
        if raised is not None:
            raise raised
        check(code, self.segment.name)


cdef class CoreCondition(Synchronizer):
    def _wait(self, lock, timeout):
        """Wait with `lock` given back; whether there was a notification."""
        cdef smem_condition *condition = <smem_condition *>self.place()
        cdef smem_wait wait
        cdef int64_t deadline = deadline_of(timeout)
        check(smem_condition_begin(self.c, condition, &wait), self.segment.name)
        try:
            depth = lock._release_save()
        except BaseException:
            smem_condition_cancel(self.c, condition, &wait)
            raise
        cdef bint notified = False
        try:
            self.sleep(&wait, deadline, &notified)
        finally:
            try:
                lock._acquire_restore(depth)
                PyErr_CheckSignals()
            except BaseException:
                if notified and lock._is_owned():  # another one may go on
                    self._notify(1)
                raise
        return notified

    cdef int sleep(self, smem_wait *wait, int64_t deadline, bint *notified) except -1:
        cdef smem_condition *condition = <smem_condition *>self.at
        cdef int code
        while True:
            with nogil:
                code = smem_condition_sleep(self.c, condition, wait, deadline)
            if code == 0 or code == -ETIMEDOUT:
                notified[0] = code == 0
                return 0
            try:
                PyErr_CheckSignals()
                if code != -EINTR:
                    check(code, self.segment.name)
            except BaseException:
                notified[0] = smem_condition_cancel(self.c, condition, wait) == 1
                raise

    def _notify(self, uint32_t count):
        check(smem_condition_notify(self.c, <smem_condition *>self.place(), count),
              self.segment.name)


cdef class CoreEvent(Synchronizer):
    def is_set(self):
        return bool(smem_event_is_set(<smem_event *>self.place()))

    def set(self):
        check(smem_event_set(self.c, <smem_event *>self.place()), self.segment.name)

    def clear(self):
        check(smem_event_clear(self.c, <smem_event *>self.place()), self.segment.name)

    def wait(self, timeout=None):
        cdef smem_event *event = <smem_event *>self.place()
        cdef int64_t deadline = deadline_of(timeout)
        cdef int code
        while True:
            with nogil:
                code = smem_event_wait(self.c, event, deadline)
            if code == -ETIMEDOUT:
                return False
            if code != -EINTR:
                check(code, self.segment.name)
                return True
            PyErr_CheckSignals()


cdef class CoreSemaphore(Synchronizer):
    def acquire(self, bint blocking=True, *given, timeout=None):
        # A timeout that is not to be waited for: threading refuses it, as is asked of it by
        # keyword; multiprocessing takes no notice of it, as is asked of it by position.
        cdef smem_semaphore *semaphore = <smem_semaphore *>self.place()
        cdef int64_t deadline = NO_WAIT
        if given:
            if len(given) > 1 or timeout is not None:
                raise TypeError("acquire() takes blocking and timeout, each once")
            timeout = given[0] if blocking else None
        if blocking:
            deadline = deadline_of(timeout)
        elif timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        cdef int code = smem_semaphore_acquire(self.c, semaphore, NO_WAIT)
        while code == -ETIMEDOUT and deadline != NO_WAIT:
            with nogil:
                code = smem_semaphore_acquire(self.c, semaphore, deadline)
            if code == -ETIMEDOUT:
                return False
            if code == -EINTR:
                PyErr_CheckSignals()
                code = -ETIMEDOUT
            elif code == 0:
                self.keep_unless_interrupted()
        if code == -ETIMEDOUT:
            return False
        check(code, self.segment.name)
        return True

    cdef int keep_unless_interrupted(self) except -1:
        try:
            return PyErr_CheckSignals()
        except BaseException:
            smem_semaphore_release(self.c, <smem_semaphore *>self.at, 1)
            raise

    def release(self, n=1):
        n = integer_of(n, "n")
        if n < 1:
            raise ValueError("n must be one or more")
        check(smem_semaphore_release(self.c, <smem_semaphore *>self.place(),
                                     min(n, 0xffffffff)), self.segment.name)

    def get_value(self):
        return smem_semaphore_value(<smem_semaphore *>self.place())

    def __enter__(self):
        return self.acquire()

    def __exit__(self, kind, error, traceback):
        self.release()


cdef class CoreBarrier(Synchronizer):
    def _pass(self, timeout, action):
        """The number of those before, when all are there and the last one has done `action`.

        In one piece: no handler of a signal runs between arriving and what has to follow.
        """
        cdef smem_barrier *barrier = <smem_barrier *>self.place()
        cdef int64_t deadline = deadline_of(timeout)
        cdef uint32_t phase = 0
        cdef int before = self.arrive(&phase)
        cdef bint broken = True
        if <uint32_t>before + 1 < barrier.parties:
            self.sleep(phase, deadline)
            return before
        try:
            if action is not None:
                action()
            broken = False
        finally:
            check(smem_barrier_open(self.c, barrier, broken), self.segment.name)
        return before

    cdef int arrive(self, uint32_t *phase) except -1:
        cdef smem_barrier *barrier = <smem_barrier *>self.at
        cdef int code
        while True:
            with nogil:
                code = smem_barrier_arrive(self.c, barrier, phase, FOREVER)
            if code != -EINTR:
                check(code, self.segment.name)
                return code
            PyErr_CheckSignals()

    cdef int sleep(self, uint32_t phase, int64_t deadline) except -1:
        cdef smem_barrier *barrier = <smem_barrier *>self.at
        cdef int code = -EINTR
        while code == -EINTR:
            try:
                PyErr_CheckSignals()
            except BaseException:
                self.give_up(phase)
                raise
            with nogil:
                code = smem_barrier_sleep(self.c, barrier, phase, deadline)
        if code == -ETIMEDOUT:
            code = self.give_up(phase)
        check(code, self.segment.name)
        return 0

    cdef int give_up(self, uint32_t phase) noexcept:
        cdef int code
        with nogil:
            code = smem_barrier_give_up(self.c, <smem_barrier *>self.at, phase)
        return code

    def _end(self, bint broken):
        cdef smem_barrier *barrier = <smem_barrier *>self.place()
        cdef int code
        while True:
            with nogil:
                if broken:
                    code = smem_barrier_abort(self.c, barrier)
                else:
                    code = smem_barrier_reset(self.c, barrier)
            if code != -EINTR:
                check(code, self.segment.name)
                return
            PyErr_CheckSignals()

    @property
    def parties(self): return (<smem_barrier *>self.place()).parties
    @property
    def n_waiting(self): return max(0, smem_barrier_waiting(<smem_barrier *>self.place()))
    @property
    def broken(self): return smem_barrier_waiting(<smem_barrier *>self.place()) < 0
