"""What a loop costs beyond its tasks: tasks that do nothing, in one process."""

from joblib import Parallel

from .common import nothings, sizes


class Call:
    """Seconds for a whole call, by backend and number of tasks."""

    params = (
        ["sequential", "threading"],
        sizes([1, 1_000], [1, 10, 1_000, 100_000]),
    )
    param_names = ["backend", "tasks"]

    def setup(self, backend, tasks):
        self.parallel = Parallel(n_jobs=2, backend=backend)
        self.tasks = nothings(tasks)

    def time_call(self, backend, tasks):
        self.parallel(self.tasks)

    def time_generator(self, backend, tasks):
        parallel = Parallel(n_jobs=2, backend=backend, return_as="generator")
        for _ in parallel(self.tasks):
            pass

    def time_generator_unordered(self, backend, tasks):
        parallel = Parallel(n_jobs=2, backend=backend, return_as="generator_unordered")
        for _ in parallel(self.tasks):
            pass

    def time_with_controls(self, backend, tasks):
        Parallel(n_jobs=2, backend=backend, on_error="return", retries=1)(self.tasks)

    def peakmem_call(self, backend, tasks):
        self.parallel(self.tasks)
