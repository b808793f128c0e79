"""
Results one by one, with back-pressure
======================================

``return_as="generator"`` hands each result over as soon as it is there, so that a program
works on the first ones while the others are computed. Two things are bounded then: how
far the loop reads ahead in its input, and how many results wait to be taken.
"""

# %%
# A slow consumer
# ---------------
# Images are made by two workers, a hundredth of a second each. The consumer takes longer
# for each. Nothing holds the workers back at first: results pile up.

import time

import matplotlib.pyplot as plt
import numpy as np

from joblib import Parallel, delayed

N = 60


def render(number):
    """Return an image of 80 kB, after a while."""
    time.sleep(0.01)
    return np.full((100, 100), float(number))


def run(**options):
    """Consume all images slowly; return how many were given out ahead of the consumer."""
    given_out = 0

    def numbers():
        nonlocal given_out
        for number in range(N):
            given_out += 1
            yield number

    parallel = Parallel(n_jobs=2, prefer="threads", return_as="generator", **options)
    images = parallel(delayed(render)(number) for number in numbers())
    ahead = []
    for taken, image in enumerate(images, start=1):
        ahead.append(given_out - taken)
        time.sleep(0.02)
        assert image[0, 0] == taken - 1  # in order
    return ahead


free = run()
bounded = run(max_pending_results=6)
print(f"without a bound up to {max(free)} tasks were ahead of the consumer,")
print(f"with max_pending_results=6 up to {max(bounded)}")

# %%
# With the bound the workers wait for the consumer, and the loop's input is not read
# further: it may be a file of any length, or have no end at all.

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(free, label="no bound")
axes.plot(bounded, label="max_pending_results=6")
axes.set(xlabel="results taken", ylabel="tasks ahead", ylim=(0, None))
axes.legend()
plt.show()

# %%
# An input without an end
# -----------------------
# Closing the generator, or leaving the loop, calls off what is under way.

from itertools import count

parallel = Parallel(
    n_jobs=2, prefer="threads", return_as="generator", max_pending_results=4
)
images = parallel(delayed(render)(number) for number in count())
for image in images:
    if image.mean() >= 10:
        break
print("found:", image.mean())

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of results that nobody took
    images.close()

# %%
# As they come
# ------------
# ``generator_unordered`` does not wait for the slowest of the first tasks. Tasks that say
# which one they are need no order.


def wait(seconds):
    """Return what it was given, after that many seconds."""
    time.sleep(seconds)
    return seconds


parallel = Parallel(n_jobs=2, prefer="threads", return_as="generator_unordered")
print(list(parallel(delayed(wait)(seconds) for seconds in (0.3, 0.01, 0.02, 0.03))))
