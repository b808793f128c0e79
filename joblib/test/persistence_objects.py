"""Objects that the tests of `dump`, `load` and `hash` are about, and what makes them.

Digests in ``data/hash_digests.json`` depend on the names in this module.
"""

from __future__ import annotations

import collections
import enum


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def method(self, x):
        return x

    @classmethod
    def of_class(cls):
        return cls

    @staticmethod
    def static():
        return None

    def __eq__(self, other):
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self):
        return 1


class Slots:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a, self.b = 1, [2]


class State:
    def __getstate__(self):
        return {"x": {3, 1}, "k": ("a", 1)}


class ReducedToCall:
    def __reduce__(self):
        return list, ([1, 2],)


class ReducedToItems:
    def __reduce__(self):
        return dict, (), None, None, iter([("b", 1), ("a", 2)])


class ReducedToList:
    def __reduce__(self):
        return list, (), None, iter([3, 1, 2])


class AList(list):
    pass


class ADict(dict):
    pass


class ATuple(tuple):
    pass


class ASet(set):
    pass


class AStr(str):
    pass


class AnInt(int):
    pass


class AFloat(float):
    pass


class SomeBytes(bytes):
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Outer:
    class Inner:
        def method(self):
            pass


Pair = collections.namedtuple("Pair", "a b")


def function():
    pass


list_in_itself: list = []
list_in_itself.append(list_in_itself)
tuple_in_itself: tuple = ([],)
tuple_in_itself[0].append(tuple_in_itself)
long_tuple_in_itself: tuple = ([], 1, 2, 3, 4)
long_tuple_in_itself[0].append(long_tuple_in_itself)
dict_in_itself: dict = {}
dict_in_itself["d"] = dict_in_itself
instance_in_itself = Plain()
instance_in_itself.parts = [instance_in_itself, instance_in_itself]

shared_list = [1]
shared_text = "shared"
shared_tuple = (1, 2)
shared_bytes = b"xx"
nan = float("nan")


def everything():
    """One object with a bit of all that files can hold; needs numpy."""
    import numpy as np

    ordered = np.arange(24.0).reshape(2, 3, 4)
    shared = np.arange(5)
    return {
        "atoms": [None, True, 2**70, -1, 1.5, 1 + 2j, "\u00e9", b"\x00\xff"],
        "containers": [(), (1,), [], {"a": {1, 2}}, frozenset([3])],
        "instance": Plain(x=shared, y=[Colour.RED, Pair(1, 2)]),
        "function": function,
        "long text": "long " * 20000,
        "long bytes": b"long " * 20000,
        "twice": [shared, shared],
        "integers": [np.arange(3, dtype=kind) for kind in "bBhHiIlLqQ"],
        "floats": [np.linspace(0, 1, 5).astype(kind) for kind in "efdFD"],
        "bools": np.array([True, False, True]),
        "texts": [np.array(["a", "\u00e9t\u00e9"]), np.array([b"a", b"bcd"])],
        "times": [
            np.arange(3).astype("M8[s]"),
            np.arange(3).astype("m8[D]"),
        ],
        "foreign": [np.arange(3, dtype=">i4"), np.arange(3, dtype=">f8")],
        "records": np.array([(1, 2.5, "x")], dtype="i4,f8,U3"),
        "nested records": np.zeros(
            2, dtype=[("a", "i4", (2, 3)), ("b", [("c", "U3")])]
        ),
        "c order": ordered,
        "f order": np.asfortranarray(ordered),
        "neither order": ordered[:, ::2, ::-1],
        "strided": np.arange(10)[::3],
        "broadcast": np.broadcast_to(np.arange(2), (3, 2)),
        "read-only": np.frombuffer(b"12345678", dtype="u1"),
        "no dimension": np.array(5.0),
        "empty": [np.zeros(0), np.zeros((2, 0, 3), dtype="i2")],
        "objects": np.array([["a", 1], [None, {"b": np.arange(2)}]], dtype=object),
        "no objects": np.array([], dtype=object),
        "masked": np.ma.masked_array([1.0, 2.0, 3.0], mask=[0, 1, 0]),
        "record array": np.rec.array([(1, 2.0), (3, 4.0)]),
        "scalars": [np.float32(1.5), np.int8(3), np.bool_(True), np.datetime64(1, "s")],
        "dtypes": [np.dtype("f4"), np.dtype([("a", "i4")])],
        "large": np.arange(30000, dtype="u2").reshape(300, 100),
        "random": np.random.RandomState(0),
        "after": "the last array",
    }


def alike(left, right):
    """Whether two objects are the same in class and content, arrays included."""
    import numpy as np

    if isinstance(left, np.ndarray):
        kinds = {type(left), type(right)}
        if len(kinds - {np.memmap, np.ndarray}) and len(kinds) > 1:
            return False
        if left.shape != right.shape or left.dtype.newbyteorder(
            "="
        ) != right.dtype.newbyteorder("="):
            return False
        if isinstance(left, np.ma.MaskedArray):
            if not np.array_equal(left.mask, right.mask):
                return False
            left, right = left.filled(), right.filled()
        if left.dtype.hasobject:
            return alike(left.tolist(), right.tolist())
        return np.array_equal(np.asarray(left), np.asarray(right))
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            alike(left[key], right[key]) for key in left
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, Plain):
        return alike(left.__dict__, right.__dict__)
    if isinstance(left, np.random.RandomState):
        return alike(left.get_state(), right.get_state())
    return bool(left == right)
