"""A cache that release 1.6.0 wrote is hit, down to every key."""

import asyncio
import inspect
import zipfile
from pathlib import Path

import pytest

from joblib import Memory
from joblib.test import golden_functions

ARCHIVE = Path(__file__).parent / "data" / "cache_1_6_0.zip"


def run(call):
    async def wait(awaitable):
        return await awaitable

    result = call()
    return asyncio.run(wait(result)) if inspect.isawaitable(result) else result


def test_every_stored_result_is_hit(tmp_path, recwarn):
    np = pytest.importorskip("numpy")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    array = np.arange(6.0).reshape(2, 3)
    calls = golden_functions.make_calls(
        Memory(tmp_path, verbose=0), Memory(tmp_path, verbose=0, compress=3), array
    )
    golden_functions.CALLS.clear()
    results = {name: run(call) for name, call in calls.items()}

    assert golden_functions.CALLS == []
    assert results["plain"] == 10
    assert results["plain by name"] == 11.25
    assert results["ignored"] == ["k", {"text": "é"}]
    assert results["everything"] == (1, 2, (3, 4), 5, [("d", 6), ("e", "f")])
    assert results["compressed"] == "a" * 1000
    assert results["asynchronous"] == -4
    assert results["method"] == 70
    assert results["nested"][0][2] == {1, 2}
    np.testing.assert_array_equal(results["array"]["powers"], array**2)
    np.testing.assert_array_equal(results["fortran"]["powers"], array.T**3)
    assert not recwarn.list


def test_what_is_written_is_what_was_written(tmp_path):
    np = pytest.importorskip("numpy")
    memories = Memory(tmp_path, verbose=0), Memory(tmp_path, verbose=0, compress=3)
    array = np.arange(6.0).reshape(2, 3)
    for call in golden_functions.make_calls(*memories, array).values():
        run(call)
    with zipfile.ZipFile(ARCHIVE) as archive:
        expected = {
            name: archive.read(name)
            for name in archive.namelist()
            if not name.endswith(".json")  # these hold times
        }
    written = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file() and path.suffix in (".pkl", ".py")
    }
    assert set(written) == set(expected)
    for name, content in expected.items():
        if name.endswith(".py"):
            assert written[name] == content
