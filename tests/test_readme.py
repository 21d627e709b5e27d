"""What README.rst has the reader paste works. Its console session is typed in test_guides.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sharedmem

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.rst").read_text("utf-8")
TOOLS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def blocks(language: str) -> list[str]:
    """The blocks of code in this language, in order."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", README, re.MULTILINE)
    return [textwrap.dedent(block).strip("\n") + "\n" for block in found]


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    environment = os.environ | {"PATH": TOOLS} | variables
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_first_block_prints_what_its_comment_says(method: str, tmp_path: Path) -> None:
    """A dozen lines prove the point, under each start method."""
    block = blocks("python")[0]
    assert len(block.splitlines()) <= 12
    said = re.findall(r"print\(.*\) +# (.+)", block)
    guard = "if __name__ == '__main__':\n"
    assert said and guard in block
    script = tmp_path / "first.py"
    script.write_text(
        block.replace(guard, f"{guard}    multiprocessing.set_start_method({method!r})\n"), "utf-8"
    )
    assert run(sys.executable, "-W", "error", script, cwd=tmp_path).splitlines() == said


def test_trap_is_named_on_the_first_screen() -> None:
    """That a pickle is a name, and the way around it, are told before how to install."""
    screen = README[: README.index("Install:")]
    assert "**a pickle of such an array is a name, not the\ndata.**" in screen
    assert "with sharedmem.by_content():" in screen


def test_further_blocks_run() -> None:
    """The other Python blocks run as they stand, after the import."""
    for block in blocks("python")[1:]:
        variables: dict[str, object] = {"sharedmem": sharedmem}
        exec(compile(block, "README.rst", "exec"), variables)
        assert variables["a"].tolist()[0] == [7, 7, 7, 7]  # type: ignore[attr-defined]


def commands() -> list[str]:
    """The commands in the text."""
    return [re.sub(r"\s+", " ", each) for each in re.findall(r"``((?:make|meson|pip) [^`]+)``", README)]


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("make")])
def test_make_target_exists(command: str) -> None:
    """Each make target of the text can be made."""
    if shutil.which("make") is None:
        pytest.skip("no make")
    run("make", "-n", *command.split()[1:], cwd=ROOT)


def test_pip_extras_exist() -> None:
    """What the text has pip install is the checkout, with extras that the project has."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    installs = [each.split()[-1].strip("'") for each in commands() if each.startswith("pip")]
    assert installs
    for target in installs:
        extra = re.fullmatch(r"\.(?:\[(\w+)\])?", target)
        assert extra, target
        assert extra[1] is None or re.search(rf"^{extra[1]} = \[", project, re.MULTILINE), target


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C library as the text's meson commands install it, but for the prefix."""
    for tool in ("meson", "ninja", "cc", "pkg-config"):
        if shutil.which(tool, path=TOOLS) is None:
            pytest.skip(f"no {tool}")
    folder = tmp_path_factory.mktemp("library")
    setup, install = (each.split() for each in commands() if each.startswith("meson"))
    build = folder / "build"
    run(
        *[str(build) if each == "build/lib" else each for each in setup],
        f"--prefix={folder}",
        "--libdir=lib",
        cwd=ROOT,
    )
    run(*[str(build) if each == "build/lib" else each for each in install], cwd=ROOT)
    return folder


def build_c(source: Path, program: Path, installed: Path) -> None:
    """Build a C program as the guide says, with the flags that pkg-config knows."""
    flags = run(
        "pkg-config",
        "--cflags",
        "--libs",
        "sharedmem",
        cwd=installed,
        PKG_CONFIG_PATH=f"{installed}/lib/pkgconfig",
    ).split()
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    run("cc", *warnings, "-o", program, source, *flags, f"-Wl,-rpath,{installed}/lib", cwd=installed)


def test_c_block_attaches_the_array(installed: Path, tmp_path: Path) -> None:
    """The C block, in a main() that writes where the block has dots, works on Python's array."""
    (block,) = blocks("c")
    assert block.count("\n...\n") == 1
    body = block.replace("\n...\n", "\nfirst[info->shape[1]] = 5;\n")
    source = tmp_path / "block.c"
    source.write_text(
        "#include <sharedmem.h>\n#include <stdio.h>\n\nint main(void)\n{\n" + body + "return 0;\n}\n",
        "utf-8",
    )
    build_c(source, tmp_path / "block", installed)
    a = sharedmem.zeros((3, 4), name="readings")
    run(tmp_path / "block", cwd=tmp_path)
    assert a.tolist() == [[0] * 4, [5, 0, 0, 0], [0] * 4]


def test_c_example_builds_with_the_installed_library(installed: Path, tmp_path: Path) -> None:
    """The example of the guide on C builds against the installed library, and runs."""
    build_c(ROOT / "examples/c/named_array.c", tmp_path / "named_array", installed)
    a = sharedmem.copy([[1.0, 2.0]], name="installed")
    assert run(tmp_path / "named_array", "sum", a.name, cwd=tmp_path) == "sum of installed: 3\n"


def test_library_exports_what_its_header_declares(installed: Path) -> None:
    """The shared library has the functions of `sharedmem.h` for others, and nothing else."""
    header = (ROOT / "src/c/include/sharedmem.h").read_text("utf-8")
    code = re.sub(r"/\*.*?\*/|^#.*?(?<!\\)$", "", header, flags=re.DOTALL | re.MULTILINE)
    declared = set(re.findall(r"^(?!typedef)[\w *]+?\b(smem_\w+)\(", code, re.MULTILINE))
    table = run("nm", "-D", "--defined-only", installed / "lib/libsharedmem.so", cwd=installed)
    assert {line.split()[-1] for line in table.splitlines()} == declared


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("CITATION.cff", r"^version: (.+)$"),
        ("meson.build", r"^  version: '(.+)',$"),
        ("pyproject.toml", r'^version = "(.+)"$'),
    ],
)
def test_version_is_the_same_everywhere(file: str, pattern: str) -> None:
    """Every file that says a version says that of the header, which the package has."""
    said = re.search(pattern, (ROOT / file).read_text("utf-8"), re.MULTILINE)
    assert said and said[1] == sharedmem.__version__
