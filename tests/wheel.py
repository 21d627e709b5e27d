#!/usr/bin/env python3
"""Build a manylinux wheel into dist, install it in a clean environment outside the tree, run the suite there.

Run by `make wheel`, with the tools of the dependency groups ``build`` and
``wheel``. Arguments go to pytest.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from matrix import ROOT, private

RAW = ROOT / "build" / "wheel"
DIST = ROOT / "dist"


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    subprocess.run(command, check=True, cwd=cwd)


def build() -> Path:
    """A wheel with the tag of the oldest glibc that it runs on."""
    shutil.rmtree(RAW, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-build-isolation", "--no-deps", "-Cbuild-dir=build/py", "-w", RAW, ROOT)
    (raw,) = RAW.glob("*.whl")
    run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", RAW / "repaired", raw)
    (wheel,) = (RAW / "repaired").glob("*.whl")
    DIST.mkdir(exist_ok=True)
    return Path(shutil.copy(wheel, DIST))


def try_out(wheel: Path, folder: Path, arguments: list[str]) -> int:
    """The suite with what a user would have: the wheel, and pytest."""
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    install = (python, "-m", "pip", "-q", "--disable-pip-version-check", "install")
    run(*install, "--upgrade", "pip>=25.1")
    groups = [f"--group={ROOT / 'pyproject.toml'}:{group}" for group in ("test", "demo", "interop")]
    run(*install, wheel, *groups, cwd=folder)
    where = "import sharedmem; print(sharedmem.__file__)"
    said = subprocess.run((python, "-c", where), check=True, cwd=folder, capture_output=True, text=True)
    if not said.stdout.startswith(str(folder)):
        raise SystemExit(f"not the installed package: {said.stdout}")
    command = [*private(), str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"--rootdir={ROOT}", f"--config-file={ROOT / 'pyproject.toml'}", str(ROOT / "tests")]
    return subprocess.run([*command, *arguments], cwd=folder).returncode


def main() -> int:
    wheel = build()
    print(wheel.relative_to(ROOT), flush=True)
    with tempfile.TemporaryDirectory(prefix="sharedmem-wheel-") as folder:
        Path(folder).chmod(0o755)  # tests with another user import from there
        return try_out(wheel, Path(folder), sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
