"""Arrays in mapped files: found, named, and opened again elsewhere."""

from __future__ import annotations

import gc
import mmap
import os
import pickle
import stat

import pytest

from joblib._identity_map import WeakIdentityMap
from joblib._memmap.folders import TemporaryFolder, choose_root, is_temporary
from joblib._memmap.placing import Place
from joblib._memmap.reducers import ForwardReducer, reduce_backward, touch_pages
from joblib._memmap.store import ArrayStore, reduce_dumped
from joblib._memmap.views import backing_memmap, has_shareable_memory, reduce_mapped

np = pytest.importorskip("numpy")


@pytest.fixture
def mapped(tmp_path):
    """A memmap of 10 rows and 6 columns, behind 12 bytes that are not its own."""
    path = tmp_path / "mapped.bin"
    array = np.memmap(path, "f4", "w+", shape=(10, 6), offset=12)
    array[:] = np.arange(60).reshape(10, 6)
    return array


VIEWS = {
    "all": lambda m: m,
    "array": lambda m: np.asarray(m),
    "rows": lambda m: m[2:5],
    "one row": lambda m: np.asarray(m)[3],
    "column": lambda m: m[:, 1],
    "transposed": lambda m: m.T,
    "columns of fortran": lambda m: np.asarray(m).T[1:3],
    "backwards": lambda m: m[::-1],
    "backwards both": lambda m: np.asarray(m)[::-2, ::-3],
    "every second": lambda m: m[1::2, ::2],
    "three axes": lambda m: m.reshape(5, 2, 6).transpose(2, 0, 1)[::-1],
    "other type": lambda m: np.asarray(m).view("u1"),
    "field": lambda m: m.view([("a", "i2"), ("b", "u1"), ("c", "u1")])["b"],
    "broadcast": lambda m: np.broadcast_to(np.asarray(m)[0], (4, 6)),
    "no axis": lambda m: np.asarray(m)[3:4, 2].reshape(()),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_is_opened_by_name(mapped, view):
    array = view(mapped)
    backing = backing_memmap(array)
    assert backing is mapped
    assert has_shareable_memory(array)
    function, args = pickle.loads(pickle.dumps(reduce_mapped(array, backing)))
    again = function(*args)
    assert has_shareable_memory(again)
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)
    # the same memory, not a copy
    if again.flags.writeable and again.size:
        again.flat[0] = 77
        assert array.flat[0] == 77


def test_the_mode_is_kept_and_never_empties_the_file(mapped):
    assert mapped.mode == "w+"
    function, args = reduce_mapped(mapped, mapped)
    assert function(*args).mode == "r+"
    for mode in ("r", "c"):
        other = np.memmap(mapped.filename, "f4", mode, 12, (10, 6))
        function, args = reduce_mapped(other[1:], backing_memmap(other))
        assert function(*args).mode == mode
    assert mapped[9, 5] == 59


