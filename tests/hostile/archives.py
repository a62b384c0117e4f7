"""Hostile ZIPs round a good adapter: names, members, kinds, lies about sizes, and damage."""

import gzip
import io
import struct
import tarfile
from collections.abc import Callable

from tests.adapters_registry.raw_zip import END, Member, build, deflate, zip64_end
from tests.hostile.case import (
    CONFIG,
    WEIGHTS,
    HostileCase,
    both,
    config_member,
    good_config,
    good_weights,
    pickled,
    third,
    three_gibibytes_deflated,
    upload,
    weights_member,
)

_NAMES = (
    b"../" + WEIGHTS,
    b"../../../../srv/" + WEIGHTS,
    b"/" + WEIGHTS,
    b"//" + WEIGHTS,
    b"/etc/passwd",
    b"~/" + WEIGHTS,
    b"C:\\" + WEIGHTS,
    b"C:/" + WEIGHTS,
    b"C:" + WEIGHTS,
    b"\\" + WEIGHTS,
    b"..\\" + WEIGHTS,
    b"\\\\server\\share\\" + WEIGHTS,
    b"./" + WEIGHTS,
    b".//" + WEIGHTS,
    b"a/../" + WEIGHTS,
    WEIGHTS + b"/",
    WEIGHTS + b"/.",
    WEIGHTS + b"\\",
    WEIGHTS + b" ",
    b" " + WEIGHTS,
    WEIGHTS + b".",
    WEIGHTS + b":stream",
    WEIGHTS + b"\0",
    WEIGHTS + b"\0.py",
    b"\0" + WEIGHTS,
    WEIGHTS + b"\n",
    b"\r" + WEIGHTS,
    b"\x1b[2J" + WEIGHTS,
    "\u202e".encode() + WEIGHTS,
    WEIGHTS + "\u200b".encode(),
    "\u0430dapter_model.safetensors".encode(),
    WEIGHTS.upper(),
    b"Adapter_Model.safetensors",
    b"adapter_model.safetensor",
    b"adapter_model-00001-of-00001.safetensors",
    b"%2e%2e/" + WEIGHTS,
    b"file:///" + WEIGHTS,
    b"CON",
    b"",
    b"\xff\xfe",
    b"a" * 60_000,
)
_THIRD = (
    b"../../etc/cron.d/x",
    b"/home/user/.ssh/authorized_keys",
    b"README.md",
    b"tokenizer.json",
    b"special_tokens_map.json",
    b"config.json",
    b"generation_config.json",
    b"modeling_llama.py",
    b"__init__.py",
    b"sitecustomize.py",
    b"adapter_model.bin",
    b"adapter_model.pt",
    b"optimizer.pt",
    b"training_args.bin",
    b"new_embeddings.safetensors",
    b"adapter_model.safetensors.index.json",
    b"model.safetensors",
    b".git/config",
    b".env",
    b".DS_Store",
    b"__MACOSX/._" + WEIGHTS,
    b"Thumbs.db",
    b"checkpoint-10/" + CONFIG,
    b"a/" * 200 + b"b",
    b"nested.zip",
)
_KINDS = {
    "symlink": 0o120777,
    "fifo": 0o010644,
    "character device": 0o020666,
    "block device": 0o060666,
    "directory": 0o040755,
    "socket": 0o140777,
    "door": 0o150777,
    "unknown": 0o170000,
}
_METHODS = (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 14, 16, 18, 19, 20, 93, 94, 95, 96, 97, 98, 99, 65535)
_FLAGS = {"encrypted": 0x1, "strong": 0x41, "masked": 0x2000, "patch": 0x20, "all": 0x2061}
_MARKS = {
    "gzip": gzip.compress(b"x" * 64),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(64),
    "rar": b"Rar!\x1a\x07\x01\x00" + bytes(64),
    "text": b"not a zip",
    "json": b'{"r": 8}',
    "elf": b"\x7fELF" + bytes(64),
    "pdf": b"%PDF-1.7\n" + bytes(64),
    "zeros": bytes(4096),
    "two letters": b"PK",
    "a local header alone": b"PK\x03\x04",
    "an end record cut off": b"PK\x05\x06" + bytes(17),
    "PK and noise": b"PK\x03\x04" + b"\xff" * 4096,
}
_BEFORE = {
    "a program": b"MZ" + bytes(64),
    "a script": b"#!/bin/sh\nid\n",
    "a page": b"<script>alert(1)</script>",
    "a picture": b"GIF89a",
    "a byte": b"P",
    "a spanning mark": b"PK\x07\x08",
    "an empty zip": END + bytes(18),
}
_AFTER = {
    "a byte": b"\0",
    "a line break": b"\r\n",
    "a page": b"<script>alert(1)</script>",
    "1 KiB": bytes(1024),
    "60 KiB": b"x" * 60_000,
    "70 KiB": b"x" * 70_000,
    "half an end record": END + bytes(8),
}


