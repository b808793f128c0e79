"""Compression methods: each by its name, its level, its extension and its magic."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib

import pytest

import joblib
from joblib.compressor import (
    _COMPRESSORS,
    BinaryGzipFile,
    BinaryZlibFile,
    CompressorWrapper,
    register_compressor,
)
from joblib.numpy_pickle_utils import _detect_compressor

BUILT_IN = {
    "zlib": (".z", zlib.decompress),
    "gzip": (".gz", gzip.decompress),
    "bz2": (".bz2", bz2.decompress),
    "lzma": (".lzma", lzma.decompress),
    "xz": (".xz", lzma.decompress),
}
LIBRARIES = {"lz4": (".lz4", "lz4.frame"), "zstd": (".zst", "zstandard")}
METHODS = [*BUILT_IN, *LIBRARIES]
TEXT = ["some text " * 50, list(range(1000))]


@pytest.fixture(params=METHODS)
def method(request):
    if request.param in LIBRARIES:
        pytest.importorskip(LIBRARIES[request.param][1])
    return request.param


def extension(method):
    return {**BUILT_IN, **LIBRARIES}[method][0]


def method_of(path):
    with open(path, "rb") as file:
        return _detect_compressor(file)


@pytest.mark.parametrize("level", [1, 5, 9, None])
def test_methods_by_name(method, level, tmp_path):
    path = tmp_path / "file"
    joblib.dump(TEXT, path, compress=(method, level))
    assert method_of(path) == method
    assert joblib.load(path) == TEXT
    joblib.dump(TEXT, path, compress=method)
    assert method_of(path) == method


def test_methods_by_extension(method, tmp_path):
    path = tmp_path / f"file{extension(method)}"
    for compress in (0, False, True, 1):
        joblib.dump(TEXT, path, compress=compress)
        assert method_of(path) == method
        assert joblib.load(path) == TEXT
    # What is said counts more than what the name suggests.
    joblib.dump(TEXT, path, compress=("gzip", 3))
    assert method_of(path) == "gzip"
    joblib.dump(TEXT, path, compress=("gzip", 0))
    assert method_of(path) == "not-compressed"


@pytest.mark.parametrize("method", BUILT_IN)
def test_other_programs_read_the_files(method, tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    joblib.dump(TEXT, plain)
    joblib.dump(TEXT, packed, compress=method)
    assert BUILT_IN[method][1](packed.read_bytes()) == plain.read_bytes()


def test_zstd_files_are_those_of_zstandard(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    joblib.dump(TEXT, plain)
    joblib.dump(TEXT, packed, compress="zstd")
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    assert unpacker.decompress(packed.read_bytes()) == plain.read_bytes()
    packed.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
    assert joblib.load(packed) == TEXT


def test_levels_matter(method, tmp_path):
    if method == "lz4":
        pytest.skip("its levels do not order sizes")
    value = [bytes([i % 7, i % 11, i % 13]) * 3 for i in range(20000)]
    sizes = []
    for level in (1, 9):
        joblib.dump(value, tmp_path / "file", compress=(method, level))
        sizes.append((tmp_path / "file").stat().st_size)
    assert sizes[1] <= sizes[0]


def test_arrays_of_several_chunks(method, tmp_path):
    np = pytest.importorskip("numpy")
    arrays = [
        np.arange(3_000_000, dtype="i4"),
        np.asfortranarray(np.arange(600_000.0).reshape(600, 1000)),
        np.arange(600_000.0).reshape(600, 1000)[:, ::2],
    ]
    joblib.dump(arrays, tmp_path / "file", compress=(method, 1))
    found = joblib.load(tmp_path / "file")
    assert all(map(np.array_equal, found, arrays))
    assert found[1].flags.f_contiguous


@pytest.mark.parametrize(
    "compress", [-1, 10, 2.5, {}, [], ["zlib", 3], ("zlib",), ("zlib", 3, 4), ()]
)
def test_levels_and_tuples_that_are_refused(compress, tmp_path):
    with pytest.raises(ValueError, match="level given|exactly 2 elements"):
        joblib.dump(1, tmp_path / "file", compress=compress)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compress", ["nope", ("nope", 3), (5, 3)])
def test_methods_that_are_refused_with_those_there_are(compress, tmp_path):
    with pytest.raises(ValueError, match="compression method given.*'zlib'.*'zstd'"):
        joblib.dump(1, tmp_path / "file", compress=compress)


@pytest.mark.parametrize("name, library", [("lz4", "lz4"), ("zstd", "zstandard")])
def test_a_missing_library_is_named(name, library, tmp_path, monkeypatch):
    for module in ("lz4.frame", "zstandard", "joblib._compress.zstdfile"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ValueError, match=f"(?i){library} is not installed. Install it"):
        joblib.dump(1, tmp_path / "file", compress=name)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def registered():
    """Names to register methods under; gone after the test."""
    names = ["test-method", "test-other"]
    yield names
    for name in names:
        _COMPRESSORS.pop(name, None)


class Reversing(io.BytesIO):
    """A file whose bytes are stored in the opposite order, behind a magic."""

    def __init__(self, fileobj, mode, compresslevel=0):
        self._target = fileobj if mode == "wb" else None
        super().__init__(fileobj.read()[:2:-1] if mode == "rb" else b"")
        self.level = compresslevel

    def close(self):
        if self._target is not None:
            self._target.write(b"REV" + self.getvalue()[::-1])
            self._target = None
        super().close()


def test_a_method_of_ones_own(registered, tmp_path):
    wrapper = CompressorWrapper(Reversing, prefix=b"REV", extension=".rev")
    register_compressor(registered[0], wrapper)
    for path, compress in ((tmp_path / "a", registered[0]), (tmp_path / "a.rev", 0)):
        joblib.dump(TEXT, path, compress=compress)
        assert path.read_bytes()[:3] == b"REV"
        assert method_of(path) == registered[0]
        assert joblib.load(path) == TEXT


def test_what_cannot_be_registered(registered):
    name = registered[0]
    with pytest.raises(ValueError, match="name should be a string"):
        register_compressor(5, CompressorWrapper(Reversing))
    with pytest.raises(ValueError, match="CompressorWrapper interface"):
        register_compressor(name, Reversing)
    with pytest.raises(ValueError, match="file object interface"):
        register_compressor(name, CompressorWrapper(dict))
    register_compressor(name, CompressorWrapper(Reversing))
    with pytest.raises(ValueError, match="already registered"):
        register_compressor(name, CompressorWrapper(Reversing))
    register_compressor(name, CompressorWrapper(gzip.GzipFile), force=True)
    assert _COMPRESSORS[name].fileobj_factory is gzip.GzipFile


@pytest.mark.parametrize("kind", [BinaryZlibFile, BinaryGzipFile])
class TestBinaryZlibFile:
    def test_read_write_seek(self, kind, tmp_path):
        data = bytes(range(256)) * 5000
        path = tmp_path / "file"
        with kind(path, "wb") as file:
            assert file.write(data[:1000]) == 1000
            assert file.write(memoryview(data)[1000:]) == len(data) - 1000
            assert file.tell() == len(data)
            with pytest.raises(io.UnsupportedOperation):
                file.read()
            with pytest.raises(io.UnsupportedOperation):
                file.seek(0)
        with kind(path) as file:
            assert file.read(10) == data[:10]
            assert file.seek(500_000) == 500_000
            assert file.read(5) == data[500_000:500_005]
            assert file.seek(-5, io.SEEK_CUR) == 500_000
            assert file.seek(3) == 3
            assert file.read(3) == data[3:6]
            assert file.seek(-4, io.SEEK_END) == len(data) - 4
            assert file.read() == data[-4:]
            assert file.read(1) == b""
            assert file.seek(10**9) == len(data)
            with pytest.raises(io.UnsupportedOperation):
                file.write(b"")
        assert file.closed
        with pytest.raises(ValueError, match="closed"):
            file.read()
        file.close()

    def test_streams_one_after_the_other(self, kind, tmp_path):
        raw = io.BytesIO()
        for part in (b"one", b"two"):
            with kind(raw, "wb") as file:
                file.write(part)
        raw.seek(0)
        assert kind(raw).read() == b"onetwo"
        assert not raw.closed

    def test_a_stream_that_is_cut_off(self, kind):
        raw = io.BytesIO()
        with kind(raw, "wb") as file:
            file.write(bytes(range(256)) * 100)
        for size in range(1, len(raw.getvalue()), 97):
            with pytest.raises(EOFError, match="ended before"):
                kind(io.BytesIO(raw.getvalue()[:size])).read()

    def test_what_is_refused(self, kind, tmp_path):
        for mode in ("r", "w", "ab", 1):
            with pytest.raises(ValueError, match="Invalid mode"):
                kind(tmp_path / "file", mode)
        for level in (0, 10, "a", True):
            with pytest.raises(ValueError, match="integer between 1 and 9"):
                kind(tmp_path / "file", "wb", compresslevel=level)
        with pytest.raises(TypeError, match="filename must be"):
            kind(5, "rb")
        with pytest.raises(FileNotFoundError):
            kind(tmp_path / "file")
