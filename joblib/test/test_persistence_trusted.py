"""`load(trusted=)`: what is trusted loads, and nothing of what is not ever runs."""

from __future__ import annotations

import collections
import datetime
import decimal
import io
import os
import pickle
import subprocess
import sys
import uuid

import pytest

import joblib
from joblib.numpy_pickle import CorruptFileError, UntrustedTypeError
from joblib.test import persistence_objects
from joblib.test.persistence_objects import Plain, alike, everything, function
from joblib.testing import check_trusted, hostile_pickles

np = pytest.importorskip("numpy")

OURS = "joblib.test.persistence_objects."
# Those of the hostile files that ordinary loading runs on every machine.
SURE = [
    "os.mkdir",
    "builtins.eval",
    "builtins.exec",
    "builtins.getattr",
    "builtins.__import__",
    "functools.partial",
    "importing alone",
    "GLOBAL",
    "INST",
    "OBJ",
    "EXT1",
    "inside a list",
    "inside a state",
    "inside an array of objects",
    "behind an array",
    "numpy.memmap",
    "in a file beside it",
    "compressed",
    "compressed by joblib 0.9",
]


def dumped(value, **options):
    file = io.BytesIO()
    joblib.dump(value, file, **options)
    file.seek(0)
    return file


def roundtrip(value, trusted, **options):
    return joblib.load(dumped(value, **options), trusted=trusted)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("key", everything())
def test_what_python_and_numpy_write(key, protocol):
    value = everything()[key]
    trusted = [f"{OURS}*", function]
    assert alike(roundtrip(value, trusted, protocol=protocol), value)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(list, a=[1]),
        collections.Counter("aab"),
        collections.deque([1, 2], maxlen=3),
        datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
        datetime.timedelta(1),
        decimal.Decimal("1.5"),
        uuid.UUID(int=5),
        [slice(1, 2), range(3), type(None), bytearray(b"x"), ..., NotImplemented],
        [int, dict, ValueError],
        [np.float64, np.dtype("f8"), np.log1p, np.mean],
        np.random.MT19937(1).state,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_needs_no_trust(value, protocol):
    found = roundtrip(value, [], protocol=protocol)
    assert type(found) is type(value)
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "dtype",
    [
        *("?", "i1", ">i4", "<u8", "f2", "g", "c16", "S3", "U4", ">U4", "V5", "O"),
        *("M8", "M8[s]", ">M8[25us]", "m8[D]"),
        [("a", "i4"), ("b", ">f8")],
        [("a", "i4", (2, 3)), ("b", [("c", "U3"), ("d", "O")])],
        {"names": ["a"], "formats": ["u1"], "offsets": [3], "itemsize": 9},
        {"names": ["a"], "formats": ["u1"], "titles": ["A"]},
        np.dtype([("a", "u1"), ("b", "f8")], align=True),
        np.dtype((np.record, [("a", "i4")])),
        np.dtype((">i4", (2,))),
        np.dtype("f8", metadata={"unit": "m"}),
        np.dtype([]),
    ],
    ids=str,
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_dtypes_are_what_they_were(dtype, protocol):
    dtype = np.dtype(dtype)
    found = roundtrip(dtype, [], protocol=protocol)
    assert found == dtype
    assert found.str == dtype.str
    assert found.type is dtype.type
    assert found.flags & 0xFF == dtype.flags & 0xFF  # those that are pickled
    assert found.itemsize == dtype.itemsize
    assert found.isalignedstruct == dtype.isalignedstruct
    assert found.metadata == dtype.metadata
    assert np.dtype("f8").isnative


def test_random_generators_go_on_where_they_were():
    for rng in (np.random.RandomState(3), np.random.default_rng(3)):
        rng.standard_normal(5)
        found = roundtrip(rng, [])
        assert np.array_equal(found.standard_normal(5), rng.standard_normal(5))


def test_the_state_of_shared_dtypes_stays():
    # BUILD on what np.dtype("f8") returns would change it for everyone.
    attack = pickle.dumps(np.dtype(">f8"))
    joblib.load(io.BytesIO(attack), trusted=[])
    assert np.dtype("f8").isnative


