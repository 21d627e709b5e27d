"""Environments of contestants that cannot live in ours, each in a folder under build."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def make(folder: Path, *packages: str, old: bool = False) -> None:
    """Install packages in a new one; `old` ones are built by the setuptools that they know."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python_of(folder), "-m", "pip", "install", "-q"]
    if old:
        subprocess.run([*pip, "setuptools<70", "wheel", f"numpy=={np.__version__}"], check=True)
        pip.append("--no-build-isolation")
    subprocess.run([*pip, *packages], check=True)


def ask(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """The last line that a script prints there, as JSON; nothing where it cannot run, which is said."""
    if not python_of(folder).exists():
        print(f"{name}: no environment (--make-{name} makes it)")
        return {}
    done = subprocess.run([python_of(folder), *arguments], capture_output=True, text=True)
    if done.returncode:
        print(f"{name}:", done.stderr.strip().splitlines()[-1])
        return {}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
