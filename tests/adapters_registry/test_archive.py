"""Hostile ZIPs are refused with the right code and bounded work; plain ones are taken out whole."""

import io
import struct
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters_registry.archive import extract
from adapters_registry.errors import InvalidAdapter
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE
from tests.adapters_registry.raw_zip import END, Member, build, deflate, zip64_end

CONFIG, WEIGHTS = CONFIG_FILE.encode(), WEIGHTS_FILE.encode()
MAX_BYTES = 1 << 20
DATA = bytes(range(256)) * 40


def config(name: bytes = CONFIG, **lies: object) -> Member:
    return Member(name, b'{"r": 8}', **lies)


def weights(name: bytes = WEIGHTS, **lies: object) -> Member:
    return Member(name, DATA, **lies)


def extra(field: int, content: bytes) -> bytes:
    return struct.pack("<HH", field, len(content)) + content


def both_with(**lies: object) -> bytes:
    return build(config(), weights(**lies))


def third(name: bytes, **lies: object) -> bytes:
    return build(config(), weights(), Member(name, **lies))


def quoted_overlap() -> bytes:
    """The first member's data holds the whole second member, local header and all."""
    inner = weights()
    outer = Member(CONFIG, inner.local())
    archive = build(outer)
    inner.offset = archive.index(inner.local())
    directory_at = archive.index(b"PK\x01\x02")
    directory = archive[directory_at : archive.rindex(END)] + inner.central()
    end = END + struct.pack("<HHHHIIH", 0, 0, 2, 2, len(directory), directory_at, 0)
    return archive[:directory_at] + directory + end


def into_directory() -> bytes:
    """The second member's data runs on over the central directory."""
    size = len(DATA) + 20
    return both_with(size=size, stored_size=size)


def huge_directory() -> bytes:
    names = (b"%06d" % n for n in range(20_000))
    return build(config(), weights(), *(Member(name, b"") for name in names))


def zip64_claiming(entries: int, directory_bytes: int, directory_at: int) -> bytes:
    plain = build(config(), weights())
    record = zip64_end(
        entries=entries,
        directory_bytes=directory_bytes,
        directory_at=directory_at,
        record_at=plain.rindex(END),
    )
    return build(config(), weights(), zip64=record)


def encrypted_by_directory_flag() -> bytes:
    return both_with(flags=0x2000 | 0x1)


SYMLINK, DEVICE, FOLDER = 0o120777 << 16, 0o020666 << 16, 0o040755 << 16
BOMB = deflate(bytes(MAX_BYTES * 8))

