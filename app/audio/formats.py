"""The formats that speech can be written in: which FFmpeg muxer and codec make each, and how.

Every table entry is set up for a stream: no header is ever gone back to, and each packet leaves at
once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SAMPLE_RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""What may be asked for, in Hz. **Source:** GroqCloud OpenAPI v2.1, `CreateSpeechRequest`."""

VORBIS = "libvorbis"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How one format is made. `bits` are those of a lossy codec for each sample, about."""

    media_type: str
    muxer: str
    codec: str
    sample_format: str
    bits: int | None = None
    rates: tuple[int, ...] = SAMPLE_RATES
    options: Mapping[str, str] = field(default_factory=dict)


FORMATS: Mapping[str, AudioFormat] = MappingProxyType(
    {
        # FFmpeg would leave 8 kB of room for tags.
        "flac": AudioFormat(
            "audio/flac", "flac", "flac", "s16", options={"metadata_header_padding": "0"}
        ),
        # A Xing header would count the frames, and an ID3 tag would hold nothing.
        "mp3": AudioFormat(
            "audio/mpeg",
            "mp3",
            "libmp3lame",
            "fltp",
            bits=3,
            options={"write_xing": "0", "id3v2_version": "0"},
        ),
        "mulaw": AudioFormat("audio/basic", "mulaw", "pcm_mulaw", "s16"),
        "ogg": AudioFormat("audio/ogg", "ogg", VORBIS, "flt"),
        # Not rewound, so its sizes stay 0xFFFFFFFF, which players take for "to the end".
        "wav": AudioFormat("audio/wav", "wav", "pcm_s16le", "s16"),
        "pcm": AudioFormat("audio/pcm", "s16le", "pcm_s16le", "s16"),
        "opus": AudioFormat(
            "audio/ogg",
            "opus",
            "libopus",
            "flt",
            bits=2,
            rates=(8_000, 16_000, 24_000, 48_000),
            options={"page_duration": "100000"},
        ),
        "aac": AudioFormat("audio/aac", "adts", "aac", "fltp", bits=2),
    }
)
