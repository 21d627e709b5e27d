"""README, tutorial and how-to guides: every console session is typed and compared with what is shown.

The ``console`` blocks of a page are one session of a shell, in namespaces of its own,
so that nothing but what the page starts is seen. Numbers (pids, sizes, inodes), the
user's name and space between columns may differ from those shown; the scripts' own
output is compared exactly in test_examples.py. What cannot be run stands under a
comment ``.. not run: <why>``.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("tutorial", "how-to")
PAGES = [page for folder in FOLDERS for page in sorted((ROOT / "doc" / folder).glob("*.rst"))]
TOOLS = {"ipcs", "ipcrm", "lsof", "sharedmem"}
NAMESPACES = ["unshare", "--mount", "--ipc", "--pid", "--fork", "--mount-proc"]


def named(page: Path) -> str:
    return f"{page.parent.name}/{page.stem}"


def console(page: Path) -> list[tuple[str, str]]:
    """Command and shown output of each prompt on a page."""
    prompts: list[tuple[str, str]] = []
    pattern = r"((?:^ *\.\. not run:.*\n+)?)^( *)\.\. code-block:: console\n\n((?:\2 +.*\n|\n)+)"
    for excuse, _, body in re.findall(pattern, page.read_text("utf-8") + "\n", re.MULTILINE):
        if not excuse:
            for part in re.split(r"^\$ ", textwrap.dedent(body), flags=re.MULTILINE)[1:]:
                typed = re.match(r"(?:.*\\\n)*.*\n?", part)
                assert typed is not None
                prompts.append((typed[0].rstrip("\n"), part[typed.end() :]))
    return prompts


def comparable(output: str) -> list[str]:
    """The lines of an output without what differs from one run to the next."""
    words = re.sub(rf"\b(?:{re.escape(getpass.getuser())}|ada)\b", "USER", output)
    words = re.sub(r"\b(?:0x)?[0-9a-f]{8,}\b|\d+", "N", words)
    return [" ".join(line.split()) for line in words.splitlines() if line.strip()]


def isolated() -> list[str]:
    """The command that gives a session namespaces and a /dev/shm of its own."""
    command = NAMESPACES if os.geteuid() == 0 else [*NAMESPACES, "--user", "--map-root-user"]
    if subprocess.run([*command, "true"], capture_output=True).returncode != 0:
        pytest.skip("no namespaces for a session of its own")
    return [*command, "bash", "-c", "mount -t tmpfs tmpfs /dev/shm && exec bash session.sh"]


SESSIONS = [page for page in [ROOT / "README.rst", *PAGES] if console(page)]


@pytest.mark.parametrize("page", SESSIONS, ids=named)
def test_console_session_prints_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    """What a page has the reader type prints what it shows."""
    prompts = console(page)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    missing = {tool for tool in TOOLS for typed, _ in prompts if re.search(rf"\b{tool} ", typed)}
    missing = {tool for tool in missing if shutil.which(tool, path=path) is None}
    if missing:
        pytest.skip(f"not there: {', '.join(missing)}")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    mark = secrets.token_hex(8)
    script = "".join(f"{typed}\nprintf '\\n{mark}\\n'\n" for typed, _ in prompts)
    (tmp_path / "session.sh").write_text(script, "utf-8")
    ours = {name for name in os.environ if name.startswith("SHAREDMEM_")}
    environment = {name: os.environ[name] for name in os.environ.keys() - ours} | {"PATH": path}
    done = subprocess.run(
        isolated(), cwd=tmp_path, env=environment, text=True, timeout=90,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    printed = done.stdout.split(f"\n{mark}\n")
    assert len(printed) == len(prompts) + 1, done.stdout
    for (typed, shown), output in zip(prompts, printed):
        assert comparable(output) == comparable(shown), f"$ {typed}\n{output}"


def test_reading_finds_prompts_and_outputs(tmp_path: Path) -> None:
    """A block's prompts are separated, and one that cannot be run is left out."""
    page = tmp_path / "page.rst"
    page.write_text(
        ".. code-block:: console\n\n   $ one \\\n     more\n   out\n\n   $ two\n\ntext\n\n"
        ".. not run: no cluster here\n\n.. code-block:: console\n\n   $ three\n",
        "utf-8",
    )
    assert [typed for typed, _ in console(page)] == ["one \\\n  more", "two"]
    assert [comparable(shown) for _, shown in console(page)] == [["out"], []]


LITERAL = re.compile(r"\.\. literalinclude:: (\S+)")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if LITERAL.search(page.read_text("utf-8"))], ids=named
)
def test_included_script_is_one_that_the_tests_run(page: Path) -> None:
    """What a page includes is there, and test_examples.py knows it."""
    tests = (ROOT / "tests/test_examples.py").read_text("utf-8")
    for target in LITERAL.findall(page.read_text("utf-8")):
        file = (page.parent / target).resolve()
        assert file.is_file(), target
        stem = re.sub(r"_(before|after)$", "", file.stem)
        assert stem in tests, f"{named(page)} shows {target}, which no test runs"


@pytest.mark.parametrize("folder", FOLDERS)
def test_index_lists_every_page(folder: str) -> None:
    """The table of contents of a folder has all of its pages, and no other."""
    index = (ROOT / "doc" / folder / "index.rst").read_text("utf-8")
    listed = re.findall(r"^   ([\w-]+)$", index[index.index("toctree") :], re.MULTILINE)
    assert sorted(listed) == sorted(
        page.stem for page in PAGES if page.parent.name == folder and page.stem != "index"
    )
