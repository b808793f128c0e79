"""Nested searches on a cluster whose workers die and join at random.

``JOBLIB_SOAK_SECONDS`` says for how long. Every search has to end, with the scores
it has without a cluster, and the scheduler must have nothing left.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")
pytest.importorskip("sklearn")

from joblib import parallel_config  # noqa: E402

from .dask_command import command_line_cluster  # noqa: E402
from .dask_common import tasks_left  # noqa: E402

SECONDS = float(os.environ.get("JOBLIB_SOAK_SECONDS") or 20)
SEED = int(os.environ.get("JOBLIB_SOAK_SEED") or 0)
FEWEST, MOST = 1, 4  # workers at any time
LONGEST = 90.0  # seconds that one search may take under this treatment

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + LONGEST + 90)]


def search(n_jobs):
    """Return the scores of a search over forests, both levels of it parallel."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    X, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=8, random_state=0, n_jobs=n_jobs)
    grid = {"max_depth": [3, 6], "max_features": ["sqrt", 0.3]}
    model = GridSearchCV(forest, grid, cv=3, n_jobs=n_jobs).fit(X, y)
    scores = [model.cv_results_[f"split{fold}_test_score"] for fold in range(3)]
    return np.array(scores)


class Chaos(threading.Thread):
    """Kills workers and starts new ones, at random, until it is told to stop."""

    def __init__(self, cluster):
        super().__init__(name="chaos")
        self.cluster = cluster
        self.random = random.Random(SEED)
        self.workers = [self.start_worker() for _ in range(2)]
        self.deaths = self.joins = 0
        self.over = threading.Event()

    def start_worker(self):
        return self.cluster.start_workers(1, "--no-nanny")

    def run(self):
        while not self.over.wait(self.random.uniform(0.3, 2.5)):
            count = len(self.workers)
            if count > FEWEST and (count == MOST or self.random.random() < 0.5):
                # the oldest of them may be at work, the newest may be starting
                worker = self.workers.pop(self.random.randrange(count))
                worker.signal(signal.SIGKILL)
                worker.process.wait(20)
                self.deaths += 1
            else:
                self.workers.append(self.start_worker())
                self.joins += 1

    def stop(self):
        self.over.set()
        self.join(30)


def never_give_up(dask_scheduler):
    # Here it is not the tasks that kill their workers.
    dask_scheduler.allowed_failures = 10**6


def test_searches_while_workers_die_and_join(tmp_path, capsys):
    start = time.monotonic()
    expected = search(n_jobs=1)
    alone = time.monotonic() - start
    took = []
    with command_line_cluster(tmp_path, workers=0) as cluster:
        with distributed.Client(cluster.address, timeout=30) as client:
            client.run_on_scheduler(never_give_up)
            chaos = Chaos(cluster)
            client.wait_for_workers(2, timeout=30)
            chaos.start()
            try:
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    start = time.monotonic()
                    with parallel_config("dask", wait_for_workers_timeout=60):
                        scores = search(n_jobs=-1)
                    took.append(time.monotonic() - start)
                    assert np.array_equal(scores, expected)
                    assert took[-1] < LONGEST
                    assert tasks_left(client) == []
            finally:
                chaos.stop()
            assert not chaos.is_alive()
    assert chaos.deaths and chaos.joins
    with capsys.disabled():
        print(
            f"\n{len(took)} searches, {chaos.deaths} workers killed, {chaos.joins} "
            f"joined; a search took {np.median(took):.1f} s (median), at most "
            f"{max(took):.1f} s, and {alone:.1f} s without a cluster"
        )
