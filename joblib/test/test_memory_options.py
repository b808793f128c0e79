"""What users say about keys: hash_name, key, version, depends, and what is ignored."""

import asyncio
import functools
import importlib
import json
import os
import pickle
import sys
import textwrap

import pytest

from joblib import Memory, hash
from joblib.func_inspect import filter_args
from joblib.memory import MemorizedFunc

RUNS = []


def work(x, y=1, *further, option=None, **named):
    RUNS.append(x)
    return x


async def work_later(x, y=1):
    RUNS.append(x)
    return x


class Worker:
    def run(self, x, y=1):
        RUNS.append(x)
        return x


@pytest.fixture(autouse=True)
def runs():
    RUNS.clear()
    return RUNS


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path / "cache", verbose=0)


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Return a function that imports a module anew with the given source."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(source, name="named_module"):
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source))
        top = name.partition(".")[0]
        for known in [one for one in sys.modules if one.partition(".")[0] == top]:
            monkeypatch.delitem(sys.modules, known)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield load
    for name in ("named_module", "named_package"):
        sys.modules.pop(name, None)


# ------------------------------------------------------------------------ hash_name
def test_keys_of_md5_are_those_of_upstream(memory):
    expected = hash(filter_args(work, [], (1,)))
    assert memory.cache(work)._get_args_id(1) == expected
    assert memory.cache(work, hash_name="md5")._get_args_id(1) == expected
    assert memory.cache(work, hash_name="MD5")._get_args_id(1) == expected


@pytest.mark.parametrize("name", ["sha1", "sha256", "SHA512", "xxh3_128"])
def test_each_algorithm_has_entries_of_its_own(memory, tmp_path, name):
    if name == "xxh3_128":
        pytest.importorskip("xxhash")
    other = Memory(tmp_path / "cache", verbose=0, hash_name=name)
    plain, cached = memory.cache(work), other.cache(work)
    assert [plain(1), cached(1), plain(1), cached(1)] == [1] * 4
    assert RUNS == [1, 1]
    key = cached._get_args_id(1)
    assert key == f"{hash(filter_args(work, [], (1,)), name)}-{name.lower()}"
    assert cached.call_and_shelve(1).args_id == key
    assert memory.cache(work, hash_name=name)(1) == 1
    assert RUNS == [1, 1]


@pytest.mark.parametrize("place", ["file system", "remote"])
def test_entries_of_all_algorithms_are_listed_and_evicted(memory, place):
    if place == "remote":
        pytest.importorskip("fsspec")
        memory = Memory("memory://joblib-options", verbose=0)
    for name in ("md5", "sha1", "sha512"):
        memory.cache(work, hash_name=name)(1)
    assert len(memory.store_backend.get_items()) == 3
    memory.reduce_size(items_limit=1)
    (left,) = memory.store_backend.get_items()
    assert left.path.endswith("-sha512")
    memory.reduce_size(items_limit=0)
    assert memory.store_backend.get_items() == []


def test_the_algorithm_of_the_cache_is_the_default_of_its_functions(tmp_path):
    memory = Memory(tmp_path, verbose=0, hash_name="sha1")
    assert memory.cache(work)._get_args_id(1).endswith("-sha1")
    assert "-" not in memory.cache(work, hash_name="md5")._get_args_id(1)
    again = pickle.loads(pickle.dumps(memory))
    assert again.cache(work)._get_args_id(1).endswith("-sha1")
    cached = pickle.loads(pickle.dumps(memory.cache(work)))
    assert cached._get_args_id(1).endswith("-sha1")


@pytest.mark.parametrize("name", ["nope", "shake_128", 3, None])
def test_an_unknown_algorithm_is_told_at_once(tmp_path, name):
    with pytest.raises(ValueError, match="Valid options for 'hash_name'"):
        Memory(tmp_path, hash_name=name)
    if name is not None:
        for memory in (Memory(tmp_path, verbose=0), Memory(None)):
            with pytest.raises(ValueError, match="hash_name"):
                memory.cache(work, hash_name=name)


