"""Files of upstream's release and ours: each reads what the other writes.

Each object of the catalogue is written by both releases and read by both. What they
read must be the same to the last flag, and, but for what files do not keep, what was
written.
"""

from __future__ import annotations

import itertools
import pickle

import pytest

from joblib.test.describing import describe, first_difference
from joblib.test.upstream import UpstreamError

np = pytest.importorskip("numpy")

from joblib.test.compat_objects import OBJECTS  # noqa: E402 - needs numpy

pytestmark = pytest.mark.upstream
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SIDES = ["ours", "theirs"]
BOTH_WAYS = [("ours", "theirs"), ("theirs", "ours")]


def same(left, right, *about):
    difference = first_difference(left, right)
    assert not difference, (difference, *about)


# Objects that come back as others by their own doing.
OTHERS_AFTERWARDS = {"container: reduced"}
# Upstream forgets the class on newer versions of numpy, and leaves records alone of
# which some fields are native; we do as the documentation says.
KEPT_BY_OURS_ALONE = {
    "subclass: matrix",
    "subclass: matrix f order",
    "array: record mixed",
}
# The order of a set is an accident, and so are the bytes between long doubles.
NEVER_THE_SAME_BYTES = {"container: sets"} | {
    f"array: kind {kind}{how}" for kind in "gG" for how in ("", " swapped")
}
# Their arrays of objects are pickles of their own within the file, which upstream
# writes with the newest protocol even where an old one was asked for.
FIRST_ALIKE_INSIDE = 4

COMPRESSORS = ["zlib", "gzip", "bz2", "lzma", "xz", "lz4"]
COMPRESSED = ["container: every order", "container: many arrays", "pandas: frame"]
COMPRESSED += ["container: texts", "array: large, gathered", "estimator: forest"]
COMPRESSED += ["array: empty", "container: nothing", "array: objects with arrays"]
MAPPED = ["c order", "f order", "both orders", "transposed", "kind f swapped"]
MAPPED += ["record mixed", "time M[ns]", "no dimension", "text", "large", "one element"]
MAPPED = [f"array: {name}" for name in MAPPED]
MAPPED += ["container: every order", "container: many arrays", "subclass: memmap"]
MAPPED += ["subclass: matrix", "pandas: frame", "estimator: ridge"]


def try_dump(side, name, path, **options):
    """Write a file; return its content, or the type of the error."""
    try:
        side.compat_files.dump(name, str(path), **options)
    except UpstreamError as exc:
        return exc.kind
    except Exception as exc:
        return type(exc).__name__
    return path.read_bytes()


@pytest.mark.parametrize("name", OBJECTS)
def test_each_object_in_each_protocol(name, sides, tmp_path):
    original = describe(OBJECTS[name](), loosely=True)
    for protocol in PROTOCOLS:
        content = {
            writer: try_dump(side, name, tmp_path / writer, protocol=protocol)
            for writer, side in sides.items()
        }
        if not isinstance(content["theirs"], bytes):
            assert content["ours"] == content["theirs"]
            continue
        found = {
            (writer, reader): sides[reader].compat_files.read_both(
                str(tmp_path / writer)
            )
            for writer, reader in itertools.product(SIDES, SIDES)
        }
        strict, loose = found["theirs", "theirs"]
        for (writer, reader), (one, other) in found.items():
            if reader == "ours" and name in KEPT_BY_OURS_ALONE:
                same(other, original, protocol, writer, reader)
                continue
            same(one, strict, protocol, writer, reader)
            same(other, loose, protocol, writer, reader)
        if name not in OTHERS_AFTERWARDS | KEPT_BY_OURS_ALONE:
            same(loose, original, protocol)


@pytest.mark.parametrize("name", sorted(OBJECTS.keys() - NEVER_THE_SAME_BYTES))
def test_files_are_the_same_to_the_byte(name, sides, tmp_path, monkeypatch):
    # But for this: we write nothing into pickle's memo for the second array that is
    # described like another, and the files are a bit shorter.
    monkeypatch.setattr("joblib.numpy_pickle.around_the_shape", lambda *args: None)
    for protocol in PROTOCOLS:
        ours, theirs = (
            try_dump(side, name, tmp_path / writer, protocol=protocol)
            for writer, side in sides.items()
        )
        if not isinstance(theirs, bytes):
            assert ours == theirs  # the same error
        elif protocol >= FIRST_ALIKE_INSIDE or b"_reconstruct" not in theirs:
            assert ours == theirs, protocol


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("method", COMPRESSORS)
def test_each_compressor_and_level(method, level, sides, tmp_path):
    if method == "lz4":
        pytest.importorskip("lz4.frame")
    path = tmp_path / "file"
    for name in COMPRESSED:
        for writer, reader in BOTH_WAYS:
            sides[writer].compat_files.dump(name, str(path), compress=[method, level])
            one, other = (side.compat_files.read(str(path)) for side in sides.values())
            same(one, other, name, writer)
            assert not level or path.read_bytes()[:2] != b"\x80\x04", reader


