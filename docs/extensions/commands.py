"""A page of each command, from the text that its --help prints."""

import ast
import re
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent.parent / "scripts"
PAGES = HERE.parent / "generated" / "commands"

OPTION = re.compile(r"^ {2}(-.+?)(?: {2,}(\S.*))?$")


class Command(NamedTuple):
    """A script, what it is called once installed (if it is), and what its --help says."""

    script: str
    installed: str | None
    help: str

    @property
    def what(self) -> str:
        """The first sentence of its help."""
        return self.help.split("\n\n")[0].strip()


def commands() -> list[Command]:
    """Those of `python -m jvi` in its order, then all other scripts that have a usage."""
    package = import_module("jvi.__main__")
    named = {package.MODULES.get(name, name): name for name in package.COMMANDS}
    scripts = {path.stem: path for path in sorted(SCRIPTS.glob("*.py"))}
    found = [*named, *(name for name in scripts if name not in named)]
    helps = {name: ast.get_docstring(ast.parse(scripts[name].read_text("utf-8"))) for name in found}
    return [
        Command(f"{name}.py", named.get(name) and f"jvi-{named[name]}", helps[name])
        for name in found
        if "\nUsage:\n" in (helps[name] or "")
    ]


def page(command: Command) -> str:
    """Its page, in reStructuredText."""
    blocks = re.split(r"\n\s*\n", command.help.strip())
    parts = [_heading(command.script), escaped(blocks[0]), _called(command)]
    parts += [f".. program:: {command.script}"]
    return "\n\n".join([*parts, *(_block(block) for block in blocks[1:])]) + "\n"


def _heading(text, line="="):
    return f"{text}\n{line * len(text)}"


def _called(command):
    path = f"``python scripts/{command.script}``"
    if command.installed is None:
        return f"{path} in a clone of the repository."
    name = command.installed.removeprefix("jvi-")
    return f"{path} in a clone, ``python -m jvi {name}`` or ``{command.installed}`` installed."


def _block(text):
    first, _, rest = text.partition("\n")
    if any(map(OPTION.match, text.splitlines())):
        titled = not OPTION.match(first)
        head = _heading(escaped(first.rstrip(":")), "-") + "\n\n" if titled else ""
        return head + _options(rest if titled else text)
    if first.startswith("Usage:"):
        return f"{_heading('Usage', '-')}\n\n{_code(rest)}"
    runs = groupby(text.splitlines(), key=lambda line: line.startswith("  "))
    return "\n\n".join((_code if deep else escaped)("\n".join(lines)) for deep, lines in runs)


def _options(text):
    """Each with its description; a line before the first, or less indented, is a paragraph."""
    parts = []
    for line in text.splitlines():
        found = OPTION.match(line)
        if found:
            parts.append((found.group(1), [found.group(2) or ""]))
        elif parts and line.startswith("   "):
            parts[-1][1].append(line)
        else:
            parts.append((None, [line]))
    return "\n\n".join(_option(name, " ".join(map(str.strip, said))) for name, said in parts)


def _option(name, said):
    if name is None:
        return escaped(said)
    spelled = re.sub(r"(?<=[a-z]) (?=--)", ", ", name)  # "-h --help"
    return f".. option:: {spelled}\n\n   {escaped(said.strip())}"


def _code(text):
    lines = text.splitlines()
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return ".. code-block:: text\n\n" + "\n".join(f"   {line[margin:]}" for line in lines)


def escaped(text: str) -> str:
    """Text that reStructuredText takes as it is, without quotes around a word made typographic."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def overview(found: list[Command]) -> str:
    """A table of all commands with links to their pages, in Markdown."""
    rows = "\n".join(
        f"| [{each.script}](generated/commands/{Path(each.script).stem}.rst) | {each.what} |"
        for each in found
    )
    names = "\n".join(f"generated/commands/{Path(each.script).stem}" for each in found)
    table = f"| command | what it does |\n|---|---|\n{rows}\n"
    return f"{table}\n:::{{toctree}}\n:hidden:\n\n{names}\n:::\n"


def write(app) -> None:
    """All pages, and the table that docs/commands.md includes."""
    found = commands()
    PAGES.mkdir(parents=True, exist_ok=True)
    wanted = {PAGES / f"{Path(each.script).stem}.rst": page(each) for each in found}
    for old in set(PAGES.glob("*.rst")) - set(wanted):
        old.unlink()
    wanted[PAGES.parent / "commands.inc"] = overview(found)
    for path, text in wanted.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def setup(app) -> dict:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
