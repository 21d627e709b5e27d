"""The reference page names every command, option, exit code and JSON field."""

from pathlib import Path

from sharedmem.cli import _parser

from .test_list import FIELDS

PAGE = Path(__file__).parents[2] / "doc" / "reference" / "cli.rst"


def test_page_is_complete():
    """What the parser knows stands on the page."""
    text = PAGE.read_text()
    commands = _parser()._subparsers._group_actions[0].choices
    for name, command in commands.items():
        usage = next(line for line in text.splitlines() if line.startswith(f"    sharedmem {name}"))
        for action in command._actions:
            option = action.option_strings[-1] if action.option_strings else action.metavar or ""
            assert option in usage or option == "--help", (name, option)
    assert all(f"\n``{field}``" in text for field in FIELDS)
    assert all(
        (PAGE.parent / line.split()[-1]).exists() for line in text.splitlines() if "image::" in line
    )
