"""
Random forests: who may say where a loop runs
=============================================

A forest is trained tree by tree, and each tree by itself: a parallel loop. Its author
knows two things that the user does not: trees are grown in compiled code that releases
the GIL, so that threads *are preferred* in training; and the trees' votes are added into
one array, so that shared memory *is required* in prediction. Its user knows another
two: how many cores there are, and whether a cluster is at hand.
"""

# %%
# The author's part
# -----------------
# A small forest, of scikit-learn's trees. Nothing in it names a backend or a number of
# jobs: ``n_jobs=None`` takes what the context says.

# sphinx_gallery_thumbnail_path = "_static/negotiation.svg"
import threading

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from joblib import Parallel, delayed, explain_backend, parallel_config, task_seed


def grow(X, y):
    """Grow one tree on a sample of the rows, with the task's own random numbers."""
    rng = np.random.default_rng(task_seed())
    rows = rng.integers(len(X), size=len(X))
    tree = DecisionTreeClassifier(
        max_features="sqrt", random_state=int(rng.integers(2**31))
    )
    return tree.fit(X[rows], y[rows])


def vote(tree, X, votes, lock):
    """Add a tree's probabilities to those of the others."""
    probabilities = tree.predict_proba(X)
    with lock:  # two threads must not add at once
        votes += probabilities


class Forest:
    """A forest of trees, in forty lines.

    Parameters
    ----------
    n_trees : int
    n_jobs : int, optional
    """

    def __init__(self, n_trees=40, n_jobs=None):
        self.n_trees = n_trees
        self.n_jobs = n_jobs

    def fit(self, X, y):
        """Grow the trees."""
        parallel = Parallel(self.n_jobs, prefer="threads", seed=0)
        self.trees = parallel(delayed(grow)(X, y) for _ in range(self.n_trees))
        return self

    def predict(self, X):
        """Return the class that gets most of the trees' votes, for each row."""
        votes = np.zeros((len(X), len(self.trees[0].classes_)))
        lock = threading.Lock()
        Parallel(self.n_jobs, require="sharedmem")(
            delayed(vote)(tree, X, votes, lock) for tree in self.trees
        )
        return self.trees[0].classes_[votes.argmax(axis=1)]


# %%
# The user's part
# ---------------
# The same forest under four contexts. ``seed=0`` gives each tree a seed by its number
# alone, so the forests are the same, tree by tree.

if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    contexts = {
        "no context": {},
        "two jobs": {"n_jobs": 2},
        "threads": {"backend": "threading", "n_jobs": 2},
        "processes": {"backend": "loky", "n_jobs": 2},
    }
    print(f"{'':<12}{'training':<28}{'prediction':<28}{'right':>6}")
    predictions = {}
    for name, settings in contexts.items():
        with parallel_config(**settings):
            fit = explain_backend(prefer="threads")
            predict = explain_backend(require="sharedmem")
            predictions[name] = Forest().fit(X_train, y_train).predict(X_test)
        row = [f"{choice.backend}, {choice.n_jobs}" for choice in (fit, predict)]
        right = (predictions[name] == y_test).mean()
        print(f"{name:<12}{row[0]:<28}{row[1]:<28}{right:>6.1%}")

# %%
# With processes the wish for threads yields to the user, and the condition does not: the
# votes are added up on threads. One number is less than one may expect. A context that
# names loky with ``n_jobs=2`` has two *processes* in mind; a call that is served by threads
# instead runs one job, unless it asks for more itself. ``explain_backend`` says so:

if __name__ == "__main__":
    with parallel_config("loky", n_jobs=2):
        print(explain_backend(require="sharedmem").reason)
        print(explain_backend(n_jobs=2, require="sharedmem"))
    same = [
        np.array_equal(each, predictions["threads"]) for each in predictions.values()
    ]
    print("the four forests predict the same:", all(same))
