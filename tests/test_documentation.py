"""What the documentation shows is true: every example runs, every table agrees with the code.

The Python blocks of a page run as one script, in order, in a folder of its own.
A block that cannot be run stands under a comment ``.. not run: <why>``. Sessions
(``>>>``) are compared with what they print, and share one namespace on a page.
Commands in console blocks are looked for in the Makefile and the command line.
"""

from __future__ import annotations

import ctypes
import doctest
import importlib
import importlib.util
import inspect
import pickle
import pkgutil
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

import sharedmem
import sharedmem.errors
from sharedmem import dtypes

ROOT = Path(__file__).resolve().parent.parent
DOC = ROOT / "doc"
LAYOUT = ROOT / "src/c/segment/layout.h"
COMPILER = shutil.which("cc") or shutil.which("gcc")
PAGES = sorted([*ROOT.glob("*.rst"), *DOC.rglob("*.rst")])
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def modules() -> list[str]:
    """All modules of the package that are written in Python and can be imported here."""
    walk = pkgutil.walk_packages(sharedmem.__path__, "sharedmem.")
    return ["sharedmem", *(each.name for each in walk if not each.name.endswith("__main__"))]


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Line number and text of each block of code in this language."""
    lines = page.read_text("utf-8").split("\n")
    for at, line in enumerate(lines):
        opening = re.match(rf"( *)\.\. (?:code-block|code|sourcecode):: {language}$", line)
        before = lines[max(at - 2, 0) : at]
        if opening is None or any(each.strip().startswith(".. not run:") for each in before):
            continue
        indent = opening[1] + "   "
        body = []
        for inner in lines[at + 1 :]:
            if inner.strip() and not inner.startswith(indent):
                break
            body.append(inner)
        while body and (not body[0].strip() or re.match(r" +:\w+:", body[0])):
            del body[0]
        yield at + 2, textwrap.dedent("\n".join(body)).rstrip() + "\n"


def is_session(block: str) -> bool:
    return block.lstrip().startswith(">>>")


# ---- docstrings ------------------------------------------------------------


def docstring_tests() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = []
    for name in modules():
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue  # an optional dependency is not there
        found += [each for each in finder.find(module, name) if each.examples]
    return found


@pytest.mark.parametrize("example", docstring_tests(), ids=lambda example: example.name)
def test_docstring_example(example: doctest.DocTest) -> None:
    """The examples of a docstring print what they say they do."""
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    report: list[str] = []
    runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


PUBLIC = [name for name in sharedmem.__all__ if name != "errors"]


def methods(cls: type) -> list[str]:
    """The public methods and properties that a class has of its own."""
    own = {name: each for name, each in vars(cls).items() if not name.startswith("_")}
    return [name for name, each in own.items() if inspect.isfunction(each) or isinstance(each, property)]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_object_is_in_the_reference(name: str) -> None:
    """Whatever the package exports is described on a page of the reference."""
    text = "\n".join(page.read_text("utf-8") for page in (DOC / "reference").rglob("*.rst"))
    kind = r"(?:auto(?:function|class|exception|decorator|data)|module)"
    assert re.search(rf"\.\. {kind}:: (?:sharedmem\.)?{name}(?:\(\))?$", text, re.MULTILINE)


@pytest.mark.parametrize("name", [each for each in PUBLIC if not each.endswith("Error")])
def test_public_object_has_an_example(name: str) -> None:
    """Each function, and each method of a class, has an example that runs."""
    object_ = getattr(sharedmem, name)
    described = [object_]
    if inspect.isclass(object_):
        described += [inspect.getattr_static(object_, method) for method in methods(object_)]
    for each in described:
        if not isinstance(each, property) or each.fget.__name__ != "dtype":
            assert ">>> " in (inspect.getdoc(each) or ""), each


# ---- pages -----------------------------------------------------------------

WITH_SCRIPTS = [
    page for page in PAGES if any(not is_session(block) for _, block in blocks(page, "python"))
]
WITH_SESSIONS = [page for page in PAGES if any(is_session(block) for _, block in blocks(page, "python"))]


@pytest.mark.parametrize("page", WITH_SCRIPTS, ids=named)
def test_script_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """The Python blocks of a page, one after the other, run without an error or a warning."""
    script = tmp_path / "page.py"
    text = ""
    for line, block in blocks(page, "python"):
        if not is_session(block):  # padded, so that a traceback has the page's line numbers
            text += "\n" * max(line - 1 - text.count("\n"), 0) + block
    script.write_text(text, "utf-8")
    command = [sys.executable, "-W", "error", script.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0 and not done.stderr, f"{named(page)}:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", WITH_SESSIONS, ids=named)
def test_session_of_a_page_prints_what_it_says(page: Path, tmp_path: Path) -> None:
    """The sessions of a page print what they show; run apart, as they may install things."""
    text = "\n".join(block for _, block in blocks(page, "python") if is_session(block))
    (tmp_path / "page.txt").write_text(text, "utf-8")
    command = [
        sys.executable,
        "-m",
        "doctest",
        "-o",
        "ELLIPSIS",
        "-o",
        "NORMALIZE_WHITESPACE",
        "page.txt",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, f"{named(page)}:\n{done.stdout}{done.stderr}"


def commands() -> list[tuple[str, str]]:
    """Page and text of each command that a console block shows."""
    found = []
    for page in PAGES:
        for _, block in blocks(page, "console"):
            joined = block.replace("\\\n", " ")
            found += [
                (named(page), line[2:]) for line in joined.split("\n") if line.startswith(("$ ", "# "))
            ]
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_command_of_a_page_exists(page: str, command: str) -> None:
    """A make target, a subcommand or a meson option that a page shows is there."""
    targets = re.findall(r"\bmake ((?:[a-z-]+ ?)+)", command)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in " ".join(targets).split():
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: make {target}"
    options = (ROOT / "meson.options").read_text("utf-8")
    for option in re.findall(r"-D(\w+)=", command) if "meson setup" in command else []:
        assert option.startswith("b_") or f"option('{option}'" in options, f"{page}: -D{option}"
    for subcommand in re.findall(r"(?:^|[|;&] *)(?:python3? -m )?sharedmem ([a-z]+)", command):
        if importlib.util.find_spec("sharedmem.__main__") is None:
            pytest.skip("the command line is not there")
        line = [sys.executable, "-m", "sharedmem", subcommand, "--help"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{page}: sharedmem {subcommand}: {done.stderr}"


def attach_without_ml_dtypes() -> None:
    """As in a process that has not imported it, as this one may have."""
    with mock.patch.dict(sys.modules), mock.patch.dict(dtypes._registered, clear=True):
        sys.modules.pop("ml_dtypes", None)
        dtypes.from_text("{'format': '<V2', 'type': 'ml_dtypes.bfloat16'}")


REFUSED = {
    "pickle": lambda: pickle.loads(pickle.dumps(sharedmem.zeros(3))),
    "exists": lambda: [
        sharedmem.zeros(3, name="x"),
        sharedmem.attach("x"),
        sharedmem.zeros(3, name="x"),
    ],
    "layout": lambda: [sharedmem.zeros(3, name="x"), sharedmem.attach_or_create("x", (2, 2), "f4")],
    "dtype": lambda: sharedmem.zeros(3, object),
    "type": attach_without_ml_dtypes,
    "room": lambda: sharedmem.zeros(2**50, backend="posix"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_quoted_message_is_the_real_one(refused: Callable[[], object]) -> None:
    """What the page on troubleshooting quotes is what is raised, but for names and numbers."""
    page = " ".join((DOC / "troubleshooting.rst").read_text("utf-8").split())
    with pytest.raises((sharedmem.SharedmemError, TypeError)) as caught:
        refused()
    error = caught.value
    said = str(error.strerror if isinstance(error, OSError) else error)
    said = said.replace(f"({Path('/proc/self/comm').read_text().strip()})", "(python)")
    parts = re.split(r"([0-9][0-9,]*(?<!,))", said)
    pattern = "".join("[0-9,]+" if part[:1].isdigit() else re.escape(part) for part in parts)
    assert re.search(rf"{type(error).__name__}: (\[Errno [0-9]+\] )?{pattern}", page), said


LINK = re.compile(r"<((?!https?:|mailto:)[\w./-]+)>`_")


@pytest.mark.parametrize(
    "page", [each for each in PAGES if LINK.search(each.read_text("utf-8"))], ids=named
)
def test_link_to_a_file_leads_somewhere(page: Path) -> None:
    """Links between files of the tree lead to files that exist."""
    # A page that is included elsewhere is read at its own place, too: on the forge.
    missing = [
        link for link in LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()
    ]
    assert not missing


# ---- the page of the models ---------------------------------------------------

MODEL_PAGE = (DOC / "explanation/model.rst").read_text("utf-8")
MODELS = {each.name: each.read_text("utf-8") for each in (ROOT / "tests/model").glob("*.pml")}


def test_every_function_of_the_model_page_is_in_the_core() -> None:
    """Each C function that the page of the models names is defined in src/c."""
    source = "\n".join(each.read_text("utf-8") for each in (ROOT / "src/c").rglob("*.c"))
    defined = set(re.findall(r"^\w[\w *]*?\b(smem_\w+)\(", source, re.MULTILINE))
    named_there = set(re.findall(r"``(smem_\w+)``", MODEL_PAGE))
    assert named_there
    assert named_there <= defined, sorted(named_there - defined)


def test_every_function_of_the_models_is_in_the_core() -> None:
    """Each C function that a model's comment names is in src/c."""
    source = "\n".join(each.read_text("utf-8") for each in (ROOT / "src/c").rglob("*.[ch]"))
    for model, text in MODELS.items():
        names = set(re.findall(r"\bsmem_\w+", text))
        missing = {name for name in names if not re.search(rf"\b{name}\b", source)}
        assert names and not missing, (model, sorted(missing))


