"""A cluster for tests, started by dask's command-line tools in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

SECONDS = 20.0  # that a process may take to start, or to end

#: nothing of it outlives the test, and nothing is looked for on the network
SCHEDULER = ["scheduler", "--host", "127.0.0.1", "--no-dashboard", "--no-show"]
WORKERS = ["worker", "--no-dashboard", "--nthreads", "1", "--host", "127.0.0.1"]


def wait_for(condition, what, seconds=SECONDS):
    """Return the first true value of `condition`; another process makes it true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"no {what} after {seconds} s"
        time.sleep(0.005)
    return value


class Command:
    """`dask` with arguments, its output in a file.

    Parameters
    ----------
    log : Path
        Where its output goes.
    arguments : list of str
        What is written after ``dask``.
    """

    def __init__(self, log: Path, arguments: list[str]) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C of the tests is not for it
            )

    def signal(self, number: int) -> None:
        """Send a signal to the process itself, and not to its children."""
        self.process.send_signal(number)

    def end(self) -> None:
        """End it and its children, in whatever state they are."""
        for number in (signal.SIGCONT, signal.SIGTERM):
            self._signal_all(number)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        self._signal_all(signal.SIGKILL)
        self.process.wait(SECONDS)

    def _signal_all(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass


class Cluster:
    """A scheduler and workers, each started by a command.

    Parameters
    ----------
    folder : Path
        For their files.
    """

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.options = options
        self.commands: list[Command] = []
        self.file = folder / "scheduler.json"
        self.port = "0"
        self.scheduler = self.start_scheduler()

    def _start(self, name: str, arguments: list[str]) -> Command:
        log = self.folder / f"{name}-{len(self.commands)}.log"
        command = Command(log, [*arguments, *self.options])
        self.commands.append(command)
        return command

    def start_scheduler(self) -> Command:
        """Start the scheduler; a second time where the first one was."""
        self.file.unlink(missing_ok=True)
        place = ["--port", self.port, "--scheduler-file", str(self.file)]
        self.scheduler = self._start("scheduler", [*SCHEDULER, *place])
        wait_for(self.file.exists, f"scheduler: {self.scheduler.log}")
        self.port = self.address.rpartition(":")[2]
        return self.scheduler

    @property
    def address(self) -> str:
        import json

        def read():
            try:
                return json.loads(self.file.read_text())["address"]
            except ValueError:  # half written
                return None

        return wait_for(read, "address")

    def start_workers(self, count: int, *options: str) -> Command:
        """Start nannied workers of one thread each, all by one command."""
        place = ["--local-directory", str(self.folder)]
        options = ("--nworkers", str(count), *place, *options)
        return self._start("worker", [*WORKERS, self.address, *options])


@contextmanager
def command_line_cluster(folder, workers=1, options=()):
    """A cluster in processes of its own, ended with all its children."""
    cluster = Cluster(folder, options)
    try:
        if workers:
            cluster.start_workers(workers)
        yield cluster
    finally:
        for command in reversed(cluster.commands):
            command.end()


def kill_all_workers(client):
    """Kill the workers and wait until the scheduler knows; nannies start new ones."""
    old = client.run(os.getpid)
    for pid in old.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: not set(old) & set(client.scheduler_info(n_workers=-1)["workers"]),
        "end of the old workers",
    )
    client.wait_for_workers(1, timeout=20)
