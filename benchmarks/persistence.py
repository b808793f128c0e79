"""Seconds and bytes for writing objects to files and reading them back."""

import os
import shutil
import tempfile

import joblib

from .common import need, sizes


class Arrays:
    """One array of numbers that compress well, by codec and size."""

    params = (
        [0, "zlib", "lz4", "zstd"],
        sizes([1, 20], [1, 20, 200]),
    )
    param_names = ["compress", "megabytes"]

    def setup(self, compress, megabytes):
        need("numpy")
        if compress == "lz4":
            need("lz4")
        import numpy as np

        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "array")
        numbers = np.random.RandomState(0).randint(0, 1000, megabytes << 18)
        self.array = numbers.astype("i4")
        try:
            joblib.dump(self.array, self.path, compress=compress)
        except ValueError as error:  # a codec that this release has not
            shutil.rmtree(self.folder)
            raise NotImplementedError(str(error)) from error

    def teardown(self, compress, megabytes):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def time_dump(self, compress, megabytes):
        joblib.dump(self.array, self.path, compress=compress)

    def time_load(self, compress, megabytes):
        joblib.load(self.path)

    def peakmem_dump(self, compress, megabytes):
        joblib.dump(self.array, self.path, compress=compress)

    def peakmem_load(self, compress, megabytes):
        joblib.load(self.path)


class Objects:
    """Many small arrays, and plain objects."""

    params = (["arrays", "objects"], sizes([1_000], [1_000, 100_000]))
    param_names = ["kind", "number"]

    def setup(self, kind, number):
        need("numpy")
        import numpy as np

        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "objects")
        if kind == "arrays":
            self.value = {f"k{i}": np.arange(100) + i for i in range(number)}
        else:
            self.value = {f"k{i}": [i, float(i), str(i)] for i in range(number)}
        joblib.dump(self.value, self.path)

    def teardown(self, kind, number):
        shutil.rmtree(self.folder)

    def time_dump(self, kind, number):
        joblib.dump(self.value, self.path)

    def time_load(self, kind, number):
        joblib.load(self.path)
