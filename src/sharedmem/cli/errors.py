"""What a command says when it cannot do its work: one line, with the remedy."""

from __future__ import annotations

from sharedmem.cli.output import visible

__all__ = ["Failure", "UsageFailure", "line"]


class Failure(Exception):
    """An expected error, told in one line; exit code 1."""


class UsageFailure(Failure):
    """Arguments that cannot be meant; exit code 2."""


def line(error: BaseException) -> str:
    """The error in one line that is safe to print."""
    if isinstance(error, Failure):
        return visible(str(error))
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    name = getattr(error, "name", None) or getattr(error, "filename", None)
    if name is not None and repr(name) not in text:
        text = f"{name!s}: {text}"
    return visible(text)
