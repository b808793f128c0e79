"""Jobs that digest objects, done by either release; see `upstream`."""

from __future__ import annotations

import array
import collections
import contextlib
import datetime
import decimal
import fractions
import functools
import operator
import random
import re
import tempfile
import types
import uuid
from pathlib import Path

import numpy as np

import joblib
from joblib.test import persistence_objects
from joblib.test.compat_objects import OBJECTS

MODULES = (collections, datetime, decimal, functools, operator, random, re, types)
MODULES += (array, fractions, uuid)
#: what expressions may name
NAMES = {
    **vars(persistence_objects),
    **{module.__name__: module for module in MODULES},
    "np": np,
    "joblib": joblib,
}

#: beside those of the golden digests
EXPRESSIONS = """
{2: 1, 1: 2, 3: {5: 6, 4: 7}}
{"a": {"c", "b"}, "b": frozenset([3, 1])}
{(1, "a"), (2, "b")}
{frozenset([1, 2]), frozenset([3])}
{1, "a", None, (1, 2)}
{np.int64(1): 2, 3: 4}
{np.str_("a"): 1, "b": 2}
{b"a": 1, "a": 2}
{1: 1, 1.5: 2, True: 3}
{None: None}
{Colour.RED: 1, Colour.BLUE: 2}
{datetime.date(2020, 1, 2): 1, datetime.date(2019, 1, 2): 2}
{decimal.Decimal("1.5"): 1, decimal.Decimal("0.5"): 2}
{int: 1, str: 2}
{len: 1}
collections.OrderedDict(b=1, a=2)
collections.OrderedDict()
collections.defaultdict(int)
collections.ChainMap({"b": 1}, {"a": 2})
collections.UserDict({"b": 1, "a": 2})
collections.UserList([1, 2])
collections.Counter()
collections.deque()
types.MappingProxyType({"b": 1})
types.SimpleNamespace()
ASet([3, 1])
ADict({1: 2, "a": 3})
AList([AList()])
[Colour, Colour.RED, Flags.A, Flags.A | Flags.B, Flags(0)]
[datetime.time(1, 2), datetime.timezone.utc, datetime.timedelta(1, 2, 3)]
datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
[decimal.Decimal("NaN"), decimal.Decimal("-0"), decimal.Decimal("1E+5")]
fractions.Fraction(3, 4)
uuid.UUID(int=7)
array.array("d", [1.0, 2.0])
bytearray()
bytearray(b"x" * 70000)
memoryview(b"abc")
slice(1, 2)
range(0)
complex("nan")
[1 + 2j] * 2
re.compile(b"a", re.I)
random.Random(1).random
operator.attrgetter("a.b")
operator.methodcaller("m", 1, k=2)
functools.partial(len)
functools.partial(Plain.of_class)
functools.partial(functools.partial(function, 1), 2)
functools.partial(Plain(x=1).method, 3)
function
[function] * 2
len
[].append
[1, 2].append
{1: 2}.get
{1, 2}.add
"a,b".split
(1, 2).count
(5).bit_length
(1.5).is_integer
b"ab".hex
int.from_bytes
str.join
dict.fromkeys
object.__init__
np.sum
np.add
np.add.reduce
np.linalg.norm
np.random.default_rng
np.random.RandomState(0).rand
np.arange(3).sum
np.float64(1.5).item
np.random.default_rng(0)
Plain.of_class
Plain.static
Plain.method
Plain().method
Plain(x=[1], y={2: 3}).method
Plain(x=np.arange(3)).method
Outer
Outer.Inner
Outer.Inner()
Outer.Inner().method
[Outer.Inner().method, Outer.Inner().method]
Pair(1, Pair(2, 3))
[Pair(1, 2)] * 2
Pair
type(None)
type(...)
np
collections
np.nan
np.pi
np.newaxis
np.ndarray
np.matrix
np.int64
np.dtype
[np.dtype("i4"), np.dtype("<i4"), np.dtype("int32")]
[np.dtype(">i4"), np.dtype("S3"), np.dtype("U"), np.dtype("V5"), np.dtype("M8[s]")]
{"d": np.dtype([("a", "f4"), ("b", "i2", (2,))])}
np.dtype("f8", metadata={"a": 1})
np.dtype({"names": ["a", "b"], "formats": ["u1", "f4"], "offsets": [1, 8]})
np.array([1, 2], dtype=np.dtype("i4", metadata={"a": 1}))
[np.int8(1), np.uint16(2), np.float16(3), np.complex64(4), np.bytes_(b"a")]
[np.datetime64(1, "s"), np.timedelta64(2, "D"), np.datetime64("NaT", "ns")]
np.void(b"abc")
np.array((1, 2.0), dtype="i4,f8")[()]
np.ma.masked
np.ma.masked_array([1, 2, 3], [0, 1, 0])
np.ma.masked_array([1, 2, 3])
np.ma.masked_array(np.eye(3), np.eye(3) > 0)
np.ma.masked_array(np.eye(3), np.eye(3) > 0).T
[np.ma.masked_array([1.5, 2], [1, 0], fill_value=5)] * 2
np.eye(3).view(np.matrix)
np.rec.array([(1, 2.0)])
np.poly1d([1, 2, 3])
np.polynomial.Polynomial([1, 2, 3])
np.nditer
np.lib.stride_tricks.as_strided(np.arange(4), (3, 2), (8, 8))
np.arange(6).reshape(2, 3)[::-1]
np.arange(6).reshape(2, 3)[:, ::-1].T
np.arange(24).reshape(2, 3, 4).swapaxes(0, 2)
np.arange(24).reshape(2, 3, 4)[1]
np.arange(24).reshape(2, 3, 4)[:, 1]
np.arange(24, dtype=">i4").reshape(4, 6).T
np.zeros((3, 0)).T
np.zeros((1, 5))
np.zeros((5, 1))
np.zeros((5, 1), order="F")
np.zeros((1, 1, 1))
np.zeros(())
np.array("abc")
np.array(None, dtype=object)
np.array([None, 1.5, "a", b"b", (1,), [2], {3: 4}], dtype=object)
np.array([1, "a"] * 2, dtype=object)[::2]
np.empty((0, 2), dtype=object)
np.frombuffer(b"abcdefgh", dtype="<u2")
np.frombuffer(b"0123456789abc", "u1")[1:9].view("f8")
[np.arange(3), np.arange(3)[::1], np.arange(3).copy()]
(lambda a: [a, a])(np.arange(3))
(lambda a: [a, a[:2], a[::2], a.T])(np.arange(9).reshape(3, 3))
(lambda a: [a, [a], (a,), {"a": a}])([1])
(lambda a: [a, (a, a), (a,)])((1, (2, 3)))
(lambda a: {"x": a, "y": a, "z": [a]})({"k": 1})
(lambda a: [a, a, {a}])("ab" + "cd")
(lambda a: [a, AStr(a), str(a)])("".join(["x", "y"]))
["ab", "".join(["a", "b"]), "ab"]
[("a", 1), ("a", 1), ("".join(["a"]), 1)]
(lambda a: [a, a])(AStr("s"))
(lambda a: [a, a])(SomeBytes(b"s"))
(lambda a: [a, a])(2**80)
(lambda a: [a, a])(1.5)
(lambda a: [a, a])(frozenset([1]))
(lambda a: [a, a])({1, 2})
(lambda a: [a, a])(Colour.RED)
(lambda a: [a, a])(Plain(x=1))
(lambda a: [a, a, a.method])(Plain(x=1))
(lambda a: [a.method, a.method, a])(Plain(x=[1]))
(lambda a: [a, a])(range(3))
(lambda a: [a, a])(b"x" * 70000)
(lambda a: [a, a])("x" * 70000)
(lambda a: [a, a])(np.dtype("f4"))
(lambda a: [a, a])(np.float64(2.5))
(lambda a: [a, a])(np.array([1, "a"], dtype=object))
(lambda a: [a, a])(Slots())
(lambda a: [a, a])(ReducedToItems())
(lambda a: [a, a])(datetime.date(2020, 1, 1))
[Plain(x=1), Plain(x=1), Plain(x=2)]
Plain(a=Plain(b=Plain(c=[1, {2}])))
Plain(**{"".join(["a", "b"]): 1})
[[], [[]], [[], []], ((),), {}, {1: {}}]
[[[[[[[[[[1]]]]]]]]]]
list_in_itself
tuple_in_itself
long_tuple_in_itself
dict_in_itself
instance_in_itself
[instance_in_itself, list_in_itself, dict_in_itself]
[list(range(1000)), tuple(range(1001)), dict.fromkeys(range(1001))]
set(range(1001))
{i: [i] for i in range(300)}
[(i, str(i)) for i in range(300)]
joblib.hash
joblib.dump
joblib.delayed(len)(3)
lambda: 1
[1, lambda: 2]
Plain(f=lambda: 1)
(i for i in [1, 2])
[(i for i in [1])]
iter([1, 2])
iter({1: 2})
iter("ab")
enumerate([1])
map(len, ["a"])
zip([1], [2])
{1: 2}.keys()
{1: 2}.items()
__import__("io").StringIO("a")
__import__("io").BytesIO(b"a")
__import__("threading").Lock()
__import__("sys").stdout
__import__("sys")._getframe()
__import__("weakref").ref(Plain)
type("Local", (), {})
type("Local", (), {})()
property(len)
staticmethod(len)
classmethod(len)
super
""".strip().splitlines()


