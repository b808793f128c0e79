"""Seconds for calls of functions whose results are cached."""

import shutil
import tempfile

from joblib import Memory

from .common import need, sizes


def add(x, y):
    """Add: a result that is quickly stored."""
    return x + y


def make(megabytes, number):
    """Return an array."""
    import numpy as np

    return np.full(megabytes << 17, float(number))


class Calls:
    """Hits and misses of a function of small numbers."""

    def setup(self):
        self.folder = tempfile.mkdtemp()
        self.memory = Memory(self.folder, verbose=0)
        self.cached = self.memory.cache(add)
        self.cached(1, 2)
        self.number = 0

    def teardown(self):
        shutil.rmtree(self.folder)

    def time_hit(self):
        self.cached(1, 2)

    def time_miss(self):
        self.number += 1
        self.cached(self.number, 0.5)

    def time_check(self):
        self.cached.check_call_in_cache(1, 2)


class Arrays:
    """Hits of a function that returns an array."""

    params = sizes([1, 20], [1, 20, 200])
    param_names = ["megabytes"]

    def setup(self, megabytes):
        need("numpy")
        self.folder = tempfile.mkdtemp()
        self.cached = Memory(self.folder, verbose=0).cache(make)
        self.cached(megabytes, 0)

    def teardown(self, megabytes):
        shutil.rmtree(self.folder)

    def time_hit(self, megabytes):
        self.cached(megabytes, 0)

    def peakmem_hit(self, megabytes):
        self.cached(megabytes, 0)


class Limit:
    """Finding out how large a cache is, and removing the oldest of it."""

    params = sizes([100], [100, 1_000])
    param_names = ["entries"]

    def setup(self, entries):
        self.folder = tempfile.mkdtemp()
        self.memory = Memory(self.folder, verbose=0)
        cached = self.memory.cache(add)
        for number in range(entries):
            cached(number, 1)

    def teardown(self, entries):
        shutil.rmtree(self.folder)

    def time_reduce_size(self, entries):
        self.memory.reduce_size(items_limit=entries)
