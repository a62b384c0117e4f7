"""The demo's lines about other tasks than chat: what they say, and what counts as a failure."""

from dataclasses import replace

import pytest

from deploy.quickstart.other_tasks import (
    SENTENCE,
    OtherTasks,
    Similarities,
    Speech,
    lines,
    problems,
)
from deploy.quickstart.paths import SPEECH

GOOD = OtherTasks(Similarities(0.7, 0.1), Speech(SPEECH, 0.25), f" {SENTENCE.upper()}")


def test_there_is_a_line_for_each_task() -> None:
    embeddings, speech, transcription = lines(GOOD)

    assert "0.70" in embeddings
    assert ".data/demo-speech.wav, first bytes after 250 ms" in speech
    assert SENTENCE.upper() in transcription


def test_case_and_punctuation_of_a_transcript_do_not_matter() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, transcript="Something else."),
        replace(GOOD, similarities=Similarities(0.3, 0.2)),
    ],
)
def test_what_is_not_as_it_should_be_is_told(bad: OtherTasks) -> None:
    assert len(problems(bad)) == 1
