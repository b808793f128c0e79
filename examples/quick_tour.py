"""
A quick tour: a loop, a cluster, and what a loop asks for
=========================================================

Three short listings: a loop on the cores of this machine, a search of scikit-learn on
a dask cluster, and the words with which a loop says what it needs, wherever its user
has it run.
"""

# %%
# A loop
# ------
# ``delayed(f)(x)`` notes a call instead of making it; ``Parallel`` makes the calls and
# returns the results in order.
#
# The guard, ``if __name__ == "__main__":``, belongs in every script that starts
# processes which import it: without one, each of them would do all of it anew.

# sphinx_gallery_thumbnail_path = "_static/loop.svg"
from math import sqrt

from joblib import Parallel, delayed

if __name__ == "__main__":
    print(Parallel(n_jobs=2)(delayed(sqrt)(i**2) for i in range(5)))

# %%
# scikit-learn on a cluster
# -------------------------
# scikit-learn runs its loops with joblib. A search over forests is a loop of loops;
# both run on the cluster that the context names. ``Client()`` starts a small cluster on
# this machine; ``Client("tcp://scheduler:8786")`` would connect to a large one.

from dask.distributed import Client
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

from joblib import parallel_backend

if __name__ == "__main__":
    client = Client(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    digits = load_digits()
    search = GridSearchCV(
        RandomForestClassifier(n_estimators=20, random_state=0, n_jobs=-1),
        {"max_depth": [4, 8, None]},
        cv=3,
        n_jobs=-1,
    )
    with parallel_backend("dask.distributed"):
        search.fit(digits.data, digits.target)
    print(search.best_params_, round(search.best_score_, 3))

# %%
# ``prefer`` and ``require``
# --------------------------
# The author of a function knows what its loop is like, but not where it will run.
# ``prefer`` is a wish, and yields to the user's context; ``require`` is a condition, and
# holds whatever the context says.

import os


def total(block):
    """Return the sum of a block, and the process that added it up."""
    return sum(block), os.getpid()


def totals(blocks):
    """Add up the blocks: threads do, and a cluster does too."""
    return Parallel(n_jobs=2, prefer="threads")(map(delayed(total), blocks))


def fill(out):
    """Write into the caller's list: no other process can."""
    Parallel(n_jobs=2, require="sharedmem")(
        delayed(out.__setitem__)(i, i**2) for i in range(len(out))
    )


if __name__ == "__main__":
    squares = [0] * 5
    with parallel_backend("dask.distributed"):
        for result, process in totals([range(10), range(20)]):
            where = "here" if process == os.getpid() else "on the cluster"
            print(f"{result} was added up {where}")
        fill(squares)
    print("filled here:", squares)

# %%
# Who is in doubt asks: ``explain_backend`` takes what ``Parallel`` would, and says what
# would serve such a call at this place, and why.

from joblib import explain_backend

if __name__ == "__main__":
    with parallel_backend("dask.distributed"):
        print(explain_backend(prefer="threads"))
        print(explain_backend(require="sharedmem"))
    client.close()
