"""A ZIP writer that will lie about anything, for tests of readers. Source: PKWARE APPNOTE 6.3."""

import struct
import zlib
from dataclasses import dataclass, field

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END64, LOCATOR64 = b"PK\x06\x06", b"PK\x06\x07"


@dataclass
class Member:
    """One member; every field that is None is written as it truly is."""

    name: bytes
    data: bytes = b"{}"
    method: int = 0
    flags: int = 0
    attributes: int = 0o100644 << 16
    extra: bytes = b""
    local_name: bytes | None = None
    stored: bytes | None = None
    crc: int | None = None
    size: int | None = None
    stored_size: int | None = None
    offset: int | None = None
    disk: int = 0
    written_at: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.stored is None:
            self.stored = deflate(self.data) if self.method == 8 else self.data
        self.crc = zlib.crc32(self.data) if self.crc is None else self.crc
        self.size = len(self.data) if self.size is None else self.size
        self.stored_size = len(self.stored) if self.stored_size is None else self.stored_size

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        return LOCAL + self._common() + struct.pack("<HH", len(name), 0) + name + self.stored

    def central(self) -> bytes:
        offset = self.written_at if self.offset is None else self.offset
        lengths = struct.pack("<HHHHH", len(self.name), len(self.extra), 0, self.disk, 0)
        place = struct.pack("<II", self.attributes, offset)
        head = CENTRAL + struct.pack("<H", 3 << 8) + self._common()
        return head + lengths + place + self.name + self.extra

    def _common(self) -> bytes:
        clipped = [min(n, 0xFFFFFFFF) for n in (self.crc, self.stored_size, self.size)]
        return struct.pack("<HHHHHIII", 20, self.flags, self.method, 0, 33, *clipped)


def deflate(data: bytes, *, finish: bool = True) -> bytes:
    """Compress; what is not finished may be followed by more of its kind."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = compressor.compress(data)
    return body + compressor.flush(zlib.Z_FINISH if finish else zlib.Z_FULL_FLUSH)


def build(
    *members: Member,
    before: bytes = b"",
    entries: int | None = None,
    directory_bytes: int | None = None,
    directory_at: int | None = None,
    zip64: bytes = b"",
    disk: int = 0,
    comment: bytes = b"",
    comment_bytes: int | None = None,
) -> bytes:
    """Put members, directory and end record together; the keywords replace what is true."""
    body = before
    for member in members:
        member.written_at = len(body)
        body += member.local()
    directory = b"".join(member.central() for member in members)
    count = len(members) if entries is None else entries
    length = len(directory) if directory_bytes is None else directory_bytes
    start = len(body) if directory_at is None else directory_at
    said = len(comment) if comment_bytes is None else comment_bytes
    end = END + struct.pack("<HHHHIIH", disk, disk, count, count, length, start, said)
    return body + directory + zip64 + end + comment


def zip64_end(*, entries: int, directory_bytes: int, directory_at: int, record_at: int) -> bytes:
    """Write the 64-bit end record and its locator."""
    counts = struct.pack("<QQQQ", entries, entries, directory_bytes, directory_at)
    record = END64 + struct.pack("<QHHII", 44, 45, 45, 0, 0) + counts
    return record + LOCATOR64 + struct.pack("<IQI", 0, record_at, 1)
