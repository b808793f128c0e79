"""What tasks find of their caller's surroundings."""

from __future__ import annotations

import decimal
import logging
import warnings

import pytest

from joblib import (
    Parallel,
    delayed,
    forward_context,
    parallel_config,
    register_task_context,
    unregister_task_context,
)
from joblib.test.control_tasks import PLACE, set_variable, variables, variables_inside

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]

HERE = "joblib.test.control_tasks"


@pytest.fixture
def place():
    """Sets the variable for a test."""
    token = PLACE.set("here")
    yield
    PLACE.reset(token)


@pytest.fixture(params=["sequential", "threading", "loky", "multiprocessing"])
def name(request):
    return request.param


# -------------------------------------------------------------------- threads
def test_tasks_on_threads_have_the_callers_variables(place):
    parallel = Parallel(2, prefer="threads")
    assert parallel(delayed(variables)(i) for i in range(4)) == [("here", None)] * 4


def test_what_a_task_sets_no_other_one_sees(place):
    parallel = Parallel(2, prefer="threads")
    out = parallel(delayed(set_variable)(i) for i in range(20))
    assert out == ["here"] * 20
    assert PLACE.get() == "here"


def test_calls_in_tasks_on_threads(place):
    parallel = Parallel(2, prefer="threads")
    out = parallel(delayed(variables_inside)(i) for i in range(2))
    assert out == [[("here", None)] * 2] * 2


# ------------------------------------------------------------- forward_context
def test_named_variables_reach_all_tasks(name, place):
    wrapper = forward_context(contextvars=[f"{HERE}:PLACE", f"{HERE}:UNSET"])
    with parallel_config(name, n_jobs=2, wrap_task=wrapper):
        out = Parallel()(delayed(variables_inside)(i) for i in range(2))
    assert out == [[("here", None)] * 2] * 2


def test_they_are_as_they_were_when_the_call_began(place):
    wrapper = forward_context(contextvars=[f"{HERE}:PLACE"])
    with parallel_config("loky", n_jobs=2, wrap_task=wrapper):
        for value in ("one", "two"):
            token = PLACE.set(value)
            out = Parallel()(delayed(variables)(i) for i in range(4))
            assert out == [(value, None)] * 4
            PLACE.reset(token)


def warn(x):
    with warnings.catch_warnings(record=True) as shown:
        warnings.warn("look", UserWarning, stacklevel=1)
    return len(shown)


def level(x):
    logger = logging.getLogger("joblib.test.forwarded")
    return logger.getEffectiveLevel(), logger.isEnabledFor(logging.CRITICAL)


def levels_inside(x):
    return Parallel(2)(delayed(level)(i) for i in range(2))


