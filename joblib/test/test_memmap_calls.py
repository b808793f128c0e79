"""Large arrays given to parallel calls, pools and executors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from joblib import Parallel, delayed, parallel_config
from joblib._memmapping_reducer import (
    TemporaryResourcesManager,
    get_memmapping_reducers,
    has_shareable_memory,
)
from joblib.executor import get_memmapping_executor
from joblib.pool import MemmappingPool, PicklingPool

np = pytest.importorskip("numpy")

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

BACKENDS = ["loky", "multiprocessing"]


def where(array):
    return getattr(array, "filename", None), float(array.sum())


def where_in(nested):
    return where(nested["list"][0][1])


def give_back(array):
    assert has_shareable_memory(array)
    return array, array[2:4]


def overwrite(array, value):
    array[:] = value
    return array


def overwrite_constant():
    constant = np.zeros(3)
    constant.flags.writeable = False
    constant[0] = 1


def fail(array):
    raise ValueError(str(array.filename))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_file_for_an_array_and_a_call(backend, tmp_path):
    array = np.arange(1000.0)
    parallel = Parallel(2, backend=backend, max_nbytes=100, temp_folder=tmp_path)
    seen = parallel(delayed(where)(array) for _ in range(20))
    [(name, total)] = set(seen)
    assert total == array.sum()
    assert name.startswith(str(tmp_path))
    # gone at the end of the call
    assert os.listdir(tmp_path) == []
    # and the next call has a folder of its own
    [(later, _)] = set(parallel(delayed(where)(array) for _ in range(4)))
    assert os.path.dirname(later) != os.path.dirname(name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_context_keeps_its_files(backend, tmp_path):
    array = np.arange(1000.0)
    options = dict(max_nbytes="1K", temp_folder=str(tmp_path))
    with Parallel(2, backend=backend, **options) as parallel:
        first = parallel(delayed(where)(array) for _ in range(4))
        assert len(os.listdir(tmp_path)) == 1
        second = parallel(delayed(where)(array) for _ in range(4))
    assert set(first) == set(second)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_in_containers_and_small_ones(backend):
    nested = {"list": [(1, np.ones(1000)), np.ones(3)]}
    tasks = [delayed(where_in)(nested), delayed(where)(np.ones(3))]
    (large, total), small = Parallel(2, backend=backend, max_nbytes=100)(tasks)
    assert large is not None
    assert total == 1000
    assert small == (None, 3.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{"max_nbytes": None}, {"mmap_mode": None}])
def test_switched_off(backend, options):
    options = {"max_nbytes": 10, **options}
    out = Parallel(2, backend=backend, **options)([delayed(where)(np.ones(100))])
    assert out == [(None, 100.0)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_are_ordinary_arrays(backend):
    array = np.arange(1000.0)
    [(whole, part)] = Parallel(2, backend=backend, max_nbytes=10)(
        [delayed(give_back)(array)]
    )
    for back, expected in ((whole, array), (part, array[2:4])):
        assert type(back) is np.ndarray
        assert not has_shareable_memory(back)
        assert back.flags.writeable
        np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["r+", "w+", "c"])
def test_arrays_that_tasks_may_write_to(backend, mode):
    arrays = [np.zeros(100) for _ in range(4)]
    out = Parallel(2, backend=backend, max_nbytes=10, mmap_mode=mode)(
        delayed(overwrite)(array, i) for i, array in enumerate(arrays)
    )
    assert [set(array) for array in out] == [{0.0}, {1.0}, {2.0}, {3.0}]
    assert all((array == 0).all() for array in arrays)


@pytest.mark.parametrize("backend", BACKENDS)
def test_read_only_by_default_and_told_how_to_write(backend):
    with pytest.raises(ValueError, match="read-only") as caught:
        Parallel(2, backend=backend, max_nbytes=10)(
            [delayed(overwrite)(np.zeros(100), 1)]
        )
    notes = [str(caught.value), *getattr(caught.value, "__notes__", ())]
    assert "mmap_mode='c'" in "\n".join(notes)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_mapped_arrays_there_is_no_advice(backend):
    with pytest.raises(ValueError, match="read-only$") as caught:
        Parallel(2, backend=backend)(delayed(overwrite_constant)() for _ in range(2))
    assert not getattr(caught.value, "__notes__", ())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mapped_file_of_the_user_is_shared(backend, tmp_path):
    shared = np.memmap(tmp_path / "shared", "f8", "w+", shape=(4, 5))
    temp = tmp_path / "temp"
    with parallel_config(backend, temp_folder=str(temp), max_nbytes=0):
        Parallel(2)(delayed(overwrite)(shared[i], i) for i in range(4))
    np.testing.assert_array_equal(shared[:, 0], [0, 1, 2, 3])
    assert os.listdir(temp) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_file_is_left_after_an_error(backend, tmp_path):
    with pytest.raises(ValueError, match="joblib_memmapping_folder"):
        Parallel(2, backend=backend, max_nbytes=10, temp_folder=tmp_path)(
            delayed(fail)(np.ones(100)) for _ in range(4)
        )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_of_a_long_call_do_not_pile_up(backend, tmp_path):
    most = [0]

    def tasks():
        for i in range(60):
            # of arrays that are garbage and whose tasks have ended none stays
            held = [len(files) for _, _, files in os.walk(tmp_path)]
            most[0] = max(most[0], sum(held))
            yield delayed(where)(np.full(100, float(i)))

    out = Parallel(
        2, backend=backend, max_nbytes=10, batch_size=1, temp_folder=tmp_path
    )(tasks())
    assert [total for _, total in out] == [100.0 * i for i in range(60)]
    assert 1 <= most[0] < 20


def test_no_numpy_no_cost():
    code = """if True:
        import sys
        from joblib import Parallel, delayed
        assert Parallel(2)(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]
        assert "numpy" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=40)


