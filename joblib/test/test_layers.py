"""The package's layers: who may import whom, held against the sources.

`LAYERS` is the whole package in reading order. A module imports only from modules
that stand before it. Imports inside functions count, since they tie modules
together just as well; imports for the type checker alone do not. A new file that
is not placed here fails the first test.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import joblib

PACKAGE = Path(joblib.__file__).resolve().parent
REPOSITORY = PACKAGE.parent
MOST_LINES = 420

# The empty __init__ files of private packages may be imported by anyone.
ROOMS = ["_backends", "_caching", "_compress", "_engine", "_memmap", "_persist"]
ROOMS += ["_testing", "_tracing"]

LAYERS: dict[str, list[str]] = {
    "0 ground": [
        "_multiprocessing_helpers",
        "_cpu",
        "_identity_map",
        "_captured",
        "_utils",
        "backports",
        "disk",
        "logger",
    ],
    "1 persistence": [
        "_compress.zlibfile",
        "_compress.zstdfile",
        "_compress.codecs",
        "_compress.registry",
        "compressor",
        "_persist.array_bytes",
        "_persist.digests",
        "_persist.plain_stream",
        "hashing",
        "_func_source",
        "func_inspect",
        "_persist.failures",
        "_persist.dtype_check",
        "_persist.sizes",
        "_persist.frames",
        "_persist.interposed",
        "_persist.guarded",
        "_persist.arguments",
        "_persist.opening",
        "_persist.leftovers",
        "_persist.atomic",
        "_persist.parallel_read",
        "_persist.array_io",
        "_persist.shortcuts",
        "_persist.writing",
        "_persist.abbreviation",
        "_persist.reading",
        "_persist.trust_values",
        "_persist.trust_numpy",
        "_persist.trust_libraries",
        "_persist.trust",
        "_persist.trust_arrays",
        "_persist.trust_stream",
        "_persist.trust_files",
        "numpy_pickle_utils",
        "numpy_pickle_compat",
        "numpy_pickle",
    ],
    "2 caching": [
        "_caching.callers",
        "_caching.store",
        "_caching.eviction",
        "_caching.missing",
        "_caching.ram",
        "_caching.lockfiles",
        "_caching.flight",
        "_caching.writing",
        "_caching.turns",
        "_caching.usage",
        "_caching.ledger",
        "_caching.budget",
        "_caching.limits",
        "_caching.items",
        "_caching.scanning",
        "_caching.filesystem",
        "_caching.locations",
        "_caching.connection",
        "_caching.seals",
        "_caching.remote",
        "_caching.registry",
        "_caching.results",
        "_caching.staleness",
        "_caching.codetext",
        "_caching.closures",
        "_caching.content",
        "_caching.entries",
        "_caching.tables",
        "_caching.places",
        "_caching.commands",
        "_caching.console",
        "_caching.identity",
        "_caching.dependencies",
        "_caching.parameters",
        "_caching.keyoptions",
        "_caching.keys",
        "_caching.ownership",
        "_caching.metadata",
        "_caching.reports",
        "_caching.uncached",
        "_caching.steps",
        "_caching.function",
        "_caching.asynchronous",
        "_caching.cache",
        "_store_backends",
        "memory",
    ],
    "3 processes": [
        "externals",
        "_cloudpickle_wrapper",
        "_memmap.folders",
        "_memmap.placing",
        "_memmap.changed",
        "_memmap.views",
        "_memmap.store",
        "_memmap.results",
        "_memmap.reducers",
        "_memmapping_reducer",
        "_forkserver",
        "_forking",
        "pool",
        "executor",
    ],
    "4 decisions": [
        "_engine.relief",
        "_engine.meter",
        "_engine.context",
        "_engine.resolve",
        "_engine.registry",
        "_engine.seeds",
        "_engine.controls",
        "_engine.forwarding",
        "_backends.base",
        "_engine.select",
        "_engine.ask",
        "_engine.config",
        "_engine.options",
        "_engine.columns",
        "_engine.batch",
        "_engine.recording",
    ],
    "5 backends": [
        "_backends.autobatch",
        "_backends.sequential",
        "_backends.thread_cache",
        "_backends.ending",
        "_backends.native",
        "_backends.output",
        "_backends.lifeline",
        "_backends.orphans",
        "_backends.threads",
        "_backends.admission",
        "_backends.arrays",
        "_backends.outgoing",
        "_backends.picklers",
        "_backends.culprit",
        "_backends.scattered",
        "_backends.repeats",
        "_backends.messages",
        "_backends.flat",
        "_backends.delivering",
        "_backends.transport",
        "_backends.delivery",
        "_backends.guard",
        "_backends.pooled",
        "_backends.forked",
        "_backends.serving",
        "_backends.recruit",
        "_backends.headstart",
        "_backends.launching",
        "_backends.line",
        "_backends.lanes",
        "_backends.isolated",
        "_backends.isolating",
        "_backends.exchange",
        "_backends.workers",
        "_backends.loky",
        "_backends.multiprocessing",
        "_parallel_backends",
        "_dask.naming",
        "_dask.packing",
        "_dask.slots",
        "_dask.timing",
        "_dask.parents",
        "_dask.stints",
        "_dask.remote",
        "_dask.orders",
        "_dask.pulse",
        "_dask.clients",
        "_dask.shipment",
        "_dask.per_client",
        "_dask.releasing",
        "_dask.recalling",
        "_dask.collecting",
        "_dask.spreading",
        "_dask.carrying",
        "_dask.scattering",
        "_dask.inside",
        "_dask.sharing",
        "_dask.loading",
        "_dask.sizing",
        "_dask.restrictions",
        "_dask.counting",
        "_dask.allowance",
        "_dask.losses",
        "_dask.sending",
        "_dask.dividing",
        "_dask.merging",
        "_dask.scouting",
        "_dask.own_work",
        "_dask.own_share",
        "_dask.courier",
        "_dask.backend",
        "_dask",
    ],
    "6 engine": [
        "_engine.claims",
        "_engine.source",
        "_engine.states",
        "_engine.job",
        "_engine.credit",
        "_engine.drawing",
        "_engine.run",
        "_engine.retrieval",
        "_engine.progress",
        "_engine.report",
        "_engine.holding",
        "_engine.controlled",
        "_engine.launch",
    ],
    "6 tracing": [
        "_tracing.timeline",
        "_tracing.assembly",
        "_tracing.totals",
        "_tracing.summary",
        "_tracing.bars",
        "_tracing.exchange_formats",
        "_tracing.svg",
        "_tracing.png",
        "_tracing.page",
        "_tracing.session",
    ],
    "7 loop": [
        "parallel",
        "_testing.tasks",
        "_testing.backend_contract",
        "_testing.hostile",
        "_testing.trust_check",
        "testing",
    ],
    "8 front": ["_distributed_alias", "_multiprocessing_later", "", "__main__"],
}

# Imports that go up all the same, inside a function, each with its reason.
EXCEPTIONS = {
    ("_backends.base", "_backends.sequential"): "the contract's default nested backend",
    ("_backends.base", "_backends.threads"): "the contract's default nested backend",
    ("_engine.registry", "_dask"): "registered when its name is first asked for",
    ("backports", "_memmapping_reducer"): "make_memmap is at home there by its name",
}

RANK = {name: rank for rank, name in enumerate(sum(LAYERS.values(), ROOMS))}


def module_name(path: Path) -> str:
    """Return a file's module name within the package; '' is the package itself."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