WRONG_MEMBERS: dict[str, Callable[[], bytes]] = {
    "no member at all": build,
    "only the config": lambda: build(config()),
    "only the weights": lambda: build(weights()),
    "a path that climbs out": lambda: build(config(), weights(b"../" + WEIGHTS)),
    "a third path that climbs out": lambda: third(b"../../etc/cron.d/x"),
    "an absolute path": lambda: build(config(), weights(b"/" + WEIGHTS)),
    "a Windows path": lambda: build(config(), weights(b"C:\\" + WEIGHTS)),
    "a backslash path": lambda: build(config(), weights(b"..\\" + WEIGHTS)),
    "a dot path": lambda: build(config(), weights(b"./" + WEIGHTS)),
    "both files in a folder": lambda: build(config(b"a/" + CONFIG), weights(b"a/" + WEIGHTS)),
    "a folder entry besides": lambda: third(b"a/", attributes=FOLDER),
    "a third file": lambda: third(b"README.md"),
    "a chat template": lambda: third(b"tokenizer_config.json"),
    "pickled weights": lambda: build(config(), Member(b"adapter_model.bin")),
    "what macOS adds": lambda: third(b"__MACOSX/._" + WEIGHTS),
    "the same name twice": lambda: build(config(), weights(), weights()),
    "one name twice and the other missing": lambda: build(weights(), weights()),
    "another letter case": lambda: build(config(), weights(WEIGHTS.upper())),
    "a name with a NUL and more": lambda: build(config(), weights(WEIGHTS + b"\0.py")),
    "a name with a line break": lambda: build(config(), weights(WEIGHTS + b"\n")),
    "a name that is not UTF-8": lambda: build(config(), weights(b"\xff\xfe", flags=0)),
    "a symbolic link": lambda: both_with(attributes=SYMLINK),
    "a device": lambda: both_with(attributes=DEVICE),
    "a folder's mode": lambda: both_with(attributes=FOLDER),
    "the DOS folder bit": lambda: both_with(attributes=0x10),
}
UNREADABLE: dict[str, Callable[[], bytes]] = {
    "an empty file": lambda: b"",
    "text": lambda: b"not a zip",
    "a gzip file": lambda: b"\x1f\x8b\x08" + bytes(64),
    "only an end record that claims a directory": lambda: build(entries=2, directory_bytes=92),
    "a file cut off": lambda: build(config(), weights())[:-30],
    "a directory that is not where it should be": lambda: build(
        config(), weights(), directory_at=1 << 31
    ),
    "a directory larger than the file": lambda: build(config(), weights(), directory_bytes=1 << 30),
    "a directory of 20,000 members": huge_directory,
    "a wrong checksum": lambda: both_with(crc=1),
    "a wrong checksum of deflated data": lambda: both_with(method=8, crc=1),
    "deflated data that is noise": lambda: both_with(method=8, stored=b"\xff" * 100),
    "deflated data that ends early": lambda: both_with(method=8, stored=deflate(DATA)[:-9]),
    "a name that the directory does not confirm": lambda: both_with(local_name=b"other"),
    "a second name in a Unicode path field": lambda: both_with(
        extra=extra(0x7075, b"\x01\0\0\0\0evil.py")
    ),
    "a broken zip64 field": lambda: both_with(extra=extra(1, b"\0"), size=0xFFFFFFFF),
    "bytes before its first member": lambda: build(config(), weights(), before=b"#!/bin/sh"),
    "bytes before it that nothing counts": lambda: b"#!/bin/sh" + build(config(), weights()),
    "bytes after its end": lambda: build(config(), weights()) + b"\0",
    "a comment that is not there": lambda: build(config(), weights(), comment_bytes=9),
    "the second disk of several": lambda: build(config(), weights(), disk=1),
    "a member on another disk": lambda: both_with(disk=1),
    "a wrong count of members": lambda: build(config(), weights(), entries=3),
    "encryption": lambda: both_with(flags=0x1),
    "strong encryption": lambda: both_with(flags=0x41),
    "a hidden directory": encrypted_by_directory_flag,
    "patch data": lambda: both_with(flags=0x20),
    "bzip2": lambda: both_with(method=12),
    "lzma": lambda: both_with(method=14),
    "a method nobody knows": lambda: both_with(method=99),
    "a member before the file's start": lambda: both_with(offset=0xFFFFFFF0),
    "two members in one place": lambda: both_with(offset=0),
    "members that overlap like a quine": quoted_overlap,
    "a member that runs into the directory": into_directory,
    "less data than claimed": lambda: both_with(method=8, size=len(DATA) + 1),
    "more data than claimed": lambda: both_with(method=8, size=len(DATA) - 1),
    "a zip64 record with 2**63 members": lambda: zip64_claiming(1 << 63, 1 << 62, 0),
    "a zip64 directory past the end": lambda: zip64_claiming(2, 120, 1 << 62),
}
TOO_LARGE: dict[str, Callable[[], bytes]] = {
    "weights over the limit": lambda: build(config(), Member(WEIGHTS, bytes(MAX_BYTES + 1))),
    "a bomb that is honest": lambda: both_with(
        method=8, stored=BOMB, size=MAX_BYTES * 8, stored_size=len(BOMB)
    ),
    "a terabyte claimed in a zip64 field": lambda: both_with(
        extra=extra(1, struct.pack("<Q", 1 << 40)), size=0xFFFFFFFF
    ),
    "a config of more than a mebibyte": lambda: build(
        Member(CONFIG, bytes((1 << 20) + 1), method=8), weights()
    ),
    "two files that only together pass the limit": lambda: build(
        Member(CONFIG, bytes(MAX_BYTES // 2), method=8),
        Member(WEIGHTS, bytes(MAX_BYTES // 2 + 1), method=8),
    ),
}
HOSTILE = [
    pytest.param(code, make, id=f"{code}-{name}")
    for code, table in (
        ("zip_members", WRONG_MEMBERS),
        ("zip_invalid", UNREADABLE),
        ("too_large", TOO_LARGE),
    )
    for name, make in table.items()
]


def refusal(archive: Path, destination: Path) -> InvalidAdapter:
    with pytest.raises(InvalidAdapter) as caught:
        extract(archive, destination, max_bytes=MAX_BYTES)
    return caught.value


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    directory = tmp_path / "nested" / "out"
    directory.mkdir(parents=True)
    return directory


@pytest.mark.parametrize(("code", "make"), HOSTILE)
def test_hostile_archive_is_refused_and_writes_nothing_unexpected(
    code: str, make: Callable[[], bytes], tmp_path: Path, destination: Path
) -> None:
    archive = tmp_path / "upload.zip"
    archive.write_bytes(make())

    error = refusal(archive, destination)

    assert error.code == code
    assert error.message.isascii()
    assert error.message.isprintable()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != archive]
    assert {path.name for path in written} <= {CONFIG_FILE, WEIGHTS_FILE}
    assert all(path.parent == destination for path in written)
    assert sum(path.stat().st_size for path in written) <= MAX_BYTES


def test_forty_and_more_hostile_archives_are_in_the_table() -> None:
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("method", [0, 8], ids=["stored", "deflated"])
def test_both_files_come_out_byte_for_byte(method: int, tmp_path: Path, destination: Path) -> None:
    archive = tmp_path / "upload.zip"
    archive.write_bytes(build(weights(method=method), config(method=method)))

    extract(archive, destination, max_bytes=MAX_BYTES)

    assert (destination / WEIGHTS_FILE).read_bytes() == DATA
    assert (destination / CONFIG_FILE).read_bytes() == b'{"r": 8}'
    assert len(list(destination.iterdir())) == 2


class Pipe(io.RawIOBase):
    """What a zip tool writes to when it cannot go back to fill in sizes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def test_streamed_archive_with_sizes_after_the_data_is_taken(
    tmp_path: Path, destination: Path
) -> None:
    archive = tmp_path / "upload.zip"
    with Pipe(archive) as pipe, zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(WEIGHTS_FILE, DATA)
        opened.writestr(CONFIG_FILE, b"{}")
        assert all(member.flag_bits & 0x8 for member in opened.infolist())

    extract(archive, destination, max_bytes=MAX_BYTES)

    assert (destination / WEIGHTS_FILE).read_bytes() == DATA


def test_true_zip64_end_record_is_read(tmp_path: Path, destination: Path) -> None:
    plain = build(config(), weights())
    directory_at = plain.index(b"PK\x01\x02")
    length = plain.rindex(END) - directory_at
    archive = tmp_path / "upload.zip"
    archive.write_bytes(zip64_claiming(2, length, directory_at))

    extract(archive, destination, max_bytes=MAX_BYTES)

    assert (destination / WEIGHTS_FILE).read_bytes() == DATA


def test_comment_is_allowed(tmp_path: Path, destination: Path) -> None:
    archive = tmp_path / "upload.zip"
    archive.write_bytes(build(config(), weights(), comment=b"made by a tool"))

    extract(archive, destination, max_bytes=MAX_BYTES)

    assert (destination / WEIGHTS_FILE).read_bytes() == DATA


def test_exactly_the_limit_is_allowed(tmp_path: Path, destination: Path) -> None:
    archive = tmp_path / "upload.zip"
    archive.write_bytes(build(config(), weights()))

    extract(archive, destination, max_bytes=len(DATA) + len(b'{"r": 8}'))

    assert (destination / WEIGHTS_FILE).stat().st_size == len(DATA)


PLAIN = build(config(method=8), weights(method=8))
EDITS = st.lists(
    st.tuples(
        st.integers(0, 60) | st.integers(len(PLAIN) - 300, len(PLAIN) - 1),
        st.integers(0, 255),
    ),
    max_size=5,
)


@settings(max_examples=1000, deadline=None)
@given(edits=EDITS, cut=st.none() | st.integers(0, len(PLAIN)))
def test_mutated_archive_is_taken_whole_or_refused(
    edits: list[tuple[int, int]], cut: int | None
) -> None:
    content = bytearray(PLAIN)
    for position, value in edits:
        content[position] = value
    with tempfile.TemporaryDirectory() as room:
        out = Path(room, "out")
        out.mkdir()
        archive = Path(room, "upload.zip")
        archive.write_bytes(content[:cut])
        with suppress(InvalidAdapter):
            extract(archive, out, max_bytes=MAX_BYTES)
            assert (out / WEIGHTS_FILE).read_bytes() == DATA


def test_dishonest_bomb_is_stopped_by_its_own_claim(tmp_path: Path, destination: Path) -> None:
    archive = tmp_path / "upload.zip"
    archive.write_bytes(both_with(method=8, stored=BOMB, size=10, stored_size=len(BOMB)))

    assert refusal(archive, destination).code == "zip_invalid"
    assert (destination / WEIGHTS_FILE).stat().st_size <= 10


def test_directory_of_a_million_members_is_never_read_into_memory(
    tmp_path: Path, destination: Path
) -> None:
    archive = tmp_path / "upload.zip"
    entry = Member(b"x", b"").central()
    end = END + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, len(entry) * 1_000_000, 0, 0)
    archive.write_bytes(entry * 1_000_000 + end)
    tracemalloc.start()
    try:
        code = refusal(archive, destination).code
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert code == "zip_invalid"
    assert peak < 4 << 20


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (WRONG_MEMBERS["both files in a folder"], "not the folder around them"),
        (WRONG_MEMBERS["what macOS adds"], "Leave out __MACOSX"),
        (WRONG_MEMBERS["pickled weights"], "as safetensors"),
        (WRONG_MEMBERS["only the config"], f"Add {WEIGHTS_FILE}."),
        (WRONG_MEMBERS["a third file"], "Leave out everything else."),
    ],
)
def test_refusal_says_what_to_change(
    make: Callable[[], bytes], advice: str, tmp_path: Path, destination: Path
) -> None:
    archive = tmp_path / "upload.zip"
    archive.write_bytes(make())

    assert advice in refusal(archive, destination).message


def test_local_disk_error_is_not_blamed_on_the_archive(tmp_path: Path) -> None:
    archive = tmp_path / "upload.zip"
    archive.write_bytes(build(config(), weights()))

    with pytest.raises(FileNotFoundError):
        extract(archive, tmp_path / "no such folder", max_bytes=MAX_BYTES)