def test_arrays_that_are_in_no_file(mapped, tmp_path):
    assert backing_memmap(np.ones(3)) is None
    assert backing_memmap(mapped * 2) is None
    assert backing_memmap(np.asarray(mapped * 2)) is None
    assert backing_memmap("no array") is None
    with open(mapped.filename, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert backing_memmap(np.frombuffer(pages, "u1")) is None
    # nothing to map, and nothing left to map
    assert reduce_mapped(mapped[:0], mapped) is None
    os.unlink(mapped.filename)
    assert reduce_mapped(mapped, mapped) is None


ARRAYS = {
    "C": lambda: np.arange(60.0).reshape(10, 6),
    "Fortran": lambda: np.asfortranarray(np.arange(60.0).reshape(10, 6)),
    "strided": lambda: np.arange(120.0).reshape(10, 12)[:, ::2],
    "backwards": lambda: np.arange(60.0)[::-1],
    "records": lambda: np.zeros(9, [("a", "i4"), ("b", "S3")]),
    "dates": lambda: np.arange(5).astype("M8[s]"),
    "text": lambda: np.array(["a", "bcd"]),
    "swapped": lambda: np.arange(9, dtype=">i4"),
    "no axis": lambda: np.array(3.5),
}


@pytest.fixture
def folder(tmp_path):
    folder = TemporaryFolder(str(tmp_path / "joblib_memmapping_folder_x"))
    yield folder
    folder.delete()


@pytest.fixture
def store(folder):
    return ArrayStore(Place(folder, may_move=False))


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_a_dump_is_the_array(store, make, monkeypatch):
    monkeypatch.setattr("joblib._memmap.store.COPY_BYTES", 100)
    array = make()
    dump, new = store.dump(array)
    assert new
    function, args = pickle.loads(pickle.dumps(reduce_dumped(array, dump, "r")))
    again = function(*args)
    assert again.dtype == array.dtype
    assert again.flags.f_contiguous or not array.flags.f_contiguous
    np.testing.assert_array_equal(again, array)
    with pytest.raises(ValueError, match="read-only"):
        again[...] = array


def test_files_are_private_and_made_once(store, folder):
    assert not os.path.exists(folder.path)
    array = np.ones(10)
    dump, new = store.dump(array)
    assert (store.dump(array), new) == ((dump, False), True)
    assert stat.S_IMODE(os.stat(folder.path).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(dump.filename).st_mode) == 0o600
    assert os.listdir(folder.path) == [os.path.basename(dump.filename)]
    assert is_temporary(dump.filename)
    other, new = store.dump(array.copy())
    assert new
    assert other.filename != dump.filename


def test_a_file_goes_when_nobody_needs_it(store):
    array = np.ones(10)
    first, second = [], []
    dump, _ = store.dump(array, first)
    store.dump(array, second)
    store.give_back(first)
    del array
    gc.collect()
    # one batch that names it is still on its way
    assert os.path.exists(dump.filename)
    store.give_back(second)
    assert not os.path.exists(dump.filename)

    kept = np.ones(10)
    leases = []
    dump, _ = store.dump(kept, leases)
    store.give_back(leases)
    # it may be sent again
    assert os.path.exists(dump.filename)
    del kept
    gc.collect()
    assert not os.path.exists(dump.filename)


def test_nothing_is_written_after_the_end(store):
    store.close()
    with pytest.raises(RuntimeError, match="has ended"):
        store.dump(np.ones(3))


def test_a_full_disk_names_the_folder(store, folder):
    class Full(np.ndarray):
        def tofile(self, file):
            raise OSError("no space left")

    with pytest.raises(OSError, match=r"joblib_memmapping_folder_x.*temp_folder"):
        store.dump(np.ones(3).view(Full))
    assert os.listdir(folder.path) == []


def test_folders(tmp_path, monkeypatch):
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    monkeypatch.delenv("JOBLIB_TEMP_FOLDER", raising=False)
    shared = str(tmp_path)
    assert choose_root(here, shared, 0) == (here, False)
    assert choose_root(None, shared, 0) == (shared, True)
    # too small, and not there at all
    for fs, least in ((shared, 1e30), (there, 0)):
        root, in_memory = choose_root(None, fs, least)
        assert not in_memory
        assert root not in (shared, there)
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", there)
    assert choose_root(None, shared, 0) == (there, False)
    assert choose_root(here, shared, 0) == (here, False)

    folder = TemporaryFolder(os.path.join(there, "deep", "down"))
    folder.delete()
    assert folder.create() == folder.create()
    assert os.path.isdir(folder.path)
    folder.delete()
    folder.delete()
    assert not os.path.exists(folder.path)
    # may be used again
    folder.create()
    folder.delete()


@pytest.mark.parametrize(
    ("max_nbytes", "mode", "array", "by_file"),
    [
        (10, "r", lambda: np.ones(100), True),
        (799, "r", lambda: np.ones(100), True),
        (800, "r", lambda: np.ones(100), False),
        (None, "r", lambda: np.ones(100), False),
        (10, None, lambda: np.ones(100), False),
        (0, "r", lambda: np.ones(0), False),
        (10, "r", lambda: np.array([{}] * 100), False),
    ],
)
def test_which_arrays_go_by_file(store, folder, max_nbytes, mode, array, by_file):
    reducer = ForwardReducer(store, max_nbytes, mode)
    array = array()
    function, args = reducer.reduce(array)[:2]
    assert has_shareable_memory(function(*args)) == by_file
    assert os.path.exists(folder.path) == by_file


@pytest.mark.parametrize(
    ("mode", "writable"), [("r", False), ("r+", True), ("w+", True), ("c", True)]
)
def test_modes(store, mode, writable):
    array = np.ones(100)
    reducer = ForwardReducer(store, 10, mode)
    function, args = reducer.reduce(array)
    there = function(*args)
    assert there.flags.writeable == writable
    assert there.sum() == 100
    if writable:
        there[0] = 5
        assert function(*args)[0] == (1 if mode == "c" else 5)


def test_a_mode_that_does_not_exist(store):
    with pytest.raises(ValueError, match=r"mmap_mode='x'.*'r\+'"):
        ForwardReducer(store, 10, "x")


def test_what_workers_return(store, mapped):
    # of ours: an ordinary array, which can be written to
    reducer = ForwardReducer(store, 10, "r")
    array = np.arange(100.0)
    function, args = reducer.reduce(array)
    there = function(*args)
    for part in (there, there[10:20], there[::3]):
        function, args = reduce_backward(part)
        back = function(*args)
        assert type(back) is np.ndarray
        assert not has_shareable_memory(back)
        assert back.flags.writeable
        np.testing.assert_array_equal(back, part)
    # of the user's: by name
    function, args = reduce_backward(mapped[2:4])
    assert has_shareable_memory(function(*args))


def test_verbose_and_prewarm(store, capsys):
    array = np.ones(100)
    reducer = ForwardReducer(store, 10, "r", verbose=50, prewarm=True)
    reducer.reduce(array)
    reducer.reduce(array)
    first, second = capsys.readouterr().out.splitlines()
    assert "800 bytes: written to" in first
    assert "already in" in second
    touch_pages(store.dump(array)[0].filename)


def test_map_keyed_by_arrays():
    known = WeakIdentityMap()
    array, gone = np.ones(3), []
    with pytest.raises(KeyError):
        known.get(array)
    known.set(array, "value", on_gone=lambda: gone.append(1))
    assert known.get(array) == "value"
    with pytest.raises(KeyError):
        known.get(np.ones(3))
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(known)
    del array
    gc.collect()
    assert gone == [1]
    assert known._data == {}
