"""The prepared whisper-base hears what was said, and its tokens are the published ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from piper import PiperVoice, SynthesisConfig
from transformers import AutoTokenizer, WhisperForConditionalGeneration, WhisperProcessor

from deploy.quickstart.whisper import prepare

SENTENCE = "The quick brown fox jumps over the lazy dog."
HEARD_AT = 16_000
WITHOUT_CHANCE = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)


@pytest.fixture(scope="module")
def spoken(piper_voice: Path) -> NDArray[np.float32]:
    """The sentence at 16 kHz, brought there by linear interpolation."""
    chunks = list(PiperVoice.load(piper_voice).synthesize(SENTENCE, WITHOUT_CHANCE))
    audio = np.concatenate([chunk.audio_float_array for chunk in chunks])
    rate = chunks[0].sample_rate
    times = np.arange(len(audio) * HEARD_AT // rate) / HEARD_AT
    heard = np.interp(times, np.arange(len(audio)) / rate, audio)
    return np.asarray(heard, np.float32)


def test_preparing_again_returns_the_same_files_untouched(whisper_base: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in whisper_base.iterdir()}

    assert prepare(whisper_base.parent) == whisper_base
    assert {file.name: file.stat().st_mtime_ns for file in whisper_base.iterdir()} == before


def test_a_spoken_sentence_is_written_down_with_its_times(
    whisper_base: Path, spoken: NDArray[np.float32]
) -> None:
    processor = WhisperProcessor.from_pretrained(whisper_base)
    model = WhisperForConditionalGeneration.from_pretrained(whisper_base, dtype=torch.float32)
    features = processor(spoken, sampling_rate=HEARD_AT, return_tensors="pt").input_features

    ids = model.generate(features, language="en", return_timestamps=True)[0].tolist()

    assert processor.decode(ids, skip_special_tokens=True).strip() == SENTENCE
    start, end = model.generation_config.no_timestamps_token_id + 1, ids[-1]
    assert ids[0] == start
    assert (end - start) * 0.02 == pytest.approx(len(spoken) / HEARD_AT, abs=0.5)


def test_tokens_have_the_published_ids(whisper_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(whisper_base)
    prompt = "<|startoftranscript|><|en|><|transcribe|><|notimestamps|><|0.00|><|30.00|>"

    ids = tokenizer.encode(prompt, add_special_tokens=False)

    assert ids == [50258, 50259, 50359, 50363, 50364, 51864]
    assert len(tokenizer) == 51865
    assert tokenizer.all_special_ids[-1] == 50363