@pytest.mark.parametrize("model", sorted(MODELS))
def test_steps_of_the_model_page_are_the_model_s(model: str) -> None:
    """The steps that the page maps to C functions are inline definitions of the model."""
    table = MODEL_PAGE.split(f"\n``{model}``:\n")[1].split("\n\n")[0]
    rows = re.findall(r"^((?:``\w+``(?:, )?)+) ", table, re.MULTILINE)
    steps = {step for row in rows for step in re.findall(r"``(\w+)``", row)}
    defined = set(re.findall(r"^inline (\w+)\(", MODELS[model], re.MULTILINE))
    assert steps
    assert steps <= defined, sorted(steps - defined)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_faults_of_the_model_page_are_run(model: str) -> None:
    """A model's seeded faults, those of its head, of the page and of the run are the same."""
    head = set(re.findall(r"^ \* +FAULT_(\w+) ", MODELS[model], re.MULTILINE))
    used = set(re.findall(r"^#.*?\bFAULT_(\w+)", MODELS[model], re.MULTILINE))
    listed = MODEL_PAGE.split(f"\n- ``{model}``: ")[1].split("\n- ")[0].split("\n\n")[0]
    run = (ROOT / "tests/model/run").read_text("utf-8")
    assert head and head == used
    assert head == set(re.findall(r"``([A-Z0-9_]+)``", listed))
    assert all(re.search(rf"\b{name}\b", run) for name in head)


