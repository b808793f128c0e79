"""The digest algorithms `hash` accepts, by name."""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

# Offered besides those of hashlib: far faster on large arrays, and not cryptographic.
XXHASH_NAMES = ("xxh3_128",)


def known_names() -> list[str]:
    """Return the names `new_digest` accepts, the usual ones first."""
    # The digests of the "shake" family have no length of their own.
    others = {n for n in hashlib.algorithms_available if not n.startswith("shake")}
    first = ["md5", "sha1", *XXHASH_NAMES]
    return first + sorted(others - set(first))


def new_digest(name: Any) -> Any:
    """Return a fresh digest object of that algorithm.

    Raises
    ------
    ValueError
        If there is no such algorithm.
    ImportError
        If it is an xxhash algorithm and the package is not installed.
    """
    if name == "md5":  # by far the most frequent
        return hashlib.md5(usedforsecurity=False)
    if name in XXHASH_NAMES:
        try:
            return getattr(importlib.import_module("xxhash"), name)()
        except ImportError as exc:
            raise ImportError(
                f"hash_name={name!r} needs the package xxhash: pip install xxhash"
            ) from exc
    try:
        if isinstance(name, str) and not name.lower().startswith("shake"):
            # An identifier, not a defence: lets md5 work on FIPS systems.
            return hashlib.new(name, usedforsecurity=False)
    except ValueError:
        pass
    raise ValueError(
        f"Valid options for 'hash_name' are {tuple(known_names())}. "
        f"Got hash_name={name!r} instead."
    )
