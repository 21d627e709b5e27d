#!/usr/bin/env python3
"""The suite on every Python that is found, with the newest NumPy and the oldest that is supported.

Each row has an environment of its own under build/matrix; each cell is one run
of the suite with one default start method. As root each run has its own
/dev/shm, IPC and process namespace, so that other programs' segments are not
taken for leaks. Arguments that are not known here go to pytest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "matrix"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
OLD_NUMPY = "1.26"
HAS_OLD_NUMPY = ("3.10", "3.11", "3.12")
START_METHODS = ("default", "forkserver", "spawn")
CELL_LIMIT = 3600  # seconds; reached only in a deadlock
PRIVATE = ("unshare", "--mount", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child")
# The shell stays, as the process that inherits orphans and waits for them.
IN_PRIVATE = (*PRIVATE, "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && "$@"; exit $?', "sh")


@dataclass(frozen=True)
class Row:
    """One Python with one NumPy."""

    version: str
    numpy: str  # "newest" or a series

    @property
    def python(self) -> Path:
        return FOLDER / f"{self.version}-numpy-{self.numpy}" / "bin" / "python"


@dataclass
class Cell:
    """How one run of the suite went."""

    row: str
    numpy: str
    method: str
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0
    note: str = ""

    @property
    def good(self) -> bool:
        return not self.failed and not self.note and self.passed > 0


def run(*command: str | Path, **options: object) -> None:
    subprocess.run(command, check=True, cwd=ROOT, **options)  # type: ignore[call-overload]


def find(version: str) -> Path | None:
    """An interpreter of this version, in PATH or among pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    installed = sorted((root / "versions").glob(f"{version}.*/bin/python{version}"))
    in_path = shutil.which(f"python{version}")
    for candidate in [*reversed(installed), *([Path(in_path)] if in_path else [])]:
        asked = [candidate, "-c", "import sys, venv, ssl; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(asked, capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return None


def private() -> tuple[str, ...]:
    """The words before a command that give it namespaces of its own, where that can be had."""
    if not shutil.which("unshare"):
        return ()
    tried = subprocess.run((*IN_PRIVATE, "true"), capture_output=True)
    return IN_PRIVATE if tried.returncode == 0 else ()


def set_up(version: str, interpreter: Path, rows: list[Row]) -> None:
    """Build the package once per Python, with its newest NumPy, and install it for each row."""
    builder = FOLDER / f"{version}-build"
    pip = (builder / "bin" / "python", "-m", "pip", "-q", "--disable-pip-version-check")
    wheels = FOLDER / f"{version}-wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    run(interpreter, "-m", "venv", builder)
    run(*pip, "install", "--upgrade", "pip>=25.1")
    run(*pip, "install", "--upgrade", "--group", "build")
    path = f"{builder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    build = f"-Cbuild-dir={(builder / 'meson').relative_to(ROOT)}"
    wheel_command = ("wheel", "--no-build-isolation", "--no-deps", build, "-w", wheels, ".")
    run(*pip, *wheel_command, env={**os.environ, "PATH": path})
    (wheel,) = wheels.glob("*.whl")
    for row in rows:
        run(interpreter, "-m", "venv", row.python.parent.parent)
        numpy = "numpy" if row.numpy == "newest" else f"numpy=={row.numpy}.*"
        install = (*pip, "--python", row.python, "install", "--upgrade")
        run(*install, "--group", "test", "--group", "demo", "--group", "interop", numpy)
        run(*install, "--force-reinstall", "--no-deps", wheel)


def count(report: Path, cell: Cell) -> None:
    """Put the counts of a JUnit report into the cell."""
    suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    cell.failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    cell.skipped = int(suite.get("skipped", 0))
    cell.passed = int(suite.get("tests", 0)) - cell.failed - cell.skipped
    cell.seconds = float(suite.get("time", 0))


def run_cell(row: Row, method: str, before: tuple[str, ...], arguments: list[str]) -> Cell:
    show = "import numpy, platform; print(platform.python_version(), numpy.__version__)"
    said = subprocess.run([row.python, "-c", show], capture_output=True, text=True, check=True)
    cell = Cell(*said.stdout.split(), method)
    label = f"{row.version}-numpy-{row.numpy}-{method}"
    report, log = FOLDER / f"{label}.xml", FOLDER / f"{label}.log"
    report.unlink(missing_ok=True)
    command = [*before, row.python, "-m", "pytest", "-q", f"--junitxml={report}"]
    command += ["-p", "no:cacheprovider", *arguments]
    if method != "default":
        command.append(f"--start-method={method}")
    print(f"== {cell.row}, NumPy {cell.numpy}, {method}: {log.relative_to(ROOT)}", flush=True)
    with log.open("w") as out:
        try:
            code = subprocess.run(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, timeout=CELL_LIMIT
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if report.exists():
        count(report, cell)
    if code not in (0, 1) or not report.exists():
        cell.note = f"pytest ended with {code}"
    if not cell.good:
        print("".join(f"   {line}\n" for line in log.read_text().splitlines()[-60:]), flush=True)
    return cell


def table(cells: Iterable[Cell], skipped: Iterable[str]) -> str:
    lines = [f"{'python':8} {'numpy':8} {'start method':12} passed skipped failed seconds"]
    for cell in cells:
        counts = f"{cell.passed:6} {cell.skipped:7} {cell.failed:6} {cell.seconds:7.0f}"
        lines.append(f"{cell.row:8} {cell.numpy:8} {cell.method:12} {counts}  {cell.note}".rstrip())
    return "\n".join([*lines, *(f"skipped: {reason}" for reason in skipped)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", choices=VERSIONS, help="only this one")
    parser.add_argument("--numpy", action="append", choices=("newest", OLD_NUMPY), help="only this")
    parser.add_argument("--method", action="append", choices=START_METHODS, help="only this one")
    chosen, arguments = parser.parse_known_args()
    skipped: list[str] = []
    cells: list[Cell] = []
    before = private()
    if not before:
        skipped.append("private namespaces (not root): other programs' segments may disturb")
    for version in chosen.python or VERSIONS:
        interpreter = find(version)
        if interpreter is None:
            skipped.append(f"Python {version}: not found in PATH nor among pyenv's")
            continue
        series = ["newest", *([OLD_NUMPY] if version in HAS_OLD_NUMPY else [])]
        rows = [Row(version, each) for each in series if each in (chosen.numpy or series)]
        try:
            set_up(version, interpreter, rows)
        except subprocess.CalledProcessError as error:
            cells.append(Cell(version, "-", "-", note=f"not built: {error}"))
            continue
        for row in rows:
            methods = chosen.method or START_METHODS
            cells += (run_cell(row, method, before, arguments) for method in methods)
    print(table(cells, skipped))
    return 0 if cells and all(cell.good for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
