"""How the documentation is built: `make doc`."""

import joblib

project = "joblib"
author = "the joblib-dist developers"
copyright = "2026, the joblib-dist developers"
release = version = joblib.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Members are listed by the pages that want them, not in every class's docstring.
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = f"joblib {release}"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
