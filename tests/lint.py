#!/usr/bin/env python3
"""Every linter that is found, by the settings in the tree; what is not found is named.

    tests/lint.py [--fast] [CHECK ...]

`make lint` installs the tools of the dependency group ``lint`` first. Without
CHECK all run; ``--fast`` leaves out those that compile C.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
CLANG_BUILD = "build/clang"

Command = list[str]


def c_files(*endings: str) -> list[str]:
    folders = ("src/c", "tests/c", "examples/c")
    found = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    return sorted(str(path.relative_to(ROOT)) for path in found if path.suffix in endings)


def clang_setup() -> list[Command]:
    """Configure a build by clang, where there is none: with its compile commands."""
    if (ROOT / CLANG_BUILD / "build.ninja").exists():
        return []
    options = ["-Dpython=false", "-Dtests_c=true", "--buildtype=debugoptimized"]
    return [["meson", "setup", CLANG_BUILD, *options]]


def ruff() -> list[Command]:
    return [["ruff", "check", "."]]


def ruff_format() -> list[Command]:
    return [["ruff", "format", "--check", "--diff", "."]]


def cython_lint() -> list[Command]:
    return [["cython-lint", "src/sharedmem/_core"]]


def mypy() -> list[Command]:
    return [["mypy"]]


def stubtest() -> list[Command]:
    """The types by hand against the installed extension."""
    allowed = ["--allowlist", "tests/stubtest-allowlist.txt", "--mypy-config-file", "pyproject.toml"]
    return [[str(BIN / "python"), "-m", "mypy.stubtest", "sharedmem", *allowed]]


def clang_format() -> list[Command]:
    return [["clang-format", "--dry-run", "--Werror", *c_files(".c", ".h")]]


def clang() -> list[Command]:
    """A build by clang: warnings are errors there as with gcc."""
    return [*clang_setup(), ["meson", "compile", "-C", CLANG_BUILD]]


def clang_tidy() -> list[Command]:
    # run-clang-tidy.py is one process per core; it takes regular expressions of paths.
    only = ["src/c/", "tests/c/.*\\.c"]
    tidy = ["-clang-tidy-binary", shutil.which("clang-tidy", path=search_path()) or "clang-tidy"]
    return [*clang_setup(), ["run-clang-tidy.py", "-quiet", *tidy, "-p", CLANG_BUILD, *only]]


# Each check with the programs that it needs.
CHECKS: dict[str, tuple[Callable[[], list[Command]], tuple[str, ...]]] = {
    "ruff": (ruff, ("ruff",)),
    "ruff-format": (ruff_format, ("ruff",)),
    "cython-lint": (cython_lint, ("cython-lint",)),
    "mypy": (mypy, ("mypy",)),
    "stubtest": (stubtest, ("stubtest",)),
    "clang-format": (clang_format, ("clang-format",)),
    "clang": (clang, ("clang", "meson")),
    "clang-tidy": (clang_tidy, ("clang-tidy", "run-clang-tidy.py", "meson", "clang")),
}
SLOW = ("clang", "clang-tidy")


def search_path() -> str:
    return f"{BIN}{os.pathsep}{os.environ['PATH']}"


def run(name: str) -> str:
    """Run a check: '' when it found nothing, else what there is to say of it."""
    commands, programs = CHECKS[name]
    missing = [each for each in programs if shutil.which(each, path=search_path()) is None]
    if missing:
        return f"skipped: {name} (no {', no '.join(missing)} here)"
    environment = {**os.environ, "PATH": search_path(), "CC": "clang", "CXX": "clang++"}
    for command in commands():
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode != 0:
            print(done.stdout, end="", flush=True)
            return f"FAILED:  {name}"
    return ""


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--fast", action="store_true", help=f"without {', '.join(SLOW)}")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.checks) - set(CHECKS):
        parser.error(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    said = []
    for name in chosen.checks or CHECKS:
        said.append(f"skipped: {name} (--fast)" if chosen.fast and name in SLOW else run(name))
        print(said[-1] or f"ok:      {name}", flush=True)
    return 1 if any(line.startswith("FAILED") for line in said) else 0


if __name__ == "__main__":
    sys.exit(main())
