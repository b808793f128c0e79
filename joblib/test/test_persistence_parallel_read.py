"""Arrays read from disk by several threads: the same bytes, the same errors."""

from __future__ import annotations

import io
import os
import threading

import pytest

import joblib
from joblib._persist import array_io, parallel_read

np = pytest.importorskip("numpy")

if not hasattr(os, "preadv"):
    pytest.skip("the system has no preadv", allow_module_level=True)


@pytest.fixture
def small_pieces(monkeypatch):
    """Let small arrays be read by three threads, in many pieces."""
    monkeypatch.setattr(array_io, "WORTHWHILE_BYTES", 1 << 20)
    monkeypatch.setattr(array_io, "thread_count", lambda: 3)
    monkeypatch.setattr(parallel_read, "_PIECE_BYTES", 10007)


@pytest.fixture
def threads_seen(monkeypatch):
    """Collect the names of the threads that read."""
    seen = set()
    preadv = os.preadv

    def noting(*args):
        seen.add(threading.current_thread().name)
        return preadv(*args)

    monkeypatch.setattr(os, "preadv", noting)
    return seen


@pytest.mark.parametrize("order", "CF")
def test_arrays_and_what_is_between_them(tmp_path, small_pieces, threads_seen, order):
    rng = np.random.RandomState(0)
    arrays = [np.asarray(rng.rand(300, 501), order=order) for _ in range(3)]
    value = ["before", arrays[0], {"between": arrays[1]}, arrays[2], "after"]
    path = tmp_path / "arrays"
    joblib.dump(value, path)
    loaded = joblib.load(path)
    assert [loaded[0], loaded[4]] == ["before", "after"]
    for found, array in zip(
        [loaded[1], loaded[2]["between"], loaded[3]], arrays, strict=True
    ):
        np.testing.assert_array_equal(found, array)
        assert found.flags.c_contiguous == array.flags.c_contiguous
    assert threads_seen


def test_an_open_file_goes_on_behind_the_array(tmp_path, small_pieces, threads_seen):
    array = np.arange(300_000)
    with open(tmp_path / "two", "wb") as file:
        joblib.dump(array, file)
        joblib.dump("second", file)
    with open(tmp_path / "two", "rb") as file:
        np.testing.assert_array_equal(joblib.load(file), array)
        assert joblib.load(file) == "second"
    assert threads_seen


def test_no_thread_reads_a_file_in_memory(small_pieces, threads_seen):
    file = io.BytesIO()
    joblib.dump(np.arange(300_000), file)
    file.seek(0)
    np.testing.assert_array_equal(joblib.load(file), np.arange(300_000))
    assert not threads_seen


def test_a_file_that_shrinks_meanwhile(tmp_path, small_pieces, monkeypatch):
    path = tmp_path / "shrinking"
    joblib.dump(np.arange(300_000), path)
    preadv = os.preadv

    def cut_short(descriptor, buffers, position):
        return preadv(descriptor, buffers, position) if position < 10**6 else 0

    monkeypatch.setattr(os, "preadv", cut_short)
    with pytest.raises(EOFError, match=str(path)):
        joblib.load(path)


def test_a_disk_that_fails(tmp_path, small_pieces, monkeypatch):
    path = tmp_path / "failing"
    joblib.dump(np.arange(300_000), path)

    def fail(descriptor, buffers, position):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    before = threading.active_count()
    with pytest.raises(OSError, match="Input/output error"):
        joblib.load(path)
    assert threading.active_count() == before


def test_no_more_threads(tmp_path, small_pieces, monkeypatch):
    path = tmp_path / "alone"
    joblib.dump(np.arange(300_000), path)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    np.testing.assert_array_equal(joblib.load(path), np.arange(300_000))


def test_an_interrupt_ends_all_threads(tmp_path, small_pieces, monkeypatch):
    path = tmp_path / "interrupted"
    joblib.dump(np.arange(300_000), path)
    preadv = os.preadv

    interrupt = threading.Event()

    def interrupted(*args):
        if threading.current_thread() is threading.main_thread():
            interrupt.set()
            raise KeyboardInterrupt
        # else the others may have read it all before the main thread begins
        interrupt.wait(10)
        return preadv(*args)

    monkeypatch.setattr(os, "preadv", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        joblib.load(path)
    assert threading.active_count() == before


def test_large_files_that_are_replaced_are_let_go(tmp_path):
    path = tmp_path / "large"
    for n in range(3):
        joblib.dump(np.full(2 << 20, n), path)
    for thread in threading.enumerate():
        if thread.name == "joblib-free-file":
            thread.join(10)
    opened = (
        {
            os.readlink(f"/proc/self/fd/{name}")
            for name in os.listdir("/proc/self/fd")
            if os.path.islink(f"/proc/self/fd/{name}")
        }
        if os.path.isdir("/proc/self/fd")
        else set()
    )
    assert not any(str(tmp_path) in target for target in opened)
    assert joblib.load(path)[0] == 2
    assert os.listdir(tmp_path) == ["large"]
