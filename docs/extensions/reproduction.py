"""The pages of docs/reproduction/ in the order of their table, which is made from results.

Their page of all targets is a plain Markdown file: where it stands in the site is added here.
"""

PAGE = "reproduction/index"
TREE = "\n:::{toctree}\n:hidden:\n:glob:\n\n*\n:::\n"


def _with_tree(app, name, source):
    if name == PAGE:
        source[0] += TREE


def setup(app) -> dict:
    app.connect("source-read", _with_tree)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
