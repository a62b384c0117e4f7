"""Transcription on the real server: long recordings, silence, noise, URLs and every format."""

import base64
from collections.abc import Iterator
from io import BytesIO

import av
import httpx
import numpy as np
import openai
import pytest

from tests.e2e.all_tasks.catalog import TRANSCRIPTION, wav
from tests.e2e.all_tasks.word_errors import word_errors
from tests.fixtures.server import Server
from tests.fixtures.spoken import SAMPLE_RATE, Audio, joined, silence, speak

SENTENCE = "The morning train leaves the station at half past seven."
OTHERS = [
    "She planted three apple trees behind the old stone house.",
    "Please close the window before the rain begins.",
    "The library keeps its oldest books in a locked room.",
    "Every student must bring a pencil and a notebook.",
    "The new bridge connects the city with the airport.",
]
VLLM_LIMIT_SECONDS = 600
"""vLLM's own server refuses longer audio."""

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def http(all_tasks: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {all_tasks.key('listener')}"}
    with httpx.Client(base_url=f"{all_tasks.url}/openai/v1", headers=headers, timeout=300) as http:
        yield http


def transcribe(http: httpx.Client, audio: Audio, **fields: str) -> httpx.Response:
    data = {"model": TRANSCRIPTION, "language": "en", **fields}
    return http.post("/audio/transcriptions", data=data, files={"file": ("speech.wav", wav(audio))})


def noise(seconds: float, seed: int) -> Audio:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * SAMPLE_RATE))
    return samples.astype(np.float32)


def test_a_recording_beyond_vllms_limit_is_heard_to_its_end(http: httpx.Client) -> None:
    pause = silence(120.0)
    audio = joined([piece for text in [SENTENCE, *OTHERS] for piece in (speak(text), pause)])
    seconds = len(audio) / SAMPLE_RATE
    assert seconds > VLLM_LIMIT_SECONDS

    heard = transcribe(http, audio, response_format="verbose_json").json()

    assert heard["duration"] == pytest.approx(seconds, abs=0.1)
    assert word_errors(" ".join([SENTENCE, *OTHERS]), heard["text"]) <= 5
    starts = [segment["start"] for segment in heard["segments"]]
    assert starts == sorted(starts)
    assert starts[-1] > seconds - 130
    assert [segment["id"] for segment in heard["segments"]] == list(range(len(starts)))


def test_speech_without_a_pause_is_cut_into_windows(http: httpx.Client) -> None:
    texts = [SENTENCE, *OTHERS] * 2
    audio = joined([speak(text) for text in texts])
    assert len(audio) / SAMPLE_RATE > 30

    heard = transcribe(http, audio).json()["text"]

    errors = word_errors(" ".join(texts), heard)
    print(f"{errors} word errors in {sum(len(text.split()) for text in texts)} words")
    assert errors <= 12


@pytest.mark.parametrize("seconds", [1.0, 45.0])
def test_silence_is_an_empty_text(http: httpx.Client, seconds: float) -> None:
    answer = transcribe(http, silence(seconds), response_format="verbose_json").json()

    assert answer["text"] == ""
    assert answer["segments"] == []


def test_in_noise_nothing_is_made_up_where_whisper_can_tell(http: httpx.Client) -> None:
    """Its own thresholds cannot always: some noise is a likely sentence to it."""
    texts = [transcribe(http, noise(3.0 + 3 * n, seed=n)).json()["text"] for n in range(6)]
    print(texts)
    assert sum(text != "" for text in texts) <= 1


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("flac", "flac"),
        ("mp3", "libmp3lame"),
        ("mp4", "aac"),
        ("ogg", "libopus"),
        ("webm", "libopus"),
        ("wav", "pcm_s16le"),
    ],
)
def test_every_container_is_heard(http: httpx.Client, container: str, codec: str) -> None:
    audio = speak(SENTENCE)
    answer = http.post(
        "/audio/transcriptions",
        data={"model": TRANSCRIPTION, "language": "en"},
        files={"file": (f"speech.{container}", contained(audio, container, codec))},
    )
    assert word_errors(SENTENCE, answer.json()["text"]) == 0


def contained(audio: Audio, container: str, codec: str) -> bytes:
    """Write 16 kHz audio as a file of that kind."""
    written = BytesIO()
    with av.open(written, "w", format=container) as file:
        stream = file.add_stream(codec, rate=SAMPLE_RATE)
        samples = (np.clip(audio, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return written.getvalue()


def test_a_data_url_is_heard(http: httpx.Client) -> None:
    text = base64.urlsafe_b64encode(wav(speak(SENTENCE))).decode()
    form = {"model": (None, TRANSCRIPTION), "url": (None, f"data:audio/wav;base64,{text}")}
    answer = http.post("/audio/transcriptions", files=form)

    assert word_errors(SENTENCE, answer.json()["text"]) <= 1


@pytest.mark.parametrize("response_format", ["srt", "vtt"])
def test_subtitles_have_times(http: httpx.Client, response_format: str) -> None:
    answer = transcribe(http, speak(SENTENCE), response_format=response_format)

    assert "-->" in answer.text
    assert "morning train" in answer.text
    assert answer.text.startswith("1\n" if response_format == "srt" else "WEBVTT")


def test_the_openai_sdk_gets_segments_and_words(all_tasks_client: openai.OpenAI) -> None:
    heard = all_tasks_client.audio.transcriptions.create(
        model=TRANSCRIPTION,
        file=("speech.wav", wav(speak(SENTENCE))),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )

    assert heard.language == "english"
    assert heard.segments is not None
    assert heard.words is not None
    assert [word.word.strip(".,") for word in heard.words] == SENTENCE.strip(".").split()
    assert all(a.end <= b.start + 0.02 for a, b in zip(heard.words, heard.words[1:], strict=False))


def test_a_prompt_changes_how_a_name_is_spelt(http: httpx.Client) -> None:
    audio = speak("My friend Katherine works in the harbor.")
    plain = transcribe(http, audio).json()["text"]
    prompted = transcribe(http, audio, prompt="Kathryn, harbour.").json()["text"]
    print(plain, prompted)

    assert plain != prompted
