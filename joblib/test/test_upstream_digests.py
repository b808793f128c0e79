"""Digests of upstream's release and ours are the same, and so are the errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

from joblib.test import compat_digests  # noqa: E402 - needs numpy
from joblib.test.compat_objects import OBJECTS  # noqa: E402

# Upstream cannot digest these: classes that pickle finds in a way of its own, masks.
ONLY_OURS = {"type(None)", "type(...)", "container: classes", "estimator: search"}
# The order of a frozen set of texts is an accident; and the bytes between long doubles.
NEVER_THE_SAME = {"container: sets"} | {
    f"array: kind {kind}{how}" for kind in "gG" for how in ("", " swapped")
}
MASKED = "masked"
# The items of a dictionary's subclass whose keys do not compare: upstream's digest is
# the same for all of them, whatever they hold.
TOLD_APART = {'ADict({1: 2, "a": 3})'}

pytestmark = pytest.mark.upstream
GOLDEN = json.loads(
    (Path(__file__).parent / "data" / "hash_digests.json").read_text("utf-8")
)


def differences(ours, theirs):
    """Return the digests that differ, but for those upstream has none of."""
    assert ours.keys() == theirs.keys()
    return {
        key: (ours[key], theirs[key])
        for key in ours
        if ours[key] != theirs[key]
        and not (
            theirs[key][0].startswith("error")
            and not ours[key][0].startswith("error")
            and (key in ONLY_OURS or MASKED in key)
        )
    }


def test_golden_digests_are_upstreams(sides):
    found = sides["theirs"].compat_digests.of_expressions(list(GOLDEN))
    assert {key: [md5, sha1] for key, (md5, _, sha1, _) in found.items()} == GOLDEN
    assert len({md5 for md5, _ in GOLDEN.values()}) >= 150


def test_each_expression(sides):
    expressions = [*GOLDEN, *compat_digests.EXPRESSIONS]
    one, other = (
        side.compat_digests.of_expressions(expressions) for side in sides.values()
    )
    assert differences(one, other).keys() == TOLD_APART
    errors = [key for key, value in one.items() if value[0].startswith("error")]
    assert 10 < len(errors) < 60


@pytest.mark.parametrize("name", sorted(OBJECTS.keys() - NEVER_THE_SAME))
def test_each_object(name, sides):
    one, other = (side.compat_digests.of_objects([name]) for side in sides.values())
    assert not differences(one, other)
    assert not one[name][0].startswith("error")


def test_memory_mapped_arrays(sides):
    one, other = (side.compat_digests.of_memmaps() for side in sides.values())
    assert not differences(one, other)
    assert one["whole C <f8 r"][0] != one["array of it C <f8 r"][0]
    assert one["whole C <f8 r"][1] == one["array of it C <f8 r"][0]


REFERENCES = st.lists(st.integers(0, 1000), max_size=6)
NODES = st.one_of(
    st.tuples(st.sampled_from(["text", "same text", "bytes"]), st.text(max_size=5)),
    st.tuples(
        st.just("integer"), st.one_of(st.integers(), st.integers(-300, 300)).map(str)
    ),
    st.tuples(st.just("float"), st.floats().map(repr)),
    st.tuples(st.just("atom"), st.integers(0, 7)),
    st.tuples(st.just("array"), st.integers(0, 6)),
    *[
        st.tuples(st.just(kind), REFERENCES)
        for kind in ("list", "tuple", "dict", "set", "frozenset", "instance", "append")
    ],
)


@hypothesis.settings(max_examples=600)
@hypothesis.given(recipe=st.lists(NODES, min_size=1, max_size=25))
def test_containers_in_containers(recipe, sides):
    ours = compat_digests.of_recipe(recipe)
    assert ours == sides["theirs"].compat_digests.of_recipe(recipe)
