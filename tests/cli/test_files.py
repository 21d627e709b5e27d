"""`unlink`, `save` and `load`: names away, arrays to files and back, complete or not at all."""

import os
import signal
import subprocess

import numpy as np
import pytest

import sharedmem
from sharedmem.cli.files import written

from .commands import COMMAND, document, output, refusal, run, segments

RECORD = [("x", "<f8"), ("tag", "S3"), ("größe", "i2", (2,))]
ARRAYS = {
    "C": np.arange(12.0).reshape(3, 4),
    "F": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "record": np.array([(1.5, b"ab", (3, 4)), (2.5, b"", (5, 6))], RECORD),
    "datetime": np.array(["2020-01-01", "NaT"], "M8[s]"),
    "text": np.array(["a", "größer"]),
    "0-d": np.array(7, ">i4"),
    "empty": np.zeros((3, 0), "c16"),
}

# ---- unlink ----------------------------------------------------------------


def test_unlink(name, backend):
    """Names are taken away; who has an array attached keeps it."""
    names = [f"{name}-{i}" for i in range(2)]
    arrays = [sharedmem.ones(3, name=each, backend=backend) for each in names]
    assert document("unlink", *names) == {"unlinked": names, "not_found": []}
    assert not any(array.is_current() for array in arrays)
    assert [array.sum() for array in arrays] == [3, 3]


def test_unlink_what_is_not_there(name):
    """A name that does not exist is exit code 1; the others are taken away all the same."""
    array = sharedmem.ones(3, name=name)
    done = run("unlink", "no-such-segment", name)
    assert done.returncode == 1 and "'no-such-segment'" in done.stderr
    assert not array.is_current()


# ---- save ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ARRAYS)
def test_save(kind, name, tmp_path):
    """NumPy loads the file as the array it was, and it stands alone in its folder."""
    path = tmp_path / "a.npy"
    with sharedmem.copy(ARRAYS[kind], name=name):
        assert document("save", name, path)["nbytes"] == ARRAYS[kind].nbytes
    loaded = np.load(path, allow_pickle=False)
    np.testing.assert_array_equal(loaded, ARRAYS[kind])
    assert loaded.dtype == ARRAYS[kind].dtype and [path] == list(tmp_path.iterdir())


def test_save_does_not_overwrite(name, tmp_path):
    """A file that exists stays as it is unless --force is given."""
    path = tmp_path / "a.npy"
    path.write_text("precious")
    with sharedmem.ones(3, name=name):
        assert "pass --force" in refusal("save", name, path)
        assert path.read_text() == "precious" and [path] == list(tmp_path.iterdir())
        assert output("save", name, path, "--force").startswith(f"saved {name} as ")
    assert np.load(path).tolist() == [1, 1, 1]