def test_a_missing_package_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xxhash", None)
    with pytest.raises(ImportError, match="pip install xxhash"):
        Memory(tmp_path, hash_name="xxh3_128")
    with pytest.raises(ImportError, match="pip install xxhash"):
        Memory(tmp_path).cache(work, hash_name="xxh3_128")


# ------------------------------------------------------------------------------ key
def test_what_the_key_function_returns_counts(memory):
    cached = memory.cache(work, key={"x": lambda x: x["version"]})
    assert cached({"version": 1, "data": "a"}) == {"version": 1, "data": "a"}
    assert cached({"version": 1, "data": "b"})["data"] == "a"
    assert cached({"version": 2, "data": "b"})["data"] == "b"
    assert len(RUNS) == 2


def test_a_key_and_an_argument_of_its_value_are_two(memory):
    by_key = memory.cache(work, key={"x": abs})
    assert [by_key(-1), by_key(1), memory.cache(work)(1)] == [-1, -1, 1]
    assert memory.cache(work, key={"y": abs})(1) == 1
    assert RUNS == [-1, 1, 1]


def test_key_functions_see_defaults_and_further_arguments(memory):
    seen = []
    cached = memory.cache(
        work, key={name: seen.append for name in ("x", "y", "*", "option", "**")}
    )
    cached(0)
    assert seen == [0, 1, [], None, {}]
    del seen[:]
    cached(0, 2, 3, 4, a=5)
    assert seen == [0, 2, [3, 4], None, {"a": 5}]
    assert RUNS == [0]


def test_key_functions_of_a_method_a_coroutine_and_what_has_no_parameters(memory):
    method = memory.cache(Worker().run, key={"x": abs, "self": type})
    assert [method(1), method(-1)] == [1, 1]

    later = memory.cache(work_later, key={"x": abs})
    assert [asyncio.run(later(2)), asyncio.run(later(-2))] == [2, 2]

    partial = memory.cache(functools.partial(work, 3), key={"*": len})
    assert [partial(1), partial(2)] == [3, 3]
    assert RUNS == [1, 2, 3]


def test_a_file_by_its_time_of_change(memory, tmp_path):
    path = tmp_path / "data"

    def read(path):
        RUNS.append(path)
        return path.read_text()

    path.write_text("a")
    os.utime(path, (1, 1))
    cached = memory.cache(read, key={"path": os.path.getmtime})
    assert [cached(path), cached(path)] == ["a", "a"]
    path.write_text("b")
    os.utime(path, (2, 2))
    assert cached(path) == "b"
    assert len(RUNS) == 2
    path.unlink()
    with pytest.raises(
        FileNotFoundError, match="'getmtime' of argument 'path' of .*read"
    ):
        cached(path)


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


def test_an_error_of_a_key_function_names_it(memory):
    def fail(x):
        raise OddError(1, 2)

    cached = memory.cache(work, key={"x": fail})
    with pytest.raises(
        Exception, match="fail' of argument 'x' of .*work failed: OddErr"
    ):
        cached(1)
    cached = memory.cache(work, key={"x": lambda x: x.nothing})
    with pytest.raises(AttributeError, match="argument 'x'"):
        cached(1)
    assert RUNS == []


def test_a_key_that_cannot_be_hashed_is_named(memory):
    cached = memory.cache(work, key={"x": lambda x: open})
    cached(1)
    cached = memory.cache(work, key={"x": lambda x: lambda: 1})
    with pytest.raises(pickle.PicklingError, match="The key of argument 'x' of .*work"):
        cached(1)


@pytest.mark.parametrize("location", [None, "cache"])
@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"key": {"z": abs}}, ValueError, "'z' is no parameter of work; it has 'x'"),
        ({"key": {"x": 3}}, TypeError, "'x' of work must be a function.*got 3"),
        ({"key": ["x"]}, TypeError, "key must be a dict of functions"),
        ({"key": {"x": abs}, "ignore": ["x"]}, ValueError, "in key and in ignore"),
        ({"version": (1, lambda: 1)}, TypeError, "version must be a value"),
    ],
)
def test_bad_options_are_told_when_the_function_is_decorated(
    tmp_path, location, options, error, message
):
    memory = Memory(location and tmp_path / location, verbose=0)
    with pytest.raises(error, match=message):
        memory.cache(work, **options)
    with pytest.raises(error, match=message):
        memory.cache(**options)(work)


