"""`python -m jvi COMMAND …` runs the commands of scripts/."""

import sys
from importlib import import_module

# Of scripts/, or of the module there that is named in `MODULES`.
COMMANDS = {
    "train": "train a model",
    "evaluate": "estimate log-likelihoods of a trained model",
    "report": "write a page on a trained model: estimates, pictures, how far to trust them",
    "demo": "train and evaluate on scikit-learn's digits, draw a picture",
    "jvicount": "count the terms of the jackknife objective",
    "inspect": "print what a model's files hold, and every reason to doubt them",
    "compare-estimators": "train on equal terms with every gradient estimator, tables and plots",
    "convert": "convert a model between the forms that parameters are kept in",
    "bayesnet": "train, predict with and assess Bayesian neural networks on tables",
    "gradient-snr": "measure signal-to-noise ratios of gradient estimators against K and M",
    "kingma-flows": "compare posteriors with and without flows at equal processor time",
    "reproduce": "run published tables and figures again, in a clone of the repository",
}

MODULES = {
    "compare-estimators": "compare_estimators",
    "gradient-snr": "gradient_snr",
    "kingma-flows": "kingma_flows",
    "inspect": "inspect_model",  # a script called inspect.py would hide Python's own
}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name not in COMMANDS:
        print("usage: python -m jvi COMMAND [options]\n")
        for command, what in COMMANDS.items():
            print(f"  {command:18} {what}")
        sys.exit(0 if name in ("-h", "--help") else 2)
    import_module(f"jvi.scripts.{MODULES.get(name, name)}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