@pytest.mark.parametrize("compress", [0, "zlib", "gzip"])
@pytest.mark.parametrize("mmap_mode", [None, "r", "c"])
@pytest.mark.filterwarnings("ignore:mmap_mode")
def test_from_a_path(compress, mmap_mode, tmp_path):
    path = tmp_path / "file"
    value = {"a": np.arange(10.0), "b": np.array([Plain(x=1), None])}
    joblib.dump(value, path, compress=compress)
    found = joblib.load(path, mmap_mode=mmap_mode, trusted=Plain)
    assert alike(found, value)
    mapped = mmap_mode is not None and compress == 0
    assert isinstance(found["a"], np.memmap) == mapped
    with pytest.raises(UntrustedTypeError) as info:
        joblib.load(path, mmap_mode=mmap_mode, trusted=[])
    assert info.value.names == (f"{OURS}Plain",)
    assert str(path) in str(info.value)


def test_all_names_are_listed_at_once():
    value = [
        Plain(a=np.arange(300.0)),
        np.array([persistence_objects.Colour.RED, np.arange(3)], dtype=object),
        np.arange(300.0),
        {"function": function, "slots": persistence_objects.Slots()},
    ]
    with pytest.raises(UntrustedTypeError) as info:
        roundtrip(value, "sklearn.*")
    names = ["Colour", "Plain", "Slots", "function"]
    assert info.value.names == tuple(OURS + name for name in names)
    assert all(repr(name) in str(info.value) for name in info.value.names)
    assert alike(roundtrip(value[:3], info.value.names), value[:3])
    again = pickle.loads(pickle.dumps(info.value))
    assert (again.names, str(again)) == (info.value.names, str(info.value))


@pytest.mark.parametrize(
    ("value", "trusted", "loads"),
    [
        (Plain(x=1), f"{OURS}Plain", True),
        (Plain(x=1), Plain, True),
        (Plain(x=1), {Plain}, True),
        (Plain(x=1), "joblib.*", True),
        (Plain(x=1), "joblib.test.*", True),
        (Plain(x=1), "joblib.test.persistence.*", False),
        (Plain(x=1), "job.*", False),
        (Plain(x=1), "Plain.x", False),
        (function, "joblib.*", False),
        (function, function, True),
        (function, f"{OURS}function", True),
        (persistence_objects.Colour.RED, persistence_objects.Colour, True),
        (persistence_objects.Outer.Inner, "joblib.*", True),
        (np.load, [], False),
        (np.load, [np.load], True),
    ],
)
def test_the_forms_of_trust(value, trusted, loads):
    if loads:
        found = roundtrip(value, trusted)
        assert type(found) is type(value)
    else:
        with pytest.raises(UntrustedTypeError):
            roundtrip(value, trusted)


@pytest.mark.parametrize(
    ("trusted", "error"),
    [
        *(
            (item, ValueError)
            for item in ("", "*", "sklearn*", "Plain", "a.*.b", "a b")
        ),
        *((item, ValueError) for item in ("os.*", "builtins.*", ["a.b", "x/y"])),
        *((item, TypeError) for item in (1, True, b"a.b", [None], [3.5], [[].append])),
    ],
)
def test_bad_allow_lists(trusted, error, tmp_path):
    # Before the file is touched.
    with pytest.raises(error, match="trusted= got .*allowed are|Name the types"):
        joblib.load(tmp_path / "missing", trusted=trusted)


