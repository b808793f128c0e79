"""The documentation names all that is public, and leads to all of its own pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import joblib

REPOSITORY = Path(__file__).resolve().parents[2]
DOC = REPOSITORY / "doc"
EXAMPLES = REPOSITORY / "examples"

pytestmark = pytest.mark.skipif(
    not (DOC / "conf.py").exists(), reason="the documentation is not installed"
)

ENTRY = re.compile(r"^    (?!:)(\S+)$", re.MULTILINE)


def entries(page, directive):
    """Return the lines of all directives of a kind in a page."""
    text = (DOC / f"{page}.rst").read_text(encoding="utf-8")
    bodies = re.findall(
        rf"^\.\. {directive}::\n((?:    .*\n|\n)+)", text + "\n", re.MULTILINE
    )
    return [entry for body in bodies for entry in ENTRY.findall(body)]


def test_every_public_name_is_in_the_reference():
    missing = set(joblib.__all__) - set(entries("api", "autosummary"))
    assert not missing, f"doc/api.rst does not name {sorted(missing)}"


def test_the_reference_names_what_there_is():
    for name in entries("api", "autosummary"):
        if name.startswith("_dask."):
            pytest.importorskip("distributed")
        module, _, attribute = name.rpartition(".")
        home = getattr(joblib, module) if module else joblib
        assert getattr(home, attribute).__doc__, f"{name} has no docstring"


def test_no_name_is_in_the_reference_twice():
    names = entries("api", "autosummary")
    assert len(names) == len(set(names))


def test_every_page_is_in_a_toctree():
    pages = {path.stem for path in DOC.glob("*.rst")}
    linked = {name for page in pages for name in entries(page, "toctree")}
    assert pages - linked == {"index"}
    made = {"auto_examples/index"}  # by the gallery
    assert linked - pages == made


def test_the_diagrams_are_those_that_are_drawn(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOC)
    import diagrams

    monkeypatch.setattr(diagrams, "STATIC", tmp_path)
    for draw in ("negotiation", "life_of_a_task", "loop", "cluster"):
        getattr(diagrams, draw)()
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {name: (DOC / "_static" / name).read_text("utf-8") for name in drawn}
    assert len(drawn) == 4 and drawn == kept, "run: python doc/diagrams.py"


def test_every_row_of_the_negotiation_is_drawn():
    from joblib._engine import resolve

    rows = re.findall(r"^(\d)  ", resolve.__doc__ or "", re.MULTILINE)
    svg = (DOC / "_static" / "negotiation.svg").read_text(encoding="utf-8")
    assert re.findall(r'class="digit">(\d)<', svg) == rows


def test_the_order_of_the_gallery_names_examples_that_there_are():
    source = (DOC / "gallery.py").read_text(encoding="utf-8")
    placed = set(re.findall(r'"(\w+\.py)"', source))
    assert placed and placed <= {path.name for path in EXAMPLES.glob("*.py")}
