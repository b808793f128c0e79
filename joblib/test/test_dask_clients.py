"""Whichever client serves a call on dask, and whatever it is told about tasks."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading

import pytest

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import DaskDistributedBackend  # noqa: E402

from .dask_command import command_line_cluster  # noqa: E402
from .dask_common import (  # noqa: E402
    EITHER_WAY,
    hold,
    increment,
    keys_seen,
    process_id,
    small_cluster,
    tasks_left,
    total,
    wait_until_begun,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

THREADS = pytest.mark.allow_leaks("threads of the cluster's workers")


@pytest.fixture(scope="module")
def client():
    with small_cluster(n_workers=2, resources={"GPU": 1}) as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_cluster_empty(request):
    yield
    if "client" in request.fixturenames:
        assert tasks_left(request.getfixturevalue("client")) == []


def numbers(n=3):
    return [delayed(increment)(i) for i in range(n)]


# ------------------------------------------------------- asynchronous clients
@THREADS
def test_an_asynchronous_client_serves_threads_and_refuses_its_own_loop():
    def call(**options):
        with parallel_config("dask", **options):
            return Parallel()(numbers())

    async def main():
        async with (
            distributed.LocalCluster(
                n_workers=1,
                threads_per_worker=1,
                processes=False,
                asynchronous=True,
                dashboard_address=":0",
            ) as cluster,
            distributed.Client(cluster, asynchronous=True) as client,
        ):
            for options in ({}, {"client": client}):
                with pytest.raises(ValueError, match="asynchronous=False"):
                    call(**options)
            backend = await asyncio.to_thread(DaskDistributedBackend, client=client)
            with pytest.raises(RuntimeError, match="event loop of its dask client"):
                with parallel_config(backend):
                    Parallel()(numbers())
            # on other threads it is a client like any other
            for options in ({}, {"client": client}):
                assert await asyncio.to_thread(call, **options) == [1, 2, 3]
            address = cluster.scheduler_address
            out = await asyncio.to_thread(call, scheduler_host=address)
            assert out == [1, 2, 3]

    asyncio.run(main())


async def call_on_the_workers_loop():
    try:
        with parallel_config("dask"):
            return Parallel()(numbers())
    except ValueError as error:
        return str(error)


def test_a_coroutine_as_a_task_has_no_thread_to_wait_on(client):
    future = client.submit(call_on_the_workers_loop, pure=False)
    assert "asynchronous=False" in future.result()


# ------------------------------------------------------------ get_client, TLS
def call_with_get_client(x):
    mine = distributed.get_client()
    own = mine.submit(increment, x, pure=False)
    with parallel_config("dask", client=mine):
        out = Parallel()(numbers())
    return own.result(), out


def test_get_client_in_a_task_of_ours(client):
    with parallel_config("dask"):
        out = Parallel()(delayed(call_with_get_client)(i) for i in range(3))
    assert out == [(i + 1, [1, 2, 3]) for i in range(3)]


def test_get_client_in_a_task_of_the_users(client):
    future = client.submit(call_with_get_client, 5, pure=False)
    assert future.result() == (6, [1, 2, 3])
    del future


@pytest.fixture(scope="module")
def security(tmp_path_factory):
    """Security for one day, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made by openssl, which is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    command += ["-keyout", key, "-out", certificate, "-subj", "/CN=localhost"]
    subprocess.run([*command, "-days", "1"], check=True, capture_output=True)
    return {"ca-file": certificate, "cert": certificate, "key": key}


def client_security(files):
    names = {"tls_ca_file": "ca-file", "tls_client_cert": "cert"}
    names |= {"tls_client_key": "key", "tls_scheduler_cert": "cert"}
    names |= {"tls_scheduler_key": "key", "tls_worker_cert": "cert"}
    names |= {"tls_worker_key": "key"}
    options = {name: files[file] for name, file in names.items()}
    return distributed.Security(require_encryption=True, **options)


def nested(n):
    return sum(Parallel()(numbers(n)))


def test_tls(security):
    data = np.ones(300_000)
    with small_cluster(
        n_workers=2, security=client_security(security), protocol="tls://"
    ) as client:
        assert client.scheduler.address.startswith("tls://")
        with parallel_config("dask", client=client):
            out = Parallel()(delayed(total)(data, i) for i in range(4))
            assert out == [300_000.0 + i for i in range(4)]
            assert Parallel()(delayed(nested)(n) for n in range(3)) == [0, 1, 3]
        assert tasks_left(client) == []


