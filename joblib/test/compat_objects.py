"""Objects that both releases must write, read and digest alike: makers by name."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import functools
import operator
import random
import tempfile
import uuid

import numpy as np

from joblib.test import persistence_objects as parts
from joblib.test.compat_libraries import ESTIMATORS, PANDAS, SPARSE
from joblib.test.persistence_objects import Colour, Flags, Pair, Plain

KINDS = "?bBhHiIlLqQefdgFDG"


class Tagged(np.ndarray):
    """An array with an attribute, which it pickles too."""

    def __array_finalize__(self, other):
        self.tag = getattr(other, "tag", "none")

    def __reduce__(self):
        function, args, state = super().__reduce__()
        return function, args, (state, self.tag)

    def __setstate__(self, state):
        super().__setstate__(state[0])
        self.tag = state[1]


class BaseWithItems(list):
    """A list with attributes."""

    def __init__(self, *items, **attributes):
        super().__init__(items)
        self.__dict__.update(attributes)


def _numbers(kind):
    if kind == "?":
        return np.array([True, False, True])
    if kind in "efdg":
        return np.array([0.0, -0.0, 1.5, np.inf, -np.inf, np.nan], dtype=kind)
    if kind in "FDG":
        return np.array([0, 1 - 2j, complex(np.nan, np.inf)], dtype=kind)
    info = np.iinfo(kind)
    return np.array([info.min, 0, 1, info.max], dtype=kind)


def _swapped(array):
    return array.astype(array.dtype.newbyteorder())


def _times(kind, unit):
    values = np.array([0, 1, -(10**6), 10**12]).astype(f"{kind}8[{unit}]")
    return np.append(values, np.array(["NaT"], dtype=values.dtype))


def _memmap(shape, order):
    # Anonymous: the file is gone before anyone can look for it.
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, dtype="f8", mode="w+", shape=shape, order=order)
    mapped[...] = np.arange(mapped.size).reshape(shape)
    return mapped


def _zeros(dtype, shape=3):
    return np.zeros(shape, dtype=dtype)


def _read_only(array):
    array.flags.writeable = False
    return array


def _tagged():
    array = np.arange(6).reshape(2, 3).view(Tagged)
    array.tag = {"a": 1}
    return array


def _cube():
    return np.arange(24.0).reshape(2, 3, 4)


def _filled(dtype, rows):
    array = np.zeros(len(rows), dtype=dtype)
    array[:] = rows
    return array


ARRAYS = {
    **{f"kind {k}": functools.partial(_numbers, k) for k in KINDS},
    **{
        f"kind {k} swapped": lambda k=k: _swapped(_numbers(k))
        for k in KINDS
        if k not in "?bB"
    },
    **{
        f"time {k}[{u}]": functools.partial(_times, k, u)
        for k in "mM"
        for u in ("ns", "us", "ms", "s", "m", "h", "D", "25s")
    },
    "time in years": lambda: np.array([1, "NaT"], dtype="m8[Y]"),
    "time swapped": lambda: _swapped(_times("M", "s")),
    "text": lambda: np.array(["", "a", "été", "\U0001f600"]),
    "text swapped": lambda: _swapped(np.array(["a", "été"])),
    "text of no length": lambda: _zeros("U0"),
    "bytes": lambda: np.array([b"", b"a", b"\xff\x00b"]),
    "bytes of no length": lambda: _zeros("S0"),
    "void": lambda: np.frombuffer(b"abcdefghi", dtype="V3"),
    "record": lambda: _filled("i4,f8,U3,S2", [(1, 2.5, "é", b"x"), (2, 3, "", b"")]),
    "record swapped": lambda: _filled(">i4,>f8,>U3", [(1, 2.5, "é"), (2, 3, "")]),
    "record mixed": lambda: _filled(">i4,<i4", [(1, 2), (3, 4)]),
    "record aligned": lambda: _zeros(np.dtype("u1,f8", align=True)),
    "record nested": lambda: _zeros([("a", "i4", (2, 3)), ("b", [("c", "U3")])]),
    "record with gaps": lambda: _zeros(
        {"names": ["a", "b"], "formats": ["u1", "f4"], "offsets": [1, 8]}
    ),
    "record overlapping": lambda: _zeros(
        {"names": ["a", "b"], "formats": ["u2", "u1"], "offsets": [0, 0]}
    ),
    "record with titles": lambda: _zeros([(("title", "a"), "i4"), ("b", "f4")]),
    "record of objects": lambda: _filled([("a", "O"), ("b", "i4")], [([1], 2)]),
    "record of times": lambda: _filled("M8[s],m8[s]", [("NaT", 1), (2, "NaT")]),
    "record of one field": lambda: _filled("i4,f8", [(1, 2), (3, 4)])["f1"],
    "metadata": lambda: _zeros(np.dtype("i4", metadata={"a": 1})),
    "objects": lambda: np.array([["a", 1], [None, {"b": [2]}]], dtype=object),
    "objects with arrays": lambda: _filled("O", [np.arange(3), [np.eye(2)], "x"]),
    "objects in Fortran order": lambda: np.array(
        [["a", 1.5], [b"", ()]], "O", order="F"
    ),
    "objects, none": lambda: np.array([], dtype=object),
    "objects, no dimension": lambda: np.array({"a": 1}, dtype=object),
    "c order": _cube,
    "f order": lambda: np.asfortranarray(_cube()),
    "both orders": lambda: np.arange(4.0).reshape(1, 4),
    "transposed": lambda: _cube().T,
    "axes moved": lambda: np.moveaxis(_cube(), 0, 1),
    "every third": lambda: np.arange(10)[::3],
    "columns": lambda: _cube()[:, :, 1:3],
    "backwards": lambda: np.arange(10)[::-1],
    "f order backwards": lambda: np.asfortranarray(_cube())[::-1, :, ::-2],
    "broadcast": lambda: np.broadcast_to(np.arange(2), (3, 2)),
    "broadcast scalar": lambda: np.broadcast_to(np.float32(2), (3, 2)),
    "diagonal": lambda: np.eye(3).diagonal(),
    "windows": lambda: np.lib.stride_tricks.sliding_window_view(np.arange(6), 3),
    "unaligned": lambda: np.frombuffer(b"0123456789abc", "u1")[1:9].view("f8"),
    "read-only": lambda: np.frombuffer(b"12345678", dtype="u1"),
    "read-only f order": lambda: _read_only(np.asfortranarray(np.eye(3))),
    "no dimension": lambda: np.array(5.0),
    "no dimension swapped": lambda: np.array(5, dtype=">i2"),
    "no dimension text": lambda: np.array("text"),
    "no dimension record": lambda: np.array((1, 2.0), dtype="i4,f8"),
    "no dimension time": lambda: np.array("NaT", dtype="M8[s]"),
    "empty": lambda: np.zeros(0),
    "empty c order": lambda: np.zeros((2, 0, 3), dtype="i2"),
    "empty f order": lambda: np.zeros((3, 0), dtype="i2", order="F"),
    "empty part": lambda: np.arange(10)[5:5],
    "one element": lambda: np.zeros((1, 1, 1)),
    "many dimensions": lambda: np.arange(2.0**8).reshape((2,) * 8),
    "many dimensions of one": lambda: np.ones((1,) * 32),
    "large": lambda: np.arange(300_000, dtype="u4") % 1000,
    "large, gathered": lambda: (np.arange(300_000) % 999).reshape(500, 600)[:, ::2],
}

SUBCLASSES = {
    "matrix": lambda: np.eye(2).view(np.matrix),
    "matrix f order": lambda: np.arange(6).reshape(2, 3).T.view(np.matrix),
    "memmap": lambda: _memmap((3, 4), "C"),
    "memmap f order": lambda: _memmap((3, 4), "F"),
    "memmap part": lambda: _memmap((3, 4), "C")[1:],
    "masked": lambda: np.ma.masked_array([1.0, np.nan, 3.0], mask=[0, 1, 0]),
    "masked without mask": lambda: np.ma.masked_array([1, 2]),
    "masked hard": lambda: np.ma.masked_array([1, 2], [0, 1], hard_mask=True),
    "masked with filling": lambda: np.ma.masked_array([1, 2], [0, 1], fill_value=7),
    "masked records": lambda: np.ma.array(
        _filled("i4,f8", [(1, 2), (3, 4)]), mask=[(0, 1), (1, 0)]
    ),
    "masked f order": lambda: np.ma.masked_greater(np.asfortranarray(np.eye(3)), 0.5),
    "masked text": lambda: np.ma.masked_array(["a", "b"], [1, 0]),
    "masked constant": lambda: np.ma.masked,
    "record array": lambda: np.rec.array([(1, 2.0), (3, 4.0)]),
    "record array, named": lambda: np.rec.array(
        [(1, "a"), (3, "b")], names=["n", "text"]
    ),
    "record": lambda: np.rec.array([(1, 2.0)])[0],
    "tagged": _tagged,
    "matrix of objects": lambda: np.array([[1, "a"]], dtype="O").view(np.matrix),
}


# Those of which releases or runs make something else each.
PECULIAR = {f"kind {kind}{how}" for kind in "gG" for how in ("", " swapped")}
PECULIAR |= {"record mixed"}


def _many():
    return {f"array {n}": np.full(n % 7, n, dtype="f4") for n in range(300)}


def _twice():
    array = np.arange(5)
    return [array, array, {"again": array}, array[:3], array.reshape(1, 5)]


def _crossed():
    one, other = {"name": "one"}, {"name": "other"}
    one["other"], other["one"] = other, one
    return [one, other, np.arange(3), one]


def _holding_itself():
    holder = Plain(array=np.arange(3), items=[])
    holder.items += [holder, holder.array, {"holder": holder}]
    return holder


def _deep():
    value = np.arange(2)
    for depth in range(60):
        value = [value, depth] if depth % 2 else {"in": value}
    return value


def _random_state():
    state = np.random.RandomState(3)
    state.normal(size=3)
    return state


CONTAINERS = {
    "nothing": lambda: None,
    "atoms": lambda: [True, 2**70, -1, 1.5, 1 + 2j, "é", b"\x00\xff", ...],
    "integers": lambda: [
        s * 2**n + d
        for n in (7, 8, 15, 16, 31, 32, 63, 64, 2100)
        for s in (1, -1)
        for d in (-1, 0, 1)
    ],
    "floats": lambda: [0.0, -0.0, 1e308, 5e-324, float("inf"), float("nan")],
    "texts": lambda: ["", "a" * 255, "b" * 256, "é" * 70_000, "\ud800", "a\nb\\u0041"],
    "bytes": lambda: [b"", b"a" * 255, b"b" * 256, b"c" * 70_000, bytearray(b"xyz")],
    "containers": lambda: [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, set()],
    "sets": lambda: [{"a", "b", 3}, frozenset([1, (2, 3)]), {frozenset()}],
    "long containers": lambda: [
        list(range(2500)),
        dict.fromkeys(range(2500)),
        set(range(2500)),
        tuple(range(2500)),
    ],
    "collections": lambda: [
        collections.OrderedDict([("b", 1), ("a", np.arange(2))]),
        collections.defaultdict(list, {"a": [np.arange(2)]}),
        collections.Counter("abca"),
        collections.deque([1, np.arange(2)], maxlen=5),
        collections.ChainMap({"a": 1}, {"b": 2}),
    ],
    "subclasses": lambda: [
        parts.AList([1]),
        parts.ADict(a=1),
        parts.ATuple((1,)),
        parts.ASet([1]),
        parts.AStr("s"),
        parts.AnInt(3),
        parts.AFloat(2.5),
        parts.SomeBytes(b"b"),
    ],
    "list with attributes": lambda: BaseWithItems(np.arange(2), 3, name=np.eye(2)),
    "dates": lambda: [
        datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
        datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
        datetime.date(1, 1, 1),
        datetime.time(1, 2),
        datetime.timedelta(-1, 5, 7),
    ],
    "numbers": lambda: [
        decimal.Decimal("1.50"),
        decimal.Decimal("NaN"),
        fractions.Fraction(1, 3),
    ],
    "enumerations": lambda: [Colour.RED, Colour.BLUE, Flags.A | Flags.B, Colour],
    "named tuple": lambda: Pair(np.arange(2), Pair(1, "b")),
    "slots": parts.Slots,
    "state": lambda: Plain(x=np.arange(2), y=Plain()),
    "reduced": lambda: [
        parts.ReducedToCall(),
        parts.ReducedToItems(),
        parts.ReducedToList(),
    ],
    "functions": lambda: [
        len,
        parts.function,
        Plain.of_class,
        Plain(a=1).method,
        np.sum,
        np.add,
        np.linalg.inv,
        operator.itemgetter(1, 2),
        functools.partial(parts.function, np.arange(2), k=1),
    ],
    "classes": lambda: [
        int,
        Plain,
        parts.Outer.Inner,
        np.ndarray,
        np.float64,
        type(None),
        type(...),
        collections.OrderedDict,
    ],
    "odds and ends": lambda: [
        ...,
        NotImplemented,
        slice(1, None, 2),
        range(3, 9, 2),
        uuid.UUID(int=5),
    ],
    "scalars": lambda: [
        np.float32(1.5),
        np.int8(3),
        np.bool_(True),
        np.str_("é"),
        np.bytes_(b"x"),
        np.complex64(1j),
        np.float16(2),
        np.datetime64("NaT", "s"),
        np.datetime64(1, "s"),
        np.timedelta64(3, "D"),
        np.void(b"abc"),
    ],
    "dtypes": lambda: [
        np.dtype("f4"),
        np.dtype(">i2"),
        np.dtype([("a", "i4", 2)]),
        np.dtype("M8[25s]"),
        np.dtype("U3"),
        np.dtype("O"),
    ],
    "array twice": _twice,
    "list twice": lambda: [parts.shared_list, parts.shared_list, (parts.shared_list,)],
    "dict of arrays": lambda: {
        "a": np.arange(3),
        "b": {"c": np.eye(2)},
        3: (np.eye(1),),
    },
    "many arrays": _many,
    "arrays between texts": lambda: ["a" * 9000, np.arange(3), "b" * 70_000, np.eye(2)],
    "every order": lambda: [np.eye(3), np.eye(3, order="F"), np.eye(3)[::2]],
    "every array": lambda: [
        make() for name, make in ARRAYS.items() if name not in PECULIAR
    ],
    "list in itself": lambda: parts.list_in_itself,
    "tuple in itself": lambda: parts.tuple_in_itself,
    "long tuple in itself": lambda: parts.long_tuple_in_itself,
    "dict in itself": lambda: parts.dict_in_itself,
    "instance in itself": _holding_itself,
    "crossed": _crossed,
    "deep": _deep,
    "random": lambda: random.Random(5),
    "random state": _random_state,
    "random generators": lambda: [
        np.random.default_rng(1),
        np.random.Generator(np.random.MT19937(2)),
    ],
    "polynomial": lambda: np.polynomial.Polynomial([1, 2.5, 3]),
    "poly1d": lambda: np.poly1d([1, 2]),
    "texts of any length": lambda: np.array(
        ["a", "", "é" * 50], dtype=getattr(np.dtypes, "StringDType", lambda: "U50")()
    ),
}


def _prefixed(word, makers):
    return {f"{word}: {name}": make for name, make in makers.items()}


NUMPY_AND_BUILTINS = {
    **_prefixed("array", ARRAYS),
    **_prefixed("subclass", SUBCLASSES),
    **_prefixed("container", CONTAINERS),
}
LIBRARIES = {
    **_prefixed("pandas", PANDAS),
    **_prefixed("sparse", SPARSE),
    **_prefixed("estimator", ESTIMATORS),
}
#: every maker by name
OBJECTS = {**NUMPY_AND_BUILTINS, **LIBRARIES}
