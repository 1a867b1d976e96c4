"""Write a page on a trained model, or one that compares several on the same images.

Usage:
  report.py [options] <modelprefix>...
  report.py (-h | --help)

The page on one model has its estimates, how far to trust them, and its pictures. That on several
has which is better and by how much, with paired errors over the same images, what each estimates,
reconstructs and draws, and the images on which they differ most; its numbers are written beside it,
to a file with the ending .json. A page is one HTML file that opens without a network.

Options:
  -h --help                    Show this help screen.
  -o <file>                    The file to write; by default PREFIX.report.html, of several models
                               PREFIX.comparison.html of the first.
  -d <datasets>, --dataset <datasets>
                               Data sets, as train.py has them, separated by commas; by default the
                               one that the model was trained on. The page is about the first, and
                               has a table that compares all. Several models are compared on one,
                               by default that on which all were trained.
  -g <device>, --device <device>
                               Number of the GPU to run on, -1 for the CPU [default: -1].
  -s <samples>, --samples <samples>
                               Number of samples per image [default: 512].
  --images <number>            Only the first test images, so many; the page says of how many there
                               are [default: 500].
  --seed <seed>                Seed of everything random [default: 0].
  --data-dir <folder>          Folder that holds mnist/, omniglot/ (else the variable JVI_DATA, else
                               a download).
  --overwrite                  Replace an existing file.
  --quiet                      Print nothing.

The page has the date, that of the variable SOURCE_DATE_EPOCH where there is one: with it the same
models, options and versions give the same bytes.
"""

from pathlib import Path
from typing import Any, NamedTuple

from jvi.cli import (
    UsageError,
    arguments_of,
    asked,
    check_outputs,
    command,
    data_note,
    dataset_name,
    model_files,
    number,
    seed,
)

MOST_SAMPLES = 10**7


class Request(NamedTuple):
    """What the options ask for; `names` are of data sets, none for that of the models."""

    prefixes: list[str]
    names: list[str]
    output: str | None
    device: int
    num_images: int
    num_samples: int
    seed: int
    data_dir: str | None
    overwrite: bool
    quiet: bool
    date: str


@command
def main(argv=None):
    arguments, given = arguments_of(__doc__, argv)
    request = _request(arguments)
    from jvi.models.files import read_model

    files = [read_model(prefix) for prefix in request.prefixes]
    _check_different(files)
    names = _data_names(request, files)
    outputs = _outputs(request, files)
    for name in names:
        inputs = [path for each in files for path in (each.path, *model_files(each.prefix))]
        data = name, request.data_dir
        check_outputs({"-o": outputs}, request.overwrite, inputs=inputs, data=data)
    for note in filter(None, (data_note(given, name) for name in names)):
        if not request.quiet:
            print(f"note: {note}")
    (_write_several if len(files) > 1 else _write_one)(request, files, names, outputs)
    if not request.quiet:
        print(f"report: {' and '.join(outputs)}")


def _request(arguments):
    from jvi.assessment.cross import split_names

    with asked("--dataset"):
        names = split_names(arguments["--dataset"])
    request = Request(
        prefixes=arguments["<modelprefix>"],
        names=names,
        output=arguments["-o"],
        device=number(arguments, "--device", least=-1),
        num_images=number(arguments, "--images", least=2),
        num_samples=number(arguments, "--samples", least=2, most=MOST_SAMPLES),
        seed=seed(arguments),
        data_dir=arguments["--data-dir"],
        overwrite=arguments["--overwrite"],
        quiet=arguments["--quiet"],
        date=_date(),
    )
    if len(request.prefixes) > 1 and len(names) > 1:
        raise UsageError("--dataset: several models are compared on one data set, give one")
    return request


def _check_different(files):
    """Refuse a model that is named twice."""
    seen = {}
    for each in files:
        real = each.path.resolve()
        if real in seen:
            raise UsageError(f"{seen[real]} and {each.prefix} are the same model: name it once")
        seen[real] = each.prefix


def _data_names(request, files):
    """The data sets to load; of several models one, on which all were trained unless given."""
    if request.names or len(files) == 1:
        return [dataset_name(name, files[0]) for name in request.names or [None]]
    names = [dataset_name(None, each) for each in files]
    for each, name in zip(files, names, strict=True):
        if name != names[0]:
            raise ValueError(
                f"{files[0].prefix} was trained on {names[0]} and {each.prefix} on {name}: give "
                "the data set to compare them on with -d"
            )
    return names[:1]


def _outputs(request, files):
    """The files to write: the page, and of several models their numbers."""
    if len(files) == 1:
        return [request.output or f"{files[0].prefix}.report.html"]
    page = request.output or f"{files[0].prefix}.comparison.html"
    return [page, page.removesuffix(Path(page).suffix) + ".json"]


def _write_one(request, files, names, outputs):
    from jvi import datasets
    from jvi.assessment.report import report
    from jvi.models.model import from_files

    [files], [path] = files, outputs
    model = from_files(files, request.device)
    data, *others = (datasets.load(name, request.data_dir) for name in names)
    numbers = request.num_images, request.num_samples, request.seed
    options = {"progress": not request.quiet, "date": request.date, "others": others}
    _write_page(path, report(model, files, data, *numbers, **options))


def _write_several(request, files, names, outputs):
    from jvi import datasets
    from jvi.assessment.report_of_several import report_of_several
    from jvi.files import write_json
    from jvi.models.model import from_files

    models: list[tuple[Any, Any]] = [(from_files(each, request.device), each) for each in files]
    data = datasets.load(names[0], request.data_dir)
    numbers = request.num_images, request.num_samples, request.seed
    options = {"progress": not request.quiet, "date": request.date}
    page, record = report_of_several(models, data, *numbers, **options)
    write_json(outputs[1], record)
    _write_page(outputs[0], page)


def _write_page(path, page):
    from jvi.files import atomic_write

    with atomic_write(path) as temporary:
        # What UTF-8 lacks can be part of a file's name.
        temporary.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")


def _date():
    """Today, or the date of SOURCE_DATE_EPOCH (seconds since 1970), in UTC."""
    import os
    from datetime import UTC, datetime

    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return datetime.fromtimestamp(int(given), UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"SOURCE_DATE_EPOCH is no number of seconds: {given!r}") from None


if __name__ == "__main__":
    main()
