"""What tasks cost that run in processes: sending them, and what they are given."""

import os

from joblib import Parallel, delayed

from .common import lookups, need, nothings, sizes

BACKENDS = ["loky", "multiprocessing"]


class WarmCall:
    """Seconds for a call on workers that are there (loky), or start (multiprocessing)."""

    params = (BACKENDS, sizes([4, 2_000], [4, 100, 2_000, 100_000]))
    param_names = ["backend", "tasks"]

    def setup(self, backend, tasks):
        self.parallel = Parallel(n_jobs=2, backend=backend)
        self.tasks = nothings(tasks)
        self.parallel(nothings(10))

    def time_call(self, backend, tasks):
        self.parallel(self.tasks)

    def peakmem_call(self, backend, tasks):
        self.parallel(self.tasks)


class OneByOne:
    """Seconds for 200 tasks, each a batch of its own."""

    params = BACKENDS
    param_names = ["backend"]

    def setup(self, backend):
        self.tasks = nothings(200)
        Parallel(n_jobs=2, backend=backend)(nothings(10))

    def time_call(self, backend):
        Parallel(n_jobs=2, backend=backend, batch_size=1)(self.tasks)

    def time_isolated(self, backend):
        Parallel(n_jobs=2, backend=backend, on_error="return")(self.tasks)


class Array:
    """Seconds and bytes for 20 tasks that share an array."""

    params = (BACKENDS, sizes([1, 50], [1, 10, 50, 500]))
    param_names = ["backend", "megabytes"]

    def setup(self, backend, megabytes):
        need("numpy")
        import numpy as np

        self.tasks = lookups(np.ones(megabytes << 17), 20)
        self.parallel = Parallel(n_jobs=2, backend=backend)
        self.parallel(nothings(10))

    def time_shared(self, backend, megabytes):
        self.parallel(self.tasks)

    def peakmem_shared(self, backend, megabytes):
        self.parallel(self.tasks)


class Results:
    """Seconds for arrays that tasks return."""

    params = (BACKENDS, sizes([1, 20], [1, 20, 100]))
    param_names = ["backend", "megabytes"]

    def setup(self, backend, megabytes):
        need("numpy")
        import numpy as np

        self.tasks = [delayed(np.ones)(megabytes << 17) for _ in range(8)]
        self.parallel = Parallel(n_jobs=2, backend=backend)
        self.parallel(nothings(10))

    def time_returned(self, backend, megabytes):
        self.parallel(self.tasks)


class FirstCall:
    """Seconds for the first call of a program, its imports included."""

    number = 1

    def timeraw_loky(self):
        return """
        from joblib import Parallel, delayed
        Parallel(n_jobs=2)(delayed(abs)(i) for i in range(2))
        """


def track_processes_left():
    """Return how many children are left a moment after `shutdown`: none should be."""
    need("psutil")
    import psutil

    import joblib

    Parallel(n_jobs=2)(nothings(10))
    joblib.shutdown()
    children = psutil.Process(os.getpid()).children(recursive=True)
    _, alive = psutil.wait_procs(children, timeout=2)
    return len([one for one in alive if "tracker" not in " ".join(one.cmdline())])


track_processes_left.unit = "processes"
