"""Word timestamps on audio whose truth is known: single spoken words, joined with known gaps."""

import random
from difflib import SequenceMatcher

import numpy as np
import openai
import pytest

from tests.e2e.all_tasks.catalog import TRANSCRIPTION, wav
from tests.e2e.all_tasks.word_errors import words
from tests.fixtures.spoken import SAMPLE_RATE, WORDS, Audio, joined, silence, speak, trimmed

WORDS_A_RECORDING = 14
CLOSE_SECONDS = 0.25
SHARE = 0.90

pytestmark = pytest.mark.engine

Spoken = tuple[str, float, float]


def spoken_apart(chosen: list[str], rng: random.Random) -> tuple[Audio, list[Spoken]]:
    """Join single words; return the audio with each word's true start and end in seconds."""
    pieces, truth, at = [silence(0.5)], [], 0.5
    for word in chosen:
        sound, gap = trimmed(speak(word)), rng.uniform(0.15, 0.6)
        truth.append((word, at, at + len(sound) / SAMPLE_RATE))
        pieces += [sound, silence(gap)]
        at = sum(map(len, pieces)) / SAMPLE_RATE
    return joined(pieces), truth


def in_order(spoken: list[str], heard: list[str]) -> list[tuple[int, int]]:
    """Pair each spoken word with the one that was heard in its place, rightly or not."""
    a, b = ([" ".join(words(word)) for word in each] for each in (spoken, heard))
    pairs = []
    for kind, a1, a2, b1, b2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind == "equal" or (kind == "replace" and a2 - a1 == b2 - b1):
            pairs += list(zip(range(a1, a2), range(b1, b2), strict=True))
    return pairs


def test_nine_words_of_ten_are_timed_within_a_quarter_of_a_second(
    all_tasks_client: openai.OpenAI,
) -> None:
    rng, errors, missing = random.Random(5), [], 0
    for first in range(0, len(WORDS), WORDS_A_RECORDING):
        audio, truth = spoken_apart(WORDS[first : first + WORDS_A_RECORDING], rng)
        heard = all_tasks_client.audio.transcriptions.create(
            model=TRANSCRIPTION,
            file=("words.wav", wav(audio)),
            language="en",
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
        assert heard.segments is None
        assert heard.words
        starts = [word.start for word in heard.words]
        assert starts == sorted(starts)
        pairs = in_order([word for word, _, _ in truth], [word.word for word in heard.words])
        for a, b in pairs:
            (_, start, end), word = truth[a], heard.words[b]
            errors.append(max(abs(word.start - start), abs(word.end - end)))
        missing += len(truth) - len(pairs)
    close = sum(error <= CLOSE_SECONDS for error in errors)
    total = len(errors) + missing
    print(
        f"{close} of {total} words within {CLOSE_SECONDS} s, {missing} not heard; "
        f"median {np.median(errors):.3f} s, 90th percentile {np.percentile(errors, 90):.3f} s"
    )
    assert close >= SHARE * total
