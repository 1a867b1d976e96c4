"""What Sphinx reads where the files say what a git host shows.

- docs/reproduction/index.md is made from results: where its pages stand in the site is added here.
- Links to the scripts of tutorials lead to the pages made of them.
"""

import re

PAGE = "reproduction/index"
TREE = "\n:::{toctree}\n:hidden:\n:glob:\n\n*\n:::\n"
TUTORIAL = re.compile(r"\]\(tutorials/(plot_\w+)\.py\)")


def _as_read(app, name, source):
    source[0] = TUTORIAL.sub(r"](generated/tutorials/\1.rst)", source[0])
    if name == PAGE:
        source[0] += TREE


def setup(app) -> dict:
    app.connect("source-read", _as_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