def test_key_beside_ignore(memory):
    cached = memory.cache(work, ignore=["y"], key={"x": abs})
    assert [cached(1, 2), cached(-1, 3)] == [1, 1]


# -------------------------------------------------------------------------- version
def test_results_of_each_version_are_kept(memory):
    for version in (1, 2, "1", (1, 2), 1):
        assert memory.cache(work, version=version)(1) == 1
        assert memory.cache(work, version=version)(1) == 1
    assert len(RUNS) == 4
    memory.cache(work)(1)
    assert len(RUNS) == 5
    assert memory.cache(work, version=None).check_call_in_cache(1)
    assert pickle.loads(
        pickle.dumps(memory.cache(work, version=2))
    ).check_call_in_cache(1)
    assert not memory.cache(work, version=3).check_call_in_cache(1)


# -------------------------------------------------------------------------- depends
SOURCE = '''
def helper(x):
    """Help."""
    return x + 1  # one more

class Helper:
    step = 1

    def help(self, x):
        """Help."""
        return x + self.step
'''


def hits(memory, depends):
    """Tell whether the result for what a function depends on is there; store it."""
    cached = memory.cache(work, depends=depends)
    found = cached.check_call_in_cache(1)
    cached(1)
    return found


@pytest.mark.parametrize("pick", ["function", "class", "method", "module", "cached"])
def test_changed_code_of_what_is_named_is_a_miss(memory, edited, pick):
    def name(source):
        module = edited(source)
        return {
            "function": module.helper,
            "class": module.Helper,
            "method": module.Helper.help,
            "module": module,
            "cached": memory.cache(module.helper),
        }[pick]

    assert not hits(memory, [name(SOURCE)])
    assert hits(memory, [name(SOURCE)])
    same = SOURCE.replace("Help.", "Assist.").replace("# one more", "# another")
    assert hits(memory, [name("\n\n" + same.replace("x + 1", "x+1"))])
    other = SOURCE.replace("x + 1", "x + 2").replace("x + self", "x - self")
    assert not hits(memory, [name(other)])
    assert hits(memory, [name(SOURCE)]), "going back finds what was there"
    assert len(RUNS) == 2


def test_defaults_closures_and_constants_of_what_is_named_count(memory):
    def make(one, two):
        def helper(x, y=one):
            return x + y + two

        return helper

    def define(value):
        class Helper:
            step = value

        return Helper

    made = [make(1, 2), make(1, 3), make(2, 2), define(1), define(2)]
    assert [hits(memory, [one]) for one in made] == [False] * 5
    assert [hits(memory, [one]) for one in made] == [True] * 5
    assert hits(memory, [make(1, 2)])


def test_decorators_are_looked_through(memory, edited):
    source = """
    import functools

    def shout(func):
        @functools.wraps(func)
        def wrapper(x):
            return func(x)
        return wrapper

    @shout
    def helper(x):
        return x

    @functools.lru_cache
    def kept(x):
        return x
    """
    for changed in ("return func(x)", "    return x"):
        for name in ("helper", "kept"):
            module = edited(source)
            hits(memory, [getattr(module, name)])
            assert hits(memory, [getattr(edited(source), name)])
            other = edited(source.replace(changed, changed + " * 2"))
            affected = name == "helper" or "func" not in changed
            assert hits(memory, [getattr(other, name)]) is not affected
            memory.clear(warn=False)


def test_a_package_is_all_of_its_modules(memory, edited):
    edited("", "named_package.__init__")
    inner = "VALUE = 1\n"
    edited(inner, "named_package.inner")

    def package():
        return importlib.import_module("named_package")

    assert not hits(memory, [package()])
    edited("# said\n" + inner, "named_package.inner")
    assert hits(memory, [package()])
    edited("VALUE = 2\n", "named_package.inner")
    assert not hits(memory, [package()])
    edited(inner, "named_package.inner")
    assert hits(memory, [package()])
    edited("", "named_package.further")
    assert not hits(memory, [package()])


