"""Seconds and bytes for the digests of arguments."""

import joblib

from .common import need, sizes


class Arrays:
    """Arrays in memory order and not, by digest and size."""

    params = (["md5", "xxh3_128"], ["C", "F"], sizes([1, 20], [1, 20, 200]))
    param_names = ["digest", "order", "megabytes"]

    def setup(self, digest, order, megabytes):
        need("numpy")
        import numpy as np

        array = np.ones((megabytes << 7, 1024))
        self.array = array if order == "C" else array.T
        try:
            joblib.hash(1, hash_name=digest)
        except ValueError as error:  # a digest that this release has not
            raise NotImplementedError(str(error)) from error

    def time_array(self, digest, order, megabytes):
        joblib.hash(self.array, hash_name=digest)

    def peakmem_array(self, digest, order, megabytes):
        joblib.hash(self.array, hash_name=digest)


class Objects:
    """Plain objects."""

    params = sizes([1, 20_000], [1, 100, 20_000, 200_000])
    param_names = ["number"]

    def setup(self, number):
        self.value = {f"k{i}": [i, float(i), str(i)] for i in range(number)}

    def time_dict(self, number):
        joblib.hash(self.value)
