"""Names, sources and arguments of callables."""

import functools
import operator
import subprocess
import sys

import pytest

from joblib._func_source import code_digest
from joblib.func_inspect import (
    filter_args,
    format_call,
    format_signature,
    get_func_code,
    get_func_name,
)


def plain(a, b=2, *, c=3):
    pass


def greedy(a, *args, c=3, **kwargs):
    pass


def positional(a, /, b=2):
    pass


def positional_greedy(a, /, **kwargs):
    pass


class Thing:
    def method(self, a, b=2):
        pass

    @classmethod
    def of_class(cls, a):
        pass

    @staticmethod
    def static(a):
        pass

    class Inner:
        def method(self):
            pass


@functools.wraps(plain)
def wrapper(*args, **kwargs):
    pass


def with_signature(*args, **kwargs):
    pass


with_signature.__signature__ = __import__("inspect").signature(plain)


@pytest.mark.parametrize(
    "func, args, kwargs, expected",
    [
        (plain, (1,), {}, {"a": 1, "b": 2, "c": 3}),
        (plain, (1, 5), {"c": 6}, {"a": 1, "b": 5, "c": 6}),
        (plain, (), {"b": 5, "a": 1}, {"a": 1, "b": 5, "c": 3}),
        (wrapper, (1,), {"b": 7}, {"a": 1, "b": 7, "c": 3}),
        (with_signature, (1,), {"b": 7}, {"a": 1, "b": 7, "c": 3}),
        (greedy, (1,), {}, {"a": 1, "*": [], "c": 3, "**": {}}),
        (greedy, (1, 2, 3), {"d": 4}, {"a": 1, "*": [2, 3], "c": 3, "**": {"d": 4}}),
        (positional, (1,), {"b": 5}, {"a": 1, "b": 5}),
        (positional_greedy, (1,), {"a": 5}, {"a": 1, "**": {"a": 5}}),
        (Thing.static, (1,), {}, {"a": 1}),
        (Thing.of_class, (1,), {}, {"cls": Thing, "a": 1}),
        (len, ("ab",), {}, {"*": ["ab"], "**": {}}),
        (dict, (), {"a": 1}, {"*": [], "**": {"a": 1}}),
    ],
)
def test_arguments_by_parameter(func, args, kwargs, expected):
    assert filter_args(func, [], args, kwargs) == expected


def test_a_bound_method_has_its_object_as_first_argument():
    thing = Thing()
    assert filter_args(thing.method, [], (1,)) == {"self": thing, "a": 1, "b": 2}
    assert filter_args(thing.method, ["self", "b"], (1,)) == {"a": 1}


@pytest.mark.parametrize(
    "func, args, kwargs, words",
    [
        (plain, (), {}, "No value for a"),
        (plain, (1, 2, 3), {}, "Too many arguments for plain"),
        (plain, (1,), {"a": 1}, "a was given both as positional and as keyword"),
        (plain, (1,), {"d": 1}, "Unknown keyword argument 'd'"),
        (positional, (), {"a": 1}, "Unknown keyword argument 'a'"),
        (greedy, (), {"d": 1}, "No value for a"),
        (Thing().method, (), {}, r"(?s)No value for a.*method\(\) was called"),
    ],
)
def test_arguments_that_do_not_fit(func, args, kwargs, words):
    with pytest.raises(ValueError, match=words):
        filter_args(func, [], args, kwargs)


def test_ignoring():
    assert filter_args(greedy, ["*", "**", "c"], (1, 2), {"d": 3}) == {"a": 1}
    with pytest.raises(ValueError, match="'x' is not defined .* it has 'a', 'b', 'c'"):
        filter_args(plain, ["x"], (1,))
    with pytest.raises(ValueError, match="must be a list"):
        filter_args(plain, "a", (1,))
    with pytest.warns(UserWarning, match="Cannot inspect object"):
        assert filter_args(len, ["a"], ("x",)) == {"*": ["x"], "**": {}}


def test_arguments_given_are_left_as_they_are():
    args, kwargs = [1], {"b": 3}
    filter_args(plain, ["b"], args, kwargs)
    assert (args, kwargs) == ([1], {"b": 3})


def compiled(source, filename, name="f", module="__main__"):
    namespace = {}
    exec(compile(source, filename, "exec"), namespace)
    func = namespace[name]
    func.__module__ = module
    return func


SOURCE = "def f(x):\n    return x\n"


@pytest.mark.parametrize(
    "func, path, name",
    [
        (plain, __name__, "plain"),
        (Thing().method, f"{__name__}.Thing", "method"),
        (Thing.Inner.method, f"{__name__}.Thing.Inner", "method"),
        (lambda: 0, __name__, "<lambda>"),
        (functools.partial(plain), "functools", "unknown"),
        (operator.itemgetter(1), "operator", "unknown"),
        (len, "builtins", "len"),
        ("a".lower, ".str", "lower"),
        (compiled(SOURCE, "/some/script.py"), "__main__--some-script", "f"),
        (
            compiled(SOURCE, "/some/ipykernel_123/456.py"),
            "__main__--some-ipykernel-456",
            "f",
        ),
        (compiled(SOURCE, "x", module=None), "", "f"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
def test_names(func, path, name):
    assert get_func_name(func) == (path.split("."), name)


def test_a_notebook_cell_is_named_without_its_number():
    first, second = (
        get_func_name(compiled(SOURCE, f"<ipython-input-{n}-0123456789ab>"))
        for n in (1, 27)
    )
    assert first == second
    assert first[0][-1].endswith("<ipython-input-0123456789ab>")


def test_source():
    code, filename, first_line = get_func_code(plain)
    assert code == "def plain(a, b=2, *, c=3):\n    pass\n"
    assert filename == __file__
    with open(__file__) as stream:
        assert stream.readlines()[first_line - 1] == "def plain(a, b=2, *, c=3):\n"
    assert get_func_code(len) == ("<built-in function len>", None, -1)
    wrapped = get_func_code(wrapper)[0]
    assert wrapped.startswith("@functools.wraps(plain)\ndef wrapper(")


def test_without_source_the_compiled_code_is_digested():
    code, filename, first_line = get_func_code(compiled(SOURCE, "<cell>"))
    assert (filename, first_line) == ("<cell>", -1)
    assert code == code_digest(compiled(SOURCE, "<other cell>").__code__)
    moved = compiled("\n\n" + SOURCE, "<cell>").__code__
    assert code == code_digest(moved), "where it stands does not count"
    for other in (
        SOURCE.replace("return x", "return -x"),
        SOURCE.replace("return x", "return 1"),
        SOURCE.replace("return x", "return [x for x in x]"),
        SOURCE.replace("(x)", "(x, *, y)"),
        SOURCE.replace("return x", "return x.a"),
    ):
        assert code != code_digest(compiled(other, "<cell>").__code__)


DIGEST = """
from joblib._func_source import code_digest
source = "lambda x: x in {'a', 'b', 'c', ('d', 1.5)} and (lambda: {1, 2})"
print(code_digest(eval(source).__code__))
"""


def test_a_digest_is_the_same_in_every_process():
    import os

    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONPATH": package, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 32


def test_calls_as_text():
    path, call = format_signature(plain, 1, [2], c="x")
    assert path == f"{__name__}.plain"
    assert call == "plain(1, [2], c='x')"
    long = format_signature(plain, "x" * 2000)[1]
    assert len(long) < 720 and long.endswith("...)")
    lines = format_call(plain, (1,), {"c": 2}, object_name="Cache").splitlines()
    assert lines == ["_" * 80, f"[Cache] Calling {path}...", "plain(1, c=2)"]
