"""What tests of pages on models share: their elements, how a browser shows them, and refusals."""

import html
import html.parser
import json
import re
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest

from jvi.scripts import report as script

VOID = {"img", "meta"}
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Page(html.parser.HTMLParser):
    """The elements of a page as (name, attributes), its tables by class, and all of its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.text, self.open = [], {}, "", []
        self.pieces = []  # of text, and the names of the elements that they are in
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)
        if name == "table":
            self.rows = self.tables[dict(attributes)["class"]] = []
        elif name == "tr":
            self.rows.append([])
        elif name in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text += data
        self.pieces.append((self.open[-1] if self.open else "", data))
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data

    def attributes(self, name):
        return [attributes for element, attributes in self.elements if element == name]


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


def fails(argv, message):
    with pytest.raises(SystemExit) as stop:
        script.main([str(word) for word in argv])
    line = str(stop.value)
    assert line.startswith("error: ") and "\n" not in line
    assert re.search(message, line), line


LOOK = """<body><iframe src="{page}" style="width: {width}px; height: 900px"></iframe><pre></pre>
<script>onload = () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement
  const area = e => {{ const b = e.getBoundingClientRect(); return b.width * b.height }}
  const seen = e => getComputedStyle(e).color
  document.querySelector("pre").textContent = JSON.stringify({{
    images: [...page.images].map(i => i.complete && i.naturalWidth > 0 && area(i) > 0),
    charts: [...page.querySelectorAll("svg")].map(s => area(s) > 0 && s.getBBox().width > 100),
    overflow: root.scrollWidth - root.clientWidth,
    ink: seen(page.body), chart: getComputedStyle(page.querySelector("svg text")).fill,
    paper: getComputedStyle(root).backgroundColor,
  }})
}}</script>"""


@pytest.fixture
def browse(tmp_path):
    """Open a page; what a script beside it sees of it, and the hosts that were asked for."""
    if not CHROMIUM:
        pytest.skip("no Chromium is installed")

    def look(page, width=1000, *flags):
        (tmp_path / "page.html").write_text(page)
        (tmp_path / "look.html").write_text(LOOK.format(page="page.html", width=width))
        command = [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"),
            *(f"--log-net-log={tmp_path / 'net.json'}", "--allow-file-access-from-files", *flags),
            *("--dump-dom", f"file://{tmp_path / 'look.html'}"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
        seen = html.unescape(re.search(r"<pre>(.*)</pre>", done.stdout, re.S)[1])
        return json.loads(seen), hosts(tmp_path / "net.json")

    return look


def hosts(path):
    """The hosts of all requests in Chromium's log, but for those that it asks of its own accord."""
    params = (event.get("params", {}) for event in json.loads(path.read_text())["events"])
    found = {urlsplit(each["url"]).hostname for each in params if "url" in each}
    return {host for host in found if host and not re.search(r"\.(google|googleapis)\.com$", host)}