def _extra(field: int, content: bytes) -> bytes:
    return struct.pack("<HH", field, len(content)) + content


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(WEIGHTS.decode()))
    return buffer.getvalue()


def _quoted_overlap() -> bytes:
    """The first member's data holds the whole second member, local header and all."""
    inner = weights_member()
    archive = build(Member(CONFIG, inner.local()))
    inner.offset = archive.index(inner.local())
    directory_at = archive.rindex(b"PK\x01\x02")
    directory = archive[directory_at : archive.rindex(END)] + inner.central()
    end = END + struct.pack("<HHHHIIH", 0, 0, 2, 2, len(directory), directory_at, 0)
    return archive[:directory_at] + directory + end


def _zip64(entries: int, directory_bytes: int, directory_at: int, *, lag: int = 0) -> bytes:
    plain = both()
    record = zip64_end(
        entries=entries,
        directory_bytes=directory_bytes,
        directory_at=directory_at,
        record_at=plain.rindex(END) + lag,
    )
    return build(config_member(), weights_member(), zip64=record)


def _reordered_directory() -> bytes:
    """Both entries point at the other's bytes."""
    config, weights = config_member(), weights_member()
    build(config, weights)
    config.offset, weights.offset = weights.written_at, config.written_at
    return build(config, weights)


def _three_gibibytes(name: bytes) -> bytes:
    bomb = Member(name, b"", method=8, stored=three_gibibytes_deflated(), size=3 << 30)
    other = config_member() if name == WEIGHTS else weights_member()
    return build(other, bomb)


_SIZE = len(good_weights())
_UNICODE_PATH = _extra(0x7075, b"\x01\0\0\0\0../evil")
_LIES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "a tar": _tar,
    "raw safetensors": good_weights,
    "a raw pickle": pickled,
    "another zip behind": lambda: both() + both(),
    "another zip before, counted": lambda: build(config_member(), weights_member(), before=both()),
    "disk 1": lambda: build(config_member(), weights_member(), disk=1),
    "weights on disk 2": lambda: both(disk=2),
    "five members counted": lambda: build(config_member(), weights_member(), entries=5),
    "no member counted": lambda: build(config_member(), weights_member(), entries=0),
    "a comment that is not there": lambda: build(
        config_member(), weights_member(), comment_bytes=500
    ),
    "a comment longer than said": lambda: build(
        config_member(), weights_member(), comment=b"x" * 50, comment_bytes=20
    ),
    "a directory past the end": lambda: build(
        config_member(), weights_member(), directory_at=1 << 31
    ),
    "a directory too large": lambda: build(
        config_member(), weights_member(), directory_bytes=1 << 30
    ),
    "a directory too small": lambda: build(config_member(), weights_member(), directory_bytes=60),
    "20,000 members": lambda: build(*(Member(b"%06d" % n, b"") for n in range(20_000))),
    "an end record that claims a directory": lambda: build(entries=2, directory_bytes=92),
    "a wrong checksum": lambda: both(crc=1),
    "a checksum of zero": lambda: both(crc=0, method=8),
    "a wrong checksum of the config": lambda: build(config_member(crc=1), weights_member()),
    "noise for deflate": lambda: both(method=8, stored=b"\xff" * 100),
    "nothing for deflate": lambda: both(method=8, stored=b""),
    "deflate cut off": lambda: both(method=8, stored=deflate(good_weights())[:-9]),
    "another local name": lambda: both(local_name=b"other"),
    "a climbing local name": lambda: both(local_name=b"../" + WEIGHTS),
    "a Unicode path": lambda: both(extra=_UNICODE_PATH),
    "a Unicode path behind another field": lambda: both(extra=_extra(0x9999, b"x") + _UNICODE_PATH),
    "a zip64 field cut off": lambda: both(extra=_extra(1, b"\0"), size=0xFFFFFFFF),
    "an extra field too long": lambda: both(extra=b"\x01\0\xff\xff\0", size=0xFFFFFFFF),
    "a member before the start": lambda: both(offset=0xFFFFFFF0),
    "a member in the directory": lambda: both(offset=len(both()) - 60),
    "a member between places": lambda: both(offset=1),
    "two members in one place": lambda: both(offset=0),
    "the members of each other": _reordered_directory,
    "members like a quine": _quoted_overlap,
    "a member over the directory": lambda: both(size=_SIZE + 20, stored_size=_SIZE + 20),
    "fewer bytes than said": lambda: both(method=8, size=_SIZE + 1),
    "more bytes than said": lambda: both(method=8, size=_SIZE - 1),
    "no byte, it says": lambda: both(method=8, size=0),
    "a bomb of 10 bytes, it says": lambda: both(
        method=8, stored=three_gibibytes_deflated(), size=10
    ),
    "a tebibyte stored": lambda: both(
        extra=_extra(1, struct.pack("<QQ", 1 << 40, 1 << 40)),
        size=0xFFFFFFFF,
        stored_size=0xFFFFFFFF,
    ),
    "2**63 members": lambda: _zip64(1 << 63, 1 << 62, 0),
    "a zip64 directory past the end": lambda: _zip64(2, 120, 1 << 62),
    "a zip64 directory before the start": lambda: _zip64(2, 1 << 40, 0),
    "a zip64 record elsewhere": lambda: _zip64(2, 120, 10, lag=1 << 40),
}
_TEMPLATE = b'{"chat_template": "{{ self.__init__.__globals__ }}", "auto_map": {"x": "y"}}'
_MEMBERS: dict[str, Callable[[], bytes]] = {
    "no member": build,
    "only the config": lambda: build(config_member()),
    "only the weights": lambda: build(weights_member()),
    "weights twice": lambda: build(config_member(), weights_member(), weights_member()),
    "config twice": lambda: build(config_member(), config_member(), weights_member()),
    "weights twice and no config": lambda: build(weights_member(), weights_member()),
    "a folder round both": lambda: build(
        config_member(b"a/" + CONFIG), weights_member(b"a/" + WEIGHTS)
    ),
    "a folder entry": lambda: third(b"a/", b"", attributes=0o040755 << 16),
    "the DOS folder bit": lambda: both(attributes=0x10),
    "config as a symlink": lambda: build(
        Member(CONFIG, b"/etc/passwd", attributes=0o120777 << 16), weights_member()
    ),
    "a chat template": lambda: third(b"tokenizer_config.json", _TEMPLATE),
    "a jinja file": lambda: third(b"chat_template.jinja", b"{{ cycler.__init__ }}"),
    "pickled weights": lambda: build(config_member(), Member(b"adapter_model.bin", pickled())),
    "pickled weights besides": lambda: third(b"adapter_model.bin", pickled()),
    "torch weights": lambda: build(config_member(), Member(b"adapter_model.pt", pickled())),
    "checkpoint weights": lambda: build(config_member(), Member(b"adapter_model.pth", pickled())),
    "a zip in the zip": lambda: build(Member(b"adapter.zip", upload())),
    "1,000 members": lambda: build(*(Member(b"%d" % n, b"") for n in range(1000))),
}


