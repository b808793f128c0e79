"""
A pipeline whose first steps are computed once
==============================================

A search over the last step of a pipeline fits the steps before it again and again, with
the same settings on the same data. ``Memory`` computes each of them once: a call with the
same arguments finds its result on disk, from whichever process it is made, today or
tomorrow.
"""

# %%
# The same search, twice
# ----------------------
# The pipeline reduces handwritten digits with a slow method and classifies them with a
# fast one. Six settings of the classifier in three folds are 18 fits, and all need one
# of three reductions. scikit-learn's ``Pipeline`` takes a cache by ``memory=``.

import tempfile
import time

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from joblib import Memory, parallel_config

folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
memory = Memory(folder.name, verbose=0)
X, y = load_digits(return_X_y=True)


def search(memory):
    """Return the seconds that a search takes, and its best score."""
    pipeline = Pipeline(
        [
            ("reduce", KernelPCA(64, kernel="rbf", gamma=1e-3)),
            ("classify", RidgeClassifier()),
        ],
        memory=memory,
    )
    grid = {"classify__alpha": [10.0**power for power in range(-3, 3)]}
    start = time.perf_counter()
    with parallel_config(n_jobs=1):
        found = GridSearchCV(pipeline, grid, cv=3, refit=False).fit(X, y)
    return time.perf_counter() - start, found.best_score_


seconds = {}
for name, cache in [
    ("no cache", None),
    ("an empty cache", memory),
    ("what the last run left", memory),
]:
    seconds[name], score = search(cache)
    print(f"{name:<24}{seconds[name]:6.2f} s   best score {score:.3f}")

# %%
# The second run of three pays for three reductions instead of 18, the third for none.

figure, axes = plt.subplots(figsize=(7, 2.2), layout="constrained")
bars = axes.barh(list(seconds), list(seconds.values()))
axes.bar_label(bars, fmt="%.2f s", padding=4)
axes.invert_yaxis()
axes.margins(x=0.15)
axes.set(xlabel="seconds")
plt.show()

# %%
# What is in the cache
# --------------------
# ``entries()`` lists the results, with the time that each took to compute and how often it
# was loaded; ``python -m joblib cache list PATH`` does so on the command line.

for entry in memory.entries():
    saved = entry.hits * entry.duration
    print(
        f"{entry.function.rpartition('.')[2]}: {entry.bytes / 1e3:.0f} kB, "
        f"took {entry.duration:.2f} s, loaded {entry.hits} times: {saved:.1f} s saved"
    )

# %%
# A cache of one's own
# --------------------
# Any function can be cached. ``key`` says what of an argument counts: here the name of a
# data set stands for the data, which then need not be hashed.


class Data:
    """A data set with a name."""

    def __init__(self, name, values):
        self.name = name
        self.values = values


@memory.cache(key={"data": lambda data: data.name}, ignore=["verbose"])
def mean_of(data, verbose=False):
    """Return the mean, slowly."""
    print("computing")
    return float(data.values.mean())


digits = Data("digits-1.0", X)
print(mean_of(digits))
print(mean_of(digits, verbose=True))  # from the cache: `verbose` does not count

folder.cleanup()
