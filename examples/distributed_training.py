"""
Train models on a cluster, with nested parallel loops
=====================================================

One search for the best parameters of a random forest, written for one machine, is
run on a dask cluster by a ``with`` around it. The search is a parallel loop, and so
is each fit inside it: tasks that wait for tasks of their own give their place on
the worker away meanwhile, so that the two never wait for each other.

A loop may also say what it needs. Where it prefers threads, a user who asked for
the cluster gets the cluster; where it requires shared memory, it runs here.

Run it as it is, and it starts two worker processes on this machine. Or give it a
cluster of yours: ``python distributed_training.py --scheduler tcp://host:8786``.
"""

# sphinx_gallery_thumbnail_path = "_static/cluster.svg"

import argparse
import os
import sys
import time
import types
from collections import defaultdict

import numpy as np
from distributed import Client
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

from joblib import Parallel, delayed, parallel_backend, parallel_config

###############################################################################
# The task hook
# -------------
# ``parallel_config(wrap_task=...)`` has a function called around each task, where
# the task runs. This one notes what ran and for how long.


def notes():
    """Return the list in which the tasks of this process are noted."""
    # This script is sent to the workers along with each task and has no module
    # there; a list of its own would be a new one each time.
    place = sys.modules.setdefault(
        "distributed_training_notes", types.SimpleNamespace(rows=[])
    )
    return place.rows


def take_notes():
    """Return what was noted in this process, and begin a new page."""
    rows, notes()[:] = list(notes()), []
    return rows


def note(func, args, kwargs):
    """Run a task and note its function and its seconds."""
    start = time.perf_counter()
    try:
        return func(*args, **kwargs)
    finally:
        notes().append((func.__name__, time.perf_counter() - start))


def print_table(client):
    """Print what ran where: in each worker's process, and in this one."""
    rows_of = {"this process": take_notes(), **client.run(take_notes)}
    table = defaultdict(list)
    for place, rows in rows_of.items():
        for name, seconds in rows:
            table[name, place].append(seconds)
    print(f"  {'function':<26}{'worker':<28}{'tasks':>6}{'seconds':>9}")
    for (name, place), seconds in sorted(table.items()):
        print(f"  {name:<26}{place:<28}{len(seconds):>6}{sum(seconds):>9.2f}")


###############################################################################
# Three kinds of loops
# --------------------


def search(n_jobs):
    """Return the scores of all candidates on all folds, and the best candidate."""
    X, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=30, random_state=0, n_jobs=n_jobs)
    grid = {"max_depth": [4, 8, None], "max_features": ["sqrt", 0.3]}
    model = GridSearchCV(forest, grid, cv=3, n_jobs=n_jobs).fit(X, y)
    scores = [model.cv_results_[f"split{fold}_test_score"] for fold in range(3)]
    return np.array(scores), model.best_params_


def where_am_i():
    """Return the process that runs this."""
    return os.getpid()


def fill(squares, i):
    """Write one entry of an array, and return the process that did."""
    squares[i] = i * i
    return os.getpid()


def main(scheduler=None):
    """Run the example; return whether all went as it should."""
    fine = []

    def check(holds, what):
        fine.append(bool(holds))
        print(f"  {'yes' if holds else 'NO '}  {what}")

    if scheduler is None:
        client = Client(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    else:
        client = Client(scheduler)
    with client:
        workers = client.nthreads()
        print(f"A cluster of {len(workers)} workers, {sum(workers.values())} threads.")

        print("\n1. The search, sequentially and on the cluster")
        start = time.perf_counter()
        expected, expected_best = search(n_jobs=1)
        print(f"  sequential: {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        with parallel_config(wrap_task=note), parallel_backend("dask.distributed"):
            scores, best = search(n_jobs=-1)
        print(f"  on the cluster: {time.perf_counter() - start:.1f} s, best: {best}")
        check(
            np.array_equal(scores, expected),
            f"all {scores.size} scores are equal to the sequential ones",
        )
        check(best == expected_best, "the same candidate is the best")

        with parallel_config(wrap_task=note), parallel_backend("dask.distributed"):
            print("\n2. A loop that prefers threads: the user's choice goes first")
            places = Parallel(n_jobs=-1, prefer="threads")(
                delayed(where_am_i)() for _ in range(20)
            )
            processes = set(client.run(os.getpid).values())
            check(set(places) <= processes, "it ran on the workers of the cluster")
            check(os.getpid() not in places, "and nothing of it in this process")

            print("\n3. A loop that requires shared memory: nothing goes before that")
            squares = np.zeros(20)
            places = Parallel(n_jobs=2, require="sharedmem")(
                delayed(fill)(squares, i) for i in range(len(squares))
            )
            check(set(places) == {os.getpid()}, "it ran in this process")
            check(np.array_equal(squares, np.arange(20) ** 2), "its array is filled")

        print("\n4. What ran where (a task's seconds include waiting for its own)")
        print_table(client)

    print(
        "\nAll went as it should."
        if all(fine)
        else f"\n{fine.count(False)} of {len(fine)} checks FAILED."
    )
    return all(fine)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train models on a cluster.")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="run on this cluster, tcp://host:port"
    )
    if not main(parser.parse_args().scheduler):
        sys.exit(1)