def test_a_file_counts_with_its_content_at_each_call(memory, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    cached = memory.cache(work, depends=[path])
    cached(1)
    cached(1)
    path.write_bytes(b"abcd")
    cached(1)
    cached(1)
    assert len(RUNS) == 2
    path.write_bytes(b"abc")
    assert cached.check_call_in_cache(1)
    assert memory.cache(work, depends=[str(path)]).check_call_in_cache(1)
    with pytest.raises(FileNotFoundError):
        memory.cache(work, depends=[tmp_path / "nothing"])


def test_version_and_dependencies_of_a_cached_function_count(memory):
    inner = [memory.cache(Worker.run, version=version) for version in (1, 2)]
    assert [hits(memory, [one]) for one in inner] == [False, False]
    outer = [memory.cache(work_later, depends=[one]) for one in inner]
    assert [hits(memory, [one]) for one in outer] == [False, False]
    assert [hits(memory, [one]) for one in inner + outer] == [True] * 4


def test_code_given_to_a_living_dependency(memory):
    def helper(x):
        return x

    def other(x):
        return -x

    cached = memory.cache(work, depends=[helper])
    cached(1)
    code, helper.__code__ = helper.__code__, other.__code__
    assert not cached.check_call_in_cache(1)
    helper.__code__ = code
    assert cached.check_call_in_cache(1)


def test_dependencies_are_read_once(memory, edited, tmp_path):
    module = edited(SOURCE)
    cached = memory.cache(work, depends=[module, module.helper])
    cached(1)
    (tmp_path / "modules" / "named_module.py").write_text("changed = 1\n")
    assert cached.check_call_in_cache(1)


def test_what_has_no_file_can_be_named(memory):
    made = {}
    exec("def helper(x):\n    return x", made)
    for named in (sys, json, len, made["helper"], functools.partial(hash, 1)):
        assert not hits(memory, [named])
        assert hits(memory, [named])


def test_a_function_with_dependencies_can_be_pickled(memory, edited):
    module = edited(SOURCE)
    cached = memory.cache(work, depends=[module, module.helper], key={"x": abs})
    cached(1)
    again = pickle.loads(pickle.dumps(cached))
    assert again.check_call_in_cache(-1)
    assert RUNS == [1]


@pytest.mark.parametrize("depends", ["json", json, 3, [3], [None]])
def test_dependencies_of_another_kind(memory, depends):
    with pytest.raises(TypeError, match="depends .*functions, classes, modules"):
        memory.cache(work, depends=depends)


def test_options_left_out_leave_no_trace(memory):
    plain = memory.cache(work)
    said = memory.cache(work, hash_name="md5", key={}, version=None, depends=[])
    assert said.__getstate__().keys() == plain.__getstate__().keys()
    assert said._get_args_id(1) == plain._get_args_id(1)
    assert "_hash_name" not in memory.__getstate__()


# -------------------------------------------------------------------------- ignored
def refuse(self, *args, **kwargs):
    raise RuntimeError("somebody asked")


NEEDED = {"__class__", "__new__", "__init__", "__init_subclass__", "__doc__"}
Untouchable = type(
    "Untouchable",
    (),
    {
        name: refuse
        for base in (object, int, list, dict)
        for name in dir(base)
        if name.startswith("__") and name not in NEEDED
    }
    | {
        name: refuse
        for name in (
            "__getattr__",
            "__bool__",
            "__call__",
            "__getstate__",
            "__fspath__",
        )
    },
)


def take(x, secret, *further, by_name=None, **named):
    RUNS.append(x)
    return x


@pytest.mark.parametrize("verbose", [0, 1, 5, 50])
def test_nothing_is_asked_of_ignored_arguments(tmp_path, capsys, caplog, verbose):
    shown = "take(1, secret=<ignored>, *<ignored>, **<ignored>, by_name=<ignored>)"
    memory = Memory(tmp_path, verbose=verbose)
    cached = memory.cache(take, ignore=["secret", "*", "by_name", "**"])
    args = (1, Untouchable(), 2, Untouchable())
    kwargs = {"by_name": Untouchable(), "other": Untouchable()}
    assert cached(*args, **kwargs) == 1
    assert cached(*args, **kwargs) == 1
    assert cached.check_call_in_cache(*args, **kwargs)
    reference = cached.call_and_shelve(*args, **kwargs)
    assert reference.get() == 1
    assert reference.metadata["input_args"] == {"x": "1"}
    with open(os.path.join(get_entry(cached, reference), "output.pkl"), "wb") as stream:
        stream.write(b"damaged")
    assert cached(*args, **kwargs) == 1
    assert f"Exception while loading results for {shown}" in caplog.text
    assert cached.call(*args, **kwargs)[0] == 1
    assert RUNS == [1, 1, 1]
    assert (shown in capsys.readouterr().out) == (verbose > 0)


def get_entry(cached, reference):
    store = cached.store_backend
    return os.path.join(store.location, reference.func_id, reference.args_id)


def test_ignored_arguments_of_methods_and_objects_that_are_called(tmp_path, capsys):
    class Taker:
        def take(self, x, secret):
            return x

        __call__ = take

    memory = Memory(tmp_path)
    for func in (Taker().take, Taker()):
        assert memory.cache(func, ignore=["self", "secret"])(1, Untouchable()) == 1
        assert "(1, secret=<ignored>)" in capsys.readouterr().out
        memory.clear(warn=False)
    cached = memory.cache(Taker.take, ignore=["self", "secret"])
    assert cached(Untouchable(), 1, secret=Untouchable()) == 1
    out = capsys.readouterr().out
    assert "take(self=<ignored>, 1, secret=<ignored>)" in out


def test_ignored_arguments_of_a_coroutine_function(tmp_path, capsys):
    cached = Memory(tmp_path).cache(work_later, ignore=["y"])
    assert asyncio.run(cached(1, Untouchable())) == 1
    assert asyncio.run(cached(1, y=Untouchable())) == 1
    assert "work_later(1, y=<ignored>)" in capsys.readouterr().out
    assert RUNS == [1]


@pytest.mark.parametrize("ignore", ["y", 3])
def test_what_to_ignore_must_be_a_list(memory, ignore):
    with pytest.raises(ValueError, match="ignore_lst must be a list"):
        memory.cache(work, ignore=ignore)(1)


# ------------------------------------------------------------ what cannot be hashed
@pytest.mark.parametrize(
    "args, kwargs, name",
    [
        ((lambda: 1,), {}, "Argument 'x' of"),
        ((1, 2, 3, lambda: 1), {}, r"Argument '\*' \(number 2 of it\) of"),
        ((1,), {"option": lambda: 1}, "Argument 'option' of"),
        ((1,), {"a": 1, "b": lambda: 1}, r"Argument 'b' \(of '\*\*'\) of"),
    ],
)
def test_the_argument_that_cannot_be_hashed_is_named(memory, args, kwargs, name):
    expected = f"{name} .*work cannot be hashed.*of type function"
    with pytest.raises(pickle.PicklingError, match=expected):
        memory.cache(work)(*args, **kwargs)
    assert RUNS == []


# ----------------------------------------------------------------------- subclasses
class ByLength(MemorizedFunc):
    """Tells calls apart in a way of its own."""

    def _get_args_id(self, *args, **kwargs):
        return f"{len(args):032x}"

    def _check_previous_func_code(self, stacklevel=2):
        return True


def test_a_subclass_with_keys_and_a_notion_of_code_of_its_own(tmp_path):
    cached = ByLength(work, str(tmp_path), "local", ["y"], None, False, 0)
    assert [cached(1), cached(2), cached(1, 2)] == [1, 1, 1]
    assert cached.check_call_in_cache(5)
    assert not cached.check_call_in_cache(5, 6, 7)
    assert RUNS == [1, 1]
