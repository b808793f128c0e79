"""Large arrays that tasks return."""

from __future__ import annotations

import os
import pickle

import pytest

from joblib import Parallel, delayed
from joblib._memmap import results
from joblib._memmap.results import ResultPlace, ResultWriter, open_result
from joblib._memmapping_reducer import has_shareable_memory

np = pytest.importorskip("numpy")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.skipif(os.name != "posix", reason="results go by file on POSIX only"),
]

BACKENDS = ["loky", "multiprocessing"]
MAKERS = {
    "plain": lambda n: np.arange(n * 1000.0),
    "fortran": lambda n: np.asfortranarray(np.arange(n * 1000).reshape(-1, 10)),
    "strided": lambda n: np.arange(n * 4000)[::2].reshape(-1, 4)[:, ::-1],
    "structured": lambda n: np.zeros(n * 300, dtype=[("a", "i4"), ("b", "S9")]),
    "dates": lambda n: np.arange(n * 500).astype("M8[s]"),
    "big-endian": lambda n: np.arange(n * 500, dtype=">f8"),
}


def make(kind, n):
    return {"made": [MAKERS[kind](n)], "n": n}


def make_and_fail(n):
    if n == 3:
        raise ValueError("the third")
    return np.full(2000, n)


def make_and_leave(n):
    if n == 3:
        os._exit(7)
    return np.full(2000, n)


def make_twice(n):
    array = np.full(2000, n)
    return array, array, lambda: array  # the last takes cloudpickle


def give_back(array):
    return array


def cache_files(folder):
    return [name for _, _, names in os.walk(folder) for name in names]


@pytest.fixture
def opened(monkeypatch):
    """Collect the files of results that are opened."""
    seen = []
    opening = results._map

    def noting(descriptor, n_bytes):
        seen.append(n_bytes)
        return opening(descriptor, n_bytes)

    monkeypatch.setattr(results, "_map", noting)
    return seen


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", MAKERS)
def test_results_are_ordinary_arrays(backend, kind, opened, tmp_path):
    parallel = Parallel(2, backend=backend, max_nbytes=1000, temp_folder=tmp_path)
    for n, found in enumerate(parallel(delayed(make)(kind, n) for n in range(1, 5)), 1):
        array, expected = found["made"][0], MAKERS[kind](n)
        np.testing.assert_array_equal(array, expected)
        assert type(array) is np.ndarray
        assert array.dtype == expected.dtype
        assert array.flags.writeable
        assert array.flags.f_contiguous == expected.flags.f_contiguous
        assert not has_shareable_memory(array)
        array[...] = array[::-1].copy()
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)), array)
    assert len(opened) == 4
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_results_and_none_by_file(backend, opened):
    assert Parallel(2, backend=backend)(delayed(make)("plain", 1) for _ in range(3))
    parallel = Parallel(2, backend=backend, max_nbytes=None)
    [found] = parallel(delayed(make)("plain", 500) for _ in range(1))
    np.testing.assert_array_equal(found["made"][0], MAKERS["plain"](500))
    assert opened == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "function, error", [(make_and_fail, ValueError), (make_and_leave, Exception)]
)
def test_a_call_that_fails_leaves_no_file(backend, function, error, tmp_path):
    parallel = Parallel(2, backend=backend, max_nbytes=100, temp_folder=tmp_path)
    with pytest.raises(error):
        parallel(delayed(function)(n) for n in range(8))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_in_the_lasting_folder_go(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    parallel = Parallel(2, backend=backend, max_nbytes=100)
    found = parallel(delayed(make_and_fail)(n) for n in range(3))
    assert [array[0] for array in found] == [0, 1, 2]
    assert cache_files(tmp_path) == []
    with pytest.raises(ValueError, match="the third"):
        parallel(delayed(make_and_fail)(n) for n in range(8))
    assert cache_files(tmp_path) == []


def test_a_generator_that_is_dropped_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    parallel = Parallel(2, backend="loky", max_nbytes=100, return_as="generator")
    outputs = parallel(delayed(make)("plain", n) for n in range(1, 30))
    assert next(outputs)["n"] == 1
    with pytest.warns(UserWarning):
        outputs.close()
    assert cache_files(tmp_path) == []


def test_an_array_twice_and_a_second_pickler(opened):
    parallel = Parallel(2, backend="loky", max_nbytes=100)
    for n, (one, same, function) in enumerate(
        parallel(delayed(make_twice)(n) for n in range(3))
    ):
        assert one is same
        assert function() is one
        assert one[0] == n
    assert len(opened) == 3


def test_an_argument_given_back(opened):
    array = np.arange(3000.0)
    parallel = Parallel(2, backend="loky", max_nbytes=100, batch_size=1)
    for found in parallel(delayed(give_back)(array) for _ in range(3)):
        np.testing.assert_array_equal(found, array)
        assert type(found) is np.memmap or type(found) is np.ndarray
        assert found.flags.writeable
        assert not has_shareable_memory(found)
    assert len(opened) == 3


def test_a_place_that_takes_no_file(tmp_path):
    place = ResultPlace(str(tmp_path / "gone"), "call", 10)
    assert ResultWriter(place).reduce(np.arange(100)) is None
    place.sweep()


def test_a_full_place_leaves_nothing(tmp_path, monkeypatch):
    def fail(array, path):
        open(path, "w").close()
        os.unlink(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_elements", fail)
    place = ResultPlace(str(tmp_path), "call", 10)
    assert ResultWriter(place).reduce(np.arange(100)) is None
    assert os.listdir(tmp_path) == []


def test_sweeping_takes_the_files_of_one_call(tmp_path):
    mine, other = (ResultPlace(str(tmp_path), name, 0) for name in ("a", "b"))
    mine.write(np.arange(9))
    kept = other.write(np.arange(9))
    mine.sweep()
    assert os.listdir(tmp_path) == [os.path.basename(kept)]


def test_more_results_than_mappings(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_most_mappings", lambda: 2)
    before = len(results._mapped)
    place = ResultPlace(str(tmp_path), "call", 0)
    arrays = [np.arange(n * 6).reshape(-1, 3).T for n in range(1, 8)]
    found = []
    for array in arrays:
        function, args = ResultWriter(place).reduce(array)
        assert function is open_result
        found.append(function(*args))
    for array, expected in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.flags.writeable
        assert array.flags.f_contiguous
    assert len(results._mapped) <= max(before, 2)
    assert os.listdir(tmp_path) == []


def test_memory_goes_with_the_array(tmp_path):
    place = ResultPlace(str(tmp_path), "call", 0)
    function, args = ResultWriter(place).reduce(np.arange(1000))
    before = len(results._mapped)
    array = function(*args)
    view = array[10:20]
    assert len(results._mapped) == before + 1
    del array
    assert view[0] == 10
    assert len(results._mapped) == before + 1
    del view
    assert len(results._mapped) == before


def test_a_forked_process_does_not_share_what_is_written(tmp_path):
    place = ResultPlace(str(tmp_path), "call", 0)
    function, args = ResultWriter(place).reduce(np.zeros(5000))
    array = function(*args)
    pid = os.fork()
    if pid == 0:
        array[:] = 1
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert not array.any()
