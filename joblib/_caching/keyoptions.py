"""What users say about what tells calls apart: hash_name, key, version, depends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import hashing
from .._persist.digests import new_digest
from ..func_inspect import get_func_name
from .dependencies import Dependencies
from .parameters import parameter_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DEFAULT_HASH = "md5"


class KeyOptions:
    """Options of `Memory.cache` that change keys, checked.

    Attributes
    ----------
    hash_name : str
        The digest algorithm.
    key : dict
        Functions by parameter: what counts of an argument.
    version : str or None
        Digest of the version.
    depends : Dependencies or None
    """

    __slots__ = ("depends", "hash_name", "key", "version")

    def __init__(
        self,
        hash_name: str,
        key: dict[str, Callable[[Any], Any]],
        version: str | None,
        depends: Dependencies | None,
    ) -> None:
        self.hash_name = hash_name
        self.key = key
        self.version = version
        self.depends = depends

    @property
    def suffix(self) -> str:
        """What follows the digest in a key: keys of two algorithms are never equal."""
        return hash_suffix(self.hash_name)


def make_key_options(
    func: Any,
    ignore: Sequence[str] | None,
    hash_name: str = DEFAULT_HASH,
    key: Mapping[str, Callable[[Any], Any]] | None = None,
    version: Any = None,
    depends: Iterable[Any] | None = None,
) -> KeyOptions | None:
    """Check the options that change keys.

    Parameters
    ----------
    func : callable
    ignore : list of str or None
    hash_name, key, version, depends
        As of `Memory.cache`.

    Returns
    -------
    KeyOptions or None
        None where all are left out: keys are those of upstream.

    Raises
    ------
    ValueError, TypeError, ImportError
        What was wrong, what was given and what is allowed.
    """
    check_hash_name(hash_name)
    functions = _check_key(func, ignore, key)
    dependencies = None if depends is None else Dependencies(depends)
    if version is None:
        version_digest = None
    else:
        version_digest = _digest_version(version)
    if (
        not hash_suffix(hash_name)
        and not functions
        and version_digest is None
        and not dependencies
    ):
        return None
    return KeyOptions(hash_name, functions, version_digest, dependencies or None)


def check_hash_name(hash_name: Any) -> None:
    """Raise an error if there is no such algorithm, or its package is missing.

    Raises
    ------
    ValueError, ImportError
    """
    new_digest(hash_name)


def hash_suffix(hash_name: str) -> str:
    """Return what follows the digests of an algorithm in keys; nothing for md5."""
    name = hash_name.lower()
    return "" if name == DEFAULT_HASH else "-" + re.sub("[^a-z0-9_]+", "_", name)


def _digest_version(version: Any) -> str:
    try:
        return str(hashing.hash(version))
    except Exception as error:
        raise TypeError(
            f"version must be a value that can be hashed, such as 2 or '2024-05'; got "
            f"an object of type {type(version).__name__} ({error})."
        ) from error


def _check_key(
    func: Any,
    ignore: Sequence[str] | None,
    key: Mapping[str, Callable[[Any], Any]] | None,
) -> dict[str, Callable[[Any], Any]]:
    if key is None:
        return {}
    name = get_func_name(func)[1]
    if not isinstance(key, Mapping):
        raise TypeError(
            "key must be a dict of functions by parameter, such as {'path': "
            f"os.path.getmtime}}; got {key!r} of type {type(key).__name__}."
        )
    known = parameter_names(func)
    for parameter, function in key.items():
        if parameter not in known:
            raise ValueError(
                f"key: {parameter!r} is no parameter of {name}; it has "
                f"{', '.join(map(repr, known)) or 'none'}."
            )
        if not callable(function):
            raise TypeError(
                f"key: what is given for {parameter!r} of {name} must be a function of "
                f"the argument; got {function!r} of type {type(function).__name__}."
            )
        if not isinstance(ignore, str) and parameter in (ignore or ()):
            raise ValueError(
                f"{parameter!r} of {name} is in key and in ignore: what does not count "
                "has no key. Name it in one of them."
            )
    return dict(key)
