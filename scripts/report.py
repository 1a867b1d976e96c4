"""Write a page on a trained model: its estimates, how far to trust them, and its pictures.

Usage:
  report.py [options] <modelprefix>
  report.py (-h | --help)

The page is one HTML file that opens without a network.

Options:
  -h --help                    Show this help screen.
  -o <file>                    The file to write; by default PREFIX.report.html.
  -d <datasets>, --dataset <datasets>
                               Data sets, as train.py has them, separated by commas; by default the
                               one that the model was trained on. The page is about the first, and
                               has a table that compares all.
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
model, options and versions give the same bytes.
"""

from jvi.cli import (
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


@command
def main(argv=None):
    arguments, given = arguments_of(__doc__, argv)
    num_samples = number(arguments, "--samples", least=2, most=MOST_SAMPLES)
    num_images = number(arguments, "--images", least=2)
    device, quiet = number(arguments, "--device", least=-1), arguments["--quiet"]
    noise, date = seed(arguments), _date()
    from jvi import datasets
    from jvi.assessment.cross import split_names
    from jvi.assessment.report import report
    from jvi.files import atomic_write
    from jvi.models.files import read_model
    from jvi.models.model import from_files

    with asked("--dataset"):
        given_names = split_names(arguments["--dataset"])
    files = read_model(arguments["<modelprefix>"])
    path = arguments["-o"] or f"{files.prefix}.report.html"
    names = [dataset_name(name, files) for name in given_names or [None]]
    folder, inputs = arguments["--data-dir"], [files.path, *model_files(files.prefix)]
    for name in names:
        check_outputs({"-o": path}, arguments["--overwrite"], inputs=inputs, data=(name, folder))
    model = from_files(files, device)
    for note in filter(None, (data_note(given, name) for name in names)):
        if not quiet:
            print(f"note: {note}")
    data, *others = (datasets.load(name, folder) for name in names)
    options = {"progress": not quiet, "date": date, "others": others}
    page = report(model, files, data, num_images, num_samples, noise, **options)
    with atomic_write(path) as temporary:
        # What UTF-8 lacks can be part of a file's name.
        temporary.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    if not quiet:
        print(f"report: {path}")


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
