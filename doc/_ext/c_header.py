"""The C interface from its header, so that the page cannot fall behind it.

``.. c-header:: PATH`` shows a header that is written as `sharedmem.h` is: a
comment at its head, in which a line of capitals is a title and parts may begin
with "Title. text", then sections under ``/* ---- title ---- */``, in which a
comment stands before what it describes. The X-macro of the result codes becomes
a table that names the exception for each.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from sharedmem._core.errors import _CLASSES

_SECTION = re.compile(r"^/\* -{4,} (.+?) -+ \*/$")
_SAVED = re.compile(
    r"\b(?:smem_\w+(?:\(\)|\.\w+)?|SMEM_\w+|SHAREDMEM_\w+)|-E[A-Z]{3,}\b|\bE[A-Z]{5,}\b|\[\w+\]"
)
_ROW = re.compile(r'X\((\w+), (\d+), (\w+), "([^"]*)",\s*"([^"]*)"\)')


def _prose(text: str) -> str:
    """The text of a comment as reST: names as literals, nothing else as markup."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match.group().strip("[]"))
        return f"\0{len(kept) - 1}\0"

    text = re.sub(r"([\\*`|_])", r"\\\1", _SAVED.sub(keep, text))
    return re.sub(r"\0(\d+)\0", lambda match: f"``{kept[int(match[1])]}``", text)


def _comment_text(lines: list[str]) -> str:
    """A comment without its stars."""
    text = "\n".join(lines).strip().removeprefix("/*").removesuffix("*/")
    return "\n".join(re.sub(r"^ ?\* ?", "", line) for line in text.split("\n")).strip()


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _indent(lines: list[str], by: int = 3) -> list[str]:
    return [" " * by + line if line else "" for line in lines]


def _title(text: str) -> list[str]:
    return [text, "-" * len(text), ""]


def _head(comment: str) -> list[str]:
    """The head of the file: paragraphs, and caveats as a definition list."""
    out: list[str] = []
    for part in re.split(r"\n\s*\n", comment)[1:]:  # the first says which file this is
        title, _, rest = part.partition(". ")
        if re.match(r"^[A-Z]{4,}", part.strip()):
            out += _title(part.strip().capitalize())
        elif re.match(r"^[A-Z][\w ]+$", title) and "\n  " in rest:
            out += [_prose(title)]
            for piece in re.split(r"\n\s*(?=Fix)", rest):
                out += _indent([_prose(" ".join(piece.split())), ""])
        else:
            out += [_prose(" ".join(part.split())), ""]
    return [*out, *_title("Codes, constants, structures")]


def _statements(code: list[str]) -> list[str]:
    """Whole statements: each ends with a semicolon outside of braces."""
    found, current = [], ""
    for line in code:
        current = f"{current}\n{line}" if current else line
        if current.rstrip().endswith(";") and current.count("{") == current.count("}"):
            found.append(current)
            current = ""
    return [*found, current] if current.strip() else found


def _is_function(statement: str) -> bool:
    return not re.match(r"\s*(typedef|struct|enum|#)", statement) and "(" in statement


def _result_codes(macro: str) -> list[str]:
    rows = [("code", "errno", "means", "what to do", "in Python")]
    for name, number, twin, meaning, remedy in _ROW.findall(macro.replace("\\\n", "\n")):
        exception = _CLASSES[f"SMEM_E_{name}"].__name__
        code = f"``SMEM_E_{name}`` (-{number})"
        rows.append((code, f"``{twin}``", _prose(meaning), _prose(remedy), f"`~sharedmem.{exception}`"))
    out = ["The library's own, below every ``-errno`` of a system call:", ""]
    out += [".. list-table::", "   :header-rows: 1", "   :class: compact", ""]
    for row in rows:
        out += [f"   {' ' if n else '*'} - {cell}" for n, cell in enumerate(row)]
    return [*out, ""]


def _described(comment: list[str], code: list[str]) -> list[str]:
    """What one comment describes: functions as such, everything else as code."""
    text = [line for part in _paragraphs(_comment_text(comment)) for line in (_prose(part), "")]
    functions = [each for each in _statements(code) if _is_function(each)]
    if "SMEM_STATUS_ENUM" in "\n".join(code):
        return []  # the table's other use
    if "SMEM_STATUS_MAP" in "\n".join(code):
        return _result_codes("\n".join(code))
    if not functions:
        block = [".. code-block:: c", "", *_indent(code), ""] if code else []
        return [*text, *block]
    others = [each for each in _statements(code) if each not in functions]
    out = [".. code-block:: c", "", *_indent("\n".join(others).split("\n")), ""] if others else []
    first, *more = (" ".join(each.rstrip(";").split()) for each in functions)
    return [*out, f".. c:function:: {first}", *_indent(more, 17), "", *_indent(text), ""]


def _chunks(lines: list[str]) -> list[tuple[list[str], list[str]]]:
    """(comment, code) pairs. A comment inside braces or a macro is code."""
    pairs: list[tuple[list[str], list[str]]] = []
    comment: list[str] = []
    code: list[str] = []
    in_comment = False
    for line in [*lines, ""]:
        open_code = "\n".join(code)
        inside = open_code.count("{") > open_code.count("}") or open_code.endswith("\\")
        if in_comment or (line.startswith("/*") and not inside):
            if code:
                pairs.append((comment, code))
                comment, code = [], []
            comment.append(line)
            in_comment = not line.rstrip().endswith("*/")
        elif line.strip() or inside:
            code.append(line)
        elif comment or code:
            pairs.append((comment, code))
            comment, code = [], []
    return pairs


def _cut(text: str) -> str:
    """Without what is there for the preprocessor only."""
    text = re.sub(r"#ifdef (?:__cplusplus|SMEM_EXPORTS).*?#endif\n", "", text, flags=re.DOTALL)
    text = re.sub(r"#include.*\n", "", text)
    return re.sub(r"#(ifndef|define) SHAREDMEM_H\n|\n#endif\n*$", "", text)


def header_as_rest(text: str) -> list[str]:
    """The whole header as lines of reST."""
    lines = _cut(text).split("\n")
    end = next(number for number, line in enumerate(lines) if line.strip() == "*/") + 1
    out = [*_head(_comment_text(lines[:end]))]
    section: list[str] = []
    for line in [*lines[end:], "/* ---- end ---- */"]:
        title = _SECTION.match(line)
        if title is None:
            section.append(line)
            continue
        for comment, code in _chunks(section):
            out += _described(comment, code)
        if title[1] != "end":
            out += _title(title[1].capitalize())
        section = []
    return out


class CHeader(SphinxDirective):
    """``c-header``: prose, functions, types and result codes of a header."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the header's reST where the directive stands."""
        _, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(path)
        lines = header_as_rest(Path(path).read_text("utf-8"))
        node = nodes.section()
        node.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, source=path), node)
        return node.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("c-header", CHeader)
    return {"parallel_read_safe": True}