SOURCES = {
    module_name(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] != "test"
}


def is_type_checking(node: ast.AST) -> bool:
    """Tell whether a node is an `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def walk_running_code(node: ast.AST):
    """Yield every node but those that only a type checker sees."""
    yield node
    children = node.orelse if is_type_checking(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from walk_running_code(child)


def absolute(name: str, level: int, importer: str, is_package: bool) -> str | None:
    """Return an imported name relative to the package, None if it is foreign."""
    if level == 0:
        if name == "joblib" or name.startswith("joblib."):
            return name[len("joblib.") :]
        return None
    parts = importer.split(".") if importer else []
    drop = level - 1 if is_package else level
    kept = parts[: len(parts) - drop]
    return ".".join([*kept, name] if name else kept)


def imports_of(tree: ast.AST, importer: str, is_package: bool, modules) -> set[str]:
    """Return the modules of the package that running a source can import."""
    found = set()
    for node in walk_running_code(tree):
        targets = []
        if isinstance(node, ast.Import):
            targets = [absolute(a.name, 0, importer, is_package) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module or "", node.level, importer, is_package)
            if base is not None:
                names = [f"{base}.{a.name}".lstrip(".") for a in node.names]
                targets = [name if name in modules else base for name in names]
        elif isinstance(node, ast.Call) and node.args:
            name = node.args[0]
            called = ast.unparse(node.func).rpartition(".")[2]
            if (
                called in ("import_module", "__import__")
                and isinstance(name, ast.Constant)
                and isinstance(name.value, str)
            ):
                level = len(name.value) - len(name.value.lstrip("."))
                bare = name.value.lstrip(".")
                targets = [absolute(bare, level, importer, is_package)]
        found.update(target for target in targets if target is not None)
    return found - {importer}


def test_every_file_has_its_place():
    placed = [name for names in LAYERS.values() for name in names] + ROOMS
    assert len(placed) == len(set(placed)), "a module is placed twice"
    assert sorted(set(SOURCES) - set(placed)) == [], "place these in LAYERS"
    assert sorted(set(placed) - set(SOURCES)) == [], "these have no file"


@pytest.mark.parametrize("room", ROOMS)
def test_the_front_of_a_room_is_empty(room):
    # Anything there would be loaded by whoever needs a single file of the room.
    tree = ast.parse(SOURCES[room].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("name", SOURCES, ids=lambda name: name or "joblib")
def test_imports_go_down(name):
    path = SOURCES[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = imports_of(tree, name, path.name == "__init__.py", SOURCES)
    upward = {
        other for other in imported if RANK.get(other, len(RANK)) >= RANK.get(name, -1)
    }
    excepted = {other for importer, other in EXCEPTIONS if importer == name}
    where = name or "joblib"
    assert sorted(upward - excepted) == [], f"{where} imports what stands after it"
    assert sorted(excepted - upward) == [], f"{where} needs no such exception"


@pytest.mark.parametrize("name", SOURCES, ids=lambda name: name or "joblib")
def test_a_file_is_short_and_says_what_it_is_for(name):
    text = SOURCES[name].read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text)) or ""
    first = doc.partition("\n")[0]
    assert len(first) > 10, "the first docstring line says what the file is for"
    assert text.count("\n") <= MOST_LINES, "is there a wall to move?"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os, joblib.disk", {"disk"}),
        ("from . import registry", {"_engine.registry"}),
        ("from .registry import get", {"_engine.registry"}),
        ("from ..parallel import Parallel", {"parallel"}),
        ("from .. import parallel, Parallel", {"parallel", ""}),
        ("def f():\n    from joblib import disk", {"disk"}),
        ("import_module('joblib.parallel')", {"parallel"}),
        ("importlib.import_module('..parallel', __package__)", {"parallel"}),
        ("if TYPE_CHECKING:\n    from ..parallel import Parallel", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from .. import disk", {"disk"}),
        ("from .batch import x", set()),
        ("import joblibish", set()),
    ],
)
def test_the_parser_of_this_test(source, expected):
    modules = {"", "disk", "parallel", "_engine.registry", "_engine.batch"}
    tree = ast.parse(source)
    assert imports_of(tree, "_engine.batch", False, modules) == expected


WORKPLACE = re.compile(
    r"""
    /(?:root|work|home/\w+)/        # a path on the machine of whoever wrote it
    | \.pyenv/versions/\d
    | \b(?:TODO|FIXME|XXX)\b        # work that was left undone
    | \bissues?\s+\#?\d             # a number that a reader cannot look up
    | pypi\.org | pythonhosted      # the address of a package registry
    """,
    re.VERBOSE,
)


def published_texts() -> list[Path]:
    """Return the texts that users and readers of the repository see."""
    places = [PACKAGE]
    if (REPOSITORY / "pyproject.toml").exists():
        names = ["benchmarks", "continuous_integration", "doc", "examples", ".ci"]
        places += [REPOSITORY / name for name in names]
    paths = [path for place in places for path in place.rglob("*")]
    if len(places) > 1:
        paths += [path for path in REPOSITORY.iterdir() if path.is_file()]
    kinds = {".py", ".rst", ".toml", ".txt", ".sh", ".json", ".in", ""}
    built = {"_build", "generated", "__pycache__"}
    return [
        path
        for path in paths
        if path.is_file() and path.suffix in kinds
        if not built & set(path.parts) and "_cache/" not in path.as_posix()
        if path != Path(__file__).resolve() and path.name != ".git"  # of a work tree
    ]


def test_texts_speak_of_the_project_alone():
    strays = []
    for path in published_texts():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            if WORKPLACE.search(line):
                strays.append(f"{path.relative_to(REPOSITORY)}:{number}: {line}")
    assert strays == []
