"""What of docstrings is shown, and that links from sources to pages exist."""

import re

# Members that others write: those of named tuples, and of scikit-learn's routing of metadata.
OF_OTHERS = re.compile(r"Alias for field number|Configure whether metadata should be requested")

BACK = re.compile(r'(class="viewcode-back" href="[^"#]+)#[^"]*"')


def _is_of_others(app, what, name, member, skip, options):
    return True if OF_OTHERS.match((getattr(member, "__doc__", "") or "").strip()) else None


def _back_to_page(app, page, template, context, doctree):
    """From a source to a name's page, not to an anchor: which of two names, viewcode mistakes."""
    if page.startswith("_modules/"):
        context["body"] = BACK.sub(r'\1"', context["body"])


def _without_sourceless(app, env):
    """viewcode lists modules that it has no source of, as stand-ins for what is not installed."""
    modules = getattr(env, "_viewcode_modules", {})
    for name in [name for name, found in modules.items() if not found]:
        del modules[name]


def setup(app) -> dict:
    app.connect("env-updated", _without_sourceless)
    app.connect("autodoc-skip-member", _is_of_others)
    app.connect("html-page-context", _back_to_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
