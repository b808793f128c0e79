"""What tasks cost on a dask cluster of two workers on this machine."""

import logging
import time

from joblib import Parallel, delayed, parallel_config

from .common import lookups, need, nothings, sizes


class OnCluster:
    """Starts the cluster; each benchmark is a process, and has its own."""

    number = 1
    repeat = (3, 10, 20.0)
    timeout = 120

    def setup(self, *params):
        need("distributed", "numpy")
        from distributed import Client, LocalCluster

        logging.getLogger("distributed").setLevel(logging.ERROR)
        self.cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        )
        self.client = Client(self.cluster)
        self.config = parallel_config("dask", client=self.client)
        Parallel(n_jobs=-1)(nothings(10))
        self.prepare(*params)

    def prepare(self, *params):
        """Make the tasks."""

    def teardown(self, *params):
        if hasattr(self, "cluster"):
            self.config.unregister()
            self.client.close()
            self.cluster.close()


class Call(OnCluster):
    """Seconds for a whole call of tasks that do nothing."""

    params = sizes([4, 1_000], [4, 100, 1_000, 10_000, 100_000])
    param_names = ["tasks"]

    def prepare(self, tasks):
        self.tasks = nothings(tasks)

    def time_call(self, tasks):
        Parallel(n_jobs=-1)(self.tasks)

    def time_client_map(self, tasks):
        futures = self.client.map(abs, range(tasks), pure=False)
        self.client.gather(futures)

    def peakmem_call(self, tasks):
        Parallel(n_jobs=-1)(self.tasks)


class Work(OnCluster):
    """Seconds for tasks that keep two workers busy for half a second."""

    params = sizes([0.001, 0.1], [0.001, 0.01, 0.1])
    param_names = ["seconds"]

    def prepare(self, seconds):
        self.tasks = [delayed(time.sleep)(seconds)] * round(1 / seconds)

    def time_call(self, seconds):
        Parallel(n_jobs=-1)(self.tasks)


class Array(OnCluster):
    """Seconds for 20 tasks that share an array."""

    params = sizes([1, 50], [1, 10, 50, 200])
    param_names = ["megabytes"]

    def prepare(self, megabytes):
        import numpy as np

        self.tasks = lookups(np.ones(megabytes << 17), 20)

    def time_shared(self, megabytes):
        Parallel(n_jobs=-1)(self.tasks)
