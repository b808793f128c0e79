"""What `compare.py` measures: ``python workloads.py NAME`` prints one JSON object.

Each workload runs in a process of its own, with whichever joblib that has; peers stand
beside it. Values are seconds. Private names, and what only one release has, are not used:
the same file runs with both.
"""

import os
import sys

# The files beside this one are no packages to be imported: one has the name of one.
_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != _HERE]

import json  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

WORKLOADS = {}


def workload(function):
    """Make a function known by its name."""
    WORKLOADS[function.__name__] = function
    return function


def seconds(function, times=3):
    """Return the median of the seconds that a function takes."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        taken.append(time.perf_counter() - begin)
    return sorted(taken)[len(taken) // 2]


def nothing(x):
    """Return at once."""
    return x


def element(array, i):
    """Look at one element."""
    return float(array[i])


def make_array(megabytes, i):
    """Return an array."""
    import numpy as np

    return np.full(megabytes << 17, float(i))


def rest(x):
    """Keep a worker busy for a hundredth of a second."""
    time.sleep(0.01)
    return x


def outer(i):
    """Make a call in a task."""
    from joblib import Parallel, delayed

    return sum(Parallel(n_jobs=-1)(delayed(rest)(j) for j in range(8)))


def call(n, function=nothing, **options):
    """Return what makes one call of n tasks."""
    from joblib import Parallel, delayed

    options = {"n_jobs": 2, **options}
    return lambda: list(Parallel(**options)(delayed(function)(i) for i in range(n)))


# ------------------------------------------------------------------------ loops
@workload
def sequential():
    """A loop in the caller."""
    return {"task": seconds(call(20_000, n_jobs=1)) / 20_000}


@workload
def threads():
    """A loop on two threads, and one of ten tasks."""
    few = call(10, prefer="threads")
    return {
        "task": seconds(call(5_000, prefer="threads")) / 5_000,
        "call": seconds(lambda: [few() for _ in range(50)]) / 50,
    }


@workload
def threads_peers():
    """The same by the standard library."""
    from concurrent.futures import ThreadPoolExecutor

    def run(n):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(nothing, range(n)))

    return {
        "task: ThreadPoolExecutor": seconds(lambda: run(5_000)) / 5_000,
        "call: ThreadPoolExecutor": seconds(lambda: [run(10) for _ in range(50)]) / 50,
    }


@workload
def loky():
    """A loop on two processes that are there already."""
    call(10)()
    few = call(4)
    return {
        "task": seconds(call(20_000)) / 20_000,
        "task alone": seconds(call(1_000, batch_size=1)) / 1_000,
        "call": seconds(lambda: [few() for _ in range(20)]) / 20,
    }


@workload
def loky_first():
    """The first call of a program, without the imports of joblib itself."""
    import joblib  # noqa: F401

    return {"call": seconds(call(2), 1)}


@workload
def loky_data():
    """An array of 100 MB for 100 tasks; 20 results of 20 MB."""
    import numpy as np

    from joblib import Parallel, delayed

    call(10)()
    array = np.ones(100 << 17)
    shared = [delayed(element)(array, i) for i in range(100)]
    made = [delayed(make_array)(20, i) for i in range(20)]
    return {
        "array": seconds(lambda: Parallel(n_jobs=2)(shared)),
        "results": seconds(lambda: Parallel(n_jobs=2)(made)),
    }


@workload
def loky_peers():
    """The same by the standard library and mpire."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    found = {}
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(nothing, range(10)))
        name = "ProcessPoolExecutor"
        found[f"task: {name}, chunks of 100"] = (
            seconds(lambda: list(pool.map(nothing, range(20_000), chunksize=100)))
            / 20_000
        )
        found[f"task alone: {name}"] = (
            seconds(lambda: list(pool.map(nothing, range(1_000)))) / 1_000
        )
        found[f"results: {name}"] = seconds(
            lambda: list(pool.map(make_array, [20] * 20, range(20)))
        )
    with multiprocessing.Pool(2) as pool:
        pool.map(nothing, range(10))
        found["task: Pool"] = seconds(lambda: pool.map(nothing, range(20_000))) / 20_000
        found["task alone: Pool"] = (
            seconds(lambda: list(pool.imap(nothing, range(1_000)))) / 1_000
        )
    try:
        import numpy as np
        from mpire import WorkerPool
    except ImportError:
        return found
    with WorkerPool(2) as pool:
        pool.map(nothing, range(10))
        found["task: mpire"] = (
            seconds(lambda: pool.map(nothing, range(20_000))) / 20_000
        )
        found["task alone: mpire"] = (
            seconds(lambda: pool.map(nothing, range(1_000), chunk_size=1)) / 1_000
        )

    def shared():
        with WorkerPool(2, shared_objects=np.ones(100 << 17)) as pool:
            pool.map(element, range(100))

    found["array: mpire, with its start"] = seconds(shared)
    return found


# ------------------------------------------------------------------------- dask
def cluster():
    """Return a client of two worker processes."""
    import logging

    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)
    return Client(
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    )