def _digest(make, **options):
    try:
        return joblib.hash(make(), **options)
    except Exception as exc:
        return f"error {type(exc).__name__}"


def _digests(make):
    return [
        _digest(make, hash_name=name, coerce_mmap=coerce)
        for name in ("md5", "sha1")
        for coerce in (False, True)
    ]


def of_expressions(expressions):
    """Digest what expressions give, in each way."""
    return {e: _digests(lambda e=e: eval(e, NAMES)) for e in expressions}


def of_objects(names):
    """Digest objects of the catalogue of files."""
    return {name: _digests(OBJECTS[name]) for name in names}


@contextlib.contextmanager
def _mapped(order, dtype, mode):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m")
        np.arange(12).astype(dtype).tofile(path)
        yield np.memmap(path, dtype=dtype, mode=mode, shape=(3, 4), order=order)


def of_memmaps():
    """Digest memory-mapped arrays, parts of them, and what holds them."""
    found = {}
    for order in "CF":
        for dtype in ("<f8", ">i4"):
            for mode in ("r", "r+", "c"):
                with _mapped(order, dtype, mode) as mapped:
                    parts = {
                        "whole": mapped,
                        "rows": mapped[1:],
                        "columns": mapped[:, ::2],
                        "transposed": mapped.T,
                        "array of it": np.asarray(mapped),
                        "list": [mapped, mapped, mapped[0]],
                        "item": mapped[0, 0],
                        "masked": np.ma.masked_array(mapped, np.asarray(mapped) > 3),
                        "in a dictionary": {"m": mapped, "a": np.asarray(mapped)},
                    }
                    for name, part in parts.items():
                        key = f"{name} {order} {dtype} {mode}"
                        found[key] = _digests(lambda part=part: part)
                    del mapped, parts, part
    return found


