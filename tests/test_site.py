"""The site's own extensions, without Sphinx: links, commands, figures, formulas, public names."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import jvi

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PUBLIC = ["jvi", "jvi.diagnostics", "jvi.corrections", "jvi.ais", "jvi.torch", "jvi.jax"]
PUBLIC += ["jvi.bayesian", "jvi.models.protocol", "jvi.evidence.estimators"]
PUBLIC += ["jvi.evidence.bounds", "jvi.evidence.jackknife", "jvi.evidence.quantities"]


@pytest.fixture
def extension(monkeypatch):
    """A module of docs/extensions/ by its name."""
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))
    names = [path.stem for path in (DOCS / "extensions").glob("*.py")]
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


def names_of(module):
    """The public names of a module; those that `jvi` has itself are listed as its own."""
    if module in ("jvi.torch", "jvi.jax"):
        pytest.importorskip(module.removeprefix("jvi."))
    names = module.removeprefix("jvi.").split(".")
    found = jvi
    for name in names if module != "jvi" else ():
        found = getattr(found, name, None) or importlib.import_module(module)
    return [name for name in found.__all__ if module == "jvi" or name not in jvi.__all__]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module):
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    modules = {"jvi.ais", "jvi.corrections", "jvi.diagnostics"}
    listed = set(re.findall(r"[\w.]*\w", text))
    for name in names_of(module):
        if f"jvi.{name}" not in modules:
            assert f"{module}.{name}" in listed or (name.isupper() and name in listed)


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))], ids=str)
def test_links_of_markdown_lead_somewhere(page, extension):
    if "generated" in page.relative_to(ROOT).parts:
        pytest.skip("made by make docs")
    found = extension("markdown_pages").problems(page)
    assert [said for said in found if "generated/" not in said] == []


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("[x](there.md)", None),
        ("[x](there.md#a-heading-of-k)", None),
        ("[x](#here)", None),
        ("[x](https://example.org/none#such)", None),
        ("`[x](none.md)`\n\n```text\n[x](none.md)\n```", None),
        ("[x](none.md)", "none.md does not exist"),
        ("![x](none.png)", "none.png does not exist"),
        ("[![x](none.png)](there.md)", "none.png does not exist"),
        ("[a]\n\n[a]: none.md", "none.md does not exist"),
        ("[x](there.md#a-heading)", "there.md#a-heading has no such heading"),
        ("[x](#elsewhere)", "#elsewhere has no such heading"),
    ],
)
def test_links_of_markdown(link, said, tmp_path, extension):
    (tmp_path / "there.md").write_text("# A heading, of `K`\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n{link}\n")
    assert extension("markdown_pages").problems(page) == (
        [] if said is None else [f"page.md: {said}"]
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="sub/b.html#there">x</a><a href="#">x</a><a href="mailto:a@b">x</a>', None),
        ('<a href="https://example.org">x</a>', None),
        ('<a href="none.html">x</a>', "none.html does not exist"),
        ('<img src="none.png">', "none.png does not exist"),
        ('<a href="sub/b.html#none">x</a>', "sub/b.html#none has no such anchor"),
        ('<a href="#none">x</a>', "#none has no such anchor"),
        ('<script src="https://cdn.org/x.js">', "https://cdn.org/x.js is loaded from"),
        (
            '<link rel="stylesheet" href="//cdn.org/x.css">',
            "//cdn.org/x.css is loaded from",
        ),
    ],
)
def test_links_of_pages(body, said, tmp_path, extension):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.html").write_text('<p id="there">')
    (tmp_path / "a.html").write_text(body)
    found = extension("links").broken(tmp_path)
    assert found == [] if said is None else (len(found) == 1 and f"a.html: {said}" in found[0])


def test_every_command_has_a_page(extension):
    from jvi.__main__ import COMMANDS

    found = extension("commands").commands()
    assert {each.installed for each in found if each.installed} == {f"jvi-{c}" for c in COMMANDS}
    assert "stability.py" in {each.script for each in found}


def test_a_page_of_a_command_has_all_of_its_help(extension):
    module = extension("commands")
    for command in module.commands():
        text = re.sub(r"\\(?=[\\*`|_])", "", module.page(command))
        missing = set(re.findall(r"[\w-]{3,}", command.help)) - set(re.findall(r"[\w-]{3,}", text))
        assert missing <= {"Usage", "Options"}
        options = re.findall(r"^  (-\S+)", command.help, re.M)
        assert len(re.findall(r"^\.\. option::", text, re.M)) == len(options)


def test_an_option_and_its_description(extension):
    module = extension("commands")
    options = "Options:\n  -h --help  Help, of K*N\n             `x`.\n"
    text = f"Does it.\n\nUsage:\n  x.py [options]\n\n{options}"
    page = module.page(module.Command("x.py", "jvi-x", text))
    assert ".. option:: -h, --help\n\n   Help, of K\\*N \\`x\\`.\n" in page


def test_figures_of_pages(tmp_path, extension):
    (tmp_path / "reproduction").mkdir()
    (tmp_path / "a.md").write_text("# Title `K`\n\n![The *caption* at |x|](x.png)\n![b](x.png)\n")
    (tmp_path / "reproduction" / "b.md").write_text("# B\n\n![b](b.png)\n![c](c.svg)\n")
    module = extension("figures")
    assert module.figures(tmp_path) == [
        ("x.png", "The caption at |x|", "a", "Title K"),
        ("reproduction/b.png", "b", "reproduction/b", "B"),
    ]
    assert r"The caption at \|x\|" in module.grid(module.figures(tmp_path))


def test_every_figure_has_a_page(extension):
    shown = {DOCS / each.file for each in extension("figures").figures()}
    assert {*DOCS.glob("*.png"), *DOCS.glob("reproduction/*.png")} <= shown


def test_formulas(extension):
    pytest.importorskip("ziamath")
    pytest.importorskip("docutils")
    pytest.importorskip("sphinx")
    module = extension("formulas")
    picture = module.svg(r"\mathbb E \log w_K < 0")
    assert 'aria-label="\\mathbb{E} \\log w_K &lt; 0"' in picture and "em;" in picture
    with pytest.raises(ValueError, match="foo"):
        module.svg(r"\foo K")
    seen = set()
    assert "<symbol" in module.drawn_once(picture, seen)
    assert "<symbol" not in module.drawn_once(picture, seen) and seen


def test_slugs_are_those_of_git_hosts(extension):
    text = "# A *b* `c_d`\n\n## 2 ± 3, and-so\n\n## [Link](x.md)\n\n## Link\n"
    expected = {"a-b-c_d", "2--3-and-so", "link", "link-1"}
    assert extension("markdown_pages").anchors(text) == expected
