"""Audio files that must be refused, or decoded within bounds; most are small and claim much."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.app.audio.sounds import encoded, tone

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FIRST, _LAST = 2, 4
_OPUS_RATE = 48_000
_MOST_LACES = 255
# Two frames of 60 ms of narrow-band SILK that have no bytes, as in a pause.
_PAUSE = bytes([3 << 3 | 3, 2])
_PAUSE_SAMPLES = _OPUS_RATE * 120 // 1000
_ENTRIES = 500_000


@dataclass(frozen=True, slots=True)
class HostileAudio:
    """A file by the name that it comes with."""

    name: str
    build: Callable[[], bytes]


def ogg_page(packets: Sequence[bytes], *, number: int, granule: int, flags: int = 0) -> bytes:
    """Return an Ogg page of whole packets of less than 255 bytes each."""
    lengths = bytes(len(packet) for packet in packets)
    start = struct.pack("<4sBBqIII", b"OggS", 0, flags, granule, 7, number, 0)
    page = start + bytes([len(packets)]) + lengths + b"".join(packets)
    return page[:22] + struct.pack("<I", _ogg_crc(page)) + page[26:]


def _ogg_crc(page: bytes) -> int:
    """Return the CRC of Ogg: that of zlib with the bits mirrored and nothing inverted."""
    crc = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def opus_bomb(hours: float) -> bytes:
    """Return silence of many hours in Ogg Opus: 94 kB for each."""
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 2, 0, _OPUS_RATE, 0, 0)
    tags = struct.pack("<8sI4sI", b"OpusTags", 4, b"none", 0)
    pages = [
        ogg_page([head], number=0, granule=0, flags=_FIRST),
        ogg_page([tags], number=1, granule=0),
    ]
    packets = int(hours * 3600 / 0.12)
    for number in range(packets // _MOST_LACES):
        granule = (number + 1) * _MOST_LACES * _PAUSE_SAMPLES
        pages.append(ogg_page([_PAUSE] * _MOST_LACES, number=number + 2, granule=granule))
    return b"".join(pages)


def chained_ogg(links: int, *layouts: str) -> bytes:
    """Return Ogg files one behind the other, each of a tenth of a second, in layouts by turns."""
    kinds = [
        encoded(tone(440, 0.1, _OPUS_RATE), "opus", "libopus", _OPUS_RATE, layout=layout)
        for layout in layouts
    ]
    return b"".join(kinds[number % len(kinds)] for number in range(links))


def wav(
    samples: bytes, *, rate: int = 16_000, channels: int = 1, claimed: int | None = None
) -> bytes:
    """Return 16-bit WAV that claims what it is told to."""
    size = len(samples) if claimed is None else claimed
    rates = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 % (1 << 32), 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(rates)) + rates + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", min(size + 36, 0xFFFFFFFF)) + body + samples


def flac_of_many_claimed_samples() -> bytes:
    """Return FLAC of a second, whose header claims 2**36 - 1 samples."""
    content = bytearray(encoded(tone(440, 1.0, 16_000), "flac", "flac", 16_000))
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    return bytes(content)


def zip_of_zeros() -> bytes:
    """Return a ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("song.mp3", bytes(1 << 20))
    return buffer.getvalue()


def mp4(table: bytes, replacement: Callable[[bytes], bytes]) -> bytes:
    """Return MP4 of a second with one box's payload replaced; offsets stay right."""
    content = encoded(tone(440, 1.0, 16_000), "mp4", "aac", 16_000)
    return _with_box(
        content, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"), table, replacement
    )


def _with_box(
    content: bytes, parents: tuple[bytes, ...], name: bytes, replacement: Callable[[bytes], bytes]
) -> bytes:
    """Rewrite boxes, going down into `parents`. The sound is before them, so it stays in place."""
    rewritten = b""
    while content:
        size, kind = struct.unpack_from(">I4s", content)
        payload, content = content[8:size], content[size:]
        if kind == name:
            payload = replacement(payload)
        elif kind in parents:
            payload = _with_box(payload, parents, name, replacement)
        rewritten += struct.pack(">I4s", len(payload) + 8, kind) + payload
    return rewritten


