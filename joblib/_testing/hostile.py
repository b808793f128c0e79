"""Pickles that would run something if loading let them.

What each would run is harmless, and leaves a trace: a file in a folder of one's own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MODULE = "joblib_hostile_module"
EXTENSION = 0xABCDE


class HostilePickle(NamedTuple):
    """A file that would run something if it were loaded without care.

    Attributes
    ----------
    name : str
        What it tries.
    content : bytes
        The file.
    trace : pathlib.Path
        The file that exists once it has run.
    """

    name: str
    content: bytes
    trace: Path


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def _name(module: str, name: str) -> bytes:
    """The opcodes for a global, its name in two texts."""
    return _text(module) + _text(name) + b"\x93"


def _tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def _call(function: bytes, *args: bytes) -> bytes:
    return function + _tuple(*args) + b"R"


def _dict(**items: bytes) -> bytes:
    pairs = b"".join(_text(key) + value for key, value in items.items())
    return b"}(" + pairs + b"u"


def pickle_of(*parts: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes((protocol,)) + b"".join(parts) + b"."


def _source(trace: str) -> bytes:
    return _text(f"open({trace!r}, 'w').close()")


_NEW = b")\x81"  # an instance without arguments
_WRAPPER = _name("joblib.numpy_pickle", "NumpyArrayWrapper") + _NEW
_NDARRAY = _name("numpy", "ndarray")
_SHAPE = b"K\x01\x85"


def _dtype(kind: str) -> bytes:
    return _call(_name("numpy", "dtype"), _text(kind), b"\x89", b"\x88")


def _described(**changes: bytes) -> bytes:
    """A description of an array with one field changed."""
    fields = {
        "subclass": _NDARRAY,
        "shape": _SHAPE,
        "order": _text("C"),
        "dtype": _dtype("u1"),
        "allow_mmap": b"\x89",
        "numpy_array_alignment_bytes": b"N",
    }
    return _WRAPPER + _dict(**{**fields, **changes}) + b"b"


def harmless_run(trace: str) -> bytes:
    """The opcodes of the plainest attack, to be hidden in all kinds of places."""
    return _call(_name("os", "mkdir"), _text(trace))


def _plain_attacks(trace: str) -> Iterator[tuple[str, bytes]]:
    """Names that run something when they are called."""
    path, source = _text(trace), _source(trace)
    line = _text(f'echo > "{trace}"')
    yield "os.system", _call(_name("os", "system"), line)
    yield "os.system by its real module", _call(_name("posix", "system"), line)
    yield "os.mkdir", harmless_run(trace)
    yield "subprocess.Popen", _call(_name("subprocess", "getoutput"), line)
    for name in ("eval", "exec"):
        yield f"builtins.{name}", _call(_name("builtins", name), source)
    yield "builtins.open", _call(_name("builtins", "open"), path, _text("w"))
    yield "io.open", _call(_name("io", "open"), path, _text("w"))
    yield "io.FileIO", _name("io", "FileIO") + _tuple(path, _text("w")) + b"R"
    yield "timeit", _call(_name("timeit", "timeit"), b"N", source)
    yield "runpy", _call(_name("runpy", "run_module"), _text(MODULE))
    yield "code", _call(_name("cProfile", "run"), source)
    yield "pdb", _call(_name("bdb", "Bdb")) + b"0" + harmless_run(trace)
    yield (
        "pickle.loads",
        _call(_name("pickle", "loads"), _bytes(pickle_of(harmless_run(trace)))),
    )
    yield (
        "joblib.load",
        _call(
            _name("numpy", "load"), path, b"N", b"\x88"
        ),  # cannot run; must be refused
    )
    yield "numpy.save", _call(_name("numpy", "save"), path, b"K\x01")
    yield (
        "numpy.memmap",
        _call(
            _name("numpy", "memmap"),
            path,
            _text("u1"),
            _text("w+"),
            b"K\x00",
            _SHAPE,
        ),
    )
    yield (
        "numpy.memmap as an instance",
        _name("numpy", "memmap")
        + _tuple(path, _text("u1"), _text("w+"), b"K\x00", _SHAPE)
        + b"\x81",
    )
    yield "numpy.testing", _call(_name("numpy.testing", "rundocs"), path)
    yield "numpy.f2py", _call(_name("numpy.f2py", "compile"), source)
    yield (
        "functools.partial",
        _call(_call(_name("functools", "partial"), _name("os", "mkdir"), path)),
    )
    yield (
        "operator.methodcaller",
        _call(
            _call(_name("operator", "methodcaller"), _text("mkdir"), path),
            _name("builtins", "__import__") + _tuple(_text("os")) + b"R",
        ),
    )
    yield (
        "operator.attrgetter",
        _call(
            _call(_name("operator", "attrgetter"), _text("path.os.mkdir")),
            _name("sys", "modules"),
        ),
    )
    os_module = _call(_name("builtins", "__import__"), _text("os"))
    yield (
        "builtins.getattr",
        _call(_call(_name("builtins", "getattr"), os_module, _text("mkdir")), path),
    )
    subclasses = _call(
        _name("builtins", "getattr"),
        _name("builtins", "object"),
        _text("__subclasses__"),
    )
    yield "getattr of a trusted type", _call(subclasses) + b"0" + harmless_run(trace)
    mapped = _call(_name("builtins", "map"), _name("os", "mkdir"), b"](" + path + b"e")
    yield "builtins.map", _call(_name("builtins", "list"), mapped)
    made = _call(_name("builtins", "type"), _text("T"), b")", _dict())
    yield "builtins.type", made + b"0" + harmless_run(trace)
    yield "builtins.__import__", _call(_name("builtins", "__import__"), _text(MODULE))
    yield "importing alone", _name(MODULE, "anything")
    yield "codecs", _call(_name("_codecs", "encode"), _text("x"), _text(MODULE))


def _bytes(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def _spelled_attacks(trace: str) -> Iterator[tuple[str, bytes]]:
    """Names that are written in ways that a careless list lets through."""
    path = _text(trace)
    inside = [
        ("sklearn.base", "os.mkdir"),
        ("sklearn", "base.os.mkdir"),
        ("sklearn.utils", "os.mkdir"),
        ("numpy", "os.mkdir"),
        ("numpy", "lib.npyio.os.mkdir"),
        ("numpy.lib._npyio_impl", "os.mkdir"),
        ("joblib.numpy_pickle", "os.mkdir"),
        ("joblib.numpy_pickle", "NumpyArrayWrapper.write_array.__globals__"),
        ("collections", "_sys.modules"),
        ("builtins", "object.__subclasses__"),
        ("datetime", "sys.modules"),
        ("", "os.mkdir"),
        ("os", "path.os.mkdir"),
        ("numpy.", "os.mkdir"),
        ("numpy.core", "..os.mkdir"),
        ("\uff4fs", "mkdir"),
        ("o\u0455", "mkdir"),
        ("os", "mkdi\uff52"),
        ("os\0", "mkdir"),
        ("os\n", "mkdir"),
        (" os", "mkdir"),
        ("sklearn.__main__", "os"),
        ("numpy.f2py.__main__", "main"),
    ]
    for module, name in inside:
        yield f"{module!a} {name!a}", _call(_name(module, name), path)
    yield "GLOBAL", b"cos\nmkdir\n" + _tuple(path) + b"R"
    yield (
        "GLOBAL of Python 2",
        b"c__builtin__\nopen\n" + _tuple(path, _text("w")) + b"R",
    )
    yield "INST", b"(" + path + b"ios\nmkdir\n"
    yield "OBJ", b"(" + b"cos\nmkdir\n" + path + b"o"
    yield "OBJ of a type", b"(" + b"csubprocess\nPopen\n" + path + b"o"
    yield "EXT1", b"\x84" + struct.pack("<i", EXTENSION) + _tuple(path) + b"R"
    yield "a persistent id", b"Pos.mkdir\n" + _tuple(path) + b"R"
    yield "a persistent id of an object", path + b"Q"


def _hidden_attacks(trace: str) -> Iterator[tuple[str, bytes]]:
    """The plainest attack inside of what is trusted."""
    run, path = harmless_run(trace), _text(trace)
    yield "inside a list", b"](" + run + b"e"
    yield "as the key of a dict", b"}(" + run + b"Nu"
    yield "inside a set", b"\x8f(" + run + b"\x90"
    counter = _name("collections", "Counter") + _NEW
    yield "inside a state", counter + _dict(x=run) + b"b"
    yield "in a state that is a tuple", counter + _tuple(b"N", _dict(x=run)) + b"b"
    factory = _call(_name("collections", "defaultdict"), _name("os", "mkdir"))
    yield "a default factory", factory
    set_state = counter + _dict(__setstate__=_name("os", "mkdir")) + b"b"
    yield "__setstate__ in an instance", set_state + path + b"b"
    setstate_slots = _tuple(b"N", _dict(__class__=_name("os", "PathLike")))
    yield "__class__ in a state", counter + setstate_slots + b"b" + b"0" + run
    # The state of a class, or of an object that others use.
    yield (
        "the state of a type",
        _name("collections", "UserDict")
        + _dict(__setitem__=_name("os", "mkdir"))
        + b"b",
    )
    yield (
        "the state of numpy's own dtype",
        _call(_name("numpy", "dtype"), _text("f8"), b"\x89", b"\x89")
        + _tuple(b"K\x03", _text("<"), b"N", b"N", b"N", b"K\x08", b"K\x01", b"K\x3f")
        + b"b"
        + b"0"
        + run,
    )
    yield (
        "copyreg._reconstructor",
        _call(
            _name("copyreg", "_reconstructor"),
            _name("io", "FileIO"),
            _name("builtins", "object"),
            b"N",
        )
        + _tuple(path, _text("w"))
        + b"b",
    )
    yield (
        "copyreg.__newobj__",
        _call(_name("copyreg", "__newobj__"), _name("io", "FileIO"), path, _text("w")),
    )
    yield (
        "copyreg.pickle",
        _call(
            _name("copyreg", "pickle"), _name("builtins", "int"), _name("os", "mkdir")
        )
        + b"0"
        + run,
    )
    yield (
        "copyreg.add_extension",
        _call(_name("copyreg", "add_extension"), _text("os"), _text("mkdir"), b"K\x01")
        + b"0\x82\x01"
        + _tuple(path)
        + b"R",
    )
    ctor = _name("numpy.random._pickle", "__randomstate_ctor")
    yield "a random state's constructor", _call(ctor, path, _name("os", "mkdir"))
    ctor = _name("numpy.random._pickle", "__bit_generator_ctor")
    yield "a bit generator's class", _call(ctor, _name("io", "FileIO"))
    exact = "scipy.stats._continuous_distns"
    yield (
        "the source code of a distribution",
        _name(exact, "norm_gen")
        + _NEW
        + _dict(_parse_arg_template=_source(trace))
        + b"b",
    )
    yield (
        "a frozen distribution",
        _name("scipy.stats._distn_infrastructure", "rv_continuous_frozen")
        + _NEW
        + _dict(dist=run)
        + b"b",
    )
    yield (
        "a constructor of pandas",
        _call(_name("pandas.io.excel._base", "ExcelWriter"), path),
    )
    yield (
        "an index of pandas",
        _call(
            _name("pandas.core.indexes.base", "_new_Index"),
            _name("io", "FileIO"),
            _dict(file=path, mode=_text("w")),
        ),
    )


def _array_attacks(trace: str) -> Iterator[tuple[str, bytes]]:
    """The plainest attack in the parts of a file that only joblib has."""
    run = harmless_run(trace)
    objects = _described(dtype=_dtype("O8"))
    yield "inside an array of objects", objects + pickle_of(run)
    yield "behind an array of objects", objects + pickle_of(b"]") + b"0" + run
    yield (
        "inside an array of objects, twice",
        objects + pickle_of(_described(dtype=_dtype("O8")), pickle_of(run)),
    )
    yield "behind an array", _described() + b"\x01" + b"0" + run
    for field in ("subclass", "shape", "order", "dtype", "allow_mmap"):
        yield f"as the {field} of an array", _described(**{field: run}) + b"\x01"
    yield "as the alignment", _described(numpy_array_alignment_bytes=run) + b"\x01"
    mapped = _described(dtype=_dtype("O8"), allow_mmap=b"\x88")
    yield "objects that are to be mapped", mapped + pickle_of(run)
    yield "a method of an array", _described(read=_name("os", "mkdir")) + b"\x01"
    yield "a class that is none", _described(subclass=_name("io", "FileIO")) + b"\x01"
    yield (
        "as a field of a dtype",
        _described(
            dtype=_dtype("V8")
            + _tuple(
                *(b"K\x03", _text("|"), b"N", _tuple(_text("a"))),
                *(_dict(a=_tuple(run, b"K\x00")), b"K\x08", b"K\x01", b"K\x00"),
            )
            + b"b"
        ),
    )
    for old in ("NDArrayWrapper", "ZNDArrayWrapper"):
        wrapper = _name("joblib.numpy_pickle_compat", old) + _NEW
        state = _dict(filename=_text(trace + ".npy"), subclass=run, allow_mmap=b"\x89")
        yield f"in a {old}", wrapper + state + b"b"
    outside = _dict(filename=_text("../objects.npy"), subclass=_NDARRAY)
    wrapper = _name("joblib.numpy_pickle", "NDArrayWrapper") + _NEW
    yield "in a file elsewhere", wrapper + outside + b"b" + b"0" + run
    beside = _dict(filename=_text("objects.npy"), subclass=_NDARRAY)
    yield "in a file beside it", wrapper + beside + b"b"


def _all_attacks(trace: str) -> Iterator[tuple[str, bytes]]:
    for attacks in (_plain_attacks, _spelled_attacks, _hidden_attacks, _array_attacks):
        yield from attacks(trace)


def hostile_pickles(folder: str | Path) -> list[HostilePickle]:
    """Return files that would run something if they were loaded without care.

    Running them is harmless: each leaves a file or a folder, its trace. Some need a
    module or a file that `check_trusted` puts into `folder`.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where the traces are left; must exist and be empty.

    Returns
    -------
    list of HostilePickle
        With the fields ``name`` (what it tries), ``content`` (bytes of a file) and
        ``trace`` (the path that exists once it has run).

    Examples
    --------
    >>> import tempfile
    >>> from joblib.testing import hostile_pickles
    >>> attacks = hostile_pickles(tempfile.mkdtemp())
    >>> attacks[0].name
    'os.system'
    """
    folder = Path(folder).resolve()
    found = []
    for number, (name, _) in enumerate(_all_attacks("")):
        trace = folder / f"trace_{number}"
        body = dict(_all_attacks(str(trace)))[name]
        found.append(HostilePickle(name, pickle_of(body), trace))
    trace = folder / "trace_zlib"
    packed = zlib.compress(pickle_of(harmless_run(str(trace))))
    found.append(HostilePickle("compressed", packed, trace))
    trace = folder / "trace_old"
    content = pickle_of(harmless_run(str(trace)), protocol=2)
    length = hex(len(content)).ljust(19).encode()
    packed = b"ZF" + length + zlib.compress(content)
    found.append(HostilePickle("compressed by joblib 0.9", packed, trace))
    return found
