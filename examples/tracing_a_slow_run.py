"""
A slow run, looked at and mended
================================

Two workers, and yet it takes longer than with none. `joblib.trace` shows why.
"""

# %%
# Distances between many pairs of points: each task does next to nothing, and is given
# the whole array of points.

import time

import numpy as np

from joblib import Parallel, delayed, trace

points = np.random.default_rng(0).normal(size=(2_000, 50)).tolist()


def distance(points, i, j):
    """Return the distance between two of the points."""
    return float(np.linalg.norm(np.subtract(points[i], points[j])))


pairs = [(i, i + 1) for i in range(40)]

if __name__ == "__main__":
    Parallel(n_jobs=2)(delayed(time.sleep)(0.01) for _ in range(4))  # start the workers

    with trace() as slow:
        Parallel(n_jobs=2, batch_size=1)(
            delayed(distance)(points, i, j) for i, j in pairs
        )
    slow.summary()

# %%
# A task takes a moment, and sending it takes many. What it is given has to be pickled
# each time: a list of lists, of 100,000 numbers. Both are mended in one go: an array,
# which worker processes map or get in one piece, and one task for many pairs.


def distances(points, pairs):
    """Return the distances between pairs of points."""
    i, j = np.transpose(pairs)
    return np.linalg.norm(points[i] - points[j], axis=1)


if __name__ == "__main__":
    array = np.asarray(points)
    with trace() as quick:
        Parallel(n_jobs=2)(
            delayed(distances)(array, some) for some in np.array_split(pairs, 4)
        )
    quick.summary()
    print(f"{slow.timeline.duration / quick.timeline.duration:.0f} times as fast")

# %%
# Written to a file, the timeline can be looked at: ``trace("run.html")`` makes a page to
# zoom in and point at, ``trace("run.svg")`` a picture.
