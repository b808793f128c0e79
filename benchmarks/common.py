"""What the benchmarks share: sizes of two profiles, and tasks that any worker knows.

``JOBLIB_BENCHMARKS=full`` in the environment chooses the larger sizes.
"""

import operator
import os

from joblib import delayed

FULL = os.environ.get("JOBLIB_BENCHMARKS", "quick") == "full"


def sizes(quick, full):
    """Return the sizes of the profile that is in force."""
    return full if FULL else quick


def nothings(n):
    """Return n tasks that return at once: what is measured is the loop."""
    return [delayed(abs)(i) for i in range(n)]


def lookups(array, n):
    """Return n tasks that are all given one array, and look at one element each."""
    return [delayed(operator.getitem)(array, i) for i in range(n)]


def need(*modules):
    """Leave a benchmark out, in asv's way, where a package is not installed."""
    from importlib.util import find_spec

    for name in modules:
        if find_spec(name) is None:
            raise NotImplementedError(f"needs {name}")
