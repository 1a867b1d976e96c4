"""What all commands share: one-line errors, values from options, and what may be written."""

from jvi.cli.exit_status import UsageError, command
from jvi.cli.options import (
    among,
    arguments_of,
    asked,
    check_effects,
    data_note,
    dataset_name,
    distinct,
    fields,
    number,
    numbers,
    seed,
)
from jvi.cli.outputs import check_outputs, model_files

__all__ = [
    "UsageError",
    "among",
    "arguments_of",
    "asked",
    "check_effects",
    "check_outputs",
    "command",
    "data_note",
    "dataset_name",
    "distinct",
    "fields",
    "model_files",
    "number",
    "numbers",
    "seed",
]
