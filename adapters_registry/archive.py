"""Taking the two files of an adapter out of an untrusted ZIP.

The archive must hold exactly adapter_model.safetensors and adapter_config.json at its root, plain
or deflated. Nothing it says is trusted: names are compared and never used as paths, sizes are
counted and never believed, and no single record may make the reader hold more than 128 KiB.
"""

import errno
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from adapters_registry.adapter_config import MAX_CONFIG_BYTES
from adapters_registry.errors import InvalidAdapter
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE

_MEMBERS = (CONFIG_FILE, WEIGHTS_FILE)
_COPY_BYTES = 64 << 10
_MAX_READ_BYTES = 128 << 10
_LOCAL_HEADER_BYTES = 30
_END_RECORD = struct.Struct("<4s4HIIH")
_END_SIGNATURE = b"PK\x05\x06"
_IN_ZIP64 = 0xFFFF
"""Says that the number stands in the 64-bit end record."""
_ENCRYPTED_FLAGS = 0x1 | 0x40 | 0x2000
_PATCH_FLAG = 0x20
_DOS_DIRECTORY = 0x10
_UNICODE_PATH_FIELD = 0x7075
_SHOWN_NAMES = 5


def extract(archive: Path, destination: Path, *, max_bytes: int) -> None:
    """Write the adapter's two files into `destination`, an existing and empty directory.

    Blocking; writes at most `max_bytes` in all. After an error what was written is the caller's to
    remove. **Raises:** InvalidAdapter (`zip_invalid`, `zip_members`, `too_large`).
    """
    with _BoundedFile(archive) as file, _zip_errors(), zipfile.ZipFile(file) as opened:
        members = _members(opened)
        _check_end_record(file, len(members), opened.comment)
        _check_spans(members, file, opened.start_dir)
        room = max_bytes
        for member in sorted(members, key=lambda info: info.filename):
            limit = min(room, MAX_CONFIG_BYTES) if member.filename == CONFIG_FILE else room
            with opened.open(member) as source:
                room -= _copy(source, destination / _own_name(member), member.file_size, limit)


class _BoundedFile(io.FileIO):
    """Cuts large single reads short, so that a directory of a million entries is never in memory.

    zipfile takes the cut for the end of the file, and a directory that is cut for a damaged one.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = _MAX_READ_BYTES if size is None or size < 0 else min(size, _MAX_READ_BYTES)
        return super().read(wanted) or b""


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except (
        EOFError,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise _invalid("it is not a ZIP archive, or it is damaged") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL is a seek to where no byte can be
            raise
        raise _invalid("it is not a ZIP archive, or it is damaged") from error


def _members(opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = opened.infolist()
    names = [member.orig_filename for member in members]
    if sorted(names) != sorted(_MEMBERS):
        raise _wrong_members(names)
    for member in members:
        mode = stat.S_IFMT(member.external_attr >> 16)
        if mode not in (0, stat.S_IFREG) or member.external_attr & _DOS_DIRECTORY:
            raise _wrong_members(names, f"{member.orig_filename} is not a plain file.")
        if member.filename != member.orig_filename or _has_unicode_path(member.extra):
            raise _invalid(f"{member.filename!a} has a second name")
        if member.flag_bits & (_ENCRYPTED_FLAGS | _PATCH_FLAG):
            raise _invalid(f"{member.filename} is encrypted; upload it without a password")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _invalid(
                f"{member.filename} uses compression method {member.compress_type};"
                f" 0 (stored) or 8 (deflate) is expected"
            )
        if member.volume:
            raise _invalid("it is split over several disks")
    return members


def _has_unicode_path(extra: bytes) -> bool:
    while len(extra) >= 4:
        field, size = struct.unpack_from("<HH", extra)
        if field == _UNICODE_PATH_FIELD:
            return True
        extra = extra[4 + size :]
    return False


def _check_end_record(file: io.FileIO, members: int, comment: bytes) -> None:
    """The file must end with the end record and its comment, and be one disk of one."""
    file.seek(-_END_RECORD.size - len(comment), io.SEEK_END)
    signature, *numbers = _END_RECORD.unpack(file.read(_END_RECORD.size))
    disk, directory_disk, here, in_all, _, _, comment_bytes = numbers
    if signature != _END_SIGNATURE or comment_bytes != len(comment):
        raise _invalid("bytes follow its end record, or are missing there")
    if not {disk, directory_disk} <= {0, _IN_ZIP64}:
        raise _invalid("it is split over several disks")
    if not {here, in_all} <= {members, _IN_ZIP64}:
        raise _invalid(f"its end record counts {in_all} members; it holds {members}")


def _check_spans(members: list[zipfile.ZipInfo], file: io.FileIO, directory_start: int) -> None:
    """Each member's bytes, its local header included, must be its own and before the directory.

    The first one's must be the file's first, so that the file is a ZIP and nothing else besides.
    """
    spans = sorted(_span(member, file) for member in members)
    if spans[0][0] != 0:
        raise _invalid("bytes stand before its first member")
    ends = [end for _, end in spans]
    starts = [start for start, _ in spans[1:]] + [directory_start]
    if any(end > start for end, start in zip(ends, starts, strict=True)):
        raise _invalid("its members overlap")


def _span(member: zipfile.ZipInfo, file: io.FileIO) -> tuple[int, int]:
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    length = _LOCAL_HEADER_BYTES + name_bytes + extra_bytes + member.compress_size
    return member.header_offset, member.header_offset + length


def _own_name(member: zipfile.ZipInfo) -> str:
    return _MEMBERS[_MEMBERS.index(member.filename)]


def _copy(source: IO[bytes], target: Path, claimed: int, limit: int) -> int:
    """Copy one member and return its bytes. A claim is used only to refuse early."""
    written = 0
    with target.open("xb") as file:
        while claimed <= limit and (chunk := source.read(_COPY_BYTES)):
            written += len(chunk)
            if written > limit:
                break
            file.write(chunk)
    if max(claimed, written) > limit:
        message = (
            f"{target.name} holds at least {max(claimed, written)} bytes; {limit} are allowed."
            " Save the adapter alone, in half precision, without the base model."
        )
        raise InvalidAdapter("too_large", message, param=target.name)
    if written != claimed:
        raise _invalid(f"{target.name} has {written} bytes; its entry says {claimed}")
    return written


def _wrong_members(names: list[str], advice: str = "") -> InvalidAdapter:
    shown = ", ".join(f"{name[:100]!a}" for name in names[:_SHOWN_NAMES]) or "nothing"
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    message = (
        f"The ZIP must hold exactly {WEIGHTS_FILE} and {CONFIG_FILE} at its root;"
        f" it holds {shown}{more}. {advice or _advice(names)}"
    )
    return InvalidAdapter("zip_members", message.rstrip(), param="file")


def _advice(names: list[str]) -> str:
    if any(name.startswith("__MACOSX") for name in names):
        return "Leave out __MACOSX and other files that the archiver adds."
    if any(name.endswith("/" + member) for name in names for member in _MEMBERS):
        return "Put the two files themselves into the ZIP, not the folder around them."
    if any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in names):
        return "Save the weights as safetensors; pickled weights are not read."
    missing = [member for member in _MEMBERS if member not in names]
    return f"Add {' and '.join(missing)}." if missing else "Leave out everything else."


def _invalid(reason: str) -> InvalidAdapter:
    message = f"The ZIP cannot be read: {reason}. Pack the two files again with a plain ZIP tool."
    return InvalidAdapter("zip_invalid", message, param="file")
