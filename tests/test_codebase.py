"""What holds for the tree as a whole: arrows between layers, names, lists that must be complete."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import sharedmem

ROOT = Path(__file__).resolve().parent.parent
C = ROOT / "src" / "c"
PACKAGE = ROOT / "src" / "sharedmem"
REFERENCE = ROOT / "doc" / "reference"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
TEXT = {".c", ".cfg", ".cpp", ".h", ".in", ".md", ".pml", ".pxd", ".py", ".pyi", ".pyx", ".rst", ".toml"}
FOLDERS = ("src", "tests", "examples", "benchmarks", "doc", "completions")


def files(*endings: str, under: tuple[str, ...] = FOLDERS) -> list[Path]:
    """Files of the project that end so; all where nothing is said."""
    found = (path for folder in under for path in (ROOT / folder).rglob("*") if path.is_file())
    ours = (path for path in found if "__pycache__" not in path.parts and "_build" not in path.parts)
    return sorted(path for path in ours if not endings or path.suffix in endings)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- arrows between the layers of C ------------------------------------------

# What each folder may include of ours; a name that ends in "/" is a folder.
MAY_INCLUDE = {
    "include": (),
    "base": ("sharedmem.h", "base/"),
    "os": ("sharedmem.h", "base/", "os/"),
    "segment": ("sharedmem.h", "base/", "os/backend.h", "segment/"),
    "reaper": ("sharedmem.h", "base/", "os/backend.h", "segment/"),
}
# Headers of C itself, and what is no system call: threads and fork handlers.
NO_KERNEL = {
    *(
        "assert ctype errno inttypes limits stdalign stdarg stdatomic stdbool stddef stdint stdio"
    ).split(),
    *("stdlib string pthread immintrin").split(),
}
# Functions of libc that segment/ calls: none talks to the kernel but for memory.
NO_SYSTEM_CALL = frozenset(
    "memcpy memmove memset memcmp memchr strlen strnlen strcmp strncmp strcpy strncpy strchr "
    "malloc calloc realloc free strdup strtoull snprintf __popcountdi2 __stack_chk_fail".split()
)


def includes(path: Path) -> Iterator[tuple[str, bool]]:
    for bracket, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', path.read_text(), re.MULTILINE):
        yield name, bracket == "<"


@pytest.mark.parametrize("path", files(".c", ".h", under=("src/c",)), ids=relative)
def test_c_arrows_go_down(path: Path) -> None:
    """A file of the core includes its own layer and those below, and system headers in os/ only."""
    folder = path.relative_to(C).parts[0]
    for name, system in includes(path):
        if system:
            assert folder == "os" or name.removesuffix(".h") in NO_KERNEL, f"<{name}> belongs to os/"
        else:
            allowed = MAY_INCLUDE[folder]
            assert (
                name.startswith(tuple(each for each in allowed if each.endswith("/"))) or name in allowed
            )


def test_extension_knows_the_public_header_only() -> None:
    """The thin layer reaches the C core through sharedmem.h."""
    found = {
        name
        for path in files(".pyx", ".pxd")
        for name in re.findall(r'cdef extern from "([^"]+)"', path.read_text())
    }
    assert found == {"sharedmem.h", "numpy/arrayobject.h"}


# ---- arrows between Python modules -------------------------------------------

# From the bottom up; each imports what stands above it in this list, and its own line.
MODULES = (
    ("_core",),
    ("_core.errors",),
    ("_core.segment",),
    ("_build",),
    ("errors",),
    ("dtypes",),
    ("atomic",),
    ("places",),
    ("participant",),
    ("ledger",),
    ("warm",),
    # The class knows how it is pickled, and loading makes one; it has a lock, which has a name.
    ("pickling", "sharedarray", "names", "sync"),
    ("functions",),
    ("pointers",),
    ("transport",),
    ("threads",),
    ("heap",),
    ("machine",),
    ("lending",),
    ("workers",),
    ("installation",),
    ("creation",),
    ("queue",),
    ("sections",),
    ("failures",),
    ("executor",),
    ("jobs",),
    ("mapreduce",),
    ("pool",),
    ("calls",),
    ("__init__",),
    ("compat",),
    ("testing",),
    ("cli",),
    ("__main__",),
)
LEVEL = {module: level for level, line in enumerate(MODULES) for module in line}


def module_of(dotted: str) -> str:
    """The name in MODULES for what follows "sharedmem."."""
    parts = dotted.split(".")
    name = ".".join(parts[:2]) if parts[0] == "_core" and len(parts) > 1 else parts[0]
    return name if name in LEVEL or (PACKAGE / parts[0]).with_suffix(".py").exists() else "__init__"


def imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "sharedmem":
                yield node.lineno, module_of(name.partition(".")[2])


@pytest.mark.parametrize("path", files(".py", ".pyi", ".pyx", under=("src/sharedmem",)), ids=relative)
def test_python_arrows_go_down(path: Path) -> None:
    """A module imports only what stands below it in MODULES."""
    if path.suffix == ".pyx":
        lines = re.findall(r"^from (sharedmem\S+) import", path.read_text(), re.MULTILINE)
        assert set(lines) <= {"sharedmem._core.errors"}
        return
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] == "_core":
        parts = ("_core",) if parts[1] == "__init__" else parts
    name = ".".join(parts[:2]) if parts[0] == "_core" else parts[0]
    assert name in LEVEL, f"say in MODULES what {name} may import"
    for line, target in imported(path):
        assert LEVEL[target] <= LEVEL[name], (
            f"{relative(path)}:{line} imports {target}, which stands above"
        )


# ---- what is public is documented --------------------------------------------


def sections(text: str) -> set[str]:
    return set(re.findall(r"^([A-Z][A-Za-z ]+)\n-{3,}$", text, re.MULTILINE))


def public() -> list[str]:
    return sorted(sharedmem.__all__)


@pytest.mark.parametrize("name", public())
def test_public_name_has_a_docstring(name: str) -> None:
    """Everything in __all__ says what it is, and each public method and property too."""
    thing = getattr(sharedmem, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        own = {key: value for key, value in vars(thing).items() if not key.startswith("_")}
        assert not [key for key, value in own.items() if callable(value) and not inspect.getdoc(value)]


def missing(name: str) -> set[str]:
    """Sections that the docstring of a public function should have, and parameters that it does not name."""
    function = getattr(sharedmem, name)
    text = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    needed = {"Examples"}
    if signature.parameters:
        needed.add("Parameters")
    if signature.return_annotation not in ("None", "Iterator[None]"):
        needed.add("Returns")
    heads = re.findall(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: :.*)?$", text, re.MULTILINE)
    named = {each.strip("* ") for head in heads for each in head.split(",")}
    return (needed - sections(text)) | (set(signature.parameters) - named)


@pytest.mark.skipif(not REFERENCE.exists(), reason="no reference documentation in this tree")
def test_public_functions_have_the_sections_they_need() -> None:
    """Parameters where it takes some, each of them named; Returns where it does; Examples always."""
    functions = [name for name in public() if inspect.isfunction(getattr(sharedmem, name))]
    assert not {name: missing(name) for name in functions if missing(name)}


@pytest.mark.skipif(not REFERENCE.exists(), reason="no reference documentation in this tree")
def test_reference_has_every_public_name() -> None:
    """The reference documentation names everything in __all__."""
    text = "\n".join(path.read_text() for path in REFERENCE.rglob("*.rst"))
    assert not [name for name in public() if not re.search(rf"\b{name}\b", text)]


# ---- the C core, compiled ----------------------------------------------------

# Writable data of the core, with the reason. Anything else belongs into a context.
WRITABLE = {
    "smem__sys": "the table of system calls, which tests replace",
    "smem__all": "the contexts of this process, which the fork handlers visit",
    "smem__all_lock": "of that list",
    "smem__atfork_once": "the fork handlers are registered once",
    "smem__spelt": "each thread's text of a system error that has none",
    "smem__buried": "families whose death was seen: a second copy would only ask again",
    "smem__lock_kind": "what locks the kernel has, found out once",
    "reaper": "the one of a program of its own, too large for its stack",
}


def compile_c(folder: Path, *arguments: str | Path) -> None:
    if COMPILER is None:
        pytest.skip("no C compiler")
    command = [COMPILER, "-std=c11", "-D_GNU_SOURCE", "-I", C, "-I", C / "include", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    """(file, type, name) of every symbol of the core.

    Compiled for a fixed address: constants that hold addresses are writable to
    nm otherwise, since the loader fills them in.
    """
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm")
    folder = tmp_path_factory.mktemp("objects")
    rows = []
    for source in sorted(C.glob("*/*.c")):
        made = f"{source.parent.name}-{source.stem}.o"
        compile_c(folder, "-O1", "-fno-pic", "-c", source, "-o", made)
        said = subprocess.run([nm, made], capture_output=True, text=True, cwd=folder, check=True).stdout
        rows += [(relative(source), *line.split()[-2:]) for line in said.splitlines()]
    return rows


def test_core_has_no_writable_data_but_what_is_listed(symbols: list[tuple[str, str, str]]) -> None:
    """State belongs into a context, or a second copy of the library in a process would not know it."""
    writable = {name.partition(".")[0] for _, kind, name in symbols if kind in "bBcCdDgGsS"}
    assert writable == set(WRITABLE)


def test_segment_layer_makes_no_system_call(symbols: list[tuple[str, str, str]]) -> None:
    """Of libc segment/ calls what computes and what allocates."""
    foreign = {
        name
        for file, kind, name in symbols
        if "/segment/" in file and kind == "U" and not name.startswith(("smem_", "pthread_"))
    }
    assert foreign <= NO_SYSTEM_CALL


# ---- header and .pxd ---------------------------------------------------------


def declarations(pxd: str) -> Iterator[str]:
    """C that compiles only where sharedmem.h declares what the .pxd does, in the same way."""
    body = pxd[pxd.index("cdef extern from") :].split("\n", 1)[1]
    struct = ""
    for line in re.sub(r",\s*\n\s*", ", ", body).splitlines():
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if not text or text in ("enum:", "pass"):
            continue
        if found := re.fullmatch(r"ctypedef struct (\w+):", text):
            struct = found[1]
            yield f"{struct} *check_{struct};"
        elif re.fullmatch(r"SMEM_\w+", text):
            yield f"enum {{ check_{text} = {text} }};"
        elif depth == 8 and (found := re.fullmatch(r"(.+?)(\w+)((?:\[\w+\])*)", text)):
            kind, field, extent = found.groups()
            same = f"_Generic(&(({struct} *)0)->{field}, {kind}(*){extent}: 1, default: 0)"
            yield f'_Static_assert({same}, "{struct}.{field}");'
        elif found := re.fullmatch(r"ctypedef (\w+) (\w+)\((.*)\) noexcept", text):
            kind, name, parameters = found.groups()
            same = f"_Generic(({name} *)0, {kind} (*)({parameters}): 1, default: 0)"
            yield f'_Static_assert({same}, "{name}");'
        elif found := re.fullmatch(r"(.+?)(\w+)\((.*)\)", text):
            kind, name, parameters = found.groups()
            yield f"{kind}(*check_{name})({parameters}) = {name};"
        elif found := re.fullmatch(r"(const char \*)(\w+)", text):
            yield f"const char *check_{found[2]} = {found[2]};"
        else:
            raise AssertionError(f"not understood: {line}")


def test_pxd_says_what_the_header_says(tmp_path: Path) -> None:
    """Every constant, member and function of the .pxd is in sharedmem.h, with the same type."""
    lines = list(declarations((PACKAGE / "_core" / "c_sharedmem.pxd").read_text()))
    assert len(lines) > 90
    (tmp_path / "check.c").write_text('#include "sharedmem.h"\n' + "\n".join(lines) + "\n")
    compile_c(tmp_path, "-Werror", "-fsyntax-only", "check.c")


# ---- names and sizes ---------------------------------------------------------

# Shorter than a concept usually is; longer is nothing.
SHORT = {
    "base/status.c": "a table of result codes, whose rows are in the header",
    "base/point.c": "one hook, of one build",
    "base/stream.c": "two loops",
    "os/futex.c": "two calls and a clock",
    "segment/event.c": "one word",
    "os/hugepages.c": "three calls of the kernel's",
    "os/spawn.c": "starting one program",
    "os/watch.c": "waiting for the end of processes",
    "segment/away.c": "half of the cache",
    "segment/displace.c": "one rule of the cache, which is long already",
    "segment/inherit.c": "one question at one moment",
    "segment/name.c": "names: few rules",
    "segment/reaper.c": "starting it; the program is elsewhere",
    "segment/share.c": "a ledger of numbers",
}


@pytest.mark.parametrize("path", sorted(C.glob("*/*.c")), ids=relative)
def test_c_file_is_one_concept_long(path: Path) -> None:
    """100 to 450 lines; what is shorter is listed with the reason."""
    length = len(path.read_text().splitlines())
    assert length <= 450
    assert (length < 100) == (path.relative_to(C).as_posix() in SHORT)


def test_no_file_is_a_drawer() -> None:
    """A file is named for its one concept."""
    drawers = {"util", "utils", "common", "helper", "helpers", "misc"}
    assert not [
        relative(path) for path in files() if drawers & set(re.split(r"\W|_", relative(path).lower()))
    ]


# Words that tell how the project was made, not what it is.
FOREIGN = re.compile(
    r"\b(?:TODO|FIXME|XXX)\b|(?i:\bissue #?\d|\b(?:this|last|next|previous|earlier) (?:issue|session|task)\b"
    r"|\bas (?:requested|instructed)\b|\bworkplace\b|\bslaves?\b)"
)


def test_text_speaks_of_the_project_alone() -> None:
    """No notes to oneself, and nothing about how the text came to be."""
    top = [path for path in ROOT.iterdir() if path.suffix in TEXT or path.name == "Makefile"]
    found = [
        f"{relative(path)}:{number}: {line}"
        for path in [*top, *files(*TEXT)]
        if path != Path(__file__)  # which has the words to look for
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert not found


# ---- lists that must be complete ---------------------------------------------


def test_faults_fit_the_core() -> None:
    """Each fault that the scheduler has to find has one place, and is another text."""
    spec = importlib.util.spec_from_file_location("faults", ROOT / "tests" / "schedule" / "faults.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    assert len({fault.name for fault in module.FAULTS}) == len(module.FAULTS) >= 10
    for fault in module.FAULTS:
        assert (ROOT / fault.file).read_text().count(fault.old) == 1, fault.name
        assert fault.new != fault.old


def test_each_scene_is_run_and_described() -> None:
    """By ``make test-schedules``, and in the page on schedules."""
    schedule = ROOT / "tests" / "schedule"
    text = "".join(path.read_text() for path in schedule.glob("scene_*.c"))
    scenes = set(re.findall(r'^const scene scene_\w+ = \{"(\w+)"', text, re.MULTILINE))
    loop = re.search(r"for scene in ([\w ]+);", (ROOT / "Makefile").read_text())
    page = (ROOT / "doc" / "explanation" / "schedules.rst").read_text()
    assert loop is not None and set(loop[1].split()) == scenes
    assert set(re.findall(r"^   \* - ``(\w+)``$", page, re.MULTILINE)) >= scenes


def quoted(path: Path) -> set[str]:
    return set(re.findall(r"'([^'\n]+)'", path.read_text()))


def test_meson_lists_every_python_file() -> None:
    """What is in src/sharedmem is installed."""
    there = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    installed = {
        path for path in there if path.endswith((".py", ".pyi", ".py.in")) or path == "py.typed"
    }
    assert installed - quoted(PACKAGE / "meson.build") == set()


def test_meson_lists_every_c_file() -> None:
    """What is in src/c is compiled."""
    assert {path.relative_to(C).as_posix() for path in C.rglob("*.c")} <= quoted(C / "meson.build")


# The extension's name has the Python and the machine in it.
WHEEL = {
    "pytest_sharedmem.py",
    "sharedmem-*.dist-info/METADATA",
    "sharedmem-*.dist-info/RECORD",
    "sharedmem-*.dist-info/WHEEL",
    "sharedmem-*.dist-info/entry_points.txt",
    "sharedmem-*.dist-info/licenses/LICENSE",
    "sharedmem/__init__.py",
    "sharedmem/__main__.py",
    "sharedmem/_build.py",
    "sharedmem/_core/__init__.py",
    "sharedmem/_core/errors.py",
    "sharedmem/_core/segment.*.so",
    "sharedmem/_core/segment.pyi",
    "sharedmem/_core/sharedmem-reaper",
    "sharedmem/cli/__init__.py",
    "sharedmem/cli/clean.py",
    "sharedmem/cli/completion.py",
    "sharedmem/cli/doctor.py",
    "sharedmem/cli/errors.py",
    "sharedmem/cli/files.py",
    "sharedmem/cli/image.py",
    "sharedmem/cli/list.py",
    "sharedmem/cli/locks.py",
    "sharedmem/cli/output.py",
    "sharedmem/cli/plot.py",
    "sharedmem/cli/probes.py",
    "sharedmem/cli/segments.py",
    "sharedmem/cli/show.py",
    "sharedmem/cli/statistics.py",
    "sharedmem/cli/system.py",
    "sharedmem/cli/watch.py",
    "sharedmem/compat/__init__.py",
    "sharedmem/compat/npshmex.py",
    "sharedmem/compat/shmarray.py",
    "sharedmem/creation.py",
    "sharedmem/dtypes.py",
    "sharedmem/errors.py",
    "sharedmem/include/sharedmem.h",
    "sharedmem/names.py",
    "sharedmem/participant.py",
    "sharedmem/executor.py",
    "sharedmem/functions.py",
    "sharedmem/installation.py",
    "sharedmem/ledger.py",
    "sharedmem/heap.py",
    "sharedmem/pickling.py",
    "sharedmem/places.py",
    "sharedmem/pointers.py",
    "sharedmem/pool.py",
    "sharedmem/transport.py",
    "sharedmem/py.typed",
    "sharedmem/atomic.py",
    "sharedmem/calls.py",
    "sharedmem/failures.py",
    "sharedmem/jobs.py",
    "sharedmem/lending.py",
    "sharedmem/machine.py",
    "sharedmem/mapreduce.py",
    "sharedmem/sections.py",
    "sharedmem/threads.py",
    "sharedmem/workers.py",
    "sharedmem/queue.py",
    "sharedmem/sharedarray.py",
    "sharedmem/sync.py",
    "sharedmem/testing/__init__.py",
    "sharedmem/testing/deaths.py",
    "sharedmem/testing/leaks.py",
    "sharedmem/warm.py",
}


def test_wheel_holds_what_is_listed(tmp_path: Path) -> None:
    """A wheel has the files above: no source of the core, no test, nothing forgotten."""
    pytest.importorskip("mesonpy", reason="no meson-python: the package was built elsewhere")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    command += [
        "--no-build-isolation",
        f"-Cbuild-dir={tmp_path / 'build'}",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    built = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=90
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    plain = [
        re.sub(r"(segment)\..*(\.so)", r"\1.*\2", re.sub(r"-[^/]+(\.dist-info)", r"-*\1", n))
        for n in names
    ]
    assert sorted(plain) == sorted(WHEEL)
