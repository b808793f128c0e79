"""A call on dask that is given up takes all it has on the cluster with it, at once."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import weakref

import pytest

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask.packing import Packed  # noqa: E402
from joblib._dask.remote import run_batch  # noqa: E402
from joblib._engine.batch import BatchedCalls  # noqa: E402

from .dask_command import wait_for  # noqa: E402
from .dask_common import (  # noqa: E402
    hold,
    increment,
    pool_sizes,
    small_cluster,
    tasks_left,
    wait_until_begun,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

SOON = 1.0  # seconds within which the cluster has to be empty
MARGIN = 2.0  # seconds more, for a machine that has other things to do
LIMIT = 0.1  # seconds, of calls with a timeout


@pytest.fixture(scope="module")
def client():
    with small_cluster(n_workers=3) as client:
        yield client


@pytest.fixture
def name(request, client):
    """A name for `hold`; whatever still waits is let go after the test."""
    name = request.node.name
    yield name
    distributed.Event(f"{name}-go", client=client).set()


def check_empty(client, since):
    """Check that nothing is left on the cluster soon after `since`, the abort."""
    latest = since + SOON + MARGIN
    assert tasks_left(client, latest - time.time()) == []
    assert time.time() < latest


def check_released(client, name, since):
    """Check that nothing is left soon after `since`, though tasks still run."""
    check_empty(client, since)
    assert holders(client)
    assert not distributed.Event(f"{name}-go", client=client).is_set()


def _holds():
    """Tell whether a thread of this process is in `hold`."""
    for frame in sys._current_frames().values():
        while frame is not None:
            if frame.f_code is hold.__code__:
                return True
            frame = frame.f_back
    return False


def holders(client):
    """Return the addresses of the workers on which `hold` runs."""
    return [address for address, holds in client.run(_holds).items() if holds]


def check_usable(client):
    """Check that the next call works, though old tasks may still hold workers."""
    with parallel_config("dask", client=client):
        parallel = Parallel(n_jobs=2)
        assert parallel(delayed(increment)(i) for i in range(5)) == [1, 2, 3, 4, 5]


def fail_when_begun(name):
    assert distributed.Event(f"{name}-begun").wait(timeout=10)
    raise LookupError(time.time())


def held(name, data, n=40):
    return (delayed(hold)(name, data) for _ in range(n))


# Each returns when the call was aborted, in seconds since the epoch.
def abort_by_error(client, name, data, **options):
    with parallel_config("dask"), pytest.raises(LookupError) as caught:
        Parallel(pre_dispatch="all", batch_size=1, **options)(
            # without data of its own it goes to an idle worker
            [delayed(fail_when_begun)(name), *held(name, data)]
        )
    return caught.value.args[0]


def abort_by_timeout(client, name, data, **options):
    waits_since = []

    def tasks():
        yield from held(name, data)
        wait_until_begun(name, client)
        waits_since.append(time.time())

    with parallel_config("dask"), pytest.raises(TimeoutError):
        Parallel(timeout=LIMIT, pre_dispatch="all", batch_size=1, **options)(tasks())
    return waits_since[0] + LIMIT


def abort_by_close(client, name, data, kind="generator", way="close", **options):
    tasks = [delayed(increment)(0), *held(name, data)]
    with parallel_config("dask"):
        outputs = Parallel(return_as=kind, pre_dispatch="all", batch_size=1, **options)(
            tasks
        )
    assert next(outputs) == 1
    wait_until_begun(name, client)
    with pytest.warns(UserWarning, match="cancelled"):
        since = time.time()
        if way == "close":
            outputs.close()
        else:
            del outputs
    return since


# ------------------------------------------------------------- in this process
def hold_and_note(name, folder, i):
    (folder / str(i)).touch()
    return hold(name, i)


def test_the_rest_of_a_batch_is_not_begun(client, name, tmp_path):
    def tasks():
        yield from (delayed(hold_and_note)(name, tmp_path, i) for i in range(80))
        wait_for(lambda: len(holders(client)) == 3, "each worker at a batch", 10)

    with parallel_config("dask"), pytest.raises(TimeoutError):
        Parallel(timeout=LIMIT, pre_dispatch="all", batch_size=8)(tasks())
    check_empty(client, time.time())
    begun = {path.name for path in tmp_path.iterdir()}
    distributed.Event(f"{name}-go", client=client).set()
    while holders(client):
        time.sleep(0.01)
    check_usable(client)
    assert len(begun) == 3
    assert {path.name for path in tmp_path.iterdir()} == begun


@pytest.mark.parametrize("is_at_it", [True, False])
def test_one_that_dask_wants_after_all_is_run_to_its_end(
    client, name, tmp_path, is_at_it
):
    tasks = [(hold_and_note, (name, tmp_path, i), {}) for i in range(4)]
    packed = Packed.of(BatchedCalls(tasks, (None, None)))
    where = list(client.scheduler_info()["workers"])[:1]

    def send():
        return client.submit(run_batch, packed, key=f"{name}-key", workers=where)

    future = send()
    wait_until_begun(name, client)
    future.release()
    check_empty(client, time.time())
    if is_at_it:
        future = send()
    distributed.Event(f"{name}-go", client=client).set()
    if not is_at_it:
        future = send()
    results, *_ = future.result(timeout=10)
    assert results.load() == [0, 1, 2, 3]


#: weak references to what was unpickled in this process
LOADED = []


class Traced:
    def __init__(self):
        self.number = 1

    def __setstate__(self, state):
        LOADED.append(weakref.ref(self))


def hold_with(name, traced):
    hold(name, 0)


@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("time_limit", [None, 60.0])
def test_one_that_is_called_off_keeps_no_arguments(time_limit):
    """Not even until the garbage collector finds them: they may be large."""
    LOADED.clear()
    tasks = [(hold_with, ("keeps", Traced()), {}) for _ in range(2)]
    packed = Packed.of(BatchedCalls(tasks, (None, None)))
    with small_cluster(processes=False) as client:
        future = client.submit(run_batch, packed, time_limit=time_limit)
        wait_until_begun("keeps", client)
        gc.collect()
        gc.disable()
        try:
            future.release()
            check_empty(client, time.time())
            distributed.Event("keeps-go", client=client).set()
            assert client.submit(increment, 1).result() == 2  # in the same thread
            deadline = time.monotonic() + 10
            while any(traced() is not None for traced in LOADED):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            gc.enable()
    assert len(LOADED) == 2


@pytest.mark.parametrize("size", [10, 60_000, 300_000], ids=["small", "shared", "sent"])
def test_an_error(client, name, size):
    data = np.ones(size)  # its copies go though it stays, here as below
    since = abort_by_error(client, name, data)
    check_released(client, name, since)
    # dask cannot stop what runs: it has the workers until it ends
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)


def test_a_timeout(client, name):
    data = np.ones(300_000)
    since = abort_by_timeout(client, name, data)
    check_released(client, name, since)
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)


@pytest.mark.parametrize("kind", ["generator", "generator_unordered"])
@pytest.mark.parametrize("way", ["close", "del"])
def test_a_generator(client, name, kind, way):
    data = np.ones(300_000)
    since = abort_by_close(client, name, data, kind, way)
    check_released(client, name, since)
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)


def test_results_that_nobody_has_taken(client):
    with parallel_config("dask"):
        outputs = Parallel(return_as="generator")(
            delayed(np.ones)(100_000) for _ in range(20)
        )
    assert next(outputs).size == 100_000
    with pytest.warns(UserWarning, match="cancelled"):
        since = time.time()
        outputs.close()
    check_empty(client, since)


def call_and_wait(name, data):
    return Parallel(batch_size=1, pre_dispatch="all")(held(name, data, 10))


def test_what_tasks_have_started_goes_with_them(client, name):
    data = np.ones(300_000)
    with parallel_config("dask"):
        outputs = Parallel(return_as="generator", batch_size=1)(
            delayed(call_and_wait)(name, data) for _ in range(3)
        )
        wait_until_begun(name, client)
        with pytest.warns(UserWarning, match="cancelled"):
            since = time.time()
            outputs.close()
    check_released(client, name, since)
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)
    assert all(now == should for now, should in pool_sizes(client))


def test_many_aborted_calls_leave_nothing(client):
    data = np.ones(60_000)
    with parallel_config("dask"):
        for _ in range(10):
            since = time.time()
            with pytest.raises(ZeroDivisionError):
                Parallel()(delayed(divide)(data, 3 - i) for i in range(20))
        check_empty(client, since)
    check_usable(client)


def divide(data, i):
    return data.sum() / i if i else 1 // 0


# ------------------------------------------ while the aborted call's tasks run
def abort_one_of_two(client, name, abort):
    """Abort a call for two workers; return the addresses of those it left free."""
    data = np.ones(300_000)
    since = abort(client, name, data, n_jobs=2)
    check_released(client, name, since)
    free = set(client.scheduler_info()["workers"]) - set(holders(client))
    assert free
    return sorted(free)


def check_next_call(client, name, **options):
    """Check that the next call does not wait for the tasks of the aborted one."""
    since = time.time()
    with parallel_config("dask", **options):
        parallel = Parallel(timeout=SOON + MARGIN)
        assert parallel(delayed(increment)(i) for i in range(30)) == [*range(1, 31)]
    check_released(client, name, since)


@pytest.mark.parametrize("abort", [abort_by_error, abort_by_timeout, abort_by_close])
def test_a_free_worker_takes_the_next_call(client, name, abort):
    free = abort_one_of_two(client, name, abort)
    check_next_call(client, name, workers=free)


# ------------------------------------------------------------ another process
CALLER = """
import sys
import numpy as np
from distributed import Client
from joblib import Parallel, delayed, parallel_config
from joblib.test.dask_common import hold, increment

