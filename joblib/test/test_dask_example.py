"""The example passes on a cluster of dask's command-line tools that loses a worker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

distributed = pytest.importorskip("distributed")
pytest.importorskip("sklearn")

from .dask_command import command_line_cluster, wait_for  # noqa: E402
from .dask_common import tasks_left  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "distributed_training.py"

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not installed"),
]


def fits(dask_scheduler):
    """Return how many tasks of the search have come to an end.

    Their own tasks, the trees of the forests, are hardly seen: busy workers grow them
    where they are.
    """
    return sum(
        prefix.state_counts["memory"]
        for name, prefix in dask_scheduler.task_prefixes.items()
        if "fit_and_score" in name
    )


@pytest.mark.soak
def test_the_example_with_a_worker_killed_in_mid_search(tmp_path):
    with command_line_cluster(tmp_path, workers=2) as cluster:
        with distributed.Client(cluster.address) as client:
            client.wait_for_workers(2, timeout=30)
            first = client.run(os.getpid)
            with (tmp_path / "example.log").open("w+") as log:
                example = subprocess.Popen(
                    [sys.executable, str(EXAMPLE), "--scheduler", cluster.address],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
                try:
                    wait_for(
                        lambda: client.run_on_scheduler(fits) > 3,
                        "search on the cluster",
                        60,
                    )
                    os.kill(next(iter(first.values())), signal.SIGKILL)
                    code = example.wait(60)
                finally:
                    example.kill()
                    example.wait()
                log.seek(0)
                text = log.read()
            assert code == 0, text
            assert "All went as it should." in text
            assert re.search("all 18 scores are equal", text)
            # the nanny has started another worker, and all is cleared away
            client.wait_for_workers(2, timeout=20)
            assert len(set(client.run(os.getpid).values()) - set(first.values())) == 1
            assert tasks_left(client) == []
