"""What was heard in windows, put together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audio.types import SAMPLE_RATE
from app.audio.windows import Window
from app.engine.transcription import Heard, Segment, Word
from app.inference.hearing import Hearing, compression_ratio
from app.inference.transcript import Passage, put_together
from tests.app.inference.transcription_stubs import said


def passage(start: float, heard: Heard, *words: Word, seconds: float = 5.0) -> Passage:
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    window = Window(round(start * SAMPLE_RATE), samples)
    return Passage(window, Hearing(heard, 0.2), [words])


def segments(*parts: tuple[float, float, str]) -> Heard:
    return said(segments=[Segment(*part, (1, 2), -0.5) for part in parts])


def test_times_count_from_the_recording_s_beginning() -> None:
    first = passage(1.0, segments((0.0, 1.0, " One"), (1.0, 2.5, " two.")))
    second = passage(40.5, segments((0.25, 2.0, " Three.")))
    transcript = put_together("en", 60.0, [first, second])
    assert [(each.id, each.start, each.end) for each in transcript.segments] == [
        (0, 1.0, 2.0),
        (1, 2.0, 3.5),
        (2, 40.75, 42.5),
    ]
    assert [each.seek for each in transcript.segments] == [100, 100, 4050]
    assert transcript.text == "One two. Three."
    assert (transcript.language, transcript.duration) == ("en", 60.0)


def test_a_segment_tells_how_sure_the_model_is() -> None:
    heard = replace(segments((0.0, 1.0, " One")), no_speech=0.4)
    (segment,) = put_together("en", 5.0, [passage(0.0, heard)]).segments
    assert (segment.text, list(segment.tokens)) == (" One", [1, 2])
    assert (segment.temperature, segment.avg_logprob, segment.no_speech) == (0.2, -0.5, 0.4)
    assert segment.compression_ratio == compression_ratio(" One")


def test_what_the_model_made_up_in_silence_is_left_out() -> None:
    made_up = replace(segments((0.0, 1.0, " Thanks!")), no_speech=0.7, avg_logprob=-1.1)
    silent = passage(0.0, made_up, Word(" Thanks!", 0.0, 1.0))
    transcript = put_together("en", 9.0, [silent, passage(5.0, segments((0.0, 1.0, " Hi")))])
    assert (transcript.text, len(transcript.segments), transcript.words) == ("Hi", 1, [])


def test_segments_and_words_without_text_are_left_out() -> None:
    words = (Word("  ", 0.0, 1.0), Word(" Hi ", 1.0, 2.0))
    heard = segments((0.0, 1.0, " "), (1.0, 2.0, " Hi"))
    transcript = put_together("en", 5.0, [passage(0.0, heard, *words)])
    assert [(each.id, each.text) for each in transcript.segments] == [(0, " Hi")]
    assert transcript.words == [Word("Hi", 1.0, 2.0)]


def test_nothing_heard_is_an_empty_transcript() -> None:
    transcript = put_together(None, 3.0, [])
    assert (transcript.language, transcript.text, transcript.segments) == (None, "", [])


@pytest.mark.parametrize("text", ["こんにちは。", "你好"])
def test_no_space_is_put_between_windows_that_the_model_did_not_write(text: str) -> None:
    heard = segments((0.0, 1.0, text))
    transcript = put_together("ja", 9.0, [passage(0.0, heard), passage(5.0, heard)])
    assert transcript.text == text * 2


@given(st.floats(-5, 40), st.floats(-5, 40), st.floats(0.5, 30))
def test_times_stay_in_their_window_and_in_order(start: float, end: float, seconds: float) -> None:
    told = passage(7.0, segments((start, end, " a")), Word("a", start, end), seconds=seconds)
    transcript = put_together("en", 60.0, [told])
    for each in (*transcript.segments, *transcript.words):
        assert 7.0 <= each.start <= each.end <= 7.0 + seconds + 1 / SAMPLE_RATE
