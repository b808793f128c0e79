"""How the documentation is built: `make doc`."""

import os
import sys
from pathlib import Path

import joblib

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for `gallery`

project = "joblib"
author = "the joblib-dist developers"
copyright = "2026, the joblib-dist developers"
release = version = joblib.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# What the gallery writes beside its pages, and texts that others include.
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/*.py"]
templates_path = ["_templates"]
autosummary_generate = True
# `Parallel` in a docstring is a link where there is a page to go to. What is written as a
# link, such as :func:`delayed`, has to lead somewhere.
default_role = "autolink"
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Members are listed by the pages that want them, not in every class's docstring.
numpydoc_show_class_members = False

# What is copied is what one would type: no prompts, no output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# The examples import numpy with the threads that their workers get, and draw with
# no screen.
os.environ.setdefault("MPLBACKEND", "agg")
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",  # all of them run, whatever their names
    "within_subsection_order": "gallery.Order",
    "reset_modules": ("matplotlib", "gallery.reset"),
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("joblib",),
    "reference_url": {"joblib": None},
    "download_all_examples": False,
    "write_computation_times": False,
    "show_memory": False,
    "remove_config_comments": True,
    "plot_gallery": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"joblib {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["joblib.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 6,
}