def test_save_over_what_is_no_file(name, tmp_path):
    """A pipe or device is not replaced, with --force neither."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with sharedmem.ones(3, name=name):
        for more in [], ["--force"]:
            assert "not a regular file" in refusal("save", name, pipe, *more)
    assert pipe.is_fifo() and [pipe] == list(tmp_path.iterdir())


def test_save_through_a_link(name, tmp_path):
    """The link stays, and leads to the new contents."""
    target, link = tmp_path / "target.npy", tmp_path / "link.npy"
    target.write_text("old")
    link.symlink_to(target)
    with sharedmem.ones(3, name=name):
        assert "pass --force" in refusal("save", name, link)
        output("save", name, link, "--force")
    assert link.is_symlink() and np.load(target).tolist() == [1, 1, 1]


def test_file_that_appears_meanwhile(tmp_path):
    """What another program has put under the name while the file was written stays."""
    path = tmp_path / "a.npy"
    with pytest.raises(FileExistsError), written(path, overwrite=False) as file:  # noqa: PT012
        file.write(b"mine")
        path.write_text("precious")
    assert path.read_text() == "precious" and [path] == list(tmp_path.iterdir())


def test_save_without_room(name, tmp_path):
    """A file that cannot be written completely is not there, and the old one is."""
    path = tmp_path / "a.npy"
    path.write_text("precious")
    script = 'ulimit -f 100; trap "" XFSZ; exec "$@"'
    with sharedmem.ones(10**6, name=name):
        command = ["bash", "-c", script, "bash", *COMMAND, "save", name, path, "--force"]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("sharedmem: ")
    assert done.stderr.count("\n") == 1
    assert path.read_text() == "precious" and [path] == list(tmp_path.iterdir())


def test_save_what_is_stale(stale, tmp_path):
    """The data of a killed process can be rescued; the segment is left as it is."""
    output("save", stale, tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").tolist() == np.arange(12.0).reshape(3, 4).tolist()
    assert segments()[stale]["status"] == "stale"
    document("clean", "--yes")


def test_save_where_no_folder_is(name, tmp_path):
    """The path is said as it was typed."""
    sharedmem.zeros(3, name=name, persistent=True)
    assert refusal("save", name, tmp_path / "no/a.npy").startswith(f"{tmp_path}/no/a.npy: No such file")
    sharedmem.unlink(name)


def test_save_what_is_not_there(name, tmp_path):
    """Without a segment no file is made."""
    assert "no segment of this name exists" in refusal("save", name, tmp_path / "a.npy")
    assert list(tmp_path.iterdir()) == []


# ---- load ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ARRAYS)
def test_load(kind, name, backend, tmp_path):
    """What is loaded is the array that was saved, in its order, and persistent."""
    array = ARRAYS[kind]
    np.save(tmp_path / "a.npy", array)
    found = document("load", tmp_path / "a.npy", name, "--backend", backend)
    assert found == {"name": name, "backend": backend, "nbytes": array.nbytes}
    row = segments()[name]
    assert (row["status"], row["backend"]) == ("persistent", backend)
    loaded = sharedmem.attach(name)
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype
    assert loaded.flags.f_contiguous or not array.flags.f_contiguous
    loaded.unlink()


def test_load_under_a_taken_name(name, tmp_path):
    """A name in use is refused with its users, and taken with --replace."""
    np.save(tmp_path / "a.npy", np.ones(5))
    with sharedmem.zeros(3, name=name) as mine:
        assert "a segment of this name exists; mapped by " in refusal("load", tmp_path / "a.npy", name)
        assert mine.is_current()
        output("load", tmp_path / "a.npy", name, "--replace")
        assert not mine.is_current() and mine.tolist() == [0, 0, 0]
    assert sharedmem.attach(name).shape == (5,)
    output("unlink", name)


def broken_header(path):
    path.write_bytes(b"\x93NUMPY\x01\x00\x05\x00[1,2]")


def truncated(path):
    np.save(path, np.ones(1000))
    path.write_bytes(path.read_bytes()[:4000])


def objects(path):
    np.save(path, np.array([{}, []], object), allow_pickle=True)


def no_array(path):
    path.write_text("something else")


def shorter_than_any(path):
    path.write_bytes(b"\x93NUM")


def archive(path):
    np.savez(path.with_suffix(""), np.ones(3))
    path.with_suffix(".npz").rename(path)


def missing(path):
    pass


FILES = {
    broken_header: "",
    truncated: "bytes shorter than its header says",
    objects: "cannot be shared",
    no_array: "not a .npy file",
    shorter_than_any: "not a .npy file",
    archive: "not a .npy file",
    missing: "No such file",
}


@pytest.mark.parametrize("damage", FILES, ids=lambda damage: damage.__name__)
def test_load_of_what_cannot_be_loaded(damage, name, tmp_path):
    """A file that holds no whole array of plain values is refused, and no name is left."""
    damage(tmp_path / "a.npy")
    assert FILES[damage] in refusal("load", tmp_path / "a.npy", name)
    assert name not in segments()


def test_load_that_is_killed(name, backend, tmp_path):
    """SIGKILL while the file is read leaves nothing for longer than the next sweep."""
    path = tmp_path / "pipe.npy"
    np.save(tmp_path / "a.npy", np.ones(1000))
    os.mkfifo(path)
    command = subprocess.Popen([*COMMAND, "load", path, name, "--backend", backend])
    with open(path, "wb", buffering=0) as pipe:
        pipe.write((tmp_path / "a.npy").read_bytes()[:4000])
        while name not in segments():
            pass
        command.kill()
        assert command.wait() == -signal.SIGKILL
    sharedmem.reclaim()
    assert name not in segments()


def test_load_that_is_interrupted(name, tmp_path):
    """^C while the file is read leaves nothing: the name is taken away again."""
    path = tmp_path / "pipe.npy"
    np.save(tmp_path / "a.npy", np.ones(1000))
    os.mkfifo(path)
    command = subprocess.Popen([*COMMAND, "load", path, name], stderr=subprocess.PIPE, text=True)
    with open(path, "wb", buffering=0) as pipe:
        pipe.write((tmp_path / "a.npy").read_bytes()[:4000])
        while name not in segments():
            pass
        command.send_signal(signal.SIGINT)
        assert command.wait() == 130
    assert command.stderr.read() == ""
    command.stderr.close()
    assert name not in segments()
