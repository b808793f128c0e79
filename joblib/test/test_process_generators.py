"""Generators of results on processes: closed early, the rest is stopped."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from joblib import Parallel, delayed
from joblib.test.test_process_orphans import alive, wait_until_gone

pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc"),
    pytest.mark.filterwarnings("ignore:.*tasks have been successfully:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*tasks which were still:UserWarning"),
]


def begin(n, folder):
    """Leave a note of who runs this; all but the first task then go on for long."""
    with open(os.path.join(folder, str(n)), "w") as file:
        file.write(str(os.getpid()))
    if n:
        threading.Event().wait(600)
    return n


def begun(folder):
    return sorted(int(name) for name in os.listdir(folder))


def at_work(folder):
    return alive({int((folder / name).read_text() or 0) for name in os.listdir(folder)})


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
@pytest.mark.parametrize("way", ["closed", "dropped", "error"])
@pytest.mark.parametrize("managed", [False, True])
def test_the_rest_is_stopped(return_as, way, managed, tmp_path):
    drawn = []

    def tasks():
        for n in range(1000):
            drawn.append(n)
            yield delayed(begin)(n, tmp_path)

    parallel = Parallel(2, backend="loky", return_as=return_as, batch_size=1)
    if managed:
        parallel.__enter__()
    outputs = parallel(tasks())
    assert next(outputs) == 0
    if way == "closed":
        outputs.close()
    elif way == "error":
        with pytest.raises(KeyError):
            outputs.throw(KeyError("of the caller"))
    del outputs
    gc.collect()
    wait_until_gone(lambda: at_work(tmp_path), 10)
    n_drawn = len(drawn)
    assert begun(tmp_path)[-1] < n_drawn < 100
    # there are workers for the next call, and none of them gets what was left
    assert sorted(parallel(delayed(abs)(-n) for n in range(20))) == list(range(20))
    if managed:
        parallel.__exit__(None, None, None)
    assert len(drawn) == n_drawn
    assert begun(tmp_path)[-1] < n_drawn


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_a_generator_that_is_closed_at_its_end_spares_the_workers(return_as):
    parallel = Parallel(2, return_as=return_as)
    results = parallel(delayed(abs)(-i) for i in range(10))
    for _ in range(10):
        next(results)
    other = Parallel(2, return_as="generator")(delayed(abs)(-i) for i in range(100))
    next(other)
    results.close()
    assert list(other) == list(range(1, 100))
