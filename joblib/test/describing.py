"""A text that tells all there is to an object, to compare objects of two processes.

Classes, dtypes, flags, values to the last bit, and which parts are one object; one
line for each part. What is no builtin container is taken apart as pickle would.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import types

import numpy as np

_ATOMS = (
    int,
    float,
    complex,
    bool,
    str,
    bytes,
    type(None),
    type(...),
    type(NotImplemented),
)
_NAMED = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    np.ufunc,
)


def describe(obj, loosely=False):
    """Return the text.

    Parameters
    ----------
    loosely : bool
        Leave out what does not survive in a file: where an array lies, its strides
        but for C or Fortran order, its byte order, whether two arrays are one,
        whether an element of an array of objects is found elsewhere too, and whether
        a mask is hard.
    """
    describer = _Describer(loosely)
    describer.tell(obj, "")
    return "\n".join(describer.lines)


def first_difference(left, right):
    """Return the first line in which two texts differ, "" if they are the same."""
    if left == right:
        return ""
    pair = (left.split("\n"), right.split("\n"))
    for one, other in zip(*pair, strict=False):
        if one != other:
            return f"{one}  <>  {other}"
    return f"{len(pair[0])} lines <> {len(pair[1])} lines"


def _brief(text):
    if len(text) < 200:
        return text
    data = text.encode("utf-8", "surrogatepass")
    return f"{text[:40]}... {hashlib.sha1(data).hexdigest()}"


class _Describer:
    def __init__(self, loosely):
        self.loosely = loosely
        self.lines = []
        self._known = {}  # from id to number and object, which stays alive by it

    def tell(self, obj, path):
        """Add the lines for `obj`."""
        kind = type(obj)
        if kind in _ATOMS:
            self._line(path, f"{kind.__name__} {_brief(repr(obj))}")
        elif isinstance(obj, _NAMED):
            name = getattr(obj, "__qualname__", obj.__name__)
            self._line(path, f"{getattr(obj, '__module__', '')}:{name}")
        elif obj is np.ma.masked:
            self._line(path, "masked")
        elif isinstance(obj, np.dtype):
            self._line(path, f"dtype {self._dtype(obj)}")
        elif isinstance(obj, np.generic):
            self._line(path, f"{kind.__name__} {self._dtype(obj.dtype)} {obj!r}")
        elif kind is tuple:
            # Equal tuples may be one object or several: an accident.
            self._line(path, f"tuple of {len(obj)}")
            self._tell_all(obj, path)
        elif self._tell_again(obj, path):
            return
        elif isinstance(obj, np.ndarray):
            self._tell_array(obj, path)
        elif kind in (set, frozenset):
            members = sorted(describe(member, self.loosely) for member in obj)
            self._line(path, f"{kind.__name__} {members}")
        elif kind is list:
            self._line(path, f"list of {len(obj)}")
            self._tell_all(obj, path)
        elif kind is dict:
            self._line(path, f"dict of {len(obj)}")
            for number, (key, value) in enumerate(obj.items()):
                self.tell(key, f"{path}.key{number}")
                self.tell(value, f"{path}[{_brief(repr(key))}]")
        else:
            self._tell_parts(obj, path)

    def _line(self, path, text):
        self.lines.append(f"{path}: {text}")

    def _tell_all(self, parts, path):
        for number, part in enumerate(parts):
            self.tell(part, f"{path}[{number}]")

    def _tell_again(self, obj, path):
        """Tell of an object met before where that was."""
        if self.loosely and isinstance(obj, np.ndarray):
            return False
        known = self._known.get(id(obj))
        if known is None:
            self._known[id(obj)] = len(self._known), obj
            return False
        self._line(path, f"number {known[0]} again")
        return True

    def _dtype(self, dtype):
        if self.loosely and dtype.kind != "T":
            dtype = dtype.newbyteorder("=")
        details = f"{dtype!r} {dtype.itemsize} {dtype.isalignedstruct}"
        try:
            metadata = dict(dtype.metadata or {})
        except TypeError:  # some versions of numpy trip over times that were pickled
            metadata = {}
        return f"{details} {metadata}"

    def _tell_array(self, array, path):
        kind, flags = type(array), array.flags
        if self.loosely:
            kind = np.ndarray if kind is np.memmap else kind
            layout = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
        else:
            layout = f"{flags.c_contiguous:d}{flags.f_contiguous:d} "
            layout += f"writeable {flags.writeable}"
            # Those of no elements mean nothing.
            layout += f" strides {array.strides}" if array.size else ""
        name = f"{kind.__module__}.{kind.__qualname__}"
        what = f"{name} {self._dtype(array.dtype)} {array.shape} {layout}"
        if isinstance(array, np.ma.MaskedArray):
            self._line(path, what)
            mask = np.ma.getmaskarray(array)
            if self.loosely:
                mask = mask.tolist()
            else:
                self.tell([array.hardmask, array.mask is np.ma.nomask], f"{path}.how")
            self.tell(array.fill_value, f"{path}.fill_value")
            self.tell(mask, f"{path}.mask")
            self.tell(array.data, f"{path}.data")
            return
        self._line(path, what)
        plain = np.asarray(array)
        if plain.dtype.kind == "O":
            known = self._known
            if self.loosely:
                self._known = {}  # a pickle of its own in files
            self._tell_all(plain.ravel().tolist(), path)
            self._known = known
        elif plain.dtype.hasobject or plain.dtype.char in "VgG":
            # The bytes hold addresses, or gaps that mean nothing.
            self._line(path, _brief(repr(plain.tolist())))
        else:
            if self.loosely:
                plain = plain.astype(plain.dtype.newbyteorder("="))
            self._line(path, hashlib.sha1(plain.tobytes()).hexdigest())
        if getattr(array, "__dict__", None) and not isinstance(array, np.memmap):
            self.tell(vars(array), f"{path}.__dict__")

    def _tell_parts(self, obj, path):
        name = f"{type(obj).__module__}.{type(obj).__qualname__}"
        if isinstance(obj, types.MethodType):
            self._line(path, f"method {obj.__func__.__qualname__}")
            self.tell(obj.__self__, f"{path}.__self__")
            return
        reduced = copyreg.dispatch_table.get(type(obj), _reduce)(obj)
        if isinstance(reduced, str):
            self._line(path, f"{name} {reduced}")
            return
        function, args, state, items, pairs = (*reduced, None, None, None)[:5]
        if isinstance(function, functools.partial):
            function = function.func
        self._line(path, f"{name} by {function!s}".split(" at 0x")[0])
        self._tell_all(args, f"{path}.args")
        self.tell(state, f"{path}.state")
        if items is not None:
            self._tell_all(items, f"{path}.items")
        if pairs is not None:
            self.tell(list(pairs), f"{path}.pairs")


def _reduce(obj):
    return obj.__reduce_ex__(4)
