"""How the cost of a task on dask grows with the number of tasks and of workers.

Run it by hand: ``python -m benchmarks.distributed_scaling``. For 1,000 to 100,000 tasks
that do nothing, on 2, 8 and 24 threads that serve as workers, it prints the microseconds
per task and by how many megabytes the caller's memory grew at most, results being taken
from a generator. Then, for tasks of 1 ms, 10 ms and 1 s, for which share of the time the
workers were at work, from dask's own task stream.
"""

import argparse
import time
import tracemalloc

from joblib import Parallel, delayed, parallel_config

TASKS = [1_000, 10_000, 100_000]
WORKERS = [2, 8, 24]
#: seconds of a task, and how many of them each worker gets: in calls of a second, which
#: show the start and the end, and in calls of ten, which show what is between
DURATIONS = [
    *((0.001, 500), (0.01, 100), (1.0, 4)),
    *((0.001, 10_000), (0.01, 1_000), (1.0, 10)),
]


def nothing(x):
    """Return at once: what is measured is the way there and back."""
    return x


def cluster_of(workers):
    """Return a client whose workers are threads of this process."""
    from distributed import Client

    return Client(
        processes=False,
        n_workers=workers,
        threads_per_worker=1,
        dashboard_address=None,
        set_as_default=True,
    )


def cost(tasks, measure_memory):
    """Return the seconds per task, and the peak of the memory in bytes if wanted."""
    if measure_memory:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
    begin = time.perf_counter()
    parallel = Parallel(n_jobs=-1, return_as="generator")
    for _ in parallel(delayed(nothing)(i) for i in range(tasks)):
        pass
    seconds = (time.perf_counter() - begin) / tasks
    if not measure_memory:
        return seconds, None
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return seconds, peak


def busy(client, workers, duration, each):
    """Return the share of the call's time in which the workers were at work."""
    from distributed import get_task_stream

    tasks = workers * each
    with get_task_stream(client) as stream:
        begin = time.time()
        Parallel(n_jobs=-1)(delayed(time.sleep)(duration) for _ in range(tasks))
        end = time.time()
    worked = sum(
        min(span["stop"], end) - max(span["start"], begin)
        for record in stream.data
        for span in record["startstops"]
        if span["action"] == "compute"
    )
    return worked / (workers * (end - begin))


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=TASKS)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--part", choices=["cost", "busy"])
    options = parser.parse_args()
    for workers in options.workers:
        with cluster_of(workers) as client, parallel_config("dask"):
            Parallel(n_jobs=-1)(delayed(nothing)(i) for i in range(100))
            for tasks in options.tasks if options.part != "busy" else ():
                seconds = min(cost(tasks, False)[0] for _ in range(3))
                peak = cost(tasks, True)[1]
                print(
                    f"{workers:3} workers {tasks:8} tasks: {seconds * 1e6:8.1f} us each,"
                    f" caller's peak {peak / 1e6:6.1f} MB",
                    flush=True,
                )
            for duration, each in DURATIONS if options.part != "cost" else ():
                share = busy(client, workers, duration, each)
                print(
                    f"{workers:3} workers, tasks of {duration * 1e3:6.0f} ms:"
                    f" busy for {share:6.1%} of the call",
                    flush=True,
                )


if __name__ == "__main__":
    main()