@pytest.mark.parametrize("extension", ["z", "gz", "bz2", "lzma", "xz", "lz4", "pkl"])
@pytest.mark.parametrize("compress", [0, 1, 9, True, False])
def test_extensions_choose_the_same(compress, extension, sides, tmp_path):
    content = []
    for writer, side in sides.items():
        folder = tmp_path / writer
        folder.mkdir()
        path = folder / f"file.{extension}"
        side.compat_files.dump("container: texts", str(path), compress=compress)
        content.append(path.read_bytes())
        same(
            sides["ours"].compat_files.read(str(path)),
            sides["theirs"].compat_files.read(str(path)),
        )
    assert content[0][:3] == content[1][:3]


def test_upstream_says_so_when_a_file_is_of_a_newer_method(sides, tmp_path):
    path = tmp_path / "file.zst"
    pytest.importorskip("zstandard")
    sides["ours"].compat_files.dump("container: texts", str(path))
    with pytest.raises(UpstreamError) as caught:
        sides["theirs"].compat_files.read(str(path))
    assert caught.value.kind in ("UnpicklingError", "ValueError", "KeyError")


@pytest.mark.parametrize("by", ["path", "Path", "file", "memory"])
@pytest.mark.parametrize("to", ["path", "Path", "file", "memory", "socket"])
@pytest.mark.parametrize("compress", [0, "gzip", ["lzma", 2]])
def test_each_way_to_write_and_to_read(compress, to, by, sides, tmp_path):
    if to == "socket" and compress:
        return  # upstream's compressors seek
    path = tmp_path / "file"
    for name in ("container: every order", "array: objects", "pandas: frame"):
        found = []
        for writer, reader in BOTH_WAYS:
            sides[writer].compat_files.dump(name, str(path), to=to, compress=compress)
            found += [side.compat_files.read(str(path), by) for side in sides.values()]
            same(found[0], found[-1], name, writer, reader)
            same(found[0], found[-2], name, writer, reader)


@pytest.mark.parametrize("name", ["array: c order", "container: every order"])
def test_objects_in_the_middle_of_a_file(name, sides, tmp_path):
    way, path = "middle of a file", str(tmp_path / "file")
    for writer, reader in BOTH_WAYS:
        sides[writer].compat_files.dump(name, path, to=way)
        found = sides[reader].compat_files.read(path, way, loosely=True)
        same(found, describe(OBJECTS[name](), loosely=True))


@pytest.mark.parametrize("mmap_mode", ["r", "r+", "c", "w+"])
@pytest.mark.parametrize("name", MAPPED)
def test_files_of_the_other_are_mapped(name, mmap_mode, sides, tmp_path):
    for writer in SIDES:
        path = tmp_path / writer
        sides[writer].compat_files.dump(name, str(path))
        before = path.read_bytes()
        one, other = (
            side.compat_files.read(str(path), mmap_mode=mmap_mode)
            for side in sides.values()
        )
        same(one, other, writer)
        assert "numpy.memmap" in one
        assert path.read_bytes() == before


@pytest.mark.parametrize("mmap_mode", ["r", "r+", "c", "w+"])
def test_changes_of_mapped_arrays_reach_the_file_or_do_not(mmap_mode, sides, tmp_path):
    path = tmp_path / "file"
    for writer, reader in itertools.product(SIDES, SIDES):
        sides[writer].compat_files.dump("container: every order", str(path))
        before = path.read_bytes()
        found, refused = sides[reader].compat_files.change_mapped(str(path), mmap_mode)
        assert refused == (3 if mmap_mode == "r" else 0)
        assert (path.read_bytes() != before) == (mmap_mode in ("r+", "w+"))
        assert "numpy.memmap" in found


@pytest.mark.parametrize("native", [True, False, "auto"])
def test_byte_orders(native, sides, tmp_path):
    path = str(tmp_path / "file")
    names = [name for name in OBJECTS if name.endswith("swapped")]
    for name in names:
        for writer in SIDES:
            sides[writer].compat_files.dump(name, path)
            one, other = (
                side.compat_files.read(path, ensure_native_byte_order=native)
                for side in sides.values()
            )
            same(one, other, name, writer)
    assert len(names) > 15
