"""The files in a gzipped tar archive, read one by one; nothing is extracted to a place."""

import io
import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

__all__ = ["read_members"]

MOST_MEMBERS = 100


def read_members(
    content: bytes, names: Collection[str], most: int, path: str | Path
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the ordinary files in an archive that have one of some names.

    Parameters
    ----------
    content : bytes
        The archive.
    names : collection of str
        Without folders, whatever folder of the archive they lie in.
    most : int
        Bytes that any of its files may have, asked for or not.
    path : str or Path
        The archive's name, for errors.

    Raises
    ------
    ValueError
        When it is damaged, has a longer file or more than `MOST_MEMBERS`.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r|gz") as archive:
            for number, member in enumerate(archive):
                if member.size > most or number >= MOST_MEMBERS:
                    raise ValueError(f"{path} holds other or longer files than it should")
                name = PurePosixPath(member.name).name
                if member.isreg() and name in names:
                    yield name, archive.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
