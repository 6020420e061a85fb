"""
Run while the image is built: cut what nobody loads from the compiled modules in a folder.

Packages are published with what a debugger wants; of uvloop that is 14 of 16 MB. The loader reads the segments that the program
headers name, so all that lies behind them in the file can go, with the table that says what it was. (``strip`` does the same, and
is not in a slim base.) Source: the System V ABI, https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # of a file with 64 bits, little end first
_SEGMENT = struct.Struct("<IIQQQQQQ")
_IDENTITY = b"\x7fELF\x02\x01"


def slimmed(module: bytes) -> bytes:
    """*module* without what lies behind its last segment; as it is, if it is no such file."""
    if not module.startswith(_IDENTITY) or len(module) < _HEADER.size:
        return module
    fields = list(_HEADER.unpack_from(module))
    segments_at, segment_size, segments = fields[5], fields[9], fields[10]
    ends = [_HEADER.size, segments_at + segment_size * segments]
    if segment_size < _SEGMENT.size or ends[1] > len(module):
        return module
    for number in range(segments):
        _, _, offset, _, _, size, _, _ = _SEGMENT.unpack_from(module, segments_at + number * segment_size)
        ends.append(offset + size)
    if max(ends) > len(module):
        return module
    fields[6] = fields[12] = fields[13] = 0  # no table of sections: where it is, how long, which one has their names
    return _HEADER.pack(*fields) + module[_HEADER.size : max(ends)]


def slim(folder: Path) -> Iterator[tuple[Path, int]]:
    """Each compiled module below *folder* that got smaller, and by how many bytes."""
    for path in sorted(folder.rglob("*.so")):
        whole = path.read_bytes()
        less = slimmed(whole)
        if len(less) < len(whole):
            path.write_bytes(less)
            yield path, len(whole) - len(less)


if __name__ == "__main__":
    saved = sum(size for _, size in slim(Path(sys.argv[1])))
    sys.stdout.write(f"{saved / 1e6:.1f} MB less\n")