@pytest.mark.parametrize(
    "trusted",
    [[], "sklearn.*", ["numpy.*", "scipy.*", "pandas.*", "sklearn.*", "joblib.*"]],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_nothing_hostile_runs(trusted):
    refused = check_trusted(trusted)
    assert set(SURE) <= set(refused)
    for name in SURE:
        assert isinstance(refused[name], UntrustedTypeError), name


RUN = """
import sys, tempfile, warnings
import joblib
from joblib._testing.trust_check import hostile_pickles, prepared
warnings.simplefilter("ignore")
sure = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    for attack in hostile_pickles(folder):
        if attack.name in sure:
            with prepared(attack) as path:
                try:
                    joblib.load(path)
                except Exception:
                    pass
            if attack.trace.exists():
                sure.remove(attack.name)
print(sure)
"""


def test_the_hostile_files_do_run_when_everything_is_trusted():
    done = subprocess.run(
        [sys.executable, "-c", RUN, *SURE], capture_output=True, text=True, timeout=50
    )
    assert done.stdout == "[]\n", done.stderr


def test_the_check_tells_when_something_ran():
    def load(file, trusted):
        return joblib.load(file, trusted=[*trusted, os.mkdir, "os.mkdir"])

    with pytest.raises(AssertionError, match="hostile files ran: .*'os.mkdir'"):
        check_trusted([], load)


def test_the_names_of_hostile_files_differ(tmp_path):
    attacks = hostile_pickles(tmp_path)
    assert len({attack.name for attack in attacks}) == len(attacks) > 90
    assert len({attack.trace for attack in attacks}) == len(attacks)


def test_no_module_is_imported_for_a_refused_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "module_of_a_stranger.py").write_text("raise SystemExit")
    with pytest.raises(UntrustedTypeError, match="module_of_a_stranger.Name"):
        joblib.load(io.BytesIO(b"cmodule_of_a_stranger\nName\n."), trusted="numpy.*")
    assert "module_of_a_stranger" not in sys.modules


class Finalized:
    ran: list = []

    def __del__(self):
        self.ran.append(1)


def test_types_with_finalizers_are_named_in_full():
    file = dumped(Finalized())
    before = len(Finalized.ran)
    with pytest.raises(UntrustedTypeError, match="Finalized"):
        joblib.load(file, trusted="joblib.*")
    assert len(Finalized.ran) == before
    file.seek(0)
    assert isinstance(joblib.load(file, trusted=Finalized), Finalized)


class Opens:
    opened: list = []

    def __init__(self, path):
        self.opened.append(path)


def test_a_pattern_calls_no_constructor():
    call = f"c{__name__}\nOpens\n(S'path'\ntR.".encode()
    with pytest.raises(UntrustedTypeError, match="Opens"):
        joblib.load(io.BytesIO(call), trusted="joblib.*")
    assert Opens.opened == []
    joblib.load(io.BytesIO(call), trusted=Opens)
    assert Opens.opened == ["path"]


SHARED = {"option": 1}


def shared():
    return SHARED


@pytest.mark.parametrize("items", [b"S'x'\nNs", b"(S'x'\nNu"])
def test_what_was_there_before_is_not_changed(items):
    get = f"c{__name__}\nshared\n)R".encode()
    with pytest.raises(CorruptFileError, match="not made"):
        joblib.load(io.BytesIO(get + items + b"."), trusted=shared)
    assert SHARED == {"option": 1}


def test_an_object_gets_one_state():
    make = f"c{OURS[:-1]}\nPlain\n".encode() + b")\x81}b"
    assert isinstance(joblib.load(io.BytesIO(make + b"."), trusted=Plain), Plain)
    with pytest.raises(CorruptFileError, match="was there before, or has one"):
        joblib.load(io.BytesIO(make + b"}b."), trusted=Plain)


def test_an_array_is_not_given_a_second_memory():
    array = pickle.dumps(np.arange(3), 2)[:-1]
    end = array[array.rindex(b"(") :]
    with pytest.raises(CorruptFileError):
        joblib.load(io.BytesIO(array + end + b"."), trusted=[])


def test_what_may_be_called_but_not_stored():
    with pytest.raises(UntrustedTypeError, match="builtins.getattr"):
        joblib.load(io.BytesIO(b"cbuiltins\ngetattr\n."), trusted=[])


