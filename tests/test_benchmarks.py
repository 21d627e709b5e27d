"""Our own cases of benchmarks/ run, at small sizes, and leave nothing; no time is asserted."""

from __future__ import annotations

import ast
import importlib.util
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import pytest

OURS = Path(__file__).resolve().parent.parent / "benchmarks" / "ours"
SMALL = {160_000_000: 16_384, 100 << 20: 16_384, 10_000: 20, 64: 2}


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"case_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def cases() -> Iterator[Any]:
    for path in sorted(OURS.glob("[a-z]*.py")):
        for case in vars(load(path)).values():
            if not isinstance(case, type) or not hasattr(case, "setup"):
                continue
            for params in product(*getattr(case, "params", ())):
                for method in (each for each in dir(case) if each.startswith("time_")):
                    said = "-".join(map(str, params))
                    yield pytest.param(case, method, params, id=f"{case.__name__}.{method}-{said}")


@pytest.mark.parametrize("case, method, params", list(cases()))
def test_case_runs_and_leaves_nothing(case: Any, method: str, params: tuple[Any, ...]) -> None:
    """Set up, run once and torn down, each case leaves no segment, process or fd (the guard looks)."""
    tiny = [SMALL.get(each, each) for each in params]
    one = case()
    one.setup(*tiny)
    getattr(one, method)(*tiny)
    one.teardown(*tiny) if hasattr(one, "teardown") else None


@pytest.mark.parametrize("contestant", ["ours", "stdlib", "threads"])
def test_maps_run_and_leave_nothing(contestant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row of the page on maps, once and small, with each kind of memory in the parent."""
    monkeypatch.syspath_prepend(OURS.parent)
    maps = load(OURS.parent / "mapreduce.py")
    chosen = Namespace(tasks=20, terms=5000, memory=16_384)
    with ExitStack() as keep:
        for case in maps.CONTESTANTS[contestant](chosen, keep).values():
            assert maps.timed(case)[0] > 0
    for hold in maps.MEMORY.values():
        hold(chosen.memory)


# ---- rows and rivals --------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/run.py, which finds report.py beside itself."""
    monkeypatch.syspath_prepend(str(OURS.parent))
    return load(OURS.parent / "run.py")


def methods_of(path: Path) -> dict[str, set[str]]:
    """The classes of a file and their methods, without importing what it measures."""
    classes: dict[str, set[str]] = {}
    for each in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(each, ast.ClassDef):
            continue
        found = {part.name for part in each.body if isinstance(part, ast.FunctionDef)}
        for base in each.bases:
            name = ast.unparse(base)
            beside = path.parent / f"{name.lower()}.py"
            if name not in classes and beside.exists():
                classes |= methods_of(beside)
            found |= classes.get(name, set())
        classes[each.name] = found
    return classes


def test_every_row_has_its_case_and_its_rival(run: Any) -> None:
    """What a row names is there: our class, and the class of the peer that it is measured against."""
    ours = {name: found for path in OURS.glob("[a-z]*.py") for name, found in methods_of(path).items()}
    peers = {name: methods_of(OURS.parent / "peers" / each.file) for name, each in run.PEERS.items()}
    for case in run.cases():
        for which, classes in ((case.ours, ours), (case.theirs, peers.get(case.rival))):
            name, _, method = which.partition(".")
            if which and classes is not None:
                assert method in classes.get(name, ()), (case.title, which)
        assert not case.rival or case.rival in peers, case.title


def test_who_cannot_be_installed_is_named(run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A contestant without room on the disk, or too large for a quick run, is absent with the reason."""
    monkeypatch.setattr(run, "BUILD", tmp_path)
    large = run.Contestant("torch_peer.py", ("torch",), 1 << 20)
    python, why = run.environment_of("torch", large, True)
    assert not python and "make bench" in why
    python, why = run.environment_of("torch", large, False)
    assert not python and "no room" in why
    assert list(tmp_path.iterdir()) == []
