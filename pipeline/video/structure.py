"""Whether a container file is whole, by its own sizes: MP4/MOV boxes, AVI chunks, Matroska/WebM elements, TS packets.

FFmpeg goes on silently where a container breaks off or where it had to search for the next readable piece: half of a
WebM can be missing without one decoding error. The chain of sizes tells, without decoding. Other formats are not checked.
"""

import mmap
from pathlib import Path

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_MATROSKA_SKIPPED = frozenset(
    [
        _EBML,
        0xEC,
        0xBF,  # header, Void, CRC-32
        0x114D9B74,
        0x1549A966,
        0x1654AE6B,
        0x1C53BB6B,
        0x1941A469,
        0x1043A770,
        0x1254C367,  # children of Segment
        0xE7,
        0xAB,
        0xA7,
        0xA3,
        0xA0,
        0xAF,
        0x5854,  # children of Cluster
    ]
)
_UNKNOWN_SIZE = -1
_TS_PACKET = 188


def fault(path: Path) -> str | None:
    """What is wrong with the file's structure, in words; None where it is whole or of a format that is not checked."""
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _mp4_fault(data)
        if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
            return _avi_fault(data)
        if data[:4] == _EBML.to_bytes(4, "big"):
            return _matroska_fault(data)
        if all(data[at : at + 1] == b"G" for at in (0, _TS_PACKET, 2 * _TS_PACKET)):
            rest = len(data) % _TS_PACKET
            return _cut_off(_TS_PACKET - rest) if rest else None
    return None


def _cut_off(missing: int) -> str:
    return f"truncated: the last {missing} bytes that it promises are missing"


def _broken(position: int) -> str:
    return f"corrupted: its structure breaks at byte {position}"


def _printable(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 or byte == 0xA9 for byte in name)


def _mp4_fault(data: mmap.mmap) -> str | None:
    """Boxes: size (4 bytes; 1: 8 bytes follow; 0: to the end), type (4). The index (moov) must be among them."""
    position, seen = 0, set()
    while position + 8 <= len(data):
        size, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        elif size == 0:
            size = len(data) - position
        if size < 8 or not _printable(name):
            break  # padding behind the last box is common; a broken box before the index shows as a missing index
        seen.add(name)
        position += size
    if b"moov" not in seen:
        return "truncated or corrupted: its index (the moov box of MP4/MOV) is missing"
    return _cut_off(position - len(data)) if position > len(data) else None


def _avi_fault(data: mmap.mmap) -> str | None:
    """Chunks: name (4), size (4), content, padding to even; RIFF and the lists that hold pictures are entered."""
    position, riff_end = 0, 0
    while position + 8 <= len(data):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if not _printable(name):
            return None if position >= riff_end else _broken(position)
        if name == b"RIFF":
            riff_end = position + 8 + size
        if name == b"RIFF" or (name == b"LIST" and data[position + 8 : position + 12] in (b"movi", b"rec ")):
            position += 12
        else:
            position += 8 + size + size % 2
    missing = position - len(data)
    return _cut_off(missing) if missing > 1 else None  # the last padding byte is often left out


def _matroska_fault(data: mmap.mmap) -> str | None:
    """EBML elements: id, size (both of variable length), content; Segment and Cluster are entered."""
    position, end = 0, len(data)
    while position < end:
        id_, after_id = _vint(data, position, keep_marker=True)
        size, content = _vint(data, after_id, keep_marker=False)
        if id_ == _SEGMENT:
            if size != _UNKNOWN_SIZE:
                if content + size > len(data):
                    return _cut_off(content + size - len(data))
                end = content + size
            position = content
        elif id_ == _CLUSTER:
            position = content
        elif id_ in _MATROSKA_SKIPPED and size != _UNKNOWN_SIZE:
            position = content + size
        else:
            return _broken(position)
    return _cut_off(position - end) if position > end else None


def _vint(data: mmap.mmap, position: int, keep_marker: bool) -> tuple[int, int]:
    """An EBML number and the position behind it; a size of all ones is :data:`_UNKNOWN_SIZE`, an unreadable one 0."""
    first = data[position] if position < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8:
        return 0, position + 1
    value = int.from_bytes(data[position : position + length], "big")
    if keep_marker:
        return value, position + length
    value &= (1 << 7 * length) - 1
    return (_UNKNOWN_SIZE if value == (1 << 7 * length) - 1 else value), position + length