def fitted_estimators():
    """Estimators of all kinds, and what they were fitted to."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    from scipy import stats
    from sklearn import (
        calibration,
        cluster,
        compose,
        decomposition,
        feature_extraction,
        gaussian_process,
        linear_model,
        model_selection,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
    )
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.feature_selection import SelectKBest

    x = np.random.RandomState(0).rand(60, 3)
    y = (x[:, 0] > 0.5) * 1
    columns = [("a", preprocessing.StandardScaler(), [0]), ("b", "passthrough", [1])]
    mixed = compose.ColumnTransformer(columns)
    estimators = [
        linear_model.LogisticRegression(),
        linear_model.SGDClassifier(max_iter=5, tol=None),
        ensemble.RandomForestClassifier(3, random_state=np.random.RandomState(0)),
        ensemble.GradientBoostingClassifier(n_estimators=3),
        ensemble.HistGradientBoostingClassifier(max_iter=3),
        ensemble.IsolationForest(n_estimators=3),
        neighbors.KNeighborsClassifier(algorithm="kd_tree"),
        neighbors.KNeighborsClassifier(algorithm="ball_tree", metric="chebyshev"),
        svm.SVC(),
        pipeline.make_pipeline(mixed, SelectKBest(k=1), LinearDiscriminantAnalysis()),
        model_selection.GridSearchCV(svm.SVC(), {"C": [1, 2]}, cv=2),
        model_selection.RandomizedSearchCV(
            svm.SVC(), {"C": stats.loguniform(0.1, 10)}, n_iter=2, cv=2
        ),
        gaussian_process.GaussianProcessClassifier(),
        neural_network.MLPClassifier(max_iter=1000, tol=1.0, hidden_layer_sizes=(3,)),
        cluster.KMeans(2, n_init=1),
        decomposition.PCA(2),
        decomposition.LatentDirichletAllocation(2, max_iter=2),
        calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2),
        preprocessing.SplineTransformer(),
        preprocessing.FunctionTransformer(np.log1p),
    ]
    for estimator in estimators:
        estimator.fit(x, y)
    words = feature_extraction.text.TfidfVectorizer().fit(["a text", "some words"])
    return [*estimators, words]


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.filterwarnings("ignore")
def test_estimators_of_scikit_learn(protocol):
    for estimator in fitted_estimators():
        file = dumped(estimator, protocol=protocol)
        found = joblib.load(file, trusted="sklearn.*")
        file.seek(0)
        assert joblib.hash(found) == joblib.hash(joblib.load(file)), estimator


@pytest.mark.parametrize("protocol", [2, 5])
def test_sparse_matrices(protocol):
    sparse = pytest.importorskip("scipy.sparse")
    for form in ("csr", "csc", "coo", "bsr", "dia", "dok", "lil"):
        matrix = sparse.eye_array(3, format=form)
        found = roundtrip(matrix, [], protocol=protocol)
        assert type(found) is type(matrix)
        assert np.array_equal(found.toarray(), np.eye(3))


@pytest.mark.parametrize("protocol", [2, 5])
def test_frames_of_pandas(protocol):
    pd = pytest.importorskip("pandas")
    days = pd.date_range("2020", periods=2)
    frame = pd.DataFrame(
        {
            "integers": [1, 2],
            "texts": ["a", None],
            "kinds": pd.Categorical(["x", "y"]),
            "zone": days.tz_localize("UTC"),
            "missing": pd.array([1, None], dtype="Int64"),
            "objects": [(1,), "a"],
            "spans": days - days[0],
        },
        index=days,
    )
    found = roundtrip(frame, "pandas.*", protocol=protocol)
    pd.testing.assert_frame_equal(found, frame)
    with pytest.raises(UntrustedTypeError, match="pandas"):
        roundtrip(frame, "sklearn.*", protocol=protocol)


def test_an_array_of_objects_with_too_few_of_them():
    content = pickle.dumps(np.array([None] * 5), 2).replace(b"K\x05\x85", b"K\x7f\x85")
    with pytest.raises(CorruptFileError, match="list of objects"):
        joblib.load(io.BytesIO(content), trusted=[])
