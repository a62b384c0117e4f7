"""Damage to the header of a valid safetensors file, drawn from a seed, alike on every machine."""

import json
import random
import re
from collections.abc import Callable, Iterator

_NUMBER = re.compile(rb"\d+")
_TOKEN = re.compile(rb'"[^"]*"|\d+|[{}\[\],:]')
_NUMBERS = (b"-0", b"-1", b"0", b"1", b"1e1", b"8.0", b"2", b"4294967296", b"18446744073709551615")
_NUMBERS += (
    b"9223372036854775807",
    b"9" * 40,
    b"9" * 5000,
    b"NaN",
    b"null",
    b"true",
    b'"8"',
    b"[]",
)
_TEXTS = (b'"F32"', b'"F16"', b'"BF16"', b'"I32"', b'"f32"', b'"__metadata__"', b'"\\ud800"', b'""')
_TEXTS += (b'"\\u0061"', b'"a b"', b'"shape"', b'"dtype"', b'"data_offsets"', b'"x"', b"{}", b"1")
_SPACES = (b" ", b"\n", b"\t\t", b"\r\n", b" " * 50, b"\x0b", b"\0", "\u00a0".encode())

Header = bytes
Edit = Callable[[random.Random, Header], Header]


def mutations(content: bytes, count: int, *, seed: int) -> Iterator[bytes]:
    """Yield `count` damaged copies of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size], content[8 + size :]
    draw = random.Random(seed)
    for _ in range(count):
        if draw.random() < 0.25:
            yield _whole(draw, content)
            continue
        changed = header
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            changed = draw.choice(_EDITS)(draw, changed)
        length = len(changed) if draw.random() < 0.8 else size
        yield length.to_bytes(8, "little") + changed + data


def _whole(draw: random.Random, content: bytes) -> bytes:
    """Damage the file without mending the header's length."""
    kind = draw.randrange(4)
    if kind == 0:
        return content[: draw.randrange(len(content))]
    if kind == 1:
        length = int.from_bytes(content[:8], "little") + draw.choice((-8, -1, 1, 8, 1 << 20))
        return max(0, length).to_bytes(8, "little") + content[8:]
    if kind == 2:
        return draw.randbytes(8) + content[8:]
    return content + draw.randbytes(draw.randrange(1, 64))


def _flip(draw: random.Random, header: Header) -> Header:
    changed = bytearray(header)
    for _ in range(draw.randrange(1, 5)):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(draw: random.Random, header: Header) -> Header:
    start = draw.randrange(len(header) + 1)
    return header[:start] + header[start + draw.randrange(1, 80) :]


def _splice(draw: random.Random, header: Header) -> Header:
    """Repeat a piece of the header somewhere else."""
    start, at = draw.randrange(len(header) + 1), draw.randrange(len(header) + 1)
    return header[:at] + header[start : start + draw.randrange(1, 300)] + header[at:]


def _replace_token(draw: random.Random, header: Header) -> Header:
    places = list(_TOKEN.finditer(header))
    if not places:
        return header
    place = draw.choice(places)
    choices = _NUMBERS if place[0].isdigit() else _TEXTS
    return header[: place.start()] + draw.choice(choices) + header[place.end() :]


def _near_number(draw: random.Random, header: Header) -> Header:
    places = list(_NUMBER.finditer(header))
    if not places:
        return header
    place = draw.choice(places)
    value = max(0, int(place[0][:20]) + draw.choice((-8, -4, -2, -1, 1, 2, 4, 8, 1 << 32)))
    return header[: place.start()] + b"%d" % value + header[place.end() :]


def _swap_tokens(draw: random.Random, header: Header) -> Header:
    places = list(_TOKEN.finditer(header))
    if len(places) < 2:
        return header
    first, second = sorted(draw.sample(places, 2), key=lambda place: place.start())
    middle = header[first.end() : second.start()]
    return header[: first.start()] + second[0] + middle + first[0] + header[second.end() :]


def _space(draw: random.Random, header: Header) -> Header:
    places = list(_TOKEN.finditer(header))
    at = draw.choice(places).end() if places else 0
    return header[:at] + draw.choice(_SPACES) + header[at:]


def _rewrite(draw: random.Random, header: Header) -> Header:
    """Write the same header otherwise: in another order, with spaces, with escapes."""
    try:
        entries = list(json.loads(header).items())
    except (ValueError, AttributeError, RecursionError):
        return header
    draw.shuffle(entries)
    text = json.dumps(dict(entries), indent=draw.choice((None, 1)))
    return (text.replace("lora", "l\\u006fra") if draw.random() < 0.3 else text).encode()


_EDITS: tuple[Edit, ...] = (
    _flip,
    _cut,
    _splice,
    _replace_token,
    _replace_token,
    _near_number,
    _swap_tokens,
    _space,
    _rewrite,
)
