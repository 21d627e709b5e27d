"""The command ``sharedmem``: look at segments, clean up, save, load, diagnose.

It observes: it joins no family, holds nothing in anybody's way and leaves
nothing behind. Only ``load`` takes part, as any program that makes an array.
Exit codes: 0 nothing to report or done, 1 something was found or failed,
2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from sharedmem._core.segment import VERSION
from sharedmem.cli import clean, completion, doctor, files, list, show, watch
from sharedmem.cli.errors import Failure, UsageFailure, line

__all__ = ["main"]

_EPILOG = "exit codes: 0 nothing to report or done, 1 something was found or failed, 2 wrong usage"
Run = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """Abbreviated options would break scripts when another option comes."""

    def __init__(self, **keywords: Any) -> None:
        keywords.setdefault("allow_abbrev", False)
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**keywords)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0.05 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.05 and 86400 seconds")
    return value


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sharedmem",
        description="Shared arrays: what there is, who uses it, what is left over.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"sharedmem {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Run, description: str) -> _Parser:
        made: _Parser = commands.add_parser(
            name,
            description=description,
            epilog=_EPILOG,
            help=description.partition("\n")[0].rstrip("."),
        )
        made.set_defaults(run=run)
        return made

    listing = command("list", list.run, list.DESCRIPTION)
    listing.add_argument("--backend", choices=("posix", "sysv"), help="of this backend only")
    listing.add_argument("--all", action="store_true", help="also what the library has for itself")

    showing = command("show", show.run, show.DESCRIPTION)
    showing.add_argument("name", metavar="NAME", help="'posix:x' and 'sysv:x' look on one backend only")
    showing.add_argument("--values", metavar="N", type=_count, default=8, help="how many (default 8)")
    showing.add_argument(
        "--plot",
        metavar="FILE.png",
        nargs="?",
        const="",
        help="draw the array in the terminal, or into a picture",
    )

    cleaning = command("clean", clean.run, clean.DESCRIPTION)
    cleaning.add_argument("--yes", action="store_true", help="do it; without it nothing is changed")
    what = cleaning.add_mutually_exclusive_group()
    what.add_argument("--in-flight", action="store_true", help="also what was sent and is awaited")
    what.add_argument(
        "--locks",
        metavar="NAME",
        help="instead break the locks of NAME whose holder is dead or cannot be seen",
    )
    cleaning.add_argument("--user", metavar="NAME", help="of this user or uid (root only)")

    unlinking = command("unlink", files.unlink, files.UNLINK)
    unlinking.add_argument("names", metavar="NAME", nargs="+")

    saving = command("save", files.save, files.SAVE)
    saving.add_argument("name", metavar="NAME")
    saving.add_argument("file", metavar="FILE.npy")
    saving.add_argument("--force", action="store_true", help="overwrite the file")

    loading = command("load", files.load, files.LOAD)
    loading.add_argument("file", metavar="FILE.npy")
    loading.add_argument("name", metavar="NAME")
    loading.add_argument("--replace", action="store_true", help="take the name from who has it")
    loading.add_argument("--backend", choices=("posix", "sysv"), help="posix when not given")

    watching = command("watch", watch.run, watch.DESCRIPTION)
    watching.add_argument("--interval", metavar="SECONDS", type=_seconds, default=1.0, help="default 1")
    watching.add_argument("--all", action="store_true", help="also what the library has for itself")

    checking = command("doctor", doctor.run, doctor.DESCRIPTION)
    for each in (listing, showing, cleaning, unlinking, saving, loading, watching, checking):
        each.add_argument("--json", action="store_true", help="print a JSON document")

    completing = command("completion", completion.run, completion.DESCRIPTION)
    completing.add_argument("shell", choices=("bash", "zsh"))
    return parser


def _give_up_output() -> None:
    """Nobody reads on: what is still buffered must not fail at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _run(run: Run, options: argparse.Namespace) -> int:
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _give_up_output()
        return 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (Failure, OSError, ValueError, TypeError, MemoryError) as error:
        print(f"sharedmem: {line(error)}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _give_up_output()
        return 2 if isinstance(error, UsageFailure) else 1


def _stream(name: str) -> Any:
    """Of sys. Where it was closed nobody reads what is said."""
    if getattr(sys, name) is None:
        setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    return getattr(sys, name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    for stream in (_stream("stdout"), _stream("stderr")):
        stream.reconfigure(errors="backslashreplace")
    given = sys.argv[1:] if arguments is None else [*arguments]
    if given == ["names"]:  # what completion asks; no command of the user's
        return _run(list.names, argparse.Namespace())
    parser = _parser()
    options = parser.parse_args(given)
    if not hasattr(options, "run"):
        parser.print_help(sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _terminate)  # undo and restore as at the end of any command
    return _run(options.run, options)
