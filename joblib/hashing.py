"""`hash`: a digest of any picklable object, the same in every process.

An object is written as a pickle whose bytes depend on values alone, never on the
order of sets and dictionaries nor on which strings happen to be one object; the
bytes are digested. Arrays bypass the pickle: their buffers are digested as they lie
in memory.

Digests name results that sit in caches on disk, so what is written here must never
change by a byte.
"""

from __future__ import annotations

import io
import pickle
import sys
import types

from ._persist.array_bytes import ArrayDigester
from ._persist.digests import new_digest
from ._persist.plain_stream import (
    PlainWriter,
    members_of_frozen,
    sorted_items,
    sorted_members,
)

# Extended by others under this name.
Pickler = pickle._Pickler

# The protocol is part of the digests: a newer one would change them all.
_PROTOCOL = 3
_PROTOCOL_HEAD = pickle.PROTO + bytes((_PROTOCOL,))
_BOUND = (types.MethodType, types.BuiltinMethodType)


class _ConsistentSet:
    """What stands for a set in the stream: its members in an order of their own."""

    def __init__(self, set_sequence):
        self._sequence = sorted_members(set_sequence, _key_digest)


class _MyHash:
    """What stands for an object that pickle would write ambiguously."""

    def __init__(self, *args):
        self.args = args


def _method_parts(method):
    """The stand-in of a bound method or builtin: name, owner and the owner's class."""
    function = getattr(method, "__func__", method)
    owner = method.__self__
    if isinstance(owner, types.ModuleType):
        return _MyHash(function.__name__, owner.__name__)
    if owner is None:
        return _MyHash(function.__name__, owner)
    return _MyHash(function.__name__, owner, owner.__class__)


class Hasher(Pickler):
    """Pickle an object into a digest instead of a file.

    Subclasses may override `save` to replace objects before they are written, and
    `memoize`.

    Parameters
    ----------
    hash_name : str, default "md5"
        The algorithm; see `hash`.
    """

    dispatch = Pickler.dispatch.copy()

    def __init__(self, hash_name="md5"):
        self.stream = io.BytesIO()
        super().__init__(self.stream, protocol=_PROTOCOL)
        self._hash = new_digest(hash_name)

    def _go_on_with(self, stream, memo, digest):
        """Take up a stream that was begun elsewhere."""
        Pickler.__init__(self, stream, protocol=_PROTOCOL)
        self.stream, self.memo, self._hash = stream, memo, digest

    def hash(self, obj, return_digest=True):
        """Digest `obj`.

        Parameters
        ----------
        obj : object
            Anything picklable.
        return_digest : bool, default True
            Return the digest in hexadecimal; else the caller goes on with this
            hasher.

        Returns
        -------
        str or None

        Raises
        ------
        pickle.PicklingError
            If a part of `obj` cannot be pickled.
        """
        try:
            self.dump(obj)
        except pickle.PicklingError as exc:
            exc.args += (f"PicklingError while hashing {obj!r}: {exc!r}",)
            raise
        self._hash.update(self.stream.getvalue())
        return self._hash.hexdigest() if return_digest else None

    def save(self, obj):
        """Write one object; called for each part, too."""
        if isinstance(obj, _BOUND):
            obj = _method_parts(obj)
        Pickler.save(self, obj)

    def memoize(self, obj):
        """Remember an object so that it is written once.

        Strings and bytes are left out: whether two equal ones are the same object
        is an accident of their history.
        """
        if not isinstance(obj, (str, bytes)):
            Pickler.memoize(self, obj)

    def _batch_setitems(self, items, *args):
        # Newer versions of pickle pass the dictionary too.
        Pickler._batch_setitems(self, iter(sorted_items(items, _key_digest)), *args)

    def save_set(self, set_items):
        """Write a set as its ordered stand-in."""
        Pickler.save(self, _ConsistentSet(set_items))

    dispatch[set] = save_set

    def save_frozenset(self, members):
        """Write a frozen set with its members in the same order in every process."""
        listed = members_of_frozen(members, _key_digest)
        self.save_reduce(frozenset, (listed,), obj=members)

    dispatch[frozenset] = save_frozenset


