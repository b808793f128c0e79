"""Damaged files: an equal object, another, or an error that names the file.

In a process of its own, one a codec: a crash fails the test, with the bytes that did
it. What is done to the files is hypothesis' choice, the same in each run.
"""

from __future__ import annotations

import base64
import importlib.util
import os
import subprocess
import sys

import pytest

pytest.importorskip("numpy")
pytest.importorskip("hypothesis")

pytestmark = pytest.mark.slow

LIBRARIES = {"lz4": "lz4", "zstd": "zstandard"}
METHODS = ["none", "zlib", "gzip", "bz2", "lzma", "xz", "lz4", "zstd"]

CHILD = """
import sys, time, warnings
import numpy as np
import joblib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joblib.numpy_pickle import CorruptFileError, TruncatedFileError
from joblib.test.persistence_objects import alike, everything

warnings.simplefilter("ignore")
method, path, examples = sys.argv[1], sys.argv[2], int(sys.argv[3])
parts = everything()
values = [{name: part} for name, part in parts.items() if not name.startswith("long")]
values += [parts, np.zeros(3, [("a", "O"), ("b", "i4")]), np.dtype("M8[s]")]
content = {}

def written(index, protocol):
    if (index, protocol) not in content:
        compress = 0 if method == "none" else method
        joblib.dump(values[index], path, compress=compress, protocol=protocol)
        with open(path, "rb") as file:
            content[index, protocol] = file.read()
    return content[index, protocol]

places = st.integers(0, 10**6)
small = st.integers(1, 40)
change = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(0, 7)),
    st.tuples(st.just("set"), places, st.integers(0, 255)),
    st.tuples(st.just("delete"), places, small),
    st.tuples(st.just("double"), places, small),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("cut"), places, st.just(0)),
)

def damaged(whole, changes):
    data = bytearray(whole)
    for kind, place, what in changes:
        if not data:
            break
        place %= len(data)
        if kind == "flip":
            data[place] ^= 1 << what
        elif kind == "set":
            data[place] = what
        elif kind == "delete":
            del data[place : place + what]
        elif kind == "double":
            data[place:place] = data[place : place + what]
        elif kind == "insert":
            data[place:place] = what
        else:
            del data[place:]
    return bytes(data)

count = {"loaded": 0, "same": 0, "refused": 0}

@settings(max_examples=examples, derandomize=True, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(st.integers(0, len(values) - 1), st.integers(0, 5),
       st.lists(change, min_size=1, max_size=3), st.sampled_from([None, "r", "r+", "c"]),
       st.booleans())
def check(index, protocol, changes, mmap_mode, opened):
    whole = written(index, protocol)
    data = damaged(whole, changes)
    with open(path, "wb") as file:
        file.write(data)
    with open(path + ".last", "wb") as file:
        file.write(data)
    before = time.monotonic()
    try:
        if opened:
            with open(path, "rb") as file:
                found = joblib.load(file, mmap_mode=mmap_mode)
        else:
            found = joblib.load(path, mmap_mode=mmap_mode)
    except Exception as error:
        notes = getattr(error, "__notes__", ())
        assert any(path in text for text in (str(error), *notes)), repr(error)
        if kind_of_damage_is_a_cut(changes, whole, data):
            assert isinstance(error, (CorruptFileError, TruncatedFileError)), error
        count["refused"] += 1
    else:
        count["loaded"] += 1
        repr(type(found))
        count["same"] += data == whole
        assert data == whole or not kind_of_damage_is_a_cut(changes, whole, data)
    assert time.monotonic() - before < 20

def kind_of_damage_is_a_cut(changes, whole, data):
    return len(data) < len(whole) and whole.startswith(data)

check()
print(count)
assert count["refused"] > examples // 3
"""


def run_a_campaign(method, path, examples):
    library = LIBRARIES.get(method)
    if library is not None and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, method, str(path), str(examples)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        last = path.with_name(path.name + ".last").read_bytes()
        pytest.fail(
            f"ended with {done.returncode}:\n{done.stderr[-3000:]}\n"
            f"the last file, in base64:\n{base64.b64encode(last).decode()}"
        )


@pytest.mark.parametrize("method", METHODS)
def test_damaged_files(method, tmp_path):
    run_a_campaign(method, tmp_path / "file", 300 if method == "none" else 60)


@pytest.mark.soak
@pytest.mark.timeout(620)
@pytest.mark.parametrize("method", METHODS)
def test_many_damaged_files(method, tmp_path):
    examples = 8000 if method == "none" else 1000
    if "JOBLIB_SOAK_SECONDS" not in os.environ:  # part of `make test`, not a soak
        examples //= 8
    run_a_campaign(method, tmp_path / "file", examples)