# ---- tables ----------------------------------------------------------------


def layout_rows(text: str) -> list[tuple[int, int, str]]:
    """offset, width and field of the rows of a byte table; -1 where a row has none."""
    rows = re.findall(r"^[ *]*(\d+|data_offset) +\\?(\d+|-) +\\?(\w+|-)(?:  |$)", text, re.MULTILINE)
    return [
        (int(at) if at.isdigit() else -1, int(width) if width.isdigit() else -1, field)
        for at, width, field in rows
    ]


def test_byte_table_of_the_page_is_the_header_s() -> None:
    """The page on the format and the head of layout.h have the same rows."""
    page = (DOC / "reference/segment-format.rst").read_text("utf-8")
    shown = layout_rows(page[: page.index("Names in the kernel")])
    assert len(shown) > 20
    assert shown == layout_rows(LAYOUT.read_text("utf-8"))


FIELDS = {"tickets": "books"}  # named otherwise in C


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_byte_table_is_what_the_compiler_makes(tmp_path: Path) -> None:
    """Offset and width of every field of the table are those of the struct."""
    rows = [
        row for row in layout_rows(LAYOUT.read_text("utf-8")) if row[2] not in ("-", "dtype", "data")
    ]
    source = ['#include "segment/layout.h"']
    for field, code in (
        ("offset", "offsetof(smem__layout, {0})"),
        ("width", "sizeof ((smem__layout *)0)->{0}"),
    ):
        values = ", ".join(code.format(FIELDS.get(name, name)) for _, _, name in rows)
        source.append(f"const size_t {field}[] = {{{values}}};")
    (tmp_path / "table.c").write_text("\n".join(source) + "\n", "utf-8")
    library = tmp_path / "table.so"
    include = ["-I", str(ROOT / "src/c"), "-I", str(ROOT / "src/c/include")]
    subprocess.run(
        [COMPILER, "-std=c11", "-shared", "-fPIC", *include, "-o", library, tmp_path / "table.c"],
        check=True,
    )
    table = ctypes.CDLL(str(library))
    sizes = ctypes.c_size_t * len(rows)
    made = zip(
        sizes.in_dll(table, "offset"), sizes.in_dll(table, "width"), (name for _, _, name in rows)
    )
    assert list(made) == rows


def test_every_exception_is_in_the_table() -> None:
    """The page on exceptions says of each what causes it and what to do."""
    page = (DOC / "reference/exceptions.rst").read_text("utf-8")
    for name in sharedmem.errors.__all__:
        if name != "SharedmemError":
            assert re.search(rf"^   \* - `{name}`$", page, re.MULTILINE), name


def test_every_environment_variable_is_described() -> None:
    """What the code reads from the environment is on the page of environment variables."""
    page = (DOC / "reference/environment.rst").read_text("utf-8")
    sources = [*ROOT.glob("src/**/*.c"), *ROOT.glob("src/**/*.py")]
    text = "\n".join(source.read_text("utf-8") for source in sources)
    read = set(re.findall(r'smem__environment\("(\w+)"\)', text)) | set(
        re.findall(r'"(SHAREDMEM_\w+)"', text)
    )
    assert read
    assert not [name for name in read if f"``{name}``" not in page]
