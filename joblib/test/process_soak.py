"""Calls of every kind in random order, for a while; a program that test_process_soak runs.

``python process_soak.py SECONDS SEED`` prints its figures as JSON, and ends with an
error at the first wrong result.
"""

from __future__ import annotations

import collections
import faulthandler
import gc
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from multiprocessing import get_context

import numpy as np
from loky.process_executor import TerminatedWorkerError

import joblib
from joblib import Parallel, delayed, parallel_config

figures: collections.Counter = collections.Counter()
#: seconds that a task goes on which is to be stopped: longer than the whole soak
FOR_EVER = 3600


class Expected(Exception):
    """What tasks fail with that are meant to."""


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not this one")


# ------------------------------------------------------------------------- tasks
def multiply(x, y=3):
    return x * y


def spend(x):
    end = time.perf_counter() + 0.0005 * (x % 5)
    while time.perf_counter() < end:
        pass
    return x


def total(*arrays):
    return float(sum(array.sum() for array in arrays))


def fill(n, value):
    return np.full(n, float(value))


def fail_at(x, place):
    if x == place:
        raise Expected(x)
    return x


def die_at(x, place, how):
    if x == place:
        if how:
            os.kill(os.getpid(), how)
        os._exit(7)
    return x


def pid_of(x):
    time.sleep(0.001)
    return os.getpid()


def go_on(x, note):
    """Leave a note, and go on until the caller has taken it away, or ends us."""
    with open(note, "w"):
        pass
    for _ in range(FOR_EVER * 100):
        if os.path.exists(note + ".over"):
            break
        time.sleep(0.01)
    return x


def call_inside(x, backend, n_jobs):
    with parallel_config(backend_of(backend)):
        inner = Parallel(n_jobs=n_jobs)(delayed(multiply)(x, i) for i in range(5))
    return sum(inner)


def count(table, x):
    return len(table) + x


# ---------------------------------------------------------------------- backends
def backend_of(name):
    return get_context(name) if name in ("fork", "spawn") else name


