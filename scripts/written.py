"""What evaluate.py leaves in files: tables and arrays."""


def write_table(report, prefix, wanted):
    """Write JSON and CSV to `wanted`, or beside `prefix`; where, or why not, as a line."""
    from jvi.assessment import tables

    if wanted:
        tables.write(wanted, report)
        return f"table: {wanted}.json and .csv"
    try:
        return f"table: {tables.write_beside(prefix, report)}.json and .csv"
    except OSError as error:
        return f"note: the table is not written ({error.strerror}); name another place with --table"


def write_arrays(path, arrays, save=None):
    """Write arrays by name, in NumPy's format, or as `save(file, arrays)` does."""
    import numpy as np

    from jvi.files import atomic_write

    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        save(file, arrays) if save else np.savez(file, **arrays)
