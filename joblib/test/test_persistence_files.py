"""Files of all kinds, picklers of one's own, and what `dump` and `load` refuse."""

from __future__ import annotations

import copyreg
import gzip
import io
import os
import pickle
import socket
import threading

import pytest

import joblib
from joblib import numpy_pickle
from joblib._persist.dtype_check import set_state
from joblib.numpy_pickle import NumpyPickler, NumpyUnpickler
from joblib.numpy_pickle_utils import _validate_fileobject_and_memmap
from joblib.test.persistence_objects import Plain, alike, everything

np = pytest.importorskip("numpy")


@pytest.mark.parametrize("value", [{"a": [1]}, [np.arange(5), "b"]])
@pytest.mark.parametrize("compress", [0, "gzip"])
def test_objects_one_after_the_other_in_one_file(value, compress, tmp_path):
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.write(b"head")
        assert joblib.dump(value, file, compress=compress) is None
        if compress == 0:
            joblib.dump("second", file)
    with open(path, "rb") as file:
        assert file.read(4) == b"head"
        assert alike(joblib.load(file), value)
        if compress == 0:
            assert joblib.load(file) == "second"


def test_objects_one_after_the_other_in_memory():
    file = io.BytesIO()
    joblib.dump([np.arange(3)], file)
    joblib.dump("second", file)
    file.seek(0)
    assert alike(joblib.load(file), [np.arange(3)])
    assert joblib.load(file) == "second"


def test_a_file_in_memory_need_not_be_rewound():
    file = io.BytesIO()
    joblib.dump(np.arange(3), file)
    assert alike(joblib.load(file), np.arange(3))


def test_arrays_are_aligned_wherever_a_file_begins(tmp_path):
    path = tmp_path / "file"
    for head in range(20):
        with open(path, "wb") as file:
            file.write(b"-" * head)
            joblib.dump(np.arange(3.0), file)
        with open(path, "rb") as file:
            file.seek(head)
            found = joblib.load(file, mmap_mode="r")
        assert isinstance(found, np.memmap)
        assert found.offset % 16 == 0
        assert found.tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [everything(), np.arange(10**6)])
def test_through_a_socket(value):
    left, right = socket.socketpair()
    with left, right:
        file = left.makefile("wb")
        sender = threading.Thread(
            target=lambda: (joblib.dump(value, file), file.close())
        )
        sender.start()
        with right.makefile("rb") as received:
            found = joblib.load(received)
        sender.join(30)
    assert not sender.is_alive()
    assert alike(found, value)


class Trickle(io.RawIOBase):
    """Gives a byte or three at a time, and can neither seek nor tell."""

    def __init__(self, content):
        self._content = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._content.readinto(memoryview(buffer)[:3])


def test_a_file_that_gives_little_at_a_time():
    file = io.BytesIO()
    joblib.dump(everything(), file)
    assert alike(joblib.load(Trickle(file.getvalue())), everything())


def test_paths_of_all_kinds(tmp_path):
    class Path(os.PathLike):
        def __fspath__(self):
            return str(tmp_path / "file.gz")

    assert joblib.dump([1], Path()) == [str(tmp_path / "file.gz")]
    assert joblib.load(Path()) == [1]
    assert gzip.decompress((tmp_path / "file.gz").read_bytes())[:1] == b"\x80"


def test_a_large_pickle_to_a_file_object_is_not_gathered_without_end(monkeypatch):
    from joblib._persist import shortcuts

    value = [str(i) for i in range(5000)]
    monkeypatch.setattr(shortcuts, "_SPOOL_BYTES", 10_000)
    assert shortcuts.plain_pickle(value, 4) is None
    file = io.BytesIO()
    joblib.dump(value, file)
    file.seek(0)
    assert joblib.load(file) == value


def test_an_array_that_turns_up_late(tmp_path):
    path = tmp_path / "file"
    value = {"texts": [str(i) for i in range(20_000)], "x": Plain(y=[(np.arange(3),)])}
    for compress in (0, "xz"):
        joblib.dump(value, path, compress=compress)
        assert alike(joblib.load(path), value)


def test_mapped_arrays_can_be_written(tmp_path):
    path = tmp_path / "file"
    joblib.dump([np.zeros(4), np.zeros((2, 3), order="F")], path)
    for mode in ("r+", "w+"):
        first, second = joblib.load(path, mmap_mode=mode)
        assert first.mode == "r+"
        first += 1
        second[1, 2] = 7
        first.flush(), second.flush()
    assert joblib.load(path)[0].tolist() == [2, 2, 2, 2]
    private = joblib.load(path, mmap_mode="c")[0]
    private[:] = 9
    read_only = joblib.load(path, mmap_mode="r")[1]
    assert read_only[1, 2] == 7 and not read_only.flags.writeable
    assert joblib.load(path)[0].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("mode", ["x", "w", "", 1])
def test_unknown_modes_are_refused(mode, tmp_path):
    joblib.dump(1, tmp_path / "file")
    with pytest.raises(ValueError, match="mmap_mode should be None or one of"):
        joblib.load(tmp_path / "file", mmap_mode=mode)


def test_byte_order_is_kept_or_changed_as_asked(tmp_path):
    path = tmp_path / "file"
    records = np.array([(1, 2.0)], dtype=[("a", ">i4"), ("b", "<f8")])
    joblib.dump([np.arange(3, dtype=">i4"), records], path)
    native = joblib.load(path)
    assert native[0].dtype.isnative and native[1].dtype["a"].isnative
    assert native[0].tolist() == [0, 1, 2] and native[1].tolist() == [(1, 2.0)]
    kept = joblib.load(path, ensure_native_byte_order=False)
    assert kept[0].dtype == np.dtype(">i4") and kept[1].dtype == records.dtype
    with pytest.raises(ValueError, match="Native byte ordering"):
        joblib.load(path, mmap_mode="r", ensure_native_byte_order=True)


