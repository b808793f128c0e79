"""Threads of native libraries: a worker's share, whatever kind of worker it is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from multiprocessing import get_all_start_methods, get_context
from types import SimpleNamespace

import pytest

import joblib
from joblib import Parallel, delayed, parallel_config
from joblib._backends import native
from joblib._engine import context

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

METHODS = sorted({"fork", "spawn", "forkserver"} & set(get_all_start_methods()))


class Library:
    """Stands for a library in memory, as threadpoolctl shows it."""

    def __init__(self, internal_api="openblas", threads=12):
        self.internal_api = internal_api
        self.user_api = "openmp" if internal_api == "openmp" else "blas"
        self.filepath = f"/lib/{internal_api}"
        self._common = threads
        # OpenMP has a number for each thread, others have one for all
        self._own = threading.local() if self.user_api == "openmp" else None
        self.most = threads

    def get_num_threads(self):
        return getattr(self._own, "threads", self._common)

    def set_num_threads(self, threads):
        self.most = max(self.most, threads)
        if self._own is None:
            self._common = threads
        else:
            self._own.threads = threads


@pytest.fixture(autouse=True)
def twelve_cores(monkeypatch):
    monkeypatch.setattr(context, "cpu_count", lambda: 12)
    for name in native.VARIABLES.values():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def blas(monkeypatch):
    return loaded(monkeypatch, Library())


@pytest.fixture
def openmp(monkeypatch):
    return loaded(monkeypatch, Library("openmp"))


def loaded(monkeypatch, *libraries):
    monkeypatch.setattr(native, "libraries", lambda: list(libraries))
    return libraries[0]


def threads_of(library):
    return Parallel(3, backend="threading")(
        delayed(library.get_num_threads)() for _ in range(9)
    )


def test_tasks_on_threads(openmp):
    library = openmp
    assert threads_of(library) == [4] * 9
    assert library.get_num_threads() == 12
    with Parallel(6, backend="threading") as parallel:
        assert parallel(delayed(library.get_num_threads)() for _ in range(9)) == [2] * 9
        assert library.get_num_threads() == 12  # between the calls it is the caller's
        assert parallel(delayed(library.get_num_threads)() for _ in range(9)) == [2] * 9
    assert library.most == 12


@pytest.mark.parametrize("name", ["blas", "openmp"])
def test_what_is_lower_stays(name, monkeypatch):
    library = loaded(monkeypatch, Library(name.replace("blas", "mkl"), threads=3))
    assert threads_of(library) == [3] * 9
    assert library.most == 3


def test_what_the_user_said_stays(openmp, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "12")
    assert threads_of(openmp) == [12] * 9


def test_threads_that_serve_another_call(openmp, monkeypatch):
    assert threads_of(openmp) == [4] * 9
    monkeypatch.setenv("OMP_NUM_THREADS", "12")
    assert threads_of(openmp) == [12] * 9  # the same threads as a rule


def nested(library, backend):
    inner = Parallel(2, backend=backend)
    return inner(delayed(library.get_num_threads)() for _ in range(4))


def test_levels_share_the_machine(openmp):
    library = openmp
    found = Parallel(2, backend="threading")(
        delayed(nested)(library, "threading") for _ in range(2)
    )
    assert found == [[3] * 4] * 2
    assert library.get_num_threads() == 12


def test_blas_is_the_callers_as_well(blas):
    assert threads_of(blas) == [12] * 9
    with parallel_config("threading", n_jobs=2):
        assert nested(blas, "threading") == [12] * 4


def test_a_worker_process(blas, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    native.limit_worker({"OPENBLAS_NUM_THREADS": "5", "OMP_NUM_THREADS": "2"})
    assert blas.get_num_threads() == 5
    native.limit_worker({"OPENBLAS_NUM_THREADS": "7"})
    assert blas.get_num_threads() == 5
    native.limit_worker({"OPENBLAS_NUM_THREADS": "3,2"})  # a list: OpenMP's business
    assert blas.get_num_threads() == 5
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3,2"


# ------------------------------------------------------------- the real libraries
def real_threads():
    import numpy  # noqa: F401 - loads one
    from threadpoolctl import threadpool_info

    return {info["num_threads"] for info in threadpool_info()}, {
        os.environ.get(name) for name in native.VARIABLES.values()
    }


@pytest.fixture
def real():
    pytest.importorskip("threadpoolctl")
    pytest.importorskip("numpy")
    if real_threads()[0] == {1}:
        pytest.skip("native libraries have one thread here, which can't be fewer")
    if real_threads()[1] != {None}:
        pytest.skip("the user has set their threads")


@pytest.mark.parametrize("method", METHODS)
def test_processes_of_multiprocessing(method, real, monkeypatch):
    monkeypatch.setattr(context, "cpu_count", lambda: 2)
    found = Parallel(2, backend=get_context(method))(
        delayed(real_threads)() for _ in range(3)
    )
    assert found == [({1}, {"1"})] * 3
    assert real_threads()[0] != {1}


def test_processes_of_loky(real, monkeypatch):
    monkeypatch.setattr(context, "cpu_count", lambda: 2)
    joblib.shutdown()
    found = Parallel(2, backend="loky")(delayed(real_threads)() for _ in range(3))
    assert found == [({1}, {"1"})] * 3
    # another limit holds for workers that are there already, too
    with parallel_config("loky", inner_max_num_threads=2):
        found = Parallel(2)(delayed(real_threads)() for _ in range(3))
    assert {frozenset(variables) for _, variables in found} == {frozenset({"2"})}
    joblib.shutdown()


def run_alone(code, **env):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_loaded_that_has_no_use():
    run_alone("""if True:
        import sys
        from joblib import Parallel, delayed
        Parallel(2, backend="threading")(delayed(abs)(n) for n in range(3))
        assert not {"threadpoolctl", "numpy", "loky"} & set(sys.modules)
    """)


def test_without_threadpoolctl():
    pytest.importorskip("numpy")
    run_alone("""if True:
        import sys
        sys.modules["threadpoolctl"] = None  # what can't be imported
        import numpy
        from joblib import Parallel, delayed
        for backend in ("threading", "multiprocessing"):
            tasks = (delayed(abs)(-n) for n in range(3))
            assert Parallel(2, backend=backend)(tasks) == [0, 1, 2]
    """)


def test_libraries_are_found_again_when_more_is_loaded(monkeypatch):
    pytest.importorskip("numpy")
    scans = []
    fake = SimpleNamespace(
        ThreadpoolController=lambda: (
            scans.append(1) or SimpleNamespace(lib_controllers=[1])
        )
    )
    monkeypatch.setitem(sys.modules, "threadpoolctl", fake)
    monkeypatch.setattr(native, "_found", native._Found(0, []))
    assert native.libraries() == native.libraries() == [1]
    assert len(scans) == 1
    monkeypatch.setitem(sys.modules, "joblib.test.just_loaded", fake)
    assert native.libraries() == [1]
    assert len(scans) == 2