def call_and_wait(name, data):
    return Parallel(batch_size=1)(delayed(hold)(name, data) for _ in range(10))

if __name__ == "__main__":
    address, name, depth, kind = sys.argv[1:]
    data = np.ones(300_000)
    task = hold if depth == "flat" else call_and_wait
    with Client(address) as client, parallel_config("dask"):
        try:
            outputs = Parallel(return_as=kind, pre_dispatch="all", batch_size=1)(
                delayed(task)(name, data) for _ in range(20)
            )
            print("waits", flush=True)
            next(outputs)  # which is kept: nobody closes it
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            sys.stdin.readline()
            print(Parallel()(delayed(increment)(i) for i in range(3)), flush=True)
"""


@pytest.fixture
def start_caller(client, name, tmp_path):
    script = tmp_path / "caller.py"
    script.write_text(CALLER)
    started = []

    def start(depth, kind="list"):
        address = client.scheduler.address
        process = subprocess.Popen(
            [sys.executable, str(script), address, name, depth, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        wait_until_begun(name, client)
        if kind != "list":
            assert process.stdout.readline() == "waits\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["list", "generator", "generator_unordered"])
@pytest.mark.parametrize("depth", ["flat", "nested"])
def test_ctrl_c(client, start_caller, name, depth, kind):
    caller = start_caller(depth, kind)
    since = time.time()
    caller.send_signal(signal.SIGINT)
    assert caller.stdout.readline() == "interrupted\n"
    check_released(client, name, since)
    distributed.Event(f"{name}-go", client=client).set()
    out, err = caller.communicate("\n", 20)
    assert out == "[1, 2, 3]\n", err
    assert caller.returncode == 0
    assert err == ""


@pytest.mark.parametrize("kind", ["list", "generator"])
@pytest.mark.parametrize("depth", ["flat", "nested"])
def test_a_caller_that_is_killed(client, start_caller, name, depth, kind):
    caller = start_caller(depth, kind)
    since = time.time()
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait(10)
    check_released(client, name, since)
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)
    assert tasks_left(client) == []
