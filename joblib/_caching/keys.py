"""The key of a call: a hash of what tells its result from others."""

from __future__ import annotations

from pickle import PicklingError
from typing import TYPE_CHECKING, Any

from .. import hashing

if TYPE_CHECKING:
    from collections.abc import Mapping


def hash_key(key: Mapping[str, Any], coerce_mmap: bool, func_id: str) -> str:
    """Hash the arguments of a call.

    Parameters
    ----------
    key : mapping
        Values by parameter.
    coerce_mmap : bool
        Whether memory-mapped arrays count as equal to arrays in memory.
    func_id : str
        What the function is called in an error.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    PicklingError, TypeError, AttributeError, ValueError
        Of the kind that the argument caused which cannot be hashed; it names it.
    """
    try:
        return str(hashing.hash(key, coerce_mmap=coerce_mmap))
    except Exception as error:
        _raise_naming_argument(key, coerce_mmap, func_id, error)
        raise


def _raise_naming_argument(
    key: Mapping[str, Any], coerce_mmap: bool, func_id: str, error: Exception
) -> None:
    def fails(value: Any) -> bool:
        try:
            hashing.hash(value, coerce_mmap=coerce_mmap)
        except Exception:
            return True
        return False

    name = next((name for name, value in key.items() if fails(value)), None)
    if name is None:
        return
    message = (
        f"Argument {name!r} of {func_id} cannot be hashed, which caching needs: it is of "
        f"type {type(key[name]).__name__} ({error}). Arguments that do not change the "
        "result can be named in Memory.cache(ignore=[...])."
    )
    for kind in (PicklingError, TypeError, AttributeError, ValueError):
        if isinstance(error, kind):
            raise kind(message) from error
