"""The members of a zip archive that nobody vouches for, out of its bytes.

Only what .npz files are made of: one volume, stored or deflated members that do not overlap, and
a directory that lists all of them and lies at the end. Nothing is inflated beyond the size that the
directory declares, so who checks the sizes has bounded the memory.
"""

import struct
import zlib
from typing import NamedTuple

__all__ = ["MAX_MEMBERS", "Member", "inflated", "list_members", "read_member"]

MAX_MEMBERS = 10_000

STORED, DEFLATED = 0, 8
PIECE = 2**16  # bytes that are inflated at a time, into sixteen times as many

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_KNOWN_FLAGS = 0x80E  # the level of compression, sizes behind the data, names in UTF-8
_UTF8 = 0x800
_LARGE = 2**32 - 1  # stands for a number in the extra field, of 64 bits


class Member(NamedTuple):
    """What the directory says of a member; its header begins at `place`."""

    name: str
    raw_name: bytes
    method: int
    crc: int
    packed: int
    size: int
    place: int


def list_members(content):
    """The members that the directory of an archive lists.

    Parameters
    ----------
    content : bytes
        The whole archive.

    Raises
    ------
    ValueError
        When it is damaged, or has more than `MAX_MEMBERS`.
    """
    start, stop, count = _directory(content)
    members = []
    while start < stop:
        member, start = _entry(content, start, stop)
        members.append(member)
        if len(members) > MAX_MEMBERS:
            raise ValueError(f"more than {MAX_MEMBERS} arrays")
    if len(members) != count:
        raise ValueError(f"damaged: {len(members)} entries, but {count} are counted")
    _check_apart(members)
    return members


def _directory(content):
    """(start, stop, number of entries) of the directory."""
    end = content.rfind(b"PK\5\6", max(0, len(content) - _END.size - 2**16))
    if end < 0 or len(content) < end + _END.size:
        raise ValueError("damaged: it is cut off: the end of it is missing")
    _, *volumes, count, length, start, comment = _END.unpack_from(content, end)
    if end + _END.size + comment != len(content) or any(volumes[:2]):
        raise ValueError("damaged: its end is not where it should be")
    stop = end
    if content[max(0, end - 20) : max(0, end - 16)] == b"PK\6\7":  # of more than 2 GiB
        (stop,) = struct.unpack_from("<Q", content, end - 12)
        if stop + 56 != end - 20 or content[stop : stop + 4] != b"PK\6\6":
            raise ValueError("damaged: its end is not where it should be")
        count, length, start = struct.unpack_from("<QQQ", content, stop + 32)
    if count > MAX_MEMBERS:
        raise ValueError(f"more than {MAX_MEMBERS} arrays")
    if start + length != stop:
        raise ValueError("damaged: entries are missing")
    return start, stop, count


def _entry(content, at, stop):
    """The `Member` of the directory's entry at `at`, and where the next one begins."""
    if at + _ENTRY.size > stop or content[at : at + 4] != b"PK\1\2":
        raise ValueError("damaged: entries are missing")
    _, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, place = _ENTRY.unpack_from(
        content, at
    )
    ends = [at + _ENTRY.size]
    for length in lengths:
        ends.append(ends[-1] + length)
    if ends[-1] > stop or flags & ~_KNOWN_FLAGS:
        raise ValueError("damaged: an entry that no .npz file has")
    raw_name = content[ends[0] : ends[1]]
    try:
        name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        raise ValueError(f"damaged: {raw_name!a} is not UTF-8") from None
    size, packed, place = _wide((size, packed, place), content[ends[1] : ends[2]])
    return Member(name, raw_name, method, crc, packed, size, place), ends[3]


def _wide(numbers, extra):
    """`numbers`, where one is `_LARGE` the one that the extra field has for it."""
    fields = b""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            fields = extra[4 : 4 + length]
        extra = extra[4 + length :]
    wide = iter([number for (number,) in struct.iter_unpack("<Q", fields[: len(fields) // 8 * 8])])
    return [next(wide, number) if number == _LARGE else number for number in numbers]


def _check_apart(members):
    """Refuse members that share bytes: so a small file can have any number of large ones."""
    end = 0
    for member in sorted(members, key=lambda member: member.place):
        if member.place < end:
            raise ValueError(f"{member.name!a}: damaged: lies within another member")
        end = member.place + _LOCAL.size + len(member.raw_name) + member.packed


def read_member(content, member):
    """The data of a member, as long as declared and with the right CRC: bytes or a bytearray."""
    at = member.place
    if at + _LOCAL.size > len(content) or content[at : at + 4] != b"PK\3\4":
        raise ValueError("damaged: is not where the directory says")
    _, _, _, method, *_, name_length, extra_length = _LOCAL.unpack_from(content, at)
    at += _LOCAL.size
    if content[at : at + name_length] != member.raw_name or method != member.method:
        raise ValueError("damaged: its header and the directory disagree")
    start = at + name_length + extra_length
    packed = memoryview(content)[start : start + member.packed]
    if len(packed) != member.packed:
        raise ValueError("damaged: cut off")
    data = _unpacked(packed, member)
    if zlib.crc32(data) != member.crc:
        raise ValueError("damaged: wrong CRC-32")
    return data


def _unpacked(packed, member):
    if member.method == DEFLATED:
        return inflated(packed, member.size, zlib.decompressobj(-zlib.MAX_WBITS))
    if member.method != STORED:
        raise ValueError("unknown compression; only deflate is read")
    if member.packed != member.size:
        raise ValueError("damaged: its sizes disagree")
    return packed


def inflated(packed, size, stream):
    """A bytearray of the `size` bytes that `stream` makes of `packed`.

    Raises
    ------
    ValueError
        When it makes another number of bytes, leaves some over, or finds damage.
    """
    data, at = bytearray(size), 0
    try:
        for part in _parts(packed, stream):
            if at + len(part) > size:
                raise ValueError("damaged: longer than it says")
            data[at : at + len(part)] = part
            at += len(part)
    except zlib.error as error:
        raise ValueError(f"damaged ({error})") from None
    if at < size:
        raise ValueError("damaged: shorter than it says")
    return data


def _parts(packed, stream):
    """What `stream` makes of `packed`, a little at a time."""
    while not stream.eof:
        piece = stream.unconsumed_tail
        if not piece:
            piece, packed = packed[:PIECE], packed[PIECE:]
        part = stream.decompress(piece, 16 * PIECE)
        if not piece and not part:
            raise ValueError("damaged: shorter than it says")
        yield part
    if stream.unused_data or packed:
        raise ValueError("damaged: has more data than it needs")