def _members() -> list[HostileCase]:
    code = "zip_members"
    cases = [
        HostileCase(
            f"name {name[:60]!r}", code, lambda n=name: build(config_member(), weights_member(n))
        )
        for name in _NAMES
    ]
    cases += [HostileCase(f"third {name[:40]!r}", code, lambda n=name: third(n)) for name in _THIRD]
    for kind, mode in _KINDS.items():
        made = lambda m=mode: both(attributes=m << 16)  # noqa: E731
        cases.append(HostileCase(f"weights as a {kind}", code, made))
    return cases + [HostileCase(name, code, make) for name, make in _MEMBERS.items()]


def _unreadable() -> list[HostileCase]:
    code = "zip_invalid"
    made = {f"method {n}": (lambda n=n: both(method=n)) for n in _METHODS}
    made |= {f"flag {name}": (lambda f=flag: both(flags=f)) for name, flag in _FLAGS.items()}
    made |= {f"no zip: {name}": (lambda d=data: d) for name, data in _MARKS.items()}
    made |= {f"before it {name}": (lambda d=data: d + both()) for name, data in _BEFORE.items()}
    made |= {
        f"before it and counted {name}": (
            lambda d=data: build(config_member(), weights_member(), before=d)
        )
        for name, data in _BEFORE.items()
    }
    made |= {f"after it {name}": (lambda d=data: both() + d) for name, data in _AFTER.items()}
    made |= {
        f"cut to {part} of 20 parts": (lambda p=part: both()[: len(both()) * p // 20])
        for part in range(1, 20)
    }
    made |= {f"{n} bytes short": (lambda n=n: both()[:-n]) for n in (1, 2, 21, 22, 23)}
    made |= _LIES
    return [HostileCase(name, code, make) for name, make in made.items()]


def _too_large() -> list[HostileCase]:
    def huge(size: int) -> bytes:
        return both(extra=_extra(1, struct.pack("<Q", size)), size=0xFFFFFFFF)

    made = {
        "a tebibyte claimed": lambda: huge(1 << 40),
        "2**63 bytes claimed": lambda: huge(1 << 63),
        "2**64 - 1 bytes claimed": lambda: huge((1 << 64) - 1),
        "4 GiB claimed": lambda: both(method=8, size=0xFFFFFFFE),
        "3 GiB of zeros": lambda: _three_gibibytes(WEIGHTS),
        "3 GiB of config": lambda: _three_gibibytes(CONFIG),
        "1 MiB and a byte of config": lambda: upload(good_config() + b" " * (1 << 20)),
        "2 MiB of config": lambda: upload(b" " * (2 << 20) + good_config()),
        "a config of 16 MiB of zeros": lambda: upload(bytes(16 << 20)),
    }
    return [HostileCase(name, "too_large", make) for name, make in made.items()]


ARCHIVES = (*_members(), *_unreadable(), *_too_large())
