"""Runs the classes of one contestant, asked by JSON lines on standard input.

    python contestant.py FILE...

A question: {"do": "run", "case": "Attach.time_read", "params": [8192], "repeat": 300};
the answer: {"seconds": of one call} or {"error": why not}. "setup" and "teardown" bracket
a series of "run", and a "teardown" follows a "setup" that failed. Needs
nothing but the contestant: it runs in any Python from 3.8 on.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import time


def load(path):
    sys.path.append(os.path.dirname(path))
    spec = importlib.util.spec_from_file_location("case_" + os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {name: each for name, each in vars(module).items() if isinstance(each, type)}


def timed(action, params, repeat):
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for _ in range(repeat):
        action(*params)
    seconds = (time.perf_counter() - start) / repeat
    gc.enable()
    return seconds


def clear(live, params):
    case = live.pop("case", None)
    if hasattr(case, "teardown"):
        case.teardown(*params)
    del case
    gc.collect()


def answer(classes, live, question):
    name, _, method = question["case"].partition(".")
    params = question.get("params", [])
    if question["do"] == "setup":
        if not hasattr(classes.get(name), method):
            return {"error": "has no such case"}
        live["case"] = classes[name]()
        live["case"].setup(*params)
        getattr(live["case"], method)(*params)
    elif question["do"] == "run":
        return {"seconds": timed(getattr(live["case"], method), params, question["repeat"])}
    else:
        clear(live, params)
    return {}


def main():
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        classes = {}
        for path in sys.argv[1:]:
            classes.update(load(path))
        said = {"version": getattr(classes.get("About"), "version", "")}
    except Exception as error:
        said, classes = {"error": f"{type(error).__name__}: {error}"}, {}
    live = {}
    while True:
        talk.write(json.dumps(said) + "\n")
        talk.flush()
        line = sys.stdin.readline()
        if not line:
            return
        try:
            said = answer(classes, live, json.loads(line))
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
