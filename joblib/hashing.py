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

from ._persist.array_bytes import array_chunks
from ._persist.digests import new_digest
from ._persist.plain_stream import make_save, sorted_items, sorted_members

# Extended by others under this name.
Pickler = pickle._Pickler

_BOUND = (types.MethodType, types.BuiltinMethodType)
# The C pickler's protocol for dtypes; another would change the digests of arrays.
_DTYPE_PROTOCOL = 4


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
        # The protocol is part of the digests: a newer one would change them all.
        super().__init__(self.stream, protocol=3)
        self._hash = new_digest(hash_name)

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
        # A subclass sees every part of the object; ours take the short way.
        hurried = type(self) in _OURS
        if hurried:
            self.save = make_save(
                self.stream.write, self.memo, self._save_other, _key_digest
            )
        try:
            self.dump(obj)
        except pickle.PicklingError as exc:
            exc.args += (f"PicklingError while hashing {obj!r}: {exc!r}",)
            raise
        finally:
            if hurried:
                del self.save  # it refers back to this object
        self._hash.update(self.stream.getvalue())
        return self._hash.hexdigest() if return_digest else None

    def _save_other(self, obj):
        """Save what the short way does not know."""
        Hasher.save(self, obj)

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

    def save(self, obj):
        """Write one object; arrays and dtypes reach the digest on a way of their own."""
        stand_in = self._array_stand_in(obj)
        if stand_in is not None:
            obj = stand_in
        elif isinstance(obj, self.np.dtype):
            # Equal dtypes may differ in identity, which a shared memo would show.
            self._hash.update(b"_HASHED_DTYPE")
            self._hash.update(pickle.dumps(obj, protocol=_DTYPE_PROTOCOL))
            return
        Hasher.save(self, obj)

    def _save_other(self, obj):
        stand_in = self._array_stand_in(obj)
        if stand_in is not None:
            self.save(stand_in)
        else:
            NumpyHasher.save(self, obj)

    def _array_stand_in(self, obj):
        """Digest the buffer of an array and tell the rest of it; None for all else."""
        np = self.np
        if not isinstance(obj, np.ndarray) or obj.dtype.hasobject:
            return None
        if getattr(obj, "_mask", np.False_) is not np.False_:
            return None  # a masked array: its buffer is but half of it
        for chunk in array_chunks(obj):
            self._hash.update(chunk)
        kind = obj.__class__
        if self.coerce_mmap and isinstance(obj, np.memmap):
            kind = np.ndarray
        return kind, ("HASHED", obj.dtype, obj.shape, obj.strides)


_OURS = (Hasher, NumpyHasher)


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
    if "numpy" in sys.modules:
        hasher = NumpyHasher(hash_name, coerce_mmap)
    else:
        # Nothing can be an array while numpy is not loaded.
        hasher = Hasher(hash_name)
    return hasher.hash(obj)


def _key_digest(key):
    """What stands for a key that does not compare with the others."""
    return hash(key)
