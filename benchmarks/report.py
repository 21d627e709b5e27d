"""Figures as a table in README.rst and doc/explanation/speed.rst, and as a picture.

python benchmarks/report.py     writes them anew from build/bench/figures.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "doc" / "images" / "benchmarks.svg"
BEGIN, END = ".. figures begin\n", ".. figures end\n"
WARM, COLD = "sharedmem warm", "sharedmem cold"
SHORT = ("create", "the same, published", "attach", "dumps", "loads", "Queue of 100 MB")


def text_of(seconds: float) -> str:
    micro = seconds * 1e6
    if micro >= 10_000:
        return f"{micro / 1000:.0f} ms"
    return f"{micro:.0f} us" if micro >= 10 else f"{micro:.1f} us"


def cell(found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    ratio = f", {found['ratio']:.2f}x" if "ratio" in found else ""
    return text_of(found["median"]) + ratio


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [head, *rows]:
        lines += [f"   {'*' if at == 0 else ' '} - {text}".rstrip() for at, text in enumerate(row)]
    return "\n".join(lines) + "\n"


def short(report: dict[str, Any]) -> str:
    """Ours beside the rival of each row, posix."""
    rows = []
    for row in report["rows"]:
        if not row["title"].startswith(SHORT) or "sysv" in row["title"]:
            continue
        figures = row["figures"]
        rival = (
            f"{row['rival']}: {cell(figures.get(row['rival'])).split(',')[0]}"
            if row["rival"] in figures
            else ""
        )
        rows.append([row["title"], cell(figures.get(WARM)), cell(figures.get(COLD)), rival])
    return table(["operation", "warm", "cold", "measured against"], rows)


def whole(report: dict[str, Any]) -> str:
    """Every contestant of every row, with the quartiles."""
    rows = []
    for row in report["rows"]:
        for at, (name, found) in enumerate(row["figures"].items()):
            spread = f"{text_of(found['low'])} to {text_of(found['high'])}"
            warm = f" ({row['warm']})" if name == WARM and row["warm"] else ""
            ratio = f"{found['ratio']:.2f}" if "ratio" in found else ""
            title = row["title"] if at == 0 else ""
            rows.append([title, name + warm, text_of(found["median"]), spread, ratio])
    versions = "; ".join(f"{name}: {text}" for name, text in report["versions"].items() if text)
    absent = [f"{name} ({why})" for name, why in report["absent"].items()]
    absent += [
        f"{name} in {row['title']} ({why})"
        for row in report["rows"]
        for name, why in row["refused"].items()
    ]
    facts = f"Measured on {report['machine']}, {report['rounds']} rounds. {versions}.\n"
    facts += f"\nDid not run: {'; '.join(absent) or 'none'}.\n"
    return facts + "\n" + table(["operation", "contestant", "median", "quartiles", "ratio"], rows)


def replace(page: Path, text: str) -> None:
    before, rest = page.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def draw(report: dict[str, Any]) -> None:
    """One line for each row, one mark for each contestant, on a logarithmic scale."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "sharedmem"
    from matplotlib import pyplot

    rows = [row for row in report["rows"] if row["figures"]][::-1]
    names = list(dict.fromkeys(name for row in rows[::-1] for name in row["figures"]))
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.3 * len(rows)))
    for at, name in enumerate(names):
        points = [(row["figures"][name], y) for y, row in enumerate(rows) if name in row["figures"]]
        ours = name in (WARM, COLD)
        axes.scatter(
            [found["median"] * 1e6 for found, _ in points],
            [y for _, y in points],
            label=name,
            marker="os^vD<>pPX*dh"[at % 13],
            s=60 if ours else 25,
            zorder=3 if ours else 2,
        )
    axes.set_xscale("log")
    axes.set_xlabel("microseconds, logarithmic; left is better")
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
    figure.savefig(PICTURE, bbox_inches="tight", metadata={"Date": None})


def write(report: dict[str, Any]) -> None:
    replace(ROOT / "README.rst", f"{report['machine']}:\n\n{short(report)}")
    replace(ROOT / "doc" / "explanation" / "speed.rst", whole(report))
    draw(report)


if __name__ == "__main__":
    write(json.loads((ROOT / "build" / "bench" / "figures.json").read_text("utf-8")))