class NumpyHasher(Hasher):
    """A `Hasher` that digests the buffers of numpy arrays directly.

    Parameters
    ----------
    hash_name : str, default "md5"
        The algorithm; see `hash`.
    coerce_mmap : bool, default False
        Make no difference between `numpy.memmap` and `numpy.ndarray`.
    """

    def __init__(self, hash_name="md5", coerce_mmap=False):
        self.coerce_mmap = coerce_mmap
        super().__init__(hash_name=hash_name)
        import numpy as np

        self.np = np
        self._arrays = ArrayDigester(self._hash.update, np, coerce_mmap)

    def _go_on_with(self, stream, memo, digest):
        super()._go_on_with(stream, memo, digest)
        self._arrays = ArrayDigester(digest.update, self.np, self.coerce_mmap)

    def save(self, obj):
        """Write one object; arrays and dtypes reach the digest on a way of their own."""
        stand_in = self._arrays.stand_in(obj)
        if stand_in is not None:
            obj = stand_in
        elif isinstance(obj, self.np.dtype):
            self._arrays.digest_dtype(obj)
            return
        Hasher.save(self, obj)


class _Errand(PlainWriter):
    """One call of `hash`: the short way, and a hasher for what it cannot do.

    The hasher writes to the same stream with the same memo, and hands the parts of
    what it takes apart back to the short way.
    """

    __slots__ = ("_coerce_mmap", "_digest", "_hash_name", "_hasher")

    def __init__(self, hash_name, coerce_mmap):
        self._hash_name = hash_name
        self._coerce_mmap = coerce_mmap
        self._digest = new_digest(hash_name)
        self._hasher = None
        # Nothing can be an array while numpy is not loaded.
        np = sys.modules.get("numpy")
        arrays = None
        if hasattr(np, "memmap"):  # it may be about to be imported
            arrays = ArrayDigester(self._digest.update, np, coerce_mmap)
        super().__init__(arrays)

    def run(self, obj):
        """Return the digest of `obj`."""
        self.write(_PROTOCOL_HEAD)
        try:
            self.save(obj)
        except pickle.PicklingError as exc:
            exc.args += (f"PicklingError while hashing {obj!r}: {exc!r}",)
            raise
        finally:
            if self._hasher is not None:
                del self._hasher.save  # which refers back to this object
        self.write(pickle.STOP)
        self._digest.update(self.stream.getvalue())
        return self._digest.hexdigest()

    def key_digest(self, key):
        """What stands for a key that does not compare with the others."""
        return hash(key)

    def other(self, obj):
        """Leave an object to the hasher."""
        hasher = self._hasher
        if hasher is None:
            if self._arrays is not None:
                hasher = NumpyHasher(self._hash_name, self._coerce_mmap)
            else:
                hasher = Hasher(self._hash_name)
            hasher._go_on_with(self.stream, self.memo, self._digest)
            hasher.save = self.save
            self._hasher = hasher
        type(hasher).save(hasher, obj)


def hash(obj, hash_name="md5", coerce_mmap=False):
    """Return a digest that identifies the value of a Python object.

    Equal values give equal digests in any process, whatever the order in which a
    set or dictionary was filled. Arrays of different dtype, shape, memory order or
    class differ.

    Parameters
    ----------
    obj : object
        Anything picklable; functions and classes count by name, not by code.
    hash_name : str, default "md5"
        The algorithm: "md5" and "sha1" give the digests caches on disk are named
        by, any other fixed-length name of `hashlib` works too, and "xxh3_128"
        (package xxhash) is the fastest by far on large arrays.
    coerce_mmap : bool, default False
        Make no difference between `numpy.memmap` and `numpy.ndarray`.

    Returns
    -------
    str
        The digest in hexadecimal.

    Raises
    ------
    ValueError
        If `hash_name` is unknown.
    pickle.PicklingError
        If a part of `obj` cannot be pickled.

    Examples
    --------
    >>> import joblib
    >>> joblib.hash({"a": 1, "b": [2]})
    '0611d2bf6e995dce88ac046ad928531c'
    """
    return _Errand(hash_name, coerce_mmap).run(obj)


def _key_digest(key):
    """What stands for a key that does not compare with the others."""
    return hash(key)
