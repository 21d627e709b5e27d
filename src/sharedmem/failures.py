"""How the failure of a worker gets to the caller of a map."""

from __future__ import annotations

import pickle
import traceback
import warnings
from typing import Any, NamedTuple

from sharedmem import pickling
from sharedmem._core.segment import Segment
from sharedmem.errors import OwnerDiedError
from sharedmem.sections import Abandoned
from sharedmem.transport import Sealed
from sharedmem.workers import level_of_caller

__all__ = ["Failure", "LostExceptionType", "SlaveException", "WorkerException"]


class LostExceptionType(Warning):
    """An exception of a worker cannot be pickled: its text is all that is left of it.

    Examples
    --------
    >>> import warnings, sharedmem
    >>> warnings.simplefilter('error', sharedmem.LostExceptionType)
    >>> warnings.simplefilter('default', sharedmem.LostExceptionType)
    """


class WorkerException(Exception):
    """A worker has failed, or has died.

    Parameters
    ----------
    reason : BaseException
        What the work function raised, of its own type where that can be pickled; for a
        worker that died a `RuntimeError` that names its rank and its exit code or signal.
    traceback : str
        The worker's, formatted; empty for one that died.

    Attributes
    ----------
    reason, traceback
        As given.

    Notes
    -----
    It can be pickled if its reason can. ``SlaveException`` is the name that it had in
    older versions of rainwoodman's sharedmem.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduce(np=2) as pool:
    ...     try:
    ...         pool.map(lambda i: 1 / i, [1, 0])
    ...     except sharedmem.WorkerException as error:
    ...         error.reason
    ZeroDivisionError('division by zero')
    """

    def __init__(self, reason: BaseException, traceback: str) -> None:
        super().__init__(reason, traceback)
        self.reason = reason
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.reason!r}\n{self.traceback}" if self.traceback else str(self.reason)


SlaveException = WorkerException


class Failure(NamedTuple):
    """How a worker failed, in its own words.

    Attributes
    ----------
    error : BaseException or None
        Where it did not have to be pickled.
    sealed : Sealed or None
        Its pickle, where that gives it back.
    text, traceback : str
    follows : bool
        It came of the failure of somebody else, who will be heard of.
    """

    error: BaseException | None
    sealed: Sealed | None
    text: str
    traceback: str
    follows: bool

    @classmethod
    def of(
        cls,
        error: BaseException,
        pickled: bool,
        locks: frozenset[str] = frozenset(),
        take: pickling.Issuer = Segment.ticket,
    ) -> Failure:
        """What is to be said of an exception that has just been caught.

        `locks` are the names of those that workers hold for the map itself: who hears of a
        death by one of them follows it. What a lock of the user's says is the user's to hear.
        Tickets for what it names are had by `take`.
        """
        died = isinstance(error, OwnerDiedError) and error.name in locks
        formatted = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return cls(
            None if pickled else error,
            _seal(error, take) if pickled else None,
            text_of(error),
            formatted,
            died or isinstance(error, Abandoned),
        )

    def reason(self) -> BaseException:
        """The exception itself, or one with its text."""
        if self.error is not None:
            return self.error
        try:
            reason: Any = self.sealed.open() if self.sealed else None
            assert isinstance(reason, BaseException)
        except BaseException:
            warnings.warn(
                f"the exception of a worker cannot be pickled; this is left of it: {self.text}",
                LostExceptionType,
                stacklevel=level_of_caller(),
            )
            return Exception(self.text)
        return reason


def text_of(error: BaseException) -> str:
    """What it is and says, whatever it is like."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException as why:  # a failure has to be told, whatever its exception is like
        return f"{type(error).__name__}: its text cannot be had, for {type(why).__name__}"


def _seal(error: BaseException, take: pickling.Issuer) -> Sealed | None:
    """The same to be sent: shared arrays in it live on when their worker has ended."""
    try:
        return Sealed(pickling.dumps(error, take)) if pickle_of(error) is not None else None
    except BaseException:
        return None


def pickle_of(error: BaseException) -> bytes | None:
    """An exception's pickle, if it is one that a caller should get, and comes back as it was."""
    if not isinstance(error, Exception):
        return None
    try:
        data = pickle.dumps(error)
        return data if type(pickle.loads(data)) is type(error) else None
    except BaseException:
        return None