def _edits(entry: bytes) -> Callable[[bytes], bytes]:
    """Return what makes an edit list of very many times the same."""
    return lambda payload: struct.pack(">II", 0, _ENTRIES) + entry * _ENTRIES


def edit_bomb() -> bytes:
    """Return MP4 of a second, which is to be played from the beginning half a million times."""
    return mp4(b"elst", _edits(struct.pack(">IiI", 1000, 0, 1 << 16)))


def _claiming(count: int, position: int) -> Callable[[bytes], bytes]:
    """Return what writes a count over a table's own."""
    return lambda payload: payload[:position] + struct.pack(">I", count) + payload[position + 4 :]


def _long_steps(payload: bytes) -> bytes:
    """Return a table of durations by which each packet lasts for days."""
    return struct.pack(">IIII", 0, 1, 16, 0x7FFFFFFF)


def _external(payload: bytes) -> bytes:
    """Return a table of sources by which the sound is in another file."""
    url = struct.pack(">I4sI", 12 + 17, b"url ", 0) + b"file:/etc/passwd\0"
    return struct.pack(">II", 0, 1) + url


_EMPTY_EDIT = struct.pack(">IiI", 0x7FFFFFFF, -1, 1 << 16)

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%s\n#EXT-X-ENDLIST\n"

REFUSED = [
    HostileAudio("zip.mp3", zip_of_zeros),
    HostileAudio("empty.wav", lambda: b""),
    HostileAudio("zeros.mp3", lambda: bytes(1 << 20)),
    HostileAudio("text.flac", lambda: b"not audio at all\n" * 1000),
    HostileAudio("playlist_of_a_file.mp3", lambda: PLAYLIST % b"file:///etc/passwd"),
    HostileAudio("playlist_of_a_url.mp3", lambda: PLAYLIST % b"http://127.0.0.1:1/a.mp3"),
    HostileAudio("tagged_playlist.mp3", lambda: b"ID3\4\0\0\0\0\0\0" + PLAYLIST % b"/etc/passwd"),
    HostileAudio("concat.ogg", lambda: b"ffconcat version 1.0\nfile /etc/passwd\n"),
    HostileAudio("session.webm", lambda: b"v=0\r\nm=audio 5004 RTP/AVP 0\r\n"),
    HostileAudio("endless_tags.mp3", lambda: b"ID3\4\0\0\0\0\0\0" * 100_000),
    HostileAudio("tag_of_256_mb.mp3", lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f"),
    HostileAudio("rate_of_1_hz.wav", lambda: wav(bytes(64 << 10), rate=1)),
    HostileAudio("rate_of_4_ghz.wav", lambda: wav(bytes(64 << 10), rate=0xFFFFFFFF)),
    HostileAudio("65535_channels.wav", lambda: wav(bytes(1 << 20), channels=65_535)),
    HostileAudio("sizes_of_4_billion.mp4", lambda: mp4(b"stsz", _claiming(0xFFFFFFFF, 8))),
]
"""No audio is to be had from these."""

BOUNDED = [
    HostileAudio("claims_4_gib.wav", lambda: wav(bytes(64_000), claimed=0xFFFFFFFF)),
    HostileAudio("claims_many_samples.flac", flac_of_many_claimed_samples),
    HostileAudio("chained.ogg", lambda: chained_ogg(500, "mono")),
    HostileAudio("chained_layouts.ogg", lambda: chained_ogg(500, "mono", "stereo")),
    HostileAudio("long_edit.mp4", lambda: mp4(b"elst", _edits(_EMPTY_EDIT))),
    HostileAudio("long_steps.mp4", lambda: mp4(b"stts", _long_steps)),
    HostileAudio("steps_of_4_billion.mp4", lambda: mp4(b"stts", _claiming(0xFFFFFFFF, 4))),
    HostileAudio("chunks_of_4_billion.mp4", lambda: mp4(b"stsc", _claiming(0xFFFFFFFF, 4))),
    HostileAudio("external.mp4", lambda: mp4(b"dref", _external)),
]
"""What is to be had from these is a minute at most, or they are refused."""
