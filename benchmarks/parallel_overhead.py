"""What a loop costs beyond its tasks: tasks that do nothing, on each backend."""

from joblib import Parallel, delayed


def nothing(x):
    """Return at once: what is measured is the loop."""
    return x


class Call:
    """Seconds for a whole call, by backend and number of tasks."""

    params = (["sequential", "threading"], [1, 1000])
    param_names = ["backend", "tasks"]

    def setup(self, backend, tasks):
        self.parallel = Parallel(n_jobs=2, backend=backend)
        self.tasks = [delayed(nothing)(i) for i in range(tasks)]

    def time_call(self, backend, tasks):
        self.parallel(self.tasks)

    def time_generator(self, backend, tasks):
        parallel = Parallel(n_jobs=2, backend=backend, return_as="generator")
        for _ in parallel(self.tasks):
            pass
