"""SubRip and WebVTT: exact times, text that cannot break out of its cue."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.api.transcriptions.subtitles import srt, timestamp, vtt
from app.inference.transcript import HeardSegment

SEGMENT = HeardSegment(0, 0, 1.5, 3.0, " Hello there.", (1,), 0.0, -0.2, 0.8, 0.01)
LATER = replace(SEGMENT, id=1, start=3723.0041, end=3725.9996, text=" A & B\n\n--> <i>x")

SRT_TIMES = re.compile(r"(\d\d+):(\d\d):(\d\d),(\d{3}) --> (\d\d+):(\d\d):(\d\d),(\d{3})")
VTT_TIMES = re.compile(r"(\d\d+):(\d\d):(\d\d)\.(\d{3}) --> (\d\d+):(\d\d):(\d\d)\.(\d{3})")

segments = st.builds(
    lambda start, length, text: replace(SEGMENT, start=start, end=start + length, text=text),
    st.floats(0, 500_000),
    st.floats(0, 100),
    (st.text(max_size=40) | st.text("-> \n<&", max_size=40)).map(lambda text: f"{text}."),
)


def test_subrip_has_numbers_times_and_text() -> None:
    assert srt([SEGMENT, LATER]) == (
        "1\n00:00:01,500 --> 00:00:03,000\nHello there.\n\n"
        "2\n01:02:03,004 --> 01:02:06,000\nA & B -> <i>x\n\n"
    )


def test_webvtt_has_a_header_times_and_escaped_text() -> None:
    assert vtt([SEGMENT, LATER]) == (
        "WEBVTT\n\n"
        "00:00:01.500 --> 00:00:03.000\nHello there.\n\n"
        "01:02:03.004 --> 01:02:06.000\nA &amp; B --&gt; &lt;i&gt;x\n\n"
    )


def test_nothing_said_is_a_valid_empty_document() -> None:
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n\n"


@given(st.integers(0, 10**10))
def test_a_timestamp_reads_back_as_the_time_it_was(milliseconds: int) -> None:
    written = timestamp(milliseconds, ".")
    hours, minutes, seconds, rest = map(int, re.split(r"[:.]", written))
    assert re.fullmatch(r"\d{2,}:[0-5]\d:[0-5]\d\.\d{3}", written)
    assert ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest == milliseconds


def _milliseconds(numbers: tuple[str, ...]) -> int:
    hours, minutes, seconds, rest = map(int, numbers)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


@given(st.lists(segments, max_size=5))
def test_every_cue_lasts_and_is_within_half_a_millisecond_of_its_segment(
    told: list[HeardSegment],
) -> None:
    for written, times in ((srt(told), SRT_TIMES), (vtt(told), VTT_TIMES)):
        found = times.findall(written)
        assert len(found) == len(told)
        for numbers, segment in zip(found, told, strict=True):
            start, end = _milliseconds(numbers[:4]), _milliseconds(numbers[4:])
            assert abs(start - segment.start * 1000) <= 0.5001
            assert end > start
            assert abs(end - segment.end * 1000) <= 1.5


@given(st.lists(segments, max_size=5))
def test_no_text_can_make_a_cue_of_its_own(told: list[HeardSegment]) -> None:
    for written in (srt(told), vtt(told)):
        assert written.count("-->") == len(told)
    head, *cues = vtt(told).split("\n\n")
    assert head == "WEBVTT"
    assert len(cues) == len(told) + 1
    assert all(len(cue.split("\n")) == 2 for cue in cues[:-1])