@pytest.fixture(params=["pool", "executor"])
def run(request, tmp_path):
    """A function that runs one call on a pool or an executor with these options."""
    made = []

    def run(function, *args, **options):
        options = {"temp_folder": str(tmp_path), **options}
        if request.param == "pool":
            if not made:
                made.append(MemmappingPool(2, **options))
            return made[0].apply(function, args)
        if not made:
            made.append(get_memmapping_executor(2, **options))
        return made[0].submit(function, *args).result()

    run.made = made
    yield run
    for each in made:
        each.terminate()
    assert os.listdir(tmp_path) == []


def test_pool_and_executor(run, tmp_path):
    array = np.ones(100)
    name, total = run(where, array, max_nbytes=100)
    assert (name is not None, total) == (True, 100.0)
    assert run(where, array) == (name, total)
    assert os.path.dirname(name) == run.made[0]._temp_folder
    assert run(where, np.ones(3)) == (None, 3.0)
    whole, _ = run(give_back, array)
    assert not has_shareable_memory(whole)


def test_an_executor_is_used_again():
    first = get_memmapping_executor(2, max_nbytes=10)
    assert get_memmapping_executor(2, max_nbytes=10) is first
    assert get_memmapping_executor(2, max_nbytes=11) is not first
    get_memmapping_executor(2, max_nbytes=11).terminate(kill_workers=True)


class Celsius:
    def __init__(self, degrees):
        self.degrees = degrees


def as_kelvin(celsius):
    return float, (celsius.degrees + 273,)


def test_reducers_of_ones_own():
    forward, backward = get_memmapping_reducers(
        forward_reducers={Celsius: as_kelvin}, max_nbytes="1M"
    )
    assert set(forward) == {Celsius, np.ndarray, np.memmap}
    assert set(backward) == {np.ndarray, np.memmap}
    pool = PicklingPool(1, forward_reducers=forward)
    try:
        assert pool.apply(abs, (Celsius(-300),)) == 27
    finally:
        pool.terminate()


@pytest.fixture
def bases_of_the_pool():
    before = PicklingPool.__bases__
    yield
    PicklingPool.__bases__ = before


@pytest.mark.usefixtures("bases_of_the_pool")
def test_the_bases_of_the_pool_can_be_replaced():
    """Other projects run the multiprocessing backend on a pool of their own so."""
    from multiprocessing.pool import ThreadPool

    from joblib._parallel_backends import MultiprocessingBackend

    class OtherPool:
        def __init__(self, processes=None, context=None):
            self._threads = ThreadPool(processes)

        def apply_async(self, func, args, callback, error_callback):
            return self._threads.apply_async(
                func, args, callback=callback, error_callback=error_callback
            )

        def close(self):
            self._threads.close()

        def terminate(self):
            self._threads.terminate()
            self._threads.join()

    class OtherBackend(MultiprocessingBackend):
        def configure(self, n_jobs=1, parallel=None, **kwargs):
            PicklingPool.__bases__ = (OtherPool,)
            return super().configure(n_jobs, parallel, **kwargs)

    out = Parallel(2, backend=OtherBackend())(
        delayed(threading.get_native_id)() for _ in range(4)
    )
    assert threading.get_native_id() not in out
    with pytest.raises(ZeroDivisionError):
        Parallel(2, backend=OtherBackend())(delayed(divmod)(i, 0) for i in range(4))


def test_contexts_have_folders_of_their_own(tmp_path):
    manager = TemporaryResourcesManager(str(tmp_path), context_id="a")
    first = manager.resolve_temp_folder_name()
    manager.set_current_context("b")
    second = manager.create_temp_folder()
    assert first != second
    assert os.listdir(tmp_path) == [os.path.basename(second)]
    manager._clean_temporary_resources("b")
    assert os.listdir(tmp_path) == []


def test_the_file_system_in_memory_is_looked_up_when_needed(monkeypatch, tmp_path):
    import joblib._memmapping_reducer as module

    monkeypatch.delenv("JOBLIB_TEMP_FOLDER", raising=False)
    monkeypatch.setattr(module, "SYSTEM_SHARED_MEM_FS", str(tmp_path))
    monkeypatch.setattr(module, "SYSTEM_SHARED_MEM_FS_MIN_SIZE", 0)
    [(name, _)] = Parallel(2, max_nbytes=10)([delayed(where)(np.ones(100))])
    assert name.startswith(str(tmp_path))
