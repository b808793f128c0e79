"""Damage, full disks, killed writers, eviction meanwhile: never wrong, never stuck."""

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings

import pytest

import joblib
from joblib import Memory
from joblib._caching import ownership
from joblib._store_backends import CacheWarning

RUNS = []


def work(x):
    RUNS.append(x)
    return {"value": x, "text": "t" * 20}


def make_big_array(x):
    import numpy as np

    RUNS.append(x)
    return [np.full(50, x), "end"]


@pytest.fixture(autouse=True)
def runs():
    RUNS.clear()


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path / "cache", verbose=0)


def file_of(cached, x, name="output.pkl"):
    entry = cached.func_id, cached._get_args_id(x)
    return os.path.join(cached.store_backend.location, *entry, name)


def in_new_process(source, *arguments):
    """Run a program that finds this package, and return how it ended."""
    environment = dict(os.environ)
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment["PYTHONPATH"] = package
    return subprocess.run(
        [sys.executable, "-c", source, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


# --------------------------------------------------------------------------- damage
def test_an_output_cut_anywhere_is_computed_again(memory, caplog):
    cached = memory.cache(work)
    expected = cached(1)
    path = file_of(cached, 1)
    with open(path, "rb") as stream:
        whole = stream.read()
    for length in range(len(whole)):
        with open(path, "wb") as stream:
            stream.write(whole[:length])
        caplog.clear()
        assert cached(1) == expected
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert os.path.dirname(path) in record.getMessage()
    assert len(RUNS) == 1 + len(whole)
    caplog.clear()
    assert cached(1) == expected
    assert not caplog.records


def test_an_array_cut_anywhere_is_computed_again(memory, caplog):
    np = pytest.importorskip("numpy")
    cached = memory.cache(make_big_array)
    cached(1)
    path = file_of(cached, 1)
    with open(path, "rb") as stream:
        whole = stream.read()
    for length in range(0, len(whole), 7):
        with open(path, "wb") as stream:
            stream.write(whole[:length])
        array, end = cached(1)
        np.testing.assert_array_equal(array, np.full(50, 1))
        assert end == "end"
    assert len(caplog.records) == len(range(0, len(whole), 7))


def test_a_damaged_output_shows_when_a_reference_is_loaded(memory):
    cached = memory.cache(work)
    reference = cached.call_and_shelve(1)
    with open(file_of(cached, 1), "wb") as stream:
        stream.write(b"\x80\x04garbage")
    with pytest.raises(KeyError, match="is corrupted"):
        reference.get()


@pytest.mark.parametrize("content", ["", "{", '{"duration": 1', "\x00\x00"])
def test_damaged_metadata_do_not_matter_to_a_hit(memory, content):
    cached = memory.cache(work)
    cached(1)
    with open(file_of(cached, 1, "metadata.json"), "w") as stream:
        stream.write(content)
    assert cached(1)["value"] == 1
    assert len(RUNS) == 1
    with pytest.warns(CacheWarning, match=cached._get_args_id(1)):
        assert cached.call_and_shelve(1).metadata == {}


class RaisesKeyErrorWhenLoaded:
    def __reduce__(self):
        return raise_key_error, ()


def raise_key_error():
    raise KeyError("from the object itself")


def test_an_object_that_fails_to_load_is_no_missing_entry(memory, caplog):
    cached = memory.cache(make_unloadable)
    assert isinstance(cached(), RaisesKeyErrorWhenLoaded)
    assert isinstance(cached(), RaisesKeyErrorWhenLoaded)
    (record,) = caplog.records
    assert "from the object itself" in record.getMessage()


def make_unloadable():
    return RaisesKeyErrorWhenLoaded()


def test_the_directory_may_vanish_at_any_time(memory, tmp_path):
    cached = memory.cache(work)
    for _ in range(3):
        assert cached(1)["value"] == 1
        assert cached(1)["value"] == 1
        shutil.rmtree(tmp_path / "cache")
    assert len(RUNS) == 3
    reference = cached.call_and_shelve(1)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(KeyError, match="does not exist"):
        reference.get()
    memory.clear(warn=False)
    memory.reduce_size(items_limit=0)


# ------------------------------------------------------------ disks full or read-only
def refuse(error_number):
    """Return an `_open_item` of a disk that can only be read."""

    def open_item(path, mode="rb"):
        if "w" in mode:
            raise OSError(error_number, os.strerror(error_number), path)
        return open(path, mode)

    return open_item


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_cannot_be_stored_is_returned_with_a_warning(memory, error_number):
    cached = memory.cache(work)
    cached(1)
    memory.store_backend._open_item = refuse(error_number)
    with pytest.warns(CacheWarning, match="Unable to cache to disk"):
        assert cached(2)["value"] == 2
    assert not cached.check_call_in_cache(2)
    assert cached(1)["value"] == 1, "what is there is still read"
    assert RUNS == [1, 2]


def test_code_that_cannot_be_written_stores_nothing(memory):
    cached = memory.cache(work)
    memory.store_backend._open_item = refuse(errno.ENOSPC)
    with pytest.warns(CacheWarning, match="Unable to write the code of .*work"):
        assert cached(1)["value"] == 1
    assert memory.store_backend.get_items() == []


def test_code_that_cannot_be_replaced_shields_from_old_results(memory):
    location = memory.store_backend.location
    cached = memory.cache(work)
    cached(1)
    memory.store_backend.store_cached_func_code(
        [cached.func_id], "# first line: 1\ndef work(x):\n    return 'old'\n"
    )
    memory.store_backend.clear_location = refuse_to_clear
    with pytest.warns(CacheWarning, match="Unable to write the code"):
        assert cached(1)["value"] == 1
    assert RUNS == [1, 1]
    with open(os.path.join(location, cached.func_id, "func_code.py")) as stream:
        assert "'old'" in stream.read()


def refuse_to_clear(location):
    raise PermissionError(errno.EACCES, "read-only", location)


def test_a_cache_whose_place_cannot_be_made_computes(memory):
    def refuse_to_create(location):
        raise PermissionError(errno.EACCES, "read-only", location)

    memory.store_backend.create_location = refuse_to_create
    with pytest.warns(CacheWarning, match="Unable to make a place"):
        cached = memory.cache(work)
    with pytest.warns(CacheWarning, match="Unable to write the code"):
        assert cached(1)["value"] == 1


FULL_DISK = """
import resource, sys, warnings
import joblib

def work(n):
    return b"x" * n

cached = joblib.Memory(sys.argv[1], verbose=0).cache(work)
cached(10)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert len(cached(100_000)) == 100_000
assert "Unable to cache to disk" in str(caught[0].message), caught
assert not cached.check_call_in_cache(100_000)
with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert cached(10) == b"x" * 10
    assert cached(20) == b"x" * 20
assert cached.check_call_in_cache(20)
print("fine")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
def test_a_limit_on_file_sizes(tmp_path):
    ended = in_new_process(FULL_DISK, str(tmp_path))
    assert ended.stdout == "fine\n", ended.stderr
    leftovers = [
        p for p in tmp_path.rglob("*") if p.is_file() and "output.pkl." in p.name
    ]
    assert leftovers == []


# -------------------------------------------------------------------- killed writers
KILLED = """
import os, signal, sys
import joblib

class Fatal:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)

def work(x):
    return ["begun" * 1000, Fatal()] if len(sys.argv) > 2 else "fine"

print(joblib.Memory(sys.argv[1], verbose=0).cache(work)(1))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_writer_that_is_killed_leaves_a_clean_miss(tmp_path):
    assert in_new_process(KILLED, str(tmp_path), "die").returncode == -signal.SIGKILL
    ended = in_new_process(KILLED, str(tmp_path))
    assert (ended.stdout, ended.stderr) == ("fine\n", "")
    memory = Memory(tmp_path, verbose=0)
    memory.reduce_size(items_limit=0)
    assert memory.store_backend.get_items() == []
    names = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(names) == [".gitignore", "func_code.py"]


# ---------------------------------------------------------------- eviction meanwhile
def test_an_entry_that_is_evicted_while_it_is_written_is_written_again(memory):
    cached = memory.cache(work)
    store = memory.store_backend
    opened = []

    def open_item(path, mode="rb"):
        stream = open(path, mode)
        if "output.pkl" in path and "w" in mode and not opened:
            opened.append(path)
            stream.close()
            shutil.rmtree(os.path.dirname(path))
            return open(path, mode)
        return stream

    store._open_item = open_item
    assert cached(1)["value"] == 1
    assert opened
    assert cached.check_call_in_cache(1)


def test_threads_that_write_evict_and_clear(memory):
    cached = memory.cache(work)
    failures = []
    stop = threading.Event()

    def call(offset):
        try:
            for i in range(2000):
                x = (i * 7 + offset) % 12
                assert cached(x) == {"value": x, "text": "t" * 20}
        except BaseException as error:
            failures.append(error)

    def shrink():
        try:
            while not stop.is_set():
                memory.reduce_size(items_limit=3)
                cached.clear(warn=False)
        except BaseException as error:
            failures.append(error)

    with warnings.catch_warnings():
        # A writer may give up after several attempts: it says so, and returns.
        warnings.simplefilter("ignore", CacheWarning)
        callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
        shrinker = threading.Thread(target=shrink)
        for thread in [*callers, shrinker]:
            thread.start()
        for thread in callers:
            thread.join(60)
        stop.set()
        shrinker.join(60)
    assert failures == []
    assert not shrinker.is_alive()
    for item in memory.store_backend.get_items():
        assert os.path.exists(os.path.join(item.path, "output.pkl"))


PROGRAM_WITH_CODE = """
import sys, warnings
import joblib
from joblib import Memory
sys.path.insert(0, sys.argv[2])
from changing import answer
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    cached = Memory(sys.argv[1], verbose=0).cache(answer)
    print(cached(1), cached(1), cached(2))
for warning in caught:
    print(warning.category.__name__, warning.message)
"""


def test_results_whose_code_is_missing_go(tmp_path):
    cache = str(tmp_path / "cache")
    module = tmp_path / "changing.py"

    def run(result):
        module.write_text(f"def answer(x):\n    return {result!r}\n")
        done = in_new_process(PROGRAM_WITH_CODE, cache, str(tmp_path))
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert run("first") == ["first first first"]
    [code] = (tmp_path / "cache").rglob("func_code.py")
    code.unlink()
    said, *warned = run("other")
    assert said == "other other other"
    [warning] = warned
    assert warning.startswith("CacheWarning The code that belongs to")
    assert "changing" in warning
    assert "missing" in warning
    # and from now on all is as usual
    assert run("other") == ["other other other"]
    assert code.exists()


def test_a_place_that_another_process_has_just_taken(memory, monkeypatch):
    cached = memory.cache(work)
    assert cached(1)["value"] == 1
    store = memory.store_backend
    reads = []
    read = type(store).get_cached_func_code

    def late(self, call_id):
        reads.append(call_id)
        if len(reads) == 1:  # it was not there a moment ago
            raise FileNotFoundError(str(call_id))
        return read(self, call_id)

    monkeypatch.setattr(type(store), "get_cached_func_code", late)
    again = Memory(store.location[: -len("/joblib")], verbose=0).cache(work)
    joblib.memory._FUNCTION_HASHES.clear()
    assert again(1)["value"] == 1
    assert len(reads) == 2
    assert RUNS == [1]


def test_what_another_process_stored_while_results_were_cleared(memory, monkeypatch):
    cached = memory.cache(work)
    cached(1)
    folder = os.path.join(memory.store_backend.location, cached.func_id)
    os.unlink(os.path.join(folder, "func_code.py"))
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:  # it takes back what is no longer wanted
            memory.store_backend.clear_path([cached.func_id])

    monkeypatch.setattr(ownership.time, "sleep", pause)
    joblib.memory._FUNCTION_HASHES.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cached(1)["value"] == cached(1)["value"] == 1
    assert RUNS == [1, 1]
    assert len(pauses) == 2


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
@pytest.mark.parametrize("name", ["dump_item", "store_metadata"])
def test_a_place_that_is_cleared_while_it_is_made(memory, monkeypatch, name, error):
    cached = memory.cache(work)
    cached(1)
    store = memory.store_backend
    call_id = (cached.func_id, "0" * 32)
    made = []
    make = type(store).create_location

    def cleared(self, location):
        made.append(location)
        if len(made) == 1:
            raise error(location)
        make(self, location)

    monkeypatch.setattr(type(store), "create_location", cleared)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(store, name)(call_id, {"some": "content"})
    assert len(made) == 2
    assert len(os.listdir(os.path.join(store.location, *call_id))) == 1


def test_lambdas_have_their_code_in_the_key(memory):
    cached = memory.cache(lambda x: RUNS.append(x))
    cached(1)
    os.unlink(
        os.path.join(cached.store_backend.location, cached.func_id, "func_code.py")
    )
    cached(2)
    cached(1)
    cached(1)
    assert RUNS == [1, 2]
