"""Files that upstream's release 1.6.0 wrote load; what we write has the same form."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import joblib
from joblib.test.describing import describe, first_difference
from joblib.test.persistence_objects import alike, everything

np = pytest.importorskip("numpy")

from joblib.test.compat_objects import NUMPY_AND_BUILTINS  # noqa: E402 - needs numpy

DATA = Path(__file__).parent / "data"
FILES = sorted(path.name for path in DATA.glob("release_1.6_*.pkl"))
OPTIONAL = {"lz4": "lz4.frame"}


def test_there_is_a_file_for_each_protocol_and_each_method():
    assert len(FILES) == 6 + 6


@pytest.mark.parametrize("mmap_mode", [None, "r", "r+", "c"])
@pytest.mark.parametrize("name", FILES)
def test_files_of_upstream_load(name, mmap_mode, tmp_path, recwarn):
    for method, library in OPTIONAL.items():
        if method in name:
            pytest.importorskip(library)
    path = tmp_path / name
    path.write_bytes((DATA / name).read_bytes())

    found = joblib.load(path, mmap_mode=mmap_mode)

    expected = everything()
    assert len(found) > 25
    for key, value in found.items():
        assert alike(value, expected[key]), key
    if mmap_mode is not None and "protocol" in name:
        assert isinstance(found["c order"], np.memmap)
        assert found["c order"].ctypes.data % 16 == 0
        assert found["foreign"][0].dtype == np.dtype(">i4")
        assert not isinstance(found["objects"], np.memmap)
    else:
        assert type(found["c order"]) is np.ndarray
    if mmap_mode is None:
        assert found["foreign"][0].dtype == np.dtype("i4")
    assert found["f order"].flags.f_contiguous


with zipfile.ZipFile(DATA / "release_1.6_objects.zip") as archive:
    OBJECTS_WRITTEN = archive.namelist()


def test_there_are_enough_objects():
    assert len(set(OBJECTS_WRITTEN)) >= 160


@pytest.mark.parametrize("entry", OBJECTS_WRITTEN)
def test_objects_that_upstream_wrote_one_by_one(entry):
    name = entry.removesuffix(".pkl").replace("/", ": ", 1)
    if name == "container: texts of any length" and not hasattr(
        np.dtypes, "StringDType"
    ):
        pytest.skip("this numpy has no such dtype")
    with zipfile.ZipFile(DATA / "release_1.6_objects.zip") as archive:
        found = joblib.load(io.BytesIO(archive.read(entry)))

    original = NUMPY_AND_BUILTINS[name]()
    if name == "container: reduced":  # comes back as what it stood for
        original = [[1, 2], {"a": 2, "b": 1}, [3, 1, 2]]
        assert found == original
        return
    difference = first_difference(describe(found, True), describe(original, True))
    assert not difference


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("compress", [0, 3, "gzip", "bz2", "lzma", "xz"])
def test_round_trip(compress, protocol, tmp_path):
    path = tmp_path / "file"
    joblib.dump(everything(), path, compress=compress, protocol=protocol)

    found = joblib.load(path)

    expected = everything()
    assert found.keys() == expected.keys()
    for key in expected:
        assert alike(found[key], expected[key]), key


def test_an_array_is_written_byte_by_byte_as_upstream_does(tmp_path):
    # Frozen: what release 1.6.0 writes for this array with protocol 2.
    head = (
        b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\nq\x00)\x81q\x01}q\x02("
        b"X\x08\x00\x00\x00subclassq\x03cnumpy\nndarray\nq\x04"
        b"X\x05\x00\x00\x00shapeq\x05K\x03\x85q\x06X\x05\x00\x00\x00orderq\x07"
        b"X\x01\x00\x00\x00Cq\x08X\x05\x00\x00\x00dtypeq\tcnumpy\ndtype\nq\n"
        b"X\x02\x00\x00\x00i8q\x0b\x89\x88\x87q\x0cRq\r(K\x03X\x01\x00\x00\x00<q\x0e"
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0fb"
        b"X\n\x00\x00\x00allow_mmapq\x10\x88"
        b"X\x1b\x00\x00\x00numpy_array_alignment_bytesq\x11K\x10ub"
    )
    path = tmp_path / "file"
    array = np.arange(3, dtype="<i8")

    joblib.dump(array, path, protocol=2)

    padding = b"\x05" + b"\xff" * 5
    assert path.read_bytes() == head + padding + array.tobytes() + b"."


def test_two_arrays_alike_are_described_briefly(tmp_path):
    path = tmp_path / "file"
    one = np.zeros(0)
    joblib.dump([one], path)
    size_of_one = path.stat().st_size
    joblib.dump([one] * 11, path)

    # Padding included; the first takes more than 200 bytes.
    assert (path.stat().st_size - size_of_one) / 10 < 80
    assert len(joblib.load(path)) == 11


def test_neither_dump_load_nor_hash_imports_numpy(tmp_path):
    script = (
        "import joblib, sys, io\n"
        "path = sys.argv[1]\n"
        "joblib.dump({'a': [1, 'b']}, path, compress=3)\n"
        "assert joblib.load(path) == {'a': [1, 'b']}\n"
        "joblib.dump({'a': [1, 'b']}, path)\n"
        "assert joblib.load(path, mmap_mode='r') == {'a': [1, 'b']}\n"
        "joblib.hash({1: {2}, 'a': len})\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "x"], check=True)
