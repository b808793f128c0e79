"""
Arrays larger than memory
=========================

A table that does not fit into memory is read from a file, by several processes at once,
and what they make of it is written to another file: neither is ever in memory as a whole.
The file is mapped; the system reads the pages that are looked at, and all processes that
map one file share them.
"""

# %%
# A file to begin with
# --------------------
# ``dump`` writes the elements of an array as they lie in memory. ``load`` with
# ``mmap_mode="r"`` maps them instead of reading them: it takes no time and no memory. (A
# compressed file cannot be mapped.) The table here is of 40 MB, so that the page is built
# quickly; the code is the same for 40 GB.

import os
import tempfile
import time

import matplotlib.pyplot as plt
import numpy as np

import joblib
from joblib import Parallel, delayed

folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
path = os.path.join(folder.name, "table.joblib")
rng = np.random.default_rng(0)
joblib.dump(rng.normal(size=(5000, 1000)).cumsum(axis=0), path)

start = time.perf_counter()
table = joblib.load(path, mmap_mode="r")
print(f"{type(table).__name__} of {table.nbytes / 1e6:.0f} MB", end=", ")
print(f"mapped in {1000 * (time.perf_counter() - start):.1f} ms")

# %%
# What a worker gets is the name of the file
# ------------------------------------------
# A mapped array, or a part of one, is not pickled: the worker maps the same part of the
# same file. So a task may be given "its" slice of the table at no cost.

import pickle

import psutil

BLOCKS = [slice(i, i + 500) for i in range(0, 5000, 500)]


def summarize(block):
    """Return each row's lowest, mean and highest value; and this process's memory."""
    rows = np.stack([block.min(axis=1), block.mean(axis=1), block.max(axis=1)], axis=1)
    return rows, psutil.Process().memory_full_info().uss


parts = Parallel(n_jobs=2)(delayed(summarize)(table[rows]) for rows in BLOCKS)
print(
    f"a block pickled in full: {len(pickle.dumps(np.array(table[BLOCKS[0]]))):,} bytes"
)
print(f"memory of a worker's own: {max(own for _, own in parts) / 1e6:.0f} MB at most")

# %%
# Results that are written where they belong
# ------------------------------------------
# For an output that is large itself, make a file and have the tasks write into it. An
# array that the user has mapped for writing (``mode="w+"``) is mapped for writing in the
# workers, too. Each task writes rows of its own, so that none waits for another.

out = np.memmap(
    os.path.join(folder.name, "scaled.dat"), dtype="f4", mode="w+", shape=table.shape
)


def scale(block, out):
    """Write the rows of a block, brought to mean 0 and deviation 1."""
    out[:] = (block - block.mean(axis=1, keepdims=True)) / block.std(
        axis=1, keepdims=True
    )


Parallel(n_jobs=2)(delayed(scale)(table[rows], out[rows]) for rows in BLOCKS)
print("means of the first rows:", np.abs(out[:3].mean(axis=1)).round(3))
print("deviations of the last :", out[-3:].std(axis=1).round(3))

# %%
# What became of the table
# ------------------------

low, mean, high = np.concatenate([rows for rows, _ in parts]).T
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.fill_between(np.arange(len(mean)), low, high, alpha=0.3, label="lowest to highest")
axes.plot(mean, label="mean")
axes.set(
    xlabel="row",
    ylabel="value",
    title="Five thousand rows, read in blocks of five hundred",
)
axes.legend(loc="upper left")
plt.show()
