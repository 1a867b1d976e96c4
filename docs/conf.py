"""How `make docs` builds the site: Sphinx, pages in Markdown, tutorials that are run."""

import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "extensions"))

import jvi  # noqa: E402

# Modules that jvi knows by another name: Sphinx imports what it documents by the public one.
for name in ("ais", "corrections", "diagnostics"):
    sys.modules.setdefault(f"jvi.{name}", getattr(jvi, name))

project = "jvi"
version = release = jvi.__version__
language = "en_GB"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
    # of this folder's extensions/
    "formulas",
    "commands",
    "docstrings",
    "figures",
    "as_read",
    "links",
]
exclude_patterns = [
    "extensions",
    "tutorials",
    "generated/backreferences",
    "generated/*.inc",
    "generated/tutorials/*.py",
    "generated/tutorials/*.ipynb",
    "generated/tutorials/sg_execution_times.rst",
    "sg_execution_times.rst",
]
templates_path = ["_templates"]
default_role = "literal"
smartquotes = False  # options are spelled with two hyphens

# Pages ---------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "svg"

# Docstrings ----------------------------------------------------------------------------------

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_mock_imports = [name for name in ("torch", "jax") if find_spec(name) is None]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autoclass_content = "class"
numpydoc_show_class_members = False
# All but these: further sections, what named tuples cannot have, the style of summaries.
numpydoc_validation_checks = {"all", "SA01", "ES01", "PR01", "PR07", "PR08", "PR09"}
numpydoc_validation_checks |= {"RT02", "RT03", "RT04", "SS02", "SS05"}
python_maximum_signature_line_length = 60
add_module_names = False
viewcode_line_numbers = False

# Tutorials -----------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "generated/tutorials",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("jvi",),
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "plot_gallery": "True",
    "abort_on_example_error": False,
    "remove_config_comments": True,
    "min_reported_time": 1000,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "parallel": 2,
}

# Looks ---------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "jvi"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # a page opened from a folder may not fetch others
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {"text": "jvi"},
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_depth": 3,
    "back_to_top_button": False,
    "footer_start": [],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "changelog": [], "gallery": [], "speed": []}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
