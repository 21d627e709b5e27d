"""Sphinx configuration. `make docs` builds the pages into build/docs."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

DOC = Path(__file__).resolve().parent
sys.path.insert(0, str(DOC / "_ext"))

import sharedmem  # noqa: E402

project = "sharedmem"
author = "the sharedmem authors"
project_copyright = "the sharedmem authors, BSD-3-Clause"
version = release = sharedmem.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "c_header"]
suppress_warnings = ["toc.multiple_toc_parents"]
exclude_patterns = ["_ext"]
if not (DOC.parent / "CONTRIBUTING.rst").exists():
    exclude_patterns.append("contributing.rst")

nitpicky = True
smartquotes = False  # options and quotes are to be copied
default_role = "autolink"  # a link where there is something to link to
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(numpy|np|multiprocessing|threading|queue|concurrent|pickle|copy|os|mmap|ast|joblib)\b.*",
    ),
    # Built-in exceptions and types, which no page here describes.
    ("py:.*", r"[A-Z][A-Za-z]*Error|Exception|str|int|bytes|tuple|list|bool|None"),
    # Attributes, which numpydoc links though they stand in the same list.
    ("py:obj", "dtype|status"),
    ("c:identifier", ".*"),  # of the C standard, or shown in a block of the header
]

autodoc_typehints = "none"  # the parameters' descriptions have them
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_validation_exclude = {
    r"Error$",  # what leads to one and what to do is in the table of exceptions
    r"\.(SegmentInfo|SharedArray)$",  # nobody calls them; their attributes are described
    r"testing\.(Death|Leak)$",  # the same
    r"shmarray\.",  # numpy-sharedmem's names and parameters
    r"npshmex\.",  # npshmex's names and parameters
    r"testing\.deaths$",  # a generator has Yields, no Returns
    r"pickling\.register$",  # an ndarray's class is all that it takes
}
numpydoc_validation_checks = {
    "GL03",  # double blank lines
    "GL05",  # tabs
    "GL06",  # unknown section
    "GL07",  # order of sections
    "GL08",  # no docstring
    "PR01",  # parameters not described
    "PR02",  # unknown parameters
    "PR03",  # order of parameters
    "PR04",  # parameter without type
    "PR07",  # parameter without description
    "PR10",  # space before the colon
    "RT01",  # no Returns
    "RT03",  # return value without description
    "SS01",  # no summary
    "SS03",  # summary without a full stop
    "YD01",  # no Yields
    "EX01",  # no example
}

html_theme = "furo"
html_title = f"sharedmem {version}"
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
pygments_style = "friendly"
highlight_language = "none"  # of blocks that do not say: messages, drawings


def leave_out_empty(app: Sphinx, page: str, source: list[str]) -> None:
    """Take the patterns out of the index that no page matches, which would be warnings."""
    if page == "index":
        kept = []
        for line in source[0].split("\n"):
            pattern = line.strip()
            pages = [each.name for each in DOC.glob(f"{pattern}.rst")] if pattern.endswith("*") else [""]
            if set(pages) - set(exclude_patterns):
                kept.append(line)
        source[0] = "\n".join(kept)


def setup(app: Sphinx) -> None:
    app.connect("source-read", leave_out_empty)
