"""Truncated, damaged and foreign files: an error that names the file, never a guess."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import subprocess
import sys

import pytest

import joblib
from joblib.numpy_pickle import (
    CorruptFileError,
    NumpyUnpickler,
    TruncatedFileError,
)
from joblib.test.persistence_objects import alike, everything

np = pytest.importorskip("numpy")

METHODS = [0, "zlib", "gzip", "bz2", "lzma", "xz", "lz4", "zstd"]
LIBRARIES = {"lz4": "lz4.frame", "zstd": "zstandard"}
BRIEF = ["atoms", "containers", "twice", "texts", "f order", "objects", "after"]


def need(method):
    if method in LIBRARIES:
        pytest.importorskip(LIBRARIES[method])


def says_where(error, path):
    notes = getattr(error, "__notes__", ())
    return any(str(path) in text for text in (str(error), *notes))


@pytest.mark.parametrize("method", METHODS)
def test_every_beginning_of_a_file_is_refused(method, tmp_path):
    need(method)
    expected = {key: everything()[key] for key in BRIEF}
    path = tmp_path / "file"
    joblib.dump(expected, path, compress=method)
    whole = path.read_bytes()
    step = 1 if method == 0 else max(len(whole) // 150, 1)
    for size in sorted(
        {*range(0, len(whole), step), *range(len(whole) - 9, len(whole))}
    ):
        path.write_bytes(whole[:size])
        with pytest.raises((TruncatedFileError, CorruptFileError)) as info:
            joblib.load(path)
        assert says_where(info.value, path)
        with (
            open(path, "rb") as file,
            pytest.raises((TruncatedFileError, CorruptFileError)) as info,
        ):
            joblib.load(file)
        assert says_where(info.value, path)
        with pytest.raises((TruncatedFileError, CorruptFileError)):
            joblib.load(io.BytesIO(whole[:size]))
    path.write_bytes(whole)
    assert alike(joblib.load(path), expected)


@pytest.mark.parametrize("method", METHODS)
def test_bytes_behind_the_end(method, tmp_path):
    need(method)
    path = tmp_path / "file"
    joblib.dump([1, "two"], path, compress=method)
    path.write_bytes(path.read_bytes() + b"garbage that is longer than a header")
    try:
        # The end of a plain pickle is the end: other programs append to it.
        assert joblib.load(path) == [1, "two"]
    except (TruncatedFileError, CorruptFileError) as error:
        assert method != 0 and says_where(error, path)


def test_files_of_other_programs(tmp_path):
    path = str(tmp_path / "file")
    np.save(path + ".npy", np.arange(3))
    np.savez(path + ".npz", np.arange(3))
    with open(path + ".h5", "wb") as file:
        file.write(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with open(path + ".csv", "w", encoding="utf-8") as file:
        file.write("a,b\n1,2\n")
    for suffix in (".npy", ".npz", ".h5", ".csv"):
        with pytest.raises((CorruptFileError, TruncatedFileError)) as info:
            joblib.load(path + suffix)
        assert says_where(info.value, path + suffix)
    for missing, error in ((path, FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error) as info:
            joblib.load(missing)
        assert str(missing) in str(info.value)
    value = {"a": np.arange(3), "b": "text"}
    for opener in (open, gzip.open, bz2.open, lzma.open):
        with opener(path, "wb") as file:
            pickle.dump(value, file)
        assert alike(joblib.load(path), value)


STATES = [
    (3, "<", None, -1, -1, 0),
    (3, "<", None, None, None, -1, -1),
    (3, "<", None, ("a",), None, -1, -1, 0),
    (3, "<", None, None, None, -1, -1, 63),
    (3, "|", (1, 2), None, None, 8, 1, 0),
    (7, "<", None, None, None, -1, -1, 0),
    ("x",),
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", ["f4", "O", "m8", "V8"])
@pytest.mark.parametrize("protocol", range(6))
def test_states_that_numpy_would_believe(state, kind, protocol, tmp_path):
    class Damaged:
        def __reduce__(self):
            return np.dtype, (kind, False, True), state

    path = tmp_path / "file"
    joblib.dump([Damaged(), "after"], path, protocol=protocol)
    if kind == "O" and state[-1] == 63:
        assert joblib.load(path)[0] == np.dtype("O")  # these are an object's flags
        return
    with pytest.raises(CorruptFileError) as info:
        joblib.load(path)
    assert says_where(info.value, path)


@pytest.mark.parametrize("protocol", range(6))
def test_an_array_of_fewer_objects_than_its_shape_says(protocol, tmp_path):
    class Damaged:
        def __reduce__(self):
            state = (1, (2**40,), np.dtype("O"), False, ["a"])
            return np.array([None]).__reduce__()[0], (np.ndarray, (0,), b"b"), state

    path = tmp_path / "file"
    joblib.dump(Damaged(), path, protocol=protocol)
    with pytest.raises(CorruptFileError, match="1 objects for the shape"):
        joblib.load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"(lp2147483647\n.",
        b"\x80\x04\x95" + (15).to_bytes(8, "little") + b"]\x94r\x05\x8c\x05\x7fabcdef.",
        b"\x80\x04\x8e\xff\xff\xff\xff\x0f\0\0\0abc",
        b"\x80\x05\x96\xff\xff\xff\xff\x0f\0\0\0abc",
        b"\x80\x04\x8d\xff\xff\xff\xff\x0f\0\0\0abc",
        b"\x80\x04\x95\xff\xff\xff\xff\x0f\0\0\0abc",
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is told as on Linux")
def test_wild_numbers_fill_no_memory(content, tmp_path):
    import resource

    path = tmp_path / "file"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((CorruptFileError, TruncatedFileError)) as info:
        joblib.load(path)
    assert says_where(info.value, path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("mmap_mode", ["r", "r+", "c"])
def test_mapping_a_truncated_file_neither_works_nor_mends_it(mmap_mode, tmp_path):
    path = tmp_path / "file"
    joblib.dump(np.arange(1000), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(TruncatedFileError, match="expected 8000 bytes") as info:
        joblib.load(path, mmap_mode=mmap_mode)
    assert says_where(info.value, path)
    assert path.read_bytes() == whole[:-100]


def test_an_empty_file(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(EOFError, match="file ends before"):
        joblib.load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"hello world\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"x is no zlib stream",
        b"BZ is no bzip2 stream either",
        b"\x1f\x8b neither gzip",
        b"\xfd7zXZ and this is no xz",
        b"ZF and no number",
        b"ZF0x100000000000000" + b" " * 20,
        b"\x80\x09.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x8cjoblib",
        b"\x80\x04K\x01Q.",
        bytes(64),
        b"\xff" * 64,
    ],
)
@pytest.mark.filterwarnings("ignore:.*joblib version less than 0.10")
def test_foreign_files(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises((CorruptFileError, TruncatedFileError)) as info:
        joblib.load(path)
    assert says_where(info.value, path)


def test_an_announced_array_that_is_not_there_takes_no_memory(tmp_path):
    path = tmp_path / "file"
    joblib.dump(np.arange(255), path)
    content = path.read_bytes()
    # The shape (255,) becomes one of 2**62 elements.
    huge = b"\x8a\x08" + (2**62).to_bytes(8, "little") + b"\x85"
    assert content.count(b"K\xff\x85") == 1
    content = content.replace(b"K\xff\x85", huge)
    start = content.index(b"\x95")
    length = int.from_bytes(content[start + 1 : start + 9], "little") + len(huge) - 3
    content = content[: start + 1] + length.to_bytes(8, "little") + content[start + 9 :]
    path.write_bytes(content)
    with pytest.raises((CorruptFileError, TruncatedFileError)) as info:
        joblib.load(path)
    assert says_where(info.value, path)


@pytest.mark.parametrize("flags", [0x3F, 0x40, 0x7F])
def test_a_dtype_that_contradicts_itself(flags, tmp_path):
    path = tmp_path / "file"
    joblib.dump(np.arange(5.0), path)
    content = path.read_bytes()
    sound = b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    assert content.count(sound) == 1
    # Numbers taken for pointers would be followed to wherever they point.
    path.write_bytes(content.replace(sound, sound[:-2] + bytes((flags,)) + b"t"))
    with pytest.raises(CorruptFileError, match="dtype contradicts itself"):
        joblib.load(path)


FLIPS = """
import random, sys, warnings
import numpy as np
import joblib
from joblib.test.persistence_objects import alike
warnings.simplefilter("ignore")
method, path = sys.argv[1:]
draw = random.Random(method)
value = {"numbers": np.arange(50.0), "list": [1, "two", 3.0, (None, b"four")] * 3}
joblib.dump(value, path, compress=method if method != "none" else 0)
whole = open(path, "rb").read()
changed = refused = 0
for _ in range(400):
    content = bytearray(whole)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    with open(path, "wb") as file:
        file.write(content)
    try:
        found = joblib.load(path)
    except Exception as error:
        notes = getattr(error, "__notes__", ())
        assert any(path in text for text in (str(error), *notes)), repr(error)
        refused += 1
    else:
        changed += not alike(found, value)