class Restricted(NumpyUnpickler):
    """A loader that takes nothing but arrays and builtins."""

    allowed = ("numpy", "joblib", "builtins", "_codecs", "copyreg")

    def find_class(self, module, name):
        if module.partition(".")[0] not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)


class CallsSystem:
    def __reduce__(self):
        return os.system, ("exit 1",)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_restricted_loader(mmap_mode, inside, tmp_path):
    path = str(tmp_path / "file")
    good = {"a": np.arange(3), "o": np.array([1, "b"], dtype=object), "m": np.eye(2)}
    joblib.dump(good, path)

    def load():
        with open(path, "rb") as file:
            with _validate_fileobject_and_memmap(file, path, mmap_mode) as (
                source,
                mode,
            ):
                return Restricted(path, source, False, mmap_mode=mode).load()

    assert alike(load(), good)
    bad = CallsSystem()
    joblib.dump(np.array([bad], dtype=object) if inside else [bad], path)
    with pytest.raises(
        pickle.UnpicklingError, match="(posix|nt).system is not allowed"
    ):
        load()


def test_a_pickler_with_a_table_of_its_own(tmp_path):
    file = io.BytesIO()
    pickler = NumpyPickler(file)
    pickler.dispatch_table = copyreg.dispatch_table.copy()
    pickler.dispatch_table[Plain] = lambda obj: (Plain, (), {"x": "replaced"})
    pickler.dump([Plain(x=np.arange(3)), np.arange(2)])
    file.seek(0)
    replaced, array = joblib.load(file)
    assert replaced.x == "replaced" and array.tolist() == [0, 1]


class Counting(NumpyPickler):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def save(self, obj):
        self.seen.append(type(obj))
        super().save(obj)


def test_a_pickler_that_is_subclassed():
    file = io.BytesIO()
    pickler = Counting(file, protocol=2)
    pickler.dump([1, np.arange(3), "a"])
    file.seek(0)
    assert alike(joblib.load(file), [1, np.arange(3), "a"])
    assert {int, np.ndarray, str} <= set(pickler.seen)


def test_an_object_array_of_arrays_shares_nothing_with_its_surroundings(tmp_path):
    path = tmp_path / "file"
    inner = np.arange(3)
    value = [inner, np.array([inner, None], dtype=object), inner]
    joblib.dump(value, path)
    assert alike(joblib.load(path), value)


def test_matrices_stay_matrices(tmp_path):
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1, 2], [3, 4]])
    joblib.dump([matrix, matrix.T], tmp_path / "file")
    found = joblib.load(tmp_path / "file")
    assert [type(each) for each in found] == [np.matrix, np.matrix]
    assert found[1].tolist() == [[1, 3], [2, 4]]
    assert isinstance(joblib.load(tmp_path / "file", mmap_mode="r")[0], np.memmap)


@pytest.mark.parametrize("target", [5, None, {}, b"path"])
def test_what_is_neither_path_nor_file_is_refused(target):
    with pytest.raises(ValueError, match="should be a filename or a file-like object"):
        joblib.dump(1, target)


def test_dumping_what_cannot_be_pickled_says_so(tmp_path):
    for target in (tmp_path / "file", io.BytesIO()):
        with pytest.raises(pickle.PicklingError, match="Can't pickle <function"):
            joblib.dump([lambda: None], target)


def test_the_aligning_release_is_told_apart(tmp_path):
    wrapper = numpy_pickle.NumpyArrayWrapper(
        np.ndarray, (2,), "C", np.dtype("i8"), True
    )
    state = wrapper.__dict__
    assert list(state) == [
        "subclass",
        "shape",
        "order",
        "dtype",
        "allow_mmap",
        "numpy_array_alignment_bytes",
    ]
    # As releases before 1.2 wrote it, at an odd place.
    del wrapper.numpy_array_alignment_bytes
    path = tmp_path / "file"
    content = pickle.dumps(wrapper, 2)[:-1]
    content += np.array([5, 6]).tobytes() + b"."
    assert content.index(np.array([5, 6]).tobytes()) % 16
    path.write_bytes(content)
    assert joblib.load(path).tolist() == [5, 6]
    with pytest.warns(UserWarning, match="memmapped array.*segmentation fault"):
        assert joblib.load(path, mmap_mode="r").tolist() == [5, 6]


class Named(np.ndarray):
    """An array that keeps its name beside what numpy keeps."""

    def __reduce__(self):
        function, args, state = super().__reduce__()
        return function, args, (state, self.name)

    def __setstate__(self, state):
        super().__setstate__(state[0])
        self.name = state[1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_subclasses_with_a_state_of_their_own(protocol, tmp_path):
    array = np.array([1, "a", None], dtype=object).view(Named)
    array.name = "given"
    path = tmp_path / "file"
    joblib.dump([array, np.arange(3), array], path, protocol=protocol)

    one, _, other = joblib.load(path)

    assert type(one) is type(other) is Named
    assert one.name == "given"
    assert one.tolist() == [1, "a", None]


def test_what_they_hand_on_to_numpy_is_looked_at():
    array = np.zeros(0, dtype=object).view(Named)
    state = (1, (10**6,), np.dtype("O"), False, ["only one"])
    with pytest.raises(numpy_pickle.CorruptFileError, match="1 objects for the shape"):
        set_state(array, (state, "name"))
