"""Drawing arrays in the terminal and into pictures."""

import struct
import zlib

import numpy as np
import pytest

import sharedmem
from sharedmem.cli import plot
from sharedmem.cli.errors import Failure
from sharedmem.cli.statistics import statistics

from .commands import output, refusal

BLANK = "\u2800"


def drawn(text):
    """The lines below the facts."""
    return text.partition("\n\n")[2].splitlines()


def test_line(name):
    """A ramp goes from the lower left to the upper right, with its range at the side."""
    with sharedmem.copy(np.arange(100_000.0), name=name):
        lines = drawn(output("show", name, "--plot", environ={"COLUMNS": "60"}))
    assert len(lines) == 12
    assert lines[0].split()[0] == "1e+05" and lines[-1].split()[0] == "0"
    bodies = [line.partition("┤")[2] for line in lines]
    first = [min(i for i, c in enumerate(body) if c != BLANK) for body in bodies]
    assert first == sorted(first, reverse=True) and first[-1] == 0
    assert bodies[0][-1] != BLANK and bodies[-1][-1] == BLANK
    assert max(map(len, lines)) < 60


def test_spike_is_seen():
    """One element among a million is drawn, since the range of each column is."""
    values = np.zeros(10**6)
    values[700_001] = 9
    lines = plot.lines(values, 50, 5)
    body = lines[0].partition("┤")[2]
    assert [i for i, c in enumerate(body) if c != BLANK] == [35]


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.0]),
        np.array([np.nan, np.nan]),
        np.array([1, np.nan, 3, np.inf]),
        np.array([1e308, -1e308]),
        np.zeros(3, bool),
        np.array([1 + 1j, 2]),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
        np.arange(7, dtype="u8")[::-2],
    ],
    ids=str,
)
def test_any_numbers(values):
    """Whatever numbers or times there are, there is a line and a picture of them."""
    assert len(plot.lines(values, 20, 4)) == 4
    square = np.broadcast_to(values, (3, len(values)))
    for colours in (False, True):
        assert plot.picture(square, 20, 10, colours)


def test_picture(name):
    """A 2-d array is drawn in shades, a character twice as high as wide."""
    square = np.zeros((64, 64))
    square[32:] = 1
    with sharedmem.copy(square, name=name):
        lines = drawn(output("show", name, "--plot", environ={"COLUMNS": "80", "LINES": "14"}))
    assert [set(line) for line in lines] == [set()] * 6 + [{"█"}] * 6
    assert len(lines[-1]) == 24


def test_colours():
    """On a terminal both halves of a character have a grey of their own, and are reset."""
    line = plot.picture(np.array([[0.0], [1.0]]), 1, 1, True)
    assert line == ["\033[38;5;232;48;5;255m▀\033[0m"]


def test_samples_only():
    """An array far larger than memory is drawn by touching few of its elements."""
    huge = np.broadcast_to(np.arange(3.0), (10**12, 3))
    assert len(plot.picture(huge, 20, 10, False)) == 10
    long = np.broadcast_to(np.float64(1), 10**12)
    assert len(plot.lines(long, 20, 4)) == 4


def test_more_dimensions(name):
    """Of more than two dimensions the first plane is drawn."""
    assert plot.plane(np.zeros((5, 4, 3, 2))).shape == (3, 2)


@pytest.mark.parametrize(
    "values", [np.array(3), np.zeros((3, 0)), np.array(["a"]), np.zeros(3, "f8,i4")], ids=repr
)
def test_nothing_to_draw(values, name):
    """What cannot be drawn is an error in one line."""
    with pytest.raises(Failure):
        plot.plane(values)


def pixels(path):
    """The grey values of a PNG file as image.py writes it without matplotlib."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + body
        )
        chunks[kind], at = body, at + 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    return rows[:, 1:]


@pytest.fixture
def without_matplotlib(tmp_path_factory):
    """An environment in which matplotlib cannot be imported."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "matplotlib.py").write_text("raise ImportError")
    return {"PYTHONPATH": str(folder)}


def test_plain_picture_file(name, tmp_path, without_matplotlib):
    """Without matplotlib a 2-d array becomes a grey PNG, a 1-d one an error with the remedy."""
    path = tmp_path / "a.png"
    with sharedmem.copy(np.arange(256.0).reshape(16, 16), name=name):
        output("show", name, "--plot", path, environ=without_matplotlib)
    np.testing.assert_array_equal(pixels(path), np.arange(256).reshape(16, 16))
    with sharedmem.zeros(16, name=name):
        text = refusal("show", name, "--plot", tmp_path / "b.png", environ=without_matplotlib)
    assert "pip install sharedmem[plot]" in text and [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(100,), (20, 30)])
def test_picture_file(shape, name, tmp_path):
    """With matplotlib there is a PNG of either, in place of an older one."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "a.png"
    path.write_text("an older one")
    with sharedmem.copy(np.random.default_rng(0).random(shape), name=f"{name} $title_"):
        output("show", f"{name} $title_", "--plot", path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and [path] == list(tmp_path.iterdir())


def test_statistics_in_pieces():
    """Range and mean of an array of many pieces are those of the whole."""
    values = np.random.default_rng(1).normal(size=(701, 503)).T[::-1, ::2]
    found = statistics(values)
    assert (found["min"], found["max"]) == (values.min(), values.max())
    assert np.isclose(found["mean"], values.mean())
