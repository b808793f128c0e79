"""What scikit-learn, scipy and pandas pickle besides types, and what is not to be had.

Patterns take types only. The functions here rebuild objects of these packages, or are
stored in them; they come with a pattern that covers them, or, for scipy's objects that
scikit-learn's are made of, always. Some types run what their state says: patterns do
not cover them.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable
from typing import Any

from .failures import CorruptFileError
from .trust_values import Context, Grant, Rule

# Their state opens a network connection.
_NEVER_BY_PATTERN = ("sklearn.callback._scoring_monitor.ScoringMonitor",)

# Functions that are stored, but that nothing calls while loading: scores, metrics.
_STORED = (
    "sklearn.metrics.*",
    "sklearn.feature_selection.*",
    "sklearn.cluster._kmeans._kmeans_single_*",
    "scipy._lib.array_api_compat.numpy.*asarray",
)
# Functions that take a class and make an instance of it.
_MAKERS = ("sklearn.*.newObj",)
# Functions that rebuild objects from a class, if there is one, and values.
_REBUILDERS = (
    "pandas.core.indexes.base._new_Index",
    "pandas.core.indexes.datetimes._new_DatetimeIndex",
    "pandas.core.indexes.timedeltas._new_TimedeltaIndex",
    "pandas.core.indexes.period._new_PeriodIndex",
    "pandas.core.indexes.interval._new_IntervalIndex",
    "pandas._libs.internals._unpickle_block",
    "pandas._libs.tslibs.nattype._nat_unpickle",
    "pandas._libs.tslibs.timedeltas._timedelta_unpickle",
    "pandas._libs.tslibs.timestamps._unpickle_timestamp",
)
_CONSTANTS = ("pandas.NA", "pandas._libs.missing.NA")

# Always: what estimators of scikit-learn hold.
_SCIPY_TYPES = (
    "scipy.interpolate.*.BSpline",
    "scipy.interpolate.*._BSpline",  # what BSpline holds from SciPy 1.18 on
    "scipy.interpolate.*.PPoly",
    "scipy.interpolate.*.CubicSpline",
    "scipy.interpolate.*.PchipInterpolator",
    "scipy.interpolate.*.interp1d",
    "scipy.stats._continuous_distns.*_gen",
    "scipy.stats._discrete_distns.*_gen",
    "scipy.stats._distn_infrastructure.rv_*frozen",
)
_SCIPY_FUNCTIONS = ("scipy._lib.array_api_compat.numpy.*asarray",)


#: extension modules that call themselves by less than their full name, and so do pickles
_FULL_NAMES = {"_loss": "sklearn._loss._loss"}  # scikit-learn before 1.8


def full_name_of(module: Any) -> Any:
    """Return where a module of a library really is, given what it calls itself."""
    return _FULL_NAMES.get(module, module) if isinstance(module, str) else module


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def is_excluded(cls: type) -> bool:
    """Whether a type is dangerous enough that no pattern covers it."""
    full = f"{cls.__module__}.{cls.__qualname__}"
    # Ours, between processes, unpack pickles that they hold.
    return full in _NEVER_BY_PATTERN or full.startswith(("joblib._", "joblib.exter"))


def is_scipy_of_estimators(module: str, name: str) -> bool:
    """Whether a name may be one of the types of scipy that estimators hold."""
    full = f"{module}.{name}"
    return full.startswith("scipy.sparse.") or _matches(full, _SCIPY_TYPES)


def may_serve_estimators(cls: Any) -> bool:
    """Whether a type, found under such a name, is really one of them."""
    full = f"{cls.__module__}.{cls.__qualname__}"
    if not full.startswith("scipy.sparse."):
        return _matches(full, _SCIPY_TYPES)
    base = sys.modules.get("scipy.sparse._base") or sys.modules.get("scipy.sparse.base")
    kinds = [getattr(base, kind, None) for kind in ("_spbase", "spmatrix")]
    return any(isinstance(kind, type) and issubclass(cls, kind) for kind in kinds)


def _checked_call(function: Any, name: str) -> Callable[..., Any]:
    """The call of a function that makes instances of trusted classes of its package."""
    package = name.partition(".")[0]

    def call(context: Context, *args: Any) -> Any:
        for arg in args:
            if isinstance(arg, type) and not (
                context.may_make(arg) and str(arg.__module__).startswith(package)
            ):
                raise CorruptFileError(f"{arg.__name__} cannot be made this way")
        return function(*args)

    return call


def _is_cython_function(obj: Any) -> bool:
    return type(obj).__name__ in (
        "cython_function_or_method",
        "builtin_function_or_method",
    )


def rule_for_function(name: str, obj: Any) -> Grant | None:
    """Return the grant for a function that comes with its package's pattern.

    Parameters
    ----------
    name : str
        The name that the file gives.
    obj : object
        What is found there; it is known to be defined in a package that is covered.
    """
    last = name.rpartition(".")[2]
    if name in _CONSTANTS:
        return Grant(name, obj, Rule())
    if last.startswith("__pyx_unpickle_") and _is_cython_function(obj):
        return Grant(name, obj, Rule(call=_checked_call(obj, name)))
    if _matches(name, _MAKERS) and _is_cython_function(obj):
        return Grant(name, obj, Rule(call=_checked_call(obj, name)))
    if name in _REBUILDERS:
        return Grant(name, obj, Rule(call=_checked_call(obj, name)))
    if _matches(name, _STORED):
        return Grant(name, obj, Rule())
    return None


def is_stored_scipy_function(name: str) -> bool:
    """Whether a name is one of the functions that objects of scipy hold."""
    return _matches(name, _SCIPY_FUNCTIONS)


def check_state(obj: Any, state: Any) -> None:
    """Raise if the state of an object has code in it that would be run.

    scipy's distributions keep the source of a function, and run it when they get
    their state back: it must be that of scipy's own instance of the same class.
    """
    infrastructure = sys.modules.get("scipy.stats._distn_infrastructure")
    generic = getattr(infrastructure, "rv_generic", None)
    if generic is None or not issubclass(type(obj), generic):
        return
    stats: Any = sys.modules.get("scipy.stats")
    sources = [
        value._parse_arg_template
        for value in vars(stats).values()
        if type(value) is type(obj) and hasattr(value, "_parse_arg_template")
    ]
    source = state.get("_parse_arg_template") if type(state) is dict else None
    if type(source) is not str or source not in sources:
        raise CorruptFileError("a distribution with source code that is not scipy's")
    for key in state:
        if type(key) is not str or callable(getattr(type(obj), key, None)):
            raise CorruptFileError(f"a distribution with a method of its own, {key!r}")