def wait_for_death(pid):
    """Return when a child has ended, waited for or not."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:  # waited for by another thread
        pass


class Soak:
    """Makes the calls.

    Parameters
    ----------
    seed : int
        Of the random choices.
    folder : str
        For notes that tasks leave.
    """

    def __init__(self, seed, folder):
        self.choose = random.Random(seed)
        self.folder = folder
        self.n_notes = 0

    def backend(self, *kinds):
        # starting workers by spawn takes most of the time that it is used
        usual = ["loky"] * 4 + ["fork"] * 4 + ["threading"] * 2 + ["spawn"]
        return self.choose.choice([name for name in kinds or usual if name])

    def processes(self):
        return self.backend("loky", "loky", "fork", "fork", "fork", "spawn")

    def parallel(self, name, **options):
        options.setdefault("n_jobs", self.choose.choice([2, 2, 3]))
        options.setdefault("batch_size", self.choose.choice(["auto", 1, 7]))
        return Parallel(backend=backend_of(name), **options)

    def note(self):
        self.n_notes += 1
        return os.path.join(self.folder, str(self.n_notes))

    def run(self, parallel, tasks, expected):
        tasks = list(tasks)
        found = list(parallel(tasks))
        figures["calls"] += 1
        figures["tasks"] += len(tasks)
        check(found, expected)

    # ----------------------------------------------------------------- kinds
    def plain(self):
        n = self.choose.choice([0, 1, 10, 100, 1000])
        task = self.choose.choice([multiply, spend])
        parallel = self.parallel(self.backend())
        self.run(parallel, (delayed(task)(i) for i in range(n)), map(task, range(n)))

    def generator(self):
        name = self.backend("loky", "threading")
        parallel = self.parallel(name, return_as="generator")
        tasks = (delayed(multiply)(i) for i in range(50))
        self.run(parallel, tasks, range(0, 150, 3))

    def closed_generator(self):
        name = self.backend("loky", "threading")
        parallel = self.parallel(name, return_as="generator")
        outputs = parallel(delayed(spend)(i) for i in range(500))
        for i in range(self.choose.randrange(5)):
            check([next(outputs)], [i])
        if self.choose.random() < 0.5:
            outputs.close()
        del outputs
        figures["generators closed early"] += 1

    def arrays(self):
        array = np.arange(self.choose.choice([10, 200_000, 400_000]), dtype=float)
        parallel = self.parallel(self.backend(), mmap_mode=self.choose.choice("rc"))
        tasks = (delayed(total)(array, array[::2]) for _ in range(6))
        self.run(parallel, tasks, [total(array, array[::2])] * 6)

    def returned_arrays(self):
        n = self.choose.choice([10, 200_000, 400_000])
        arrays = self.parallel(self.backend())(delayed(fill)(n, i) for i in range(6))
        for i, array in enumerate(arrays):
            array += 1  # it is the caller's
            check([array[0], array[-1], array.shape], [i + 1.0, i + 1.0, (n,)])
        figures["calls"] += 1
        figures["tasks"] += 6

    def scattered(self):
        table = list(range(self.choose.choice([10, 100_000])))
        with parallel_config(self.backend("loky", "multiprocessing"), scatter=[table]):
            tasks = (delayed(count)(table, i) for i in range(8))
            self.run(Parallel(2), tasks, range(len(table), len(table) + 8))

    def nested(self):
        inner, n_jobs = (
            self.backend("loky", "fork", "threading"),
            self.choose.choice([1, 2]),
        )
        parallel = self.parallel(self.backend(), batch_size=1)
        tasks = (delayed(call_inside)(i, inner, n_jobs) for i in range(4))
        self.run(parallel, tasks, [10 * i for i in range(4)])
        figures["nested calls"] += 4

    def error(self):
        n, place = 30, self.choose.randrange(30)
        with self.parallel(self.backend()) as parallel:
            try:
                parallel(delayed(fail_at)(i, place) for i in range(n))
            except Expected as error:
                check([error.args[0]], [place])
            else:
                raise AssertionError("no error")
            figures["errors"] += 1
            self.run(
                parallel, (delayed(multiply)(i) for i in range(9)), range(0, 27, 3)
            )

    def unpicklable(self):
        with self.parallel(self.processes()) as parallel:
            try:
                parallel(delayed(multiply)(Unpicklable()) for _ in range(3))
            except joblib.externals.cloudpickle.pickle.PicklingError:
                figures["errors"] += 1
            else:
                raise AssertionError("no error")
            self.run(
                parallel, (delayed(multiply)(i) for i in range(9)), range(0, 27, 3)
            )

    def killed(self):
        place = self.choose.randrange(10)
        how = self.choose.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, 0])
        with self.parallel(self.processes(), batch_size=1) as parallel:
            try:
                parallel(delayed(die_at)(i, place, how) for i in range(10))
            except TerminatedWorkerError:
                figures["kills"] += 1
            else:
                raise AssertionError("no error")
            self.run(
                parallel, (delayed(multiply)(i) for i in range(9)), range(0, 27, 3)
            )

    def killed_between_calls(self):
        with self.parallel(self.processes(), batch_size=1) as parallel:
            pids = set(parallel(delayed(pid_of)(i) for i in range(6)))
            victim = self.choose.choice(sorted(pids))
            os.kill(victim, signal.SIGKILL)
            figures["kills"] += 1
            for attempt in range(2):
                try:
                    tasks = (delayed(multiply)(i) for i in range(9))
                    self.run(parallel, tasks, range(0, 27, 3))
                except TerminatedWorkerError:
                    if attempt:
                        raise
                else:
                    break
            # On a busy machine it may outlive this call, whose tasks others have run;
            # then its death would be an error of the next one.
            wait_for_death(victim)

    def interrupted(self):
        note = self.note()
        group = self.choose.random() < 0.3
        name = self.backend("loky", "fork", "threading")

        def interrupt():
            while not os.path.exists(note):
                time.sleep(0.005)
            if group:  # as a terminal does
                os.killpg(0, signal.SIGINT)
            else:
                os.kill(os.getpid(), signal.SIGINT)

        helper = threading.Thread(target=interrupt, daemon=True)
        helper.start()
        try:
            self.parallel(name)(delayed(go_on)(i, note) for i in range(4))
        except KeyboardInterrupt:
            figures["interrupts"] += 1
        else:
            raise AssertionError("no interrupt")
        finally:
            with open(note + ".over", "w"):
                pass
        helper.join()

    def timeout(self):
        note = self.note()
        parallel = self.parallel(
            self.backend("loky", "fork", "threading"), timeout=0.05
        )
        try:
            parallel(delayed(go_on)(i, note) for i in range(4))
        except TimeoutError:
            figures["errors"] += 1
        else:
            raise AssertionError("no timeout")
        finally:
            with open(note + ".over", "w"):
                pass

    def from_threads(self):
        failures = []

        def calls(seed):
            soak = Soak(seed, self.folder)
            try:
                for _ in range(2):
                    soak.choose.choice([soak.plain, soak.error, soak.arrays])()
            except BaseException as error:
                failures.append(error)

        seeds = [self.choose.randrange(10**6) for _ in range(2)]
        threads = [threading.Thread(target=calls, args=(seed,)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for failure in failures:
            raise failure

    def shutdown(self):
        joblib.shutdown()
        figures["shutdowns"] += 1


KINDS = {
    Soak.plain: 12,
    Soak.generator: 4,
    Soak.closed_generator: 3,
    Soak.arrays: 6,
    Soak.returned_arrays: 6,
    Soak.scattered: 3,
    Soak.nested: 4,
    Soak.error: 4,
    Soak.unpicklable: 2,
    Soak.killed: 2,
    Soak.killed_between_calls: 2,
    Soak.interrupted: 2,
    Soak.timeout: 1,
    Soak.from_threads: 1,
    Soak.shutdown: 1,
}


def check(found, expected):
    found, expected = list(found), list(expected)
    if found != expected:
        raise AssertionError(f"got {found!r:.300}, expected {expected!r:.300}")


# ----------------------------------------------------------------------- figures
def memory():
    """Return how many megabytes this process has in use."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def children():
    """Return the command lines of the child processes, but for those that stay."""
    found = []
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        pids = file.read().split()
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            pids += file.read().split()
    for pid in sorted(set(pids)):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                command = file.read().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if command and "resource_tracker" not in command:
            found.append(command[:200])
    return found


