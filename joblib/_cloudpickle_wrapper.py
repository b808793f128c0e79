"""`wrap_non_picklable_objects`: have one object pickled by cloudpickle."""

from __future__ import annotations

from typing import Any

from ._multiprocessing_helpers import mp


def _my_wrap_non_picklable_objects(obj: Any, keep_wrapper: bool = True) -> Any:
    """Return `obj` as it is: without processes there is nobody to send it to."""
    return obj


def wrap_non_picklable_objects(obj: Any, keep_wrapper: bool = True) -> Any:
    """Wrap an object so that plain pickle can carry it, by means of cloudpickle.

    Of use for lambdas, and for functions and classes defined in a script or a
    notebook, when they travel by something that pickles without cloudpickle.
    Pickling becomes slower; moving the definition to a module avoids that.

    Parameters
    ----------
    obj : object
        A function, an object, or a class; of a class, the instances made by
        the wrapped class are wrapped.
    keep_wrapper : bool, default=True
        Whether the unpickled object is wrapped as well, and so can be pickled
        again, or is the bare object.

    Returns
    -------
    object
        Behaves like `obj`, and is callable if `obj` is; `obj` itself where
        multiprocessing is missing or was switched off.
    """
    if mp is None:
        return _my_wrap_non_picklable_objects(obj, keep_wrapper=keep_wrapper)
    from loky import wrap_non_picklable_objects as wrap

    return wrap(obj, keep_wrapper=keep_wrapper)
