"""Calls on a dask cluster: clients, numbers of jobs, names, options, arguments."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from joblib import (  # noqa: E402
    Parallel,
    delayed,
    effective_n_jobs,
    parallel_backend,
    parallel_config,
)
from joblib._dask import Batch, DaskDistributedBackend  # noqa: E402
from joblib._dask.packing import Packed  # noqa: E402

from .dask_common import (  # noqa: E402
    hold,
    increment,
    keys_seen,
    pool_sizes,
    process_id,
    small_cluster,
    tasks_left,
    total,
    wait_until_begun,
)

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(scope="module")
def client():
    with small_cluster(n_workers=2) as client:
        yield client


# -------------------------------------------------------------------- clients
@pytest.mark.parametrize("name", ["dask", "distributed", "dask.distributed"])
@pytest.mark.parametrize("context", [parallel_config, parallel_backend])
def test_every_name_serves_the_current_client(client, name, context):
    with context(name):
        parallel = Parallel()
        assert isinstance(parallel._backend, DaskDistributedBackend)
        assert parallel(delayed(increment)(i) for i in range(20)) == [*range(1, 21)]


def test_the_scheduler_can_be_named(client):
    address = client.scheduler.address
    with parallel_backend("dask.distributed", scheduler_host=address):
        backend = Parallel()._backend
        assert backend.client is client
        assert Parallel(n_jobs=-1)([delayed(increment)(1)]) == [2]
    without_protocol = address.partition("://")[2]
    assert DaskDistributedBackend(without_protocol).client is client


def test_a_client_made_for_a_backend_is_closed_with_it(client):
    code = (
        "import gc, sys\n"
        "from distributed import Client\n"
        "from joblib._dask import DaskDistributedBackend\n"
        "backend = DaskDistributedBackend(scheduler_host=sys.argv[1])\n"
        "client = backend.client\n"
        "print(client.status)\n"
        "del backend; gc.collect()\n"
        "print(client.status)"
    )
    assert run_python(code, client.scheduler.address).split() == ["running", "closed"]


def test_a_given_client_goes_before_the_current_one(client):
    with distributed.Client(client.scheduler.address, set_as_default=False) as other:
        assert DaskDistributedBackend(client=other).client is other
        assert DaskDistributedBackend().client is client


def test_a_closed_client_is_refused(client):
    with distributed.Client(client.scheduler.address, set_as_default=False) as other:
        pass
    with pytest.raises(ValueError, match="closed"):
        DaskDistributedBackend(client=other)


def test_an_asynchronous_client_is_refused(client):
    class Asynchronous:
        asynchronous = True

    with pytest.raises(ValueError, match="asynchronous=False"):
        DaskDistributedBackend(client=Asynchronous())


def test_without_a_client_the_error_says_what_to_do():
    code = (
        "from joblib import parallel_config\n"
        "try:\n    parallel_config('dask')\n"
        "except ValueError as error:\n    print(error)"
    )
    assert "create a dask client" in run_python(code)


def test_without_dask_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from joblib import parallel_config\n"
        "from joblib._dask import DaskDistributedBackend\n"
        "try:\n    parallel_config('dask')\n"
        "except ValueError as error:\n    print(error)"
    )
    assert "install dask" in run_python(code)


@pytest.mark.parametrize(
    "options", [{"scatter": 1}, {"scatter": {}}, {"scatter": "ab"}]
)
def test_scatter_takes_a_list(client, options):
    with pytest.raises(TypeError, match="list/tuple"):
        parallel_config("dask", **options)


def test_an_option_that_dask_does_not_know_is_refused(client):
    with pytest.raises(TypeError, match=r"'priorities'.*'priority'"):
        parallel_config("dask", priorities=3)


# ----------------------------------------------------- the old announcement
def run_python(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_old_import_line_works_after_joblib():
    code = (
        "import sys, joblib\n"
        "assert 'distributed' not in sys.modules\n"
        "import distributed.joblib  # register backend\n"
        "print(distributed.joblib.DaskDistributedBackend.__name__)"
    )
    assert run_python(code).strip() == "DaskDistributedBackend"


def test_a_module_that_distributed_has_goes_before_ours(tmp_path):
    package = tmp_path / "distributed"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "joblib.py").write_text("origin = 'its own'")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import joblib, distributed.joblib\n"
        "print(distributed.joblib.origin)"
    )
    assert run_python(code).strip() == "its own"


def test_other_missing_modules_stay_missing():
    import joblib  # noqa: F401

    with pytest.raises(ModuleNotFoundError, match="distributed.joblibs"):
        __import__("distributed.joblibs")


# ------------------------------------------------------------- number of jobs
def test_all_jobs_are_the_cores_of_the_cluster(client):
    with parallel_config("dask"):
        assert effective_n_jobs(-1) == 2
        assert effective_n_jobs(None) == 2
        assert effective_n_jobs(-2) == 1
        assert effective_n_jobs(100) == 2
        with pytest.raises(ValueError, match="n_jobs == 0"):
            effective_n_jobs(0)


def test_one_job_runs_in_the_caller(client):
    with parallel_config("dask"):
        assert Parallel(n_jobs=1)([delayed(process_id)()]) == [os.getpid()]


def test_all_jobs_of_a_single_core_run_on_the_cluster():
    with small_cluster() as single, parallel_config("dask", client=single):
        assert effective_n_jobs(-1) == 1
        assert Parallel(n_jobs=-1)([delayed(process_id)()]) != [os.getpid()]


class Gauge:
    """Counts how many tasks are at work at once, in one process."""

    def __init__(self):
        self.lock = threading.Lock()
        self.together = threading.Barrier(2)
        self.now = self.most = 0

    def __reduce__(self):  # there is one, whoever it is sent to
        return "GAUGE"

    def work(self, i):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.together.wait(20)
        with self.lock:
            self.now -= 1
        return i


GAUGE = Gauge()


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_n_jobs_bounds_the_tasks_in_flight():
    with small_cluster(processes=False, threads_per_worker=4) as threads:
        with parallel_config("dask", client=threads):
            parallel = Parallel(n_jobs=2, batch_size=1)
            assert parallel(delayed(GAUGE.work)(i) for i in range(8)) == [*range(8)]
    assert GAUGE.most == 2


# ---------------------------------------------------------------------- names
def test_batches_are_named_after_their_function():
    assert repr(Batch([delayed(abs)(1)])) == "batch_of_abs_1_calls"
    mixed = [delayed(increment)(1), delayed(abs)(1)]
    assert repr(Batch(mixed)) == "mixed_batch_of_increment_2_calls"
    assert repr(Batch([delayed(lambda: 1)()] * 2)) == "batch_of_lambda_2_calls"


def test_the_dashboard_shows_the_function(client):
    with parallel_config("dask"):
        Parallel(batch_size=1)(delayed(total)(np.ones(2), i) for i in range(4))
    assert any(key.startswith("batch_of_total_1_calls-") for key in keys_seen(client))


# -------------------------------------------------------------------- options
def test_options_reach_dask(client):
    address = list(client.nthreads())[1]
    pid = client.run(os.getpid)[address]
    for workers in (address, [address], (address,)):
        with parallel_config("dask", workers=workers, retries=1, priority=1):
            assert effective_n_jobs(-1) == 1
            places = Parallel()(delayed(process_id)(i) for i in range(6))
            assert set(places) == {pid}


def test_failed_tasks_are_tried_again_if_asked(client, tmp_path):
    def succeed_the_second_time(i):
        marker = tmp_path / str(i)
        if not marker.exists():
            marker.touch()
            raise OSError("not yet")
        return i

    with parallel_config("dask", retries=1):
        tasks = [delayed(succeed_the_second_time)(i) for i in range(3)]
        assert Parallel()(tasks) == [0, 1, 2]


# ------------------------------------------------------------------ arguments
@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize(
    "make",
    [
        lambda: np.ones(20_000),
        lambda: np.ones(300_000),
        lambda: np.asfortranarray(np.ones((400, 500))),
        lambda: [[1] * 100 for _ in range(300)],
        lambda: "x" * 300_000,
    ],
    ids=["medium", "large", "fortran", "list", "str"],
)
def test_large_arguments_arrive_and_are_freed(client, make, copies):
    value = make()
    with parallel_config("dask"):
        out = Parallel()(delayed(_echo)(value, i, again=value) for i in range(copies))
    for i, (first, second, same) in enumerate(out):
        assert np.array_equal(first, value)
        assert second == i
        assert same
    del out
    assert tasks_left(client) == []


def _echo(value, i, again):
    return value, i, again is value


def test_arrays_can_be_written_to(client):
    def write(array):
        array[0] = 7
        return array

    for size in (10, 5_000, 50_000, 300_000):
        with parallel_config("dask"):
            array = np.zeros(size)
            [out] = Parallel()([delayed(write)(array)])
        assert out[0] == 7
        assert out.flags.writeable
        assert array[0] == 0


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_small_arguments_are_copied_in_threads_too():
    def write(array, items):
        array[0] = 7
        items.append(1)
        return array[0]

    array, items = np.zeros(5_000), []
    with small_cluster(processes=False) as threads:
        with parallel_config("dask", client=threads):
            assert Parallel()([delayed(write)(array, items)]) == [7]
    assert array[0] == 0
    assert items == []


class CountedPickles:
    """An object that counts, in this process, how often it is pickled."""

    count = 0

    def __init__(self, size):
        self.data = bytes(size)

    def __sizeof__(self):
        return len(self.data)

    def __reduce__(self):
        type(self).count += 1
        return CountedPickles, (len(self.data),)


@pytest.mark.parametrize(("size", "most"), [(10_000, 2), (500_000, 1)])
def test_a_repeated_argument_is_pickled_once_more_at_most(
    client, monkeypatch, size, most
):
    monkeypatch.setattr(CountedPickles, "count", 0)
    value = CountedPickles(size)
    with parallel_config("dask"):
        sizes = Parallel(batch_size=1)(delayed(_size_of)(value, i) for i in range(20))
    assert sizes == [size] * 20
    # the first task may take it along, as nobody knows yet that there are more
    assert CountedPickles.count <= most


def _size_of(value, i):
    return len(value.data)


def test_what_is_scattered_by_hand_is_not_pickled_again(client, monkeypatch):
    value = CountedPickles(10)
    with parallel_config("dask", scatter=[value]):
        Parallel()([delayed(_size_of)(value, 0)])
        monkeypatch.setattr(CountedPickles, "count", 0)
        for _ in range(2):
            assert Parallel()(delayed(_size_of)(value, i) for i in range(5)) == [10] * 5
    assert CountedPickles.count == 0
    gc.collect()  # it is kept for as long as the context's backend
    assert tasks_left(client) == []


def test_packed_objects_know_their_size():
    from dask.sizeof import sizeof

    packed = Packed.of(np.ones(100_000))
    assert 800_000 < sizeof(packed) < 802_000
    assert packed.load().sum() == 100_000


# ------------------------------------------------------- calls side by side
def test_two_generators_of_one_context_do_not_meet(client):
    name = "generators"
    with parallel_config("dask"):
        first = Parallel(return_as="generator")(
            delayed(hold if i == 0 else increment)(*((name, 0) if i == 0 else (i,)))
            for i in range(4)
        )
        wait_until_begun(name, client)
        second = Parallel(return_as="generator")(delayed(increment)(i) for i in (1, 2))
        assert list(second) == [2, 3]
        distributed.Event(f"{name}-go", client=client).set()
        assert list(first) == [0, 2, 3, 4]


def test_a_with_block_serves_many_calls(client):
    with parallel_config("dask"), Parallel() as parallel:
        for k in range(5):
            out = parallel(delayed(increment)(i) for i in range(k))
            assert out == list(range(1, k + 1))
    assert tasks_left(client) == []
    assert all(now == should for now, should in pool_sizes(client))


class Same:
    """A function that can be referred to weakly."""

    def __call__(self, x, other=None):
        if x == 700:
            raise KeyError(x)
        return x


def tasks_with(function, argument, n):
    for i in range(n):
        yield delayed(function)(i, argument)


@pytest.mark.parametrize("n", [500, 20_000])
@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_what_is_called_keeps_nothing_of_its_tasks(client, n, return_as):
    """Neither their function nor what was read ahead when one of them failed."""
    function, argument = Same(), Same()
    alive = weakref.ref(function), weakref.ref(argument)
    with parallel_config("dask", client=client):
        parallel = Parallel(return_as=return_as)
        tasks = tasks_with(function, argument, n)
        del function, argument
        if n > 700:
            with pytest.raises(KeyError):
                list(parallel(tasks))
        else:
            assert list(parallel(tasks)) == list(range(n))
        tasks.close()
        del tasks
        assert tasks_left(client) == []
    gc.collect()
    assert [one() for one in alive] == [None, None]
    assert parallel.n_completed_tasks


def test_a_task_without_a_function_is_told_of(client):
    tasks = [delayed(None)(-7), *(delayed(abs)(i) for i in range(3_000))]
    with parallel_config("dask", client=client):
        for options in ({}, {"pre_dispatch": "all"}, {"batch_size": 20}):
            with pytest.raises(TypeError, match="made by `delayed`"):
                Parallel(**options)(tasks)
        with Parallel() as parallel:
            assert parallel(tasks[1:]) == list(range(3_000))
            with pytest.raises(TypeError, match="made by `delayed`"):
                parallel(tasks)