def test_tls_by_the_schedulers_address(security, tmp_path):
    options = ["--protocol", "tls"]
    for name, file in security.items():
        options += [f"--tls-{name}", file]
    settings = {
        "distributed.comm.tls.ca-file": security["ca-file"],
        "distributed.comm.tls.client.cert": security["cert"],
        "distributed.comm.tls.client.key": security["key"],
        "distributed.comm.require-encryption": True,
    }
    with command_line_cluster(tmp_path, options=tuple(options)) as cluster:
        assert cluster.address.startswith("tls://")
        with dask.config.set(settings):
            with parallel_config("dask", scheduler_host=cluster.address):
                backend = Parallel()._backend
                assert Parallel(n_jobs=-1)(numbers()) == [1, 2, 3]
            assert tasks_left(backend.client) == []
            backend.client.close()


# ------------------------------------------------- several clients, and threads
def test_clients_of_several_clusters_at_one_time(client):
    with small_cluster() as other:
        mine = {client.scheduler.address: set(client.run(os.getpid).values())}
        mine[other.scheduler.address] = set(other.run(os.getpid).values())
        wrong = []

        def call(which):
            with parallel_config("dask", client=which):
                for _ in range(5):
                    pids = Parallel()(delayed(process_id)(i) for i in range(10))
                    if not set(pids) <= mine[which.scheduler.address]:
                        wrong.append(pids)

        threads = [
            threading.Thread(target=call, args=(which,))
            for which in (client, other, client, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert wrong == []
        assert tasks_left(other) == []


def test_several_clients_of_one_cluster(client):
    with distributed.Client(client.scheduler.address, set_as_default=False) as second:
        with parallel_config("dask", client=client):
            outer = Parallel(return_as="generator")(numbers(10))
        with parallel_config("dask", client=second):
            assert Parallel()(numbers()) == [1, 2, 3]
        assert list(outer) == list(range(1, 11))


@THREADS
def test_workers_that_are_threads_of_this_process():
    seen = []
    with small_cluster(processes=False, threads_per_worker=2, n_workers=2) as threads:
        with parallel_config("dask", client=threads):
            Parallel()(delayed(seen.append)(i) for i in range(20))
            assert Parallel()([delayed(process_id)()]) == [os.getpid()]
            assert Parallel()(delayed(nested)(n) for n in range(4)) == [0, 1, 3, 6]
        assert tasks_left(threads) == []
    assert seen == []  # small arguments are copied here as on any cluster


@pytest.mark.parametrize("given", [True, False], ids=["given", "current"])
def test_a_with_client_that_is_left_during_a_call(given):
    """The end of ``with Client()``, reached on one thread while another one calls."""
    errors = []

    def call(client):
        options = {"client": client} if given else {}
        with parallel_config("dask", **options):
            try:
                Parallel()(delayed(hold)("left", i) for i in range(5))
            except RuntimeError as error:
                errors.append(error)

    with small_cluster(silence_logs="CRITICAL") as owner:
        with distributed.Client(owner.scheduler.address) as client:
            caller = threading.Thread(target=call, args=(client,))
            caller.start()
            wait_until_begun("left", client)
        caller.join(10)
        assert not caller.is_alive()
        assert tasks_left(owner) == []
        distributed.Event("left-go", client=owner).set()
    [error] = errors
    assert "'hold'" in str(error)
    assert error.__cause__ is not None


def test_a_generator_that_outlives_its_client():
    with small_cluster() as client:
        with parallel_config("dask", client=client):
            outputs = Parallel(return_as="generator", pre_dispatch=1, batch_size=1)(
                [delayed(increment)(0), delayed(hold)("outlives", 1), *numbers(8)]
            )
            assert next(outputs) == 1
    with pytest.raises(RuntimeError, match="closed|cancelled"):
        list(outputs)


# ----------------------------------------------- what tasks are told about dask
def seen_by_the_scheduler(dask_scheduler):
    return {
        str(key): {
            "annotations": dict(task.annotations or {}),
            "priority": task.priority[0],
            "retries": task.retries,
            "resources": dict(task.resource_restrictions or {}),
            "workers": set(task.worker_restrictions or ()),
            "loose": task.loose_restrictions,
        }
        for key, task in dask_scheduler.tasks.items()
        if "hold" in str(key)
    }


def seen_while_held(client, name, **options):
    """Make a call; return what the scheduler knows of its tasks meanwhile."""
    with parallel_config("dask", client=client, **options):
        outputs = Parallel(return_as="generator")(
            delayed(hold)(name, i) for i in range(3)
        )
    wait_until_begun(name, client)
    tasks = client.run_on_scheduler(seen_by_the_scheduler)
    distributed.Event(f"{name}-go", client=client).set()
    assert list(outputs) == [0, 1, 2]
    assert tasks
    return tasks


def test_options_of_every_task(client):
    address = next(iter(client.nthreads()))
    options = {"priority": 7, "retries": 3, "resources": {"GPU": 1}}
    options |= {"workers": [address], "allow_other_workers": True}
    tasks = seen_while_held(client, "options", **options)
    for task in tasks.values():
        assert task["priority"] == -7  # dask sorts by it, upwards
        assert task["retries"] == 3
        assert task["resources"] == {"GPU": 1}
        assert task["workers"] == {address}
        assert task["loose"]


def test_annotations_of_every_task(client):
    address = next(iter(client.nthreads()))
    with dask.annotate(priority=5, retries=2, resources={"GPU": 1}, team="red"):
        with dask.annotate(workers=[address]):
            tasks = seen_while_held(client, "annotated")
    for task in tasks.values():
        assert task["annotations"]["team"] == "red"
        assert task["priority"] == -5
        assert task["retries"] == 2
        assert task["resources"] == {"GPU": 1}
        assert task["workers"] == {address}


def test_an_option_goes_before_an_annotation(client):
    with dask.annotate(priority=5):
        tasks = seen_while_held(client, "both", priority=6)
    assert {task["priority"] for task in tasks.values()} == {-6}


def spans_seen(dask_scheduler):
    """Return {name of a span: prefixes of its tasks}."""
    spans = dask_scheduler.extensions["spans"].spans.values()
    return {
        span.name: {group.prefix.name for group in span.groups}
        for span in spans
        if span.name != ("default",)
    }


def test_spans(client):
    pytest.importorskip("distributed.spans")
    with distributed.span("outer"), parallel_config("dask"):
        assert Parallel()(delayed(nested)(n) for n in range(3)) == [0, 1, 3]
    spans = client.run_on_scheduler(spans_seen)
    prefixes = spans["outer",]
    # the tasks of a task belong to its span
    assert any("nested" in prefix for prefix in prefixes)
    assert any("increment" in prefix for prefix in prefixes)


def test_keys_begin_as_they_are_told_to(client):
    with parallel_config("dask", key="search"):
        assert Parallel()(delayed(nested)(n) for n in range(3)) == [0, 1, 3]
    keys = [key for key in keys_seen(client) if key.startswith("search-")]
    assert any("nested" in key for key in keys)
    assert any("increment" in key for key in keys)
    from dask.utils import key_split

    assert {key_split(key) for key in keys} == {"search"}


@pytest.mark.parametrize("key", [3, "", ["a", "b"]])
def test_a_key_that_is_no_prefix_is_refused(client, key):
    with pytest.raises(TypeError, match="key must be a str"):
        parallel_config("dask", key=key)


def test_a_worker_by_its_name(client):
    """``LocalCluster`` names its workers by numbers."""
    name = next(iter(client.scheduler_info(n_workers=-1)["workers"].values()))["name"]
    assert isinstance(name, int)
    with parallel_config("dask", workers=name):
        assert len(set(Parallel()(delayed(process_id)(i) for i in range(6)))) == 1


@EITHER_WAY
def test_no_priority_in_tasks_of_tasks(client, options):
    with parallel_config("dask", priority=None, **options):
        assert Parallel()(delayed(nested)(n) for n in range(5)) == [0, 1, 3, 6, 10]


def test_a_task_that_holds_a_resource_has_tasks_of_its_own(client):
    """They must not ask for what it has, or both would wait for ever."""
    with parallel_config("dask", resources={"GPU": 1}):
        assert Parallel()(delayed(nested)(n) for n in range(5)) == [0, 1, 3, 6, 10]


def test_resources_that_no_worker_has_are_as_dask_says():
    """dask waits for such a worker to come, unless its setting says for how long."""
    with dask.config.set({"distributed.scheduler.no-workers-timeout": "200ms"}):
        with small_cluster() as client, parallel_config("dask", resources={"GPU": 9}):
            with pytest.raises(Exception, match="increment") as caught:
                Parallel()(numbers())
            assert type(caught.value).__name__ == "NoValidWorkerError"
            assert tasks_left(client) == []
