"""The C core: one per process, in the main interpreter."""

from __future__ import annotations

from importlib import import_module


def _refuse_sub_interpreters() -> None:
    """Raise before the extension is loaded: a refusal by itself would count as its one load.

    The process joins a family once, its mappings are one table, and it leaves
    at the exit of the interpreter that joined; so only one can have it.
    """
    for name in ("_interpreters", "_xxsubinterpreters"):  # since 3.13; until 3.12
        try:
            interpreters = import_module(name)
        except ImportError:
            continue
        if interpreters.get_current() != interpreters.get_main():
            raise ImportError(
                "sharedmem works in the main interpreter only, and this is a sub-interpreter (use "
                "processes instead; under mod_wsgi set WSGIApplicationGroup %{GLOBAL})"
            )
        return


_refuse_sub_interpreters()
