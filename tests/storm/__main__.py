"""The storm as a program: ``python -m storm [--seconds N] [--seed N] [--vanish | --warm] [--json FILE]``.

It runs in mount, IPC and PID namespaces of its own, so it sees no array of anybody
else's, and nothing of it outlives it. Ends with 0 when nothing was found, with 1
when something was, with 77 where there are no such namespaces.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from storm.ledger import OPERATIONS, OUTCOMES
from storm.rounds import METHODS, Failure, Round, plan

UNSHARE = ["unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
SKIPPED = 77  # as Meson has it
ROOM = "512m"  # of /dev/shm in there


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storm", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="in all, without starts and ends")
    parser.add_argument("--seed", type=int, default=1, help="the same one: the same decisions")
    parser.add_argument("--vanish", action="store_true", help="rm -rf /dev/shm/* every three seconds")
    parser.add_argument(
        "--warm", action="store_true", help="mostly drop, and make anew of what was dropped"
    )
    parser.add_argument("--method", choices=METHODS, help="only rounds with this start method")
    parser.add_argument("--only", type=int, metavar="N", help="only the round of this number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def outside() -> int:
    command = UNSHARE + ([] if os.geteuid() == 0 else ["--map-root-user"])
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        print(
            f"no namespaces of its own to be had: {getattr(error, 'stderr', None) or error}",
            file=sys.stderr,
        )
        return SKIPPED
    inside = [sys.executable, "-m", "storm", *sys.argv[1:], "--inside"]
    try:
        return subprocess.run([*command, *inside], check=False).returncode
    except KeyboardInterrupt:
        return 130


def title(settings: dict[str, Any]) -> str:
    said = [settings["method"], settings["end"], "reaper" if settings["reaper"] else "no reaper"]
    said += [word for word in ("honorary", "vanish", "warm") if settings[word]]
    return ", ".join([*said, f"cache {settings['cache'] >> 20} MB"])


def table(rounds: list[dict[str, Any]]) -> str:
    total: Counter[str] = Counter()
    for each in rounds:
        total.update(each["counts"])
    for key in (
        "after_kill",
        "kills",
        "reapers_killed",
        "vanishings",
        "persistent_found",
        "lost_sysv",
        "items_lost",
    ):
        total[key] = sum(each.get(key, 0) for each in rounds)
    rows = [(name, total[name]) for name in (*OPERATIONS, *OUTCOMES)]
    rows += [
        ("operations", sum(total[name] for name in OPERATIONS)),
        ("killed by one another", total["killed"] + total["die"]),
        ("killed at the end of a round", total["kills"]),
        ("reapers killed", total["reapers_killed"]),
        ("segments there when all were killed", total["after_kill"]),
        ("persistent arrays found afterwards", total["persistent_found"]),
        ("rm -rf /dev/shm/*", total["vanishings"]),
        ("items lost with who had them", total["items_lost"]),
        ("SysV segments lost with their journal", total["lost_sysv"]),
    ]
    slowest = max((each["gone_after"] for each in rounds if "gone_after" in each), default=None)
    if slowest is not None:
        rows.append(("longest until the reaper was done, ms", round(slowest * 1000)))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {count:12,}".replace(",", " ") for name, count in rows)


def inside(options: argparse.Namespace) -> int:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", "/dev/shm"], check=True)
    rounds: list[dict[str, Any]] = []
    failure = ""
    for number, settings in enumerate(plan(options.seconds, options.seed, options.vanish, options.warm)):
        if options.method not in (None, settings["method"]) or options.only not in (None, number):
            continue
        begin = time.monotonic()
        print(f"round {number}: {title(settings)}", end="", flush=True)
        one = Round(settings)
        try:
            one.run()
        except Failure as found:
            failure = f"round {number} ({title(settings)}), seed {options.seed}:\n{found}"
        rounds.append({"settings": settings} | one.result)
        operations = sum(one.result["counts"][name] for name in OPERATIONS)
        print(f": {operations} operations, {time.monotonic() - begin:.0f} s", flush=True)
        if failure:
            break
    print(table(rounds))
    if options.json:
        figures = {
            "seed": options.seed,
            "seconds": options.seconds,
            "failure": failure,
            "rounds": rounds,
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if failure:
        print(f"\nFAILED: {failure}", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    made = arguments()
    sys.exit(inside(made) if made.inside else outside())
