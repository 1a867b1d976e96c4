"""Measure the bits per dimension of a model of bytes, and those of independent bytes beside it.

Usage:
  bits_per_dimension.py [options] <modelprefix>
  bits_per_dimension.py (-h | --help)

Options:
  -h --help               Show this help screen.
  -o <prefix>             Write PREFIX.json [default: bits_per_dimension].
  -s <samples>, --samples <samples>
                          K of the IWAE bound [default: 16].
  --images <number>       Only the first test images.
  --seed <seed>           Seed of the noise [default: 0].
  --data-dir <folder>     Folder that holds cifar10/ (else the variable JVI_DATA, else a download).
  --overwrite             Replace an existing file.

The data are those that the model was trained on. In the file, in bits per dimension, are elbo and
iwae with both standard errors, and "discretised logistic" and "histogram", fitted to the training
images pixel by pixel, with the error over test images; and the number of parameters.
"""

from jvi.cli import UsageError, arguments_of, check_outputs, command, dataset_name, number, seed
from jvi.text import table

BOUNDS = ("elbo", "iwae")


@command
def main(argv=None):
    from jvi import datasets
    from jvi.files import write_json
    from jvi.models.files import read_model

    arguments, _ = arguments_of(__doc__, argv)
    samples = number(arguments, "--samples", least=2, most=10**6)
    root, path = seed(arguments), f"{arguments['-o']}.json"
    images = arguments["--images"]
    images = None if images is None else number(arguments, "--images", least=2)
    files = read_model(arguments["<modelprefix>"])
    name = dataset_name(None, files)
    check_outputs({"-o": path}, arguments["--overwrite"], inputs=[files.path])
    data = datasets.load(name, arguments["--data-dir"])
    if data.train.dtype != "uint8":
        raise UsageError(f"{files.prefix} was trained on {name}, which is no data set of bytes")
    found = measured(files.link, data._replace(test=data.test[:images]), samples, root)
    write_json(path, found)
    print(shown(found))


def measured(link, data, num_samples, root):
    """Numbers by name, in the data set's unit.

    Parameters
    ----------
    link : chainer.Link
        Of a model of bytes.
    data : jvi.Dataset
        Of bytes: the baselines are fitted to its training part, all are tested on its test part.
    num_samples : int
        K.
    root : int
        Seed.

    Returns
    -------
    dict
        Of bounds {"value", "images", "samples"}; of baselines {"value", "images"}.
    """
    from jvi.assessment.evaluation import evaluations
    from jvi.assessment.factorised import baselines
    from jvi.datasets import observe_each
    from jvi.models.model import Model

    options = {"detail": True, "progress": True}
    x = observe_each(data, data.test, root)
    [got] = evaluations(Model(link), x, [num_samples], BOUNDS, 0, root, **options)
    found = {name: bound(got, name, data.unit) for name in BOUNDS}
    found |= {
        name: {"value": line.mean, "images": line.standard_error}
        for name, line in baselines(data).items()
    }
    return found | {"parameters": sum(each.size for each in link.params())}


def bound(got, name, unit):
    """A bound and both its standard errors, in a unit."""
    return {
        "value": float(unit.value(got.mean[name])),
        "images": float(unit.error(got.standard_error[name])),
        "samples": float(unit.error(got.sampling_error[name])),
    }


def shown(found):
    """As text."""
    rows = [
        [name, f"{each['value']:.4f}", f"{each['images']:.4f}"]
        for name, each in found.items()
        if isinstance(each, dict)
    ]
    return table(rows, ["", "bits/dim", "± images"])


if __name__ == "__main__":
    main()
