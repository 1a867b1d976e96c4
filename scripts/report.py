"""Write a page on a trained model: its estimates, how far to trust them, and its pictures.

Usage:
  report.py [options] <modelprefix>
  report.py (-h | --help)

The page is one HTML file that opens without a network.

Options:
  -h --help                    Show this help screen.
  -o <file>                    The file to write; by default PREFIX.report.html.
  -d <dataset>, --dataset <dataset>
                               Data set, as train.py has them; by default the one that the model
                               was trained on.
  -g <device>, --device <device>
                               Number of the GPU to run on, -1 for the CPU [default: -1].
  -s <samples>, --samples <samples>
                               Number of samples per image [default: 512].
  --images <number>            Only the first test images, so many [default: 500].
  --seed <seed>                Seed of everything random [default: 0].
  --data-dir <folder>          Folder that holds mnist/, omniglot/ (else the variable JVI_DATA, else
                               a download).
  --overwrite                  Replace an existing file.
  --quiet                      Print nothing.
"""

from docopt import docopt

from jvi.cli import check_outputs, command, dataset_name, number


@command
def main(argv=None):
    arguments = docopt(__doc__, argv)
    num_samples = number(arguments, "--samples", least=2)
    num_images = number(arguments, "--images", least=2)
    seed, quiet = number(arguments, "--seed", least=0), arguments["--quiet"]
    from jvi import datasets
    from jvi.assessment.report import report
    from jvi.files import atomic_write
    from jvi.models.files import read_model
    from jvi.models.model import from_files

    files = read_model(arguments["<modelprefix>"])
    path = arguments["-o"] or f"{files.prefix}.report.html"
    check_outputs([path], arguments["--overwrite"])
    model = from_files(files, number(arguments, "--device"))
    data = datasets.load(dataset_name(arguments["--dataset"], files), arguments["--data-dir"])
    page = report(model, files, data, num_images, num_samples, seed, progress=not quiet)
    with atomic_write(path) as temporary:
        # What UTF-8 lacks can be part of a file's name.
        temporary.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    if not quiet:
        print(f"report: {path}")


if __name__ == "__main__":
    main()
