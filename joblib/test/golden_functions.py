"""Functions whose results a released version stored in ``data/cache_1_6_0``.

Their source is part of what is stored: it must stay as it is, to the letter.
"""

CALLS = []  # names of the functions that really ran


def plain(x, y=1):
    CALLS.append("plain")
    return x**2 + y


def with_ignored(x, verbose=0):
    CALLS.append("with_ignored")
    return [x, {"text": "é"}]


def with_everything(a, b, *args, c=3, **kwargs):
    CALLS.append("with_everything")
    return a, b, args, c, sorted(kwargs.items())


def of_array(array, power=2):
    CALLS.append("of_array")
    return {"powers": array**power, "sum": float(array.sum())}


def compressed(x):
    CALLS.append("compressed")
    return "a" * x


async def asynchronous(x):
    CALLS.append("asynchronous")
    return -x


class Scale:
    def __init__(self, factor):
        self.factor = factor

    def apply(self, x):
        CALLS.append("apply")
        return self.factor * x


def make_calls(memory, compressing_memory, array):
    """Return {name: no-argument call} of everything that is stored."""
    return {
        "plain": lambda: memory.cache(plain)(3),
        "plain by name": lambda: memory.cache(plain)(y=5, x=2.5),
        "ignored": lambda: memory.cache(with_ignored, ignore=["verbose"])("k"),
        "everything": lambda: memory.cache(with_everything)(
            1, 2, 3, 4, c=5, d=6, e="f"
        ),
        "array": lambda: memory.cache(of_array)(array),
        "fortran": lambda: memory.cache(of_array)(array.T, power=3),
        "compressed": lambda: compressing_memory.cache(compressed)(1000),
        "asynchronous": lambda: memory.cache(asynchronous)(4),
        "method": lambda: memory.cache(Scale(10).apply)(7),
        "nested": lambda: memory.cache(with_ignored, ignore=["verbose"])(
            (None, b"b", {1, 2}, {"k": [1.5]})
        ),
    }
