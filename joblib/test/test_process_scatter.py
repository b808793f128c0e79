"""Objects that are sent to worker processes once, however many tasks have them."""

from __future__ import annotations

import os
import pickle
import threading

import pytest

from joblib import Parallel, delayed, parallel_config
from joblib._backends import scattered

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


class Counted:
    """Notes in a folder how often it is pickled, and unpickled."""

    def __init__(self, folder, values):
        self.folder = str(folder)
        self.values = values

    def note(self, what):
        number = len(os.listdir(self.folder))
        with open(os.path.join(self.folder, f"{what}-{os.getpid()}-{number}"), "x"):
            pass

    def __getstate__(self):
        self.note("pickled")
        return dict(self.__dict__)

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.note("unpickled")


class Unpicklable:
    def __reduce__(self):
        raise TypeError("is not to be pickled")


def ask(counted, key):
    return os.getpid(), id(counted), counted.values[key]


def ask_inside(nested, key=0, *, named=None):
    return ask(nested["list"][0], key)[2], ask(named, key)[2]


def identity(obj):
    return obj


def add(container, value):
    container.append(value)
    return len(container)


@pytest.fixture(params=["loky", "multiprocessing"])
def backend(request):
    return request.param


def test_pickled_once_a_call_unpickled_once_a_worker(backend, tmp_path):
    counted = Counted(tmp_path, list(range(40)))
    with parallel_config(backend, n_jobs=2, scatter=[counted]):
        for call in (1, 2):
            found = Parallel(batch_size=1)(delayed(ask)(counted, i) for i in range(40))
            assert [value for _, _, value in found] == counted.values
            workers = {pid for pid, _, _ in found}
            # in each worker one object
            assert len({(pid, name) for pid, name, _ in found}) == len(workers)
            notes = sorted(os.listdir(tmp_path))
            assert sum(name.startswith("pickled") for name in notes) == call
            assert sum(name.startswith("unpickled") for name in notes) <= 2 * call


def test_changes_between_calls_are_seen(backend):
    values = [1, 2]
    with parallel_config(backend, n_jobs=2, scatter=[values]):
        assert Parallel()(delayed(len)(values) for _ in range(4)) == [2] * 4
        values.append(3)
        assert Parallel()(delayed(len)(values) for _ in range(4)) == [3] * 4


def test_without_it_each_task_has_its_own(backend):
    with parallel_config(backend, n_jobs=2):
        values = [1]
        parallel = Parallel(batch_size=1)
        assert parallel(delayed(add)(values, i) for i in range(6)) == [2] * 6


def test_by_identity_and_wherever_it_stands(backend, tmp_path):
    counted = Counted(tmp_path, [5, 6])
    with parallel_config(backend, n_jobs=2, scatter=(counted,)):
        found = Parallel()(
            delayed(ask_inside)({"list": [counted]}, i % 2, named=counted)
            for i in range(4)
        )
    assert found == [(5, 5), (6, 6)] * 2
    assert sum(name.startswith("pickled") for name in os.listdir(tmp_path)) == 1


def test_in_closures_and_returned(backend):
    table = {n: str(n) for n in range(100)}
    with parallel_config(backend, n_jobs=2, scatter=[table]):
        found = Parallel()(delayed(lambda n: table[n])(n) for n in range(10))
        assert found == [str(n) for n in range(10)]
        assert Parallel()(delayed(identity)(table) for _ in range(3)) == [table] * 3


def test_arrays_in_it_are_mapped(backend):
    np = pytest.importorskip("numpy")
    frame = {"a": np.arange(1000.0), "b": "text"}
    with parallel_config(backend, n_jobs=2, scatter=[frame], max_nbytes=100):
        found = Parallel()(delayed(kind_and_sum)(frame) for _ in range(6))
    assert set(found) == {("memmap", frame["a"].sum())}


def kind_and_sum(frame):
    return type(frame["a"]).__name__, float(frame["a"].sum())


def test_what_cannot_be_pickled_is_named(backend):
    bad = Unpicklable()
    with parallel_config(backend, n_jobs=2, scatter=[[1], bad]):
        with pytest.raises(pickle.PicklingError, match=r"scatter\[1\].*Unpicklable"):
            Parallel()(delayed(id)(bad) for _ in range(4))
        assert Parallel()(delayed(abs)(-n) for n in range(4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("scatter", [{"a": 1}, 5, "text"])
def test_what_is_no_list(backend, scatter):
    with parallel_config(backend, n_jobs=2, scatter=scatter):
        with pytest.raises(TypeError, match="list"):
            Parallel()(delayed(abs)(n) for n in range(4))


def test_no_file_is_left(backend, tmp_path):
    values = list(range(1000))
    with parallel_config(backend, n_jobs=2, scatter=[values], temp_folder=tmp_path):
        assert Parallel()(delayed(len)(values) for _ in range(4)) == [1000] * 4
        assert os.listdir(tmp_path) == []
        with pytest.raises(ZeroDivisionError):
            Parallel()(delayed(divmod)(1, n - n) for n in [values[3]])
        assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told(tmp_path):
    class Full:
        path = "/nowhere"

        def write(self, name, write):
            raise OSError(28, "No space left on device")

    held = scattered.Scattered([[1]], Full(), pickle.dumps)
    with pytest.raises(OSError, match="'/nowhere'.*No space left"):
        held.name_of(held._objects[0])


def test_a_worker_forgets_what_the_caller_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(scattered, "LOOK_INTERVAL", 0.01)
    gone = threading.Event()

    class Told(list):
        def __del__(self):
            gone.set()

    monkeypatch.setattr(scattered.pickle, "loads", lambda data: Told(data))
    arrivals = scattered._Arrivals()
    path = tmp_path / "1-0.scattered"
    path.write_bytes(b"abc")
    assert arrivals.get(str(path)) is arrivals.get(str(path))
    assert not gone.is_set()
    path.unlink()
    assert gone.wait(10)
    assert arrivals._objects == {}
    # and goes on with the next
    path.write_bytes(b"de")
    gone.clear()
    assert list(arrivals.get(str(path))) == [100, 101]
    path.unlink()
    assert gone.wait(10)


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}])
def test_what_is_sent_again_is_told_once(backend, options, capfd):
    table = {n: str(n) for n in range(200_000)}
    parallel = Parallel(2, backend=backend, verbose=10, **options)
    assert parallel(delayed(pick)(table, n) for n in range(9)) == [
        str(n) for n in range(9)
    ]
    said = [line for line in capfd.readouterr().err.splitlines() if "scatter" in line]
    [line] = said
    assert "args[0] of 'pick', of type dict and 2." in line
    assert f"parallel_config('{backend}', scatter=[...])" in line
    times = int(line.split(" was sent ")[1].split()[0])
    assert 2 <= times <= 9


def pick(table, key):
    return table[key]


@pytest.mark.parametrize("verbose, scatter", [(9, False), (10, True)])
def test_no_word_where_there_is_nothing_to_say(backend, verbose, scatter, capfd):
    table = {n: str(n) for n in range(200_000)}
    with parallel_config(backend, scatter=[table] if scatter else []):
        Parallel(2, verbose=verbose)(delayed(pick)(table, n) for n in range(9))
        # each its own
        Parallel(2, verbose=verbose)(delayed(len)(dict(table)) for n in range(4))
    assert "scatter" not in capfd.readouterr().err
