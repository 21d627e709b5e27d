"""The notebook in examples/ runs in a real kernel, which may be interrupted and restarted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import sharedmem

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("cloudpickle")

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "executor.ipynb"
pytestmark = pytest.mark.filterwarnings("ignore")  # of the notebook's machinery, not ours


def printed(cell: Any) -> str:
    return "".join(each.get("text", "") for each in cell.get("outputs", ()))


def test_the_notebook_runs() -> None:
    """Each cell prints what its text says; when the kernel has gone nothing is left."""
    notebook = nbformat.read(NOTEBOOK, 4)
    asyncio.run(nbclient.NotebookClient(notebook, timeout=60).async_execute())
    output = [printed(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert output == [
        "",
        "2.0 1.0\n",
        "2.0 1.0\n",
        "[0.0, 1.0, 2.0, 3.0]\n",
        "interrupted\n2.0\n",
        "['by_name', 'copied', 'handed_over', 'pickled']\n",
    ]
    sharedmem.reclaim()
    sharedmem.trim()
    assert sharedmem.list_segments(internal=True) == []


BUSY = """
import os, signal, threading, numpy as np, sharedmem
pool = sharedmem.ProcessPoolExecutor(1)
def pid(x):
    return os.getpid()
def wait(x):
    signal.pause()
worker = pool.submit(pid, np.ones(100_000)).result()
future = pool.submit(wait, np.ones(100_000))
print(worker)
"""


def test_a_kernel_is_interrupted_and_restarted() -> None:
    """The stop button ends the wait for a result, not the pool; a restart leaves nothing."""
    from jupyter_client.manager import start_new_kernel
    from jupyter_core.utils import ensure_event_loop

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        said: list[str] = []

        def run(code: str) -> str:
            said.clear()
            reply = client.execute_interactive(
                code,
                timeout=60,
                output_hook=lambda message: said.append(message["content"].get("text", "")),
            )
            return str(reply["content"].get("ename", "")) or "".join(said)

        int(run(BUSY))
        waiting = client.execute("print('waiting', flush=True); future.result()")
        while client.get_iopub_msg(timeout=60)["content"].get("text", "").strip() != "waiting":
            pass
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=60)
        while reply["parent_header"].get("msg_id") != waiting:
            reply = client.get_shell_msg(timeout=60)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
        assert run("import sharedmem; print(sharedmem.list_segments(internal=True))").strip() == "[]"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        ensure_event_loop().close()


FIRST_MAP = """
import numpy as np, sharedmem
scale = 3
def work(i):
    return np.full(50_000, scale * i)
def totals(**how):
    with sharedmem.MapReduce(np=2, **how) as pool:
        return [int(result[0]) for result in pool.map(work, range(3))]
"""


def test_the_first_map_of_a_notebook() -> None:
    """The kernel has threads, so a fork warns: once, with what to do, which does not warn."""
    cells = [
        FIRST_MAP,
        "print(totals(start_method='forkserver'))",
        "print(totals())",
        "print(totals())",
        "print(sharedmem.ProcessPoolExecutor(1).submit(work, 4).result()[0])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    asyncio.run(nbclient.NotebookClient(notebook, timeout=60).async_execute())
    first, safe, forked, again, pool = (printed(cell) for cell in notebook.cells)
    assert (first, safe, again, pool) == ("", "[0, 3, 6]\n", "[0, 3, 6]\n", "12\n")
    assert "[0, 3, 6]\n" in forked and forked.count("RuntimeWarning") == 1
    assert "MapReduce(start_method='forkserver')" in forked