def build(recipe):
    """Make an object of a recipe: a list of nodes that refer to earlier ones."""
    made = []
    for kind, value in recipe:
        parts = []
        if isinstance(value, list) and made:
            parts = [made[number % len(made)] for number in value]
        if kind == "text":
            obj = "".join(list(value))  # a new object, equal or not
        elif kind == "same text":
            obj = value
        elif kind == "bytes":
            obj = value.encode("utf-8", "surrogatepass")
        elif kind == "integer":
            obj = int(value)
        elif kind == "float":
            obj = float(value)
        elif kind == "atom":
            obj = (None, True, False, ..., 1j, Colour.RED, len, np.float64)[value]
        elif kind == "array":
            obj = np.arange(value, dtype=f"<i{1 << value % 4}")
        elif kind == "list":
            obj = parts
        elif kind == "tuple":
            obj = tuple(parts)
        elif kind == "instance":
            obj = Plain(**{f"a{n}": part for n, part in enumerate(parts)})
        elif kind == "dict":
            obj = _with_hashable(parts, _dict_of)
        elif kind == "set":
            obj = _with_hashable(parts, set)
        elif kind == "frozenset":
            # Those of texts lie in an order that differs from process to process.
            obj = frozenset(part for part in parts if type(part) is int)
        elif kind == "append":
            for part in parts:
                if isinstance(part, list):
                    part.append(made[0])
            obj = parts
        else:
            raise ValueError(kind)
        made.append(obj)
    return made[-1]


Colour, Plain = persistence_objects.Colour, persistence_objects.Plain


def _dict_of(parts):
    return dict(zip(parts, parts[::-1], strict=True))


def _with_hashable(parts, make):
    try:
        return make(parts)
    except TypeError:
        return tuple(parts)


def of_recipe(recipe):
    """Digest what a recipe gives."""
    return _digests(lambda: build(recipe))