def files():
    """Return the temporary files of this process."""
    mine = f"joblib_memmapping_folder_{os.getpid()}_"
    return [
        os.path.join(root, name)
        for place in {"/dev/shm", tempfile.gettempdir()}
        for folder in os.listdir(place)
        if folder.startswith(mine)
        for root, _, names in os.walk(os.path.join(place, folder))
        for name in names
    ]


def wait_until_gone(what, seconds=10.0):
    """Return what is still there after that time."""
    deadline = time.monotonic() + seconds
    while (left := what()) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    return left


def state():
    """Return what may not grow."""
    joblib.shutdown()
    left = wait_until_gone(children), wait_until_gone(files)
    return {
        "memory": round(memory(), 1),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "processes left": left[0],
        "files left": left[1],
    }


def main(seconds, seed):
    faulthandler.register(signal.SIGUSR1)
    # in workers, too
    os.environ["PYTHONWARNINGS"] = "ignore"
    warnings.simplefilter("ignore")
    states = {"start": state()}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(seed, folder)
        for kind in KINDS:  # at least once each
            kind(soak)
        if not seconds:
            seconds = 1
        warm = started + seconds / 4
        end = started + seconds
        while time.monotonic() < end:
            if "warm" not in states and time.monotonic() >= warm:
                states["warm"] = state()
            [kind] = soak.choose.choices(list(KINDS), KINDS.values())
            figures[f"kind {kind.__name__}"] += 1
            kind(soak)
        states.setdefault("warm", states["start"])
        states["end"] = state()
    print(json.dumps({**figures, **states}))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