print(refused, changed)
"""


@pytest.mark.parametrize("method", ["none", "zlib", "gzip", "bz2", "xz", "lz4", "zstd"])
def test_flipped_bits_end_in_an_error_or_in_data(method, tmp_path):
    need(method)
    # In a process of its own: what is tested is that it survives.
    done = subprocess.run(
        [sys.executable, "-c", FLIPS, method, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    refused, changed = map(int, done.stdout.split())
    assert refused > 80
    if method in ("zlib", "gzip", "bz2", "xz", "zstd"):
        assert changed == 0, "these formats have checksums"


class Refuses:
    def __init__(self, error):
        self.error = error

    def __setstate__(self, state):
        raise state["error"]


@pytest.mark.parametrize("error", [KeyError("mine"), EOFError("mine"), OSError("mine")])
def test_errors_of_the_loaded_object_stay_what_they_are(error, tmp_path):
    path = tmp_path / "file"
    joblib.dump(Refuses(error), path)
    with pytest.raises(type(error)) as info:
        joblib.load(path)
    assert type(info.value) is type(error)
    assert info.value.args == ("mine",)
    assert says_where(info.value, path)


def test_a_class_that_is_gone_keeps_its_error(tmp_path, monkeypatch):
    path = tmp_path / "file"
    monkeypatch.setitem(globals(), "Gone", type("Gone", (), {"__module__": __name__}))
    joblib.dump(globals()["Gone"](), path)
    monkeypatch.delitem(globals(), "Gone")
    with pytest.raises(AttributeError, match="Gone") as info:
        joblib.load(path)
    assert says_where(info.value, path)
    path.write_bytes(path.read_bytes().replace(b"joblib.test", b"joblib.tent"))
    with pytest.raises(ModuleNotFoundError, match="joblib.tent"):
        joblib.load(path)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    pytest.importorskip("lz4.frame")
    path = tmp_path / "file"
    joblib.dump(1, path, compress="lz4")
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(ValueError, match="LZ4 is not installed"):
        joblib.load(path)
    with pytest.raises(ValueError, match="LZ4 is not installed"):
        joblib.dump(1, path, compress="lz4")


def test_errors_can_be_caught_as_those_of_pickle():
    assert issubclass(TruncatedFileError, (EOFError, pickle.UnpicklingError))
    assert issubclass(TruncatedFileError, ValueError)
    assert issubclass(CorruptFileError, pickle.UnpicklingError)
    assert issubclass(CorruptFileError, ValueError)


def test_unpicklers_of_other_projects_look_at_states_too(tmp_path):
    class Theirs(NumpyUnpickler):
        pass

    class Damaged:
        def __reduce__(self):
            return np.dtype, ("f4", False, True), STATES[0]

    file = io.BytesIO(pickle.dumps(Damaged()))
    with pytest.raises(CorruptFileError, match="cannot have the state"):
        Theirs("", file, True).load()
