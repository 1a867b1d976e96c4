"""An editable install, an sdist and a wheel hold and do the same.

Nothing is downloaded: setuptools and the dependencies are those of the tests' own environment.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import jvi
from jvi.__main__ import COMMANDS as DESCRIBED
from jvi.__main__ import MODULES

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {name: MODULES.get(name, name) for name in DESCRIBED}
FOLDERS = ("jvi", "compat", "scripts", "tests")
SITE_PACKAGES = os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


def run(*command, cwd, path=""):
    """What a command prints, with `path` for PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The files of a fresh checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def sdist(checkout, tmp_path_factory):
    """The folder that an sdist unpacks to."""
    folder = tmp_path_factory.mktemp("sdist")
    path = build("sdist", checkout, folder)
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return folder / path.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel"))


def build(kind, source, target):
    """Build as pip does; the path of the result."""
    try:
        found = version("setuptools")
    except PackageNotFoundError:
        found = "0 (none)"
    if int(found.split(".")[0]) < 77:
        pytest.skip(f"building needs setuptools 77 or later, found {found}")
    code = f"import setuptools.build_meta as b; print(b.build_{kind}({str(target)!r}))"
    return target / run(sys.executable, "-c", code, cwd=source).splitlines()[-1]


def modules(folder):
    """The names that the Python, CUDA and YAML files of a checkout have in a wheel."""
    sources = [path for end in ("py", "cu", "yaml") for path in folder.glob(f"jvi/**/*.{end}")]
    sources.append(folder / "jvi" / "py.typed")
    top = {path.relative_to(folder).as_posix() for path in sources}
    beside = [*folder.glob("compat/**/*.py"), *folder.glob("scripts/**/*.py")]
    return top | {f"jvi/{path.relative_to(folder).as_posix()}" for path in beside}


def in_wheel(path):
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.mark.slow
def test_an_editable_install_maps_compat_and_scripts(checkout, tmp_path):
    """As after `make install`: everything comes from the checkout, and a script runs as a file."""
    pytest.importorskip("pip", reason="pip is not installed")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    wheel = build("editable", checkout, tmp_path)
    run(sys.executable, *install, str(tmp_path / "site"), str(wheel), cwd=tmp_path)
    # -S leaves out the .pth files of the tests' own environment, which has an editable jvi, too.
    start = f"import site, sys; site.addsitedir({str(tmp_path / 'site')!r});"

    def python(code):
        path = os.pathsep.join([str(tmp_path / "site"), SITE_PACKAGES])
        return run(sys.executable, "-S", "-c", start + code, cwd=tmp_path, path=path)

    code = "import jvi.scripts.train as t, jvi.compat as c; print(t.__file__, c.__file__)"
    files = [checkout / "scripts" / "train.py", checkout / "compat" / "__init__.py"]
    assert python(code) == " ".join(map(str, files))
    assert python("import jvi; print(*jvi.__path__)") == str(checkout / "jvi")
    for module in COMMANDS.values():
        script = checkout / "scripts" / f"{module}.py"
        code = f"sys.argv = ['x', '--help']; sys.path[0] = {str(script.parent)!r}; import runpy;"
        shown = python(f"{code} runpy.run_path({str(script)!r}, run_name='__main__')")
        assert f"{module}.py (-h | --help)" in shown


def test_wheel_holds_every_source_and_nothing_but_jvi(checkout, wheel):
    assert wheel.name == f"jackknife_vi-{jvi.__version__}-py3-none-any.whl"
    assert in_wheel(wheel) == modules(checkout)


def test_sdist_holds_the_checkout_and_builds_the_same_wheel(checkout, sdist, wheel, tmp_path):
    def files(folder):
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    built = {
        name for name in files(checkout) if name.startswith(("build/", "jackknife_vi.egg-info/"))
    }
    assert files(checkout) - built <= files(sdist)
    assert in_wheel(build("wheel", sdist, tmp_path)) == in_wheel(wheel)


@pytest.mark.slow
def test_commands_of_an_installed_wheel(wheel, tmp_path):
    pytest.importorskip("pip", reason="pip is not installed")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    run(sys.executable, *install, str(tmp_path), str(wheel), cwd=tmp_path)

    def installed(*command):
        return run(*map(str, command), cwd="/", path=tmp_path)

    for name, module in COMMANDS.items():
        shown = installed(tmp_path / "bin" / f"jvi-{name}", "--help")
        assert f"{module}.py (-h | --help)" in shown
        assert installed(sys.executable, "-m", "jvi", name, "--help") == shown
    assert installed(tmp_path / "bin" / "jvi-jvicount", 16, 2) == "137"
    code = "import jvi.compat.chainer7, chainer; print(jvi.compat.__file__)"
    path = tmp_path / "jvi" / "compat" / "__init__.py"
    assert installed(sys.executable, "-c", code) == str(path)


def test_every_command_is_a_console_script():
    with open(ROOT / "pyproject.toml", "rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    assert scripts == {
        f"jvi-{name}": f"jvi.scripts.{module}:main" for name, module in COMMANDS.items()
    }
