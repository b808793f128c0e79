"""Arrays that each task may write to by itself: what it writes goes where they go."""

from __future__ import annotations

import os

import pytest

from joblib import Parallel, delayed, parallel_config
from joblib._memmap import changed
from joblib._memmap.folders import TemporaryFolder
from joblib._memmap.placing import Place
from joblib._memmap.reducers import ForwardReducer, reduce_backward
from joblib._memmap.store import ArrayStore
from joblib._memmapping_reducer import has_shareable_memory

np = pytest.importorskip("numpy")

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

BACKENDS = ["loky", "multiprocessing"]
SIZE = 20_000  # elements, of several pages


@pytest.fixture(params=["pages", "contents"])
def told_by(request, monkeypatch, tmp_path):
    """What tells of changes: the kernel, or else a look at the file."""
    if request.param == "contents":
        monkeypatch.setattr(changed, "PAGEMAP", str(tmp_path / "missing"))
        monkeypatch.setattr(changed, "PART", 1000)
    elif not os.path.exists(changed.PAGEMAP):
        pytest.skip("the system does not tell")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "elements"
    np.arange(2.0 * SIZE).tofile(path)
    return path


def copy_of(file, offset=0):
    """Map the file so that what is written stays in this process."""
    return np.memmap(file, "f8", "c", offset=offset, shape=(SIZE,))


@pytest.fixture
def forward(tmp_path):
    place = Place(TemporaryFolder(str(tmp_path / "folder")), may_move=False)
    yield ForwardReducer(ArrayStore(place), 10, "r").reduce
    place.delete()


def rebuilt(reduced):
    function, args, *_ = reduced
    return function(*args)


@pytest.mark.parametrize("offset", [0, 8 * 1000])
@pytest.mark.parametrize(
    "view", [lambda a: a, lambda a: a[100:], lambda a: a[::-3], lambda a: a[:0]]
)
def test_unchanged_copies_are_named(told_by, file, forward, view, offset):
    array = view(copy_of(file, offset))
    expected = array.tolist()  # read, but not written to
    for reduce in (forward, reduce_backward) if len(array) else ():
        there = rebuilt(reduce(array))
        base = there
        while not isinstance(base, np.memmap):
            base = base.base
        assert base.filename == str(file)
        assert there.flags.writeable
        assert there.tolist() == expected


@pytest.mark.parametrize("offset", [0, 8 * 1000])
@pytest.mark.parametrize("at", [0, SIZE // 2, SIZE - 1])
def test_changed_copies_go_by_content(told_by, file, forward, at, offset):
    array = copy_of(file, offset)
    array[at] = -1
    for part in (array, array[::-1], array[max(at - 5, 0) : at + 5]):
        there = rebuilt(forward(part))
        assert has_shareable_memory(there)
        assert there.flags.writeable
        assert there.tolist() == part.tolist()
        there[0] = 7
        back = rebuilt(reduce_backward(part))
        assert type(back) is np.ndarray
        assert not has_shareable_memory(back)
        assert back.tolist() == part.tolist()


def test_other_modes_are_not_looked_at(file, monkeypatch):
    monkeypatch.setattr(changed, "_has_own_pages", None)
    for mode in ("r", "r+"):
        array = np.memmap(file, "f8", mode)
        assert not changed.may_differ(array, 0, 0, array.nbytes)


def first(array):
    return float(array[0])


def add_one(array):
    array[0] += 1
    return array


def add_one_and_hand_on(array):
    array[0] += 1
    with parallel_config("loky", max_nbytes=10):
        return Parallel(n_jobs=2)(delayed(first)(array) for _ in range(2))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_written_gets_to_workers_and_back(backend, file):
    array = copy_of(file)
    array[0] = 50
    parallel = Parallel(2, backend=backend, batch_size=1)
    assert parallel(delayed(first)(array) for _ in range(2)) == [50, 50]
    array = copy_of(file)
    out = parallel(delayed(add_one)(array) for _ in range(2))
    assert [first(a) for a in out] == [1, 1]
    assert first(array) == 0


def test_what_was_written_gets_to_calls_within_a_task():
    array = np.zeros(SIZE)
    found = Parallel(2, backend="loky", mmap_mode="c", max_nbytes=10)(
        delayed(add_one_and_hand_on)(array) for _ in range(2)
    )
    assert found == [[1, 1]] * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_task_has_its_own_copy(backend):
    array = np.zeros(SIZE)
    parallel = Parallel(2, backend=backend, mmap_mode="c", max_nbytes=10)
    # so many and so short that they would be sent several at a time
    out = parallel(delayed(add_one)(array) for _ in range(50))
    assert [first(a) for a in out] == [1] * 50