def test_filters_of_warnings(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with parallel_config(name, n_jobs=2, wrap_task=forward_context()):
            assert Parallel()(delayed(warn)(i) for i in range(4)) == [0] * 4
        warnings.simplefilter("error")
        with parallel_config(name, n_jobs=2, wrap_task=forward_context()):
            with pytest.raises(UserWarning, match="look"):
                Parallel()(delayed(warn)(i) for i in range(4))


def test_filters_are_put_back_in_the_worker():
    with parallel_config("loky", n_jobs=2):
        before = Parallel()(delayed(warn)(i) for i in range(4))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with parallel_config(wrap_task=forward_context()):
                assert Parallel()(delayed(warn)(i) for i in range(4)) == [0] * 4
        assert Parallel()(delayed(warn)(i) for i in range(4)) == before


def test_levels_of_loggers(name):
    logger = logging.getLogger("joblib.test.forwarded")
    logger.setLevel(13)
    logging.disable(logging.CRITICAL)
    try:
        with parallel_config(name, n_jobs=2, wrap_task=forward_context()):
            out = Parallel()(delayed(levels_inside)(i) for i in range(2))
    finally:
        logging.disable(logging.NOTSET)
        logger.setLevel(logging.NOTSET)
    assert out == [[(13, False)] * 2] * 2


def test_levels_are_put_back_in_the_worker():
    with parallel_config("loky", n_jobs=2):
        before = Parallel()(delayed(level)(i) for i in range(2))
        logging.getLogger("joblib.test.forwarded").setLevel(13)
        try:
            with parallel_config(wrap_task=forward_context(warnings=False)):
                out = Parallel()(delayed(level)(i) for i in range(2))
        finally:
            logging.getLogger("joblib.test.forwarded").setLevel(logging.NOTSET)
        assert out == [(13, True)] * 2
        assert Parallel()(delayed(level)(i) for i in range(2)) == before


@pytest.mark.parametrize(
    ("place", "match"),
    [
        ("nowhere.at.all:X", "no context variable at 'nowhere.at.all:X'"),
        (f"{HERE}:NOTHING", "no context variable"),
        (f"{HERE}:variables", "is no contextvars.ContextVar, but a function"),
        ("", "package.module:variable"),
    ],
)
def test_no_such_variable(place, match):
    with pytest.raises(ValueError, match=match):
        forward_context(contextvars=[place])


@pytest.mark.parametrize("value", [f"{HERE}:PLACE", [PLACE]])
def test_variables_are_given_by_their_places(value):
    with pytest.raises(TypeError, match="sequence of strings"):
        forward_context(contextvars=value)


# ------------------------------------------------------- what libraries register
@pytest.fixture
def registered():
    """Registers something, and takes it back."""
    names = []

    def register(name, *functions):
        register_task_context(name, *functions)
        names.append(name)

    yield register
    for name in names:
        unregister_task_context(name)


def precision(x):
    return decimal.getcontext().prec


def precision_inside(x):
    return Parallel(2)(delayed(precision)(i) for i in range(2))


def with_precision(prec):
    return decimal.localcontext(decimal.Context(prec=prec))


def current_precision():
    return decimal.getcontext().prec


def test_a_librarys_setting_reaches_all_tasks(name, registered):
    registered("decimal", current_precision, with_precision)
    with decimal.localcontext(decimal.Context(prec=5)):
        parallel = Parallel(2, backend=name)
        assert parallel(delayed(precision)(i) for i in range(4)) == [5] * 4
    assert parallel(delayed(precision)(i) for i in range(4)) == [28] * 4


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_it_reaches_calls_in_tasks(backend, registered):
    registered("decimal", current_precision, with_precision)
    with decimal.localcontext(decimal.Context(prec=5)):
        out = Parallel(2, backend=backend)(
            delayed(precision_inside)(i) for i in range(2)
        )
    assert out == [[5, 5], [5, 5]]


def sklearn_config(x):
    from sklearn import get_config

    config = get_config()
    return config["assume_finite"], config["working_memory"]


def with_config(config):
    from sklearn import config_context

    return config_context(**config)


def test_scikit_learn_needs_no_parallel_of_its_own(name, registered):
    sklearn = pytest.importorskip("sklearn")
    registered("sklearn", sklearn.get_config, with_config)
    with sklearn.config_context(assume_finite=True, working_memory=77):
        out = Parallel(2, backend=name)(delayed(sklearn_config)(i) for i in range(4))
    assert out == [(True, 77)] * 4


def test_wrong_registrations():
    with pytest.raises(TypeError, match="name must be a string, got 3"):
        register_task_context(3, dict, dict)
    with pytest.raises(TypeError, match="capture must be callable, got None"):
        register_task_context("x", None, dict)
    with pytest.raises(TypeError, match="restore must be callable, got 1"):
        register_task_context("x", dict, 1)
    with pytest.raises(KeyError, match="by the name 'x'"):
        unregister_task_context("x")


def fail():
    raise LookupError("nothing to capture")


def test_a_state_that_cannot_be_captured_ends_the_call(registered):
    registered("bad", fail, with_precision)
    parallel = Parallel(2, prefer="threads")
    with pytest.raises(LookupError, match="nothing to capture"):
        parallel([delayed(abs)(1)])
    unregister_task_context("bad")
    register_task_context("bad", dict, with_precision)
    with pytest.raises(TypeError):
        parallel([delayed(abs)(1)])
