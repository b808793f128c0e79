"""What loading may always do with numpy's types: a table, and narrow reconstructors.

numpy believes what a pickle says: a dtype sets its own size and flags, an array its
strides over memory that it does not own. So dtypes are put together anew by numpy's
public constructor, and nothing but fresh arrays is given a state.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from typing import Any

from .failures import CorruptFileError
from .trust_values import Context, Grant, Rule, check_plain

# numpy.core became numpy._core; files of either time are read by the other.
_CORE = ("numpy.core.", "numpy._core.")
_ARRAY_CLASSES = {
    "numpy.ndarray": "ndarray",
    "numpy.matrix": "matrix",
    "numpy.matrixlib.defmatrix.matrix": "matrix",
    "numpy.recarray": "recarray",
    "numpy.rec.recarray": "recarray",
    "numpy._core.records.recarray": "recarray",
    "numpy._core.defchararray.chararray": "char.chararray",
    "numpy.char.chararray": "char.chararray",
    "numpy.ma.MaskedArray": "ma.MaskedArray",
    "numpy.ma.core.MaskedArray": "ma.MaskedArray",
    "numpy.ma.mrecords.MaskedRecords": "ma.mrecords.MaskedRecords",
    # Calling it opens files. What it was the class of is read, or mapped anew.
    "numpy.memmap": "ndarray",
    "numpy._core.memmap.memmap": "ndarray",
}
_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
# Often stored in estimators; never called while loading.
_REDUCTIONS = (
    "all amax amin any argmax argmin average max mean median min nanmax nanmean "
    "nanmedian nanmin nanstd nansum nanvar prod ptp std sum var asarray nan_to_num "
    "identity zeros ones eye"
).split()
_UFUNC_MODULES: tuple[str, ...] = (
    "numpy",
    "numpy._core._multiarray_umath",
    "numpy._core.umath",
)
_UFUNC_MODULES += ("scipy.special", "scipy.special._ufuncs")
_POLYNOMIALS = {
    "polynomial": "Polynomial",
    "chebyshev": "Chebyshev",
    "hermite": "Hermite",
    "hermite_e": "HermiteE",
    "laguerre": "Laguerre",
    "legendre": "Legendre",
}


def _np() -> Any:
    return importlib.import_module("numpy")


def _core() -> Any:
    np = _np()
    return np._core if hasattr(np, "_core") else np.core


def _string_dtype(context: Context, *args: Any) -> Any:
    name = "numpy._core._internal._convert_to_stringdtype_kwargs"
    check_plain(name, args)
    return _core()._internal._convert_to_stringdtype_kwargs(*args)


def _is_scalar_type(obj: Any) -> bool:
    return isinstance(obj, type) and issubclass(obj, _np().generic)


def make_dtype(
    context: Context, kind: Any, align: Any = False, copy: Any = True, *more: Any
) -> Any:
    """Stands in for numpy.dtype: always a new one, never one that is shared."""
    if type(kind) is bytes:
        kind = kind.decode("latin-1")
    if type(kind) is not str and not _is_scalar_type(kind):
        raise CorruptFileError("a dtype is made from neither text nor a scalar type")
    return _np().dtype(kind, bool(align), True)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _structured(base: Any, names: Any, fields: Any, state: Any) -> Any:
    np = _np()
    formats, offsets, titles = [], [], []
    for name in names:
        field = fields[name]
        formats.append(field[0])
        offsets.append(field[1])
        titles.append(field[2] if len(field) > 2 else None)
        if not isinstance(field[0], np.dtype) or not _is_count(field[1]):
            raise CorruptFileError("a field of a dtype is no dtype")
    layout = {"names": list(names), "formats": formats, "offsets": offsets}
    if any(title is not None for title in titles):
        check_plain("numpy.dtype", titles)
        layout["titles"] = titles
    if not _is_count(state[5]):
        raise CorruptFileError("a dtype without a size")
    layout["itemsize"] = state[5]
    made = np.dtype(layout, align=bool(state[7] & 0x80))
    if base.type is not np.void:
        made = np.dtype((base.type, made))  # records
    return made


def _moment(base: Any, unit: Any) -> Any:
    """A dtype of times; `unit` is (b"s", 1, 1, 1) or so: 1/1 seconds."""
    name, count, parts, _ = unit
    if type(name) is bytes:
        name = name.decode("ascii")
    if type(name) is not str or not _is_count(count) or not _is_count(parts):
        raise CorruptFileError("a dtype of times without a unit")
    if name == "generic":
        return base
    each = f"{count}{name}" + (f"/{parts}" if parts != 1 else "")
    return _np().dtype(f"{base.kind}8[{each}]")


def dtype_with_state(base: Any, state: Any) -> Any:
    """Return the dtype that a pickle describes as `base` with a state.

    Parameters
    ----------
    base : numpy.dtype
        What was made first; stays as it is.
    state : tuple
        Version, byte order, subdtype, names, fields, size, alignment, flags and
        perhaps metadata. Size and flags of all but structures are numpy's own.
    """
    np = _np()
    if type(state) is not tuple or not 8 <= len(state) <= 9:
        raise CorruptFileError("a dtype with a state that numpy does not write")
    order, subdtype, names, fields = state[1:5]
    made = base
    if type(state[7]) is not int:
        raise CorruptFileError("a dtype without flags")
    if names is not None or fields is not None:
        if type(names) is not tuple or type(fields) not in (dict, None.__class__):
            raise CorruptFileError("a dtype with fields that have no names")
        made = _structured(base, names, fields or {}, state)
    elif subdtype is not None:
        inner, shape = subdtype
        extents = shape if type(shape) is tuple else (shape,)
        if not isinstance(inner, np.dtype) or not all(map(_is_count, extents)):
            raise CorruptFileError("a dtype of arrays of nothing")
        made = np.dtype((inner, extents))
    metadata = state[8] if len(state) > 8 else None
    if base.kind in "mM" and type(metadata) is tuple and len(metadata) == 2:
        metadata, unit = metadata
        made = _moment(base, unit)
    if order in ("<", ">") and (made is base or base.kind in "mM"):
        is_native = order == ("<" if sys.byteorder == "little" else ">")
        made = made.newbyteorder("=" if is_native else order)
    if type(metadata) is dict and metadata:
        made = np.dtype(made, metadata=metadata)
    return made


def _dtype_class(context: Context, scalar_type: Any) -> Any:
    if not _is_scalar_type(scalar_type):
        raise CorruptFileError("the class of dtypes of what is no scalar type")
    return type(_np().dtype(scalar_type))


def _check_array_class(context: Context, cls: Any) -> None:
    if not isinstance(cls, type) or not issubclass(cls, _np().ndarray):
        raise CorruptFileError("an array of a class that is none of arrays")


def _empty_array(context: Context, cls: Any, shape: Any, kind: Any) -> Any:
    """Stands in for _reconstruct: empty, whatever the file says; a state follows."""
    _check_array_class(context, cls)
    new: Any = _np().ndarray.__new__
    return new(cls, (0,), "b")


def _empty_masked(context: Context, cls: Any, base: Any, shape: Any, kind: Any) -> Any:
    np = _np()
    _check_array_class(context, base)
    _check_array_class(context, cls)
    if not issubclass(cls, np.ma.MaskedArray):
        raise CorruptFileError("a masked array of a class that is none")
    data = np.ndarray.__new__(base, (0,), "b")
    mask = np.zeros((0,), bool)
    return cls.__new__(cls, data, mask=mask, dtype="b")


def _scalar(context: Context, dtype: Any, data: Any = None) -> Any:
    np = _np()
    if not isinstance(dtype, np.dtype):
        raise CorruptFileError("a scalar without a dtype")
    if type(data) is str:
        data = data.encode("latin-1")  # of Python 2
    if dtype.hasobject:
        if type(data) is not np.ndarray or data.dtype != dtype or data.shape != ():
            raise CorruptFileError("a scalar of objects that are none")
    elif type(data) is not bytes or len(data) < dtype.itemsize:
        raise CorruptFileError("a scalar with less data than its dtype asks for")
    return _core().multiarray.scalar(dtype, data)


def _from_buffer(
    context: Context, buffer: Any, dtype: Any, shape: Any, order: Any, *axes: Any
) -> Any:
    np = _np()
    if type(buffer) not in (bytes, bytearray) or not isinstance(dtype, np.dtype):
        raise CorruptFileError("an array over what is no plain buffer")
    if not _is_shape(shape) or order not in ("C", "F", "K", "A"):
        raise CorruptFileError("an array without a shape or an order")
    array = np.frombuffer(buffer, dtype=dtype)
    if order == "K" and axes and axes[0] is not None:
        check_plain("numpy._core.numeric._frombuffer", axes)
        return array.reshape(shape, order="C").transpose(axes[0])
    return array.reshape(shape, order=order)


def _is_shape(shape: Any) -> bool:
    return type(shape) is tuple and all(map(_is_count, shape))


def check_array_state(array: Any, state: Any) -> None:
    """Raise if the state of a fresh array is not what numpy writes.

    Of an ndarray: (version, shape, dtype, is_fortran, data); of a masked one the mask
    and the fill value come on top. Other subclasses may have what they like.
    """
    np = _np()
    if type(state) is not tuple or len(state) < 4:
        raise CorruptFileError("an array with a state that numpy does not write")
    own = type(array).__setstate__ is np.ndarray.__setstate__
    if not own and not isinstance(array, np.ma.MaskedArray):
        return
    parts = state[1:] if len(state) > 4 else state
    shape, dtype, _, data = parts[:4]
    if not _is_shape(shape) or not isinstance(dtype, np.dtype):
        raise CorruptFileError("an array without a shape or a dtype")
    if type(data) not in ((list,) if dtype.hasobject else (bytes, str, list)):
        raise CorruptFileError("an array with data of another kind than its dtype")
    if dtype.subdtype is not None:
        raise CorruptFileError("an array of arrays")
    # numpy reads on behind the end of a list that is too short.
    if type(data) is list and len(data) != math.prod(shape):
        raise CorruptFileError("an array of another size than its list of objects")


def _bit_generator(context: Context, kind: Any = "MT19937") -> Any:
    random = importlib.import_module("numpy.random")
    if type(kind) is str and kind in _GENERATORS:
        return getattr(random, kind)()
    known = [getattr(random, name) for name in _GENERATORS]
    if not any(kind is one for one in known):
        raise CorruptFileError("a random generator of an unknown kind")
    return kind()


def _with_bit_generator(name: str) -> Callable[..., Any]:
    def call(context: Context, kind: Any = "MT19937", make: Any = None) -> Any:
        random = importlib.import_module("numpy.random")
        if not isinstance(kind, random.BitGenerator):
            kind = _bit_generator(context, kind)
        return getattr(random, name)(kind)

    return call


def _old_random_state(context: Context, *args: Any) -> Any:
    return importlib.import_module("numpy.random").RandomState(0)


def _masked_constant(context: Context, *args: Any) -> Any:
    return _np().ma.masked


_FUNCTIONS: dict[str, Rule] = {
    "numpy.dtype": Rule(call=make_dtype, pure=True),
    "numpy._core._DType_reconstruct": Rule(call=_dtype_class),
    "numpy._core.multiarray._reconstruct": Rule(call=_empty_array),
    "numpy._core.multiarray.scalar": Rule(call=_scalar),
    "numpy._core.numeric._frombuffer": Rule(call=_from_buffer),
    "numpy._core._internal._convert_to_stringdtype_kwargs": Rule(call=_string_dtype),
    "numpy.ma.core._mareconstruct": Rule(call=_empty_masked),
    "numpy.ma.core.MaskedConstant": Rule(call=_masked_constant),
    "numpy.random._pickle.__bit_generator_ctor": Rule(call=_bit_generator),
    "numpy.random._pickle.__randomstate_ctor": Rule(
        call=_with_bit_generator("RandomState")
    ),
    "numpy.random._pickle.__generator_ctor": Rule(
        call=_with_bit_generator("Generator")
    ),
    "numpy.random.__RandomState_ctor": Rule(call=_old_random_state),
}


def _random_grant(name: str, find: Callable[[str], Any]) -> Grant | None:
    last = name.rpartition(".")[2]
    if last in _GENERATORS or last == "SeedSequence":
        return Grant(name, find(name), Rule())
    if name == "numpy.random.bit_generator.__pyx_unpickle_SeedSequence":
        value = find(name)
        seed = importlib.import_module("numpy.random").SeedSequence

        def call(context: Context, cls: Any, *args: Any) -> Any:
            if cls is not seed:
                raise CorruptFileError("a seed sequence of another class")
            return value(cls, *args)

        return Grant(name, value, Rule(call=call))
    return None


def rule_for_numpy(name: str, find: Callable[[str], Any]) -> Grant | None:
    """Return the grant for a name of numpy's, or None if it is not among the safe.

    Parameters
    ----------
    name : str
        The full name.
    find : callable
        Returns the object of a name.
    """
    if name.startswith(_CORE[0]):
        name = _CORE[1] + name[len(_CORE[0]) :]
    if not name.startswith(("numpy.", "scipy.special.")):
        return None
    module, _, last = name.rpartition(".")
    if name in _ARRAY_CLASSES:
        value: Any = _np()
        for part in _ARRAY_CLASSES[name].split("."):
            if part == "mrecords":
                importlib.import_module("numpy.ma.mrecords")
            value = getattr(value, part)
        return Grant(name, value, Rule())
    if name in _FUNCTIONS:
        return Grant(name, find(name), _FUNCTIONS[name])
    if module.startswith("numpy.random."):
        return _random_grant(name, find)
    if module.startswith("numpy.polynomial."):
        if _POLYNOMIALS.get(module.rpartition(".")[2]) == last:
            return Grant(name, find(name), Rule(make=True))
        return None
    if module in _UFUNC_MODULES or module in ("numpy.dtypes", "numpy._core.records"):
        np = _np()
        if module.startswith("numpy._core") and not hasattr(np, "_core"):
            module = module.replace("_core", "core", 1)
        # Not by getattr, for which numpy imports modules that are not trusted.
        value = vars(importlib.import_module(module)).get(last)
        if isinstance(value, np.ufunc):
            return Grant(name, value, Rule())
        if isinstance(value, type) and issubclass(value, (np.generic, np.dtype)):
            return Grant(name, value, Rule())
        if module == "numpy" and last in _REDUCTIONS:
            return Grant(name, value, Rule())
    return None