@workload
def dask():
    """A loop on a cluster; dask's own client in the same process."""
    import numpy as np

    from joblib import Parallel, delayed, parallel_config

    client = cluster()
    with client, client.cluster:
        with parallel_config("dask"):
            options = {"n_jobs": -1}
            call(10, **options)()
            few = call(4, **options)
            array = np.ones(100 << 17)
            shared = [delayed(element)(array, i) for i in range(100)]
            found = {
                "task": seconds(call(20_000, **options)) / 20_000,
                "task alone": seconds(call(500, batch_size=1, **options)) / 500,
                "call": seconds(lambda: [few() for _ in range(20)]) / 20,
                "array": seconds(lambda: Parallel(n_jobs=-1)(shared)),
                "nested": seconds(call(8, outer, **options)),
            }

        def plain(n):
            client.gather(client.map(nothing, range(n), pure=False))

        def by_hand():
            future = client.scatter(array, broadcast=True, hash=False)
            client.gather(client.map(lambda i, a: element(a, i), range(100), a=future))

        found["task alone: client.map"] = seconds(lambda: plain(500)) / 500
        found["call: client.map"] = seconds(lambda: [plain(4) for _ in range(20)]) / 20
        found["array: scatter and map"] = seconds(by_hand)
    return found


# ---------------------------------------------------------- files, digests, caches
@workload
def hashing():
    """Digests of an array of 100 MB, and of a dict of 20,000 entries."""
    import numpy as np

    import joblib

    array = np.ones(100 << 17)
    entries = {f"k{i}": [i, float(i), str(i)] for i in range(20_000)}
    return {
        "array": seconds(lambda: joblib.hash(array)),
        "dict": seconds(lambda: joblib.hash(entries)),
    }


@workload
def persistence():
    """An array of 100 MB, 5,000 small ones, 50,000 plain objects."""
    import numpy as np

    import joblib

    array = np.random.RandomState(0).rand(100 << 17)
    number = (array * 1000).astype("i4")
    arrays = {f"k{i}": np.arange(100) + i for i in range(5_000)}
    objects = {f"k{i}": [i, float(i), str(i)] for i in range(50_000)}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x")

        def dump_anew():
            if os.path.exists(path):
                os.unlink(path)
            begin = time.perf_counter()
            joblib.dump(array, path)
            return time.perf_counter() - begin

        found["dump array"] = sorted(dump_anew() for _ in range(3))[1]
        for name, value, options in (
            ("array over another", array, {}),
            ("array, zlib", number, {"compress": 3}),
            ("array, lz4", number, {"compress": "lz4"}),
            ("small arrays", arrays, {}),
            ("objects", objects, {}),
        ):
            found[f"dump {name}"] = seconds(
                lambda v=value, o=options: joblib.dump(v, path, **o)
            )
            found[f"load {name}"] = seconds(lambda: joblib.load(path))
    return found


@workload
def memory():
    """Calls of a cached function."""
    from joblib import Memory

    with tempfile.TemporaryDirectory() as folder:
        cached = Memory(folder, verbose=0).cache(nothing)
        cached(-1)
        numbers = iter(range(10**6))
        return {
            "hit": seconds(lambda: [cached(-1) for _ in range(200)]) / 200,
            "miss": seconds(lambda: [cached(next(numbers)) for _ in range(100)]) / 100,
        }


@workload
def memory_peers():
    """The same by diskcache."""
    try:
        from diskcache import Cache
    except ImportError:
        return {}
    with tempfile.TemporaryDirectory() as folder, Cache(folder) as cache:
        cached = cache.memoize()(nothing)
        cached(-1)
        numbers = iter(range(10**6))
        return {
            "hit: diskcache": seconds(lambda: [cached(-1) for _ in range(200)]) / 200,
            "miss: diskcache": (
                seconds(lambda: [cached(next(numbers)) for _ in range(100)]) / 100
            ),
        }


@workload
def imports():
    """The import of the package, in a process that has none of it."""
    begin = time.perf_counter()
    import joblib

    assert joblib.Parallel
    return {"package": time.perf_counter() - begin}


# ------------------------------------------------------------- cost against size
#: the power of ten up to which sizes go: tasks, and arrays of a thousand times the bytes
LARGEST = int(os.environ.get("JOBLIB_BENCHMARKS_LARGEST", "6"))


def times(power):
    """Return how often a size is measured: the largest ones once."""
    return 3 if power < 6 else 1


@workload
def tasks_by_number():
    """The cost of a task, by how many there are."""
    found = {}
    call(10)()
    for power in range(1, LARGEST + 1):
        n = 10**power
        for name, options in (("threads", {"prefer": "threads"}), ("loky", {})):
            found[f"{name} {n}"] = seconds(call(n, **options), times(power)) / n
    return found


@workload
def arrays_by_size():
    """Writing, reading and hashing, by the size of an array in bytes."""
    import numpy as np

    import joblib

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x")
        for power in range(LARGEST + 1):
            n = 1000 * 10**power
            array, often = np.ones(n // 8), times(power)
            found[f"dump {n}"] = seconds(lambda a=array: joblib.dump(a, path), often)
            found[f"load {n}"] = seconds(lambda: joblib.load(path), often)
            found[f"hash {n}"] = seconds(lambda a=array: joblib.hash(a), often)
    return found


if __name__ == "__main__":
    print(json.dumps(WORKLOADS[sys.argv[1]]()))
