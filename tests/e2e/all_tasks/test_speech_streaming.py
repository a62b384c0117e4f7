"""Speech leaves while it is made, in every format; what cannot be spoken is refused clearly."""

import time
from collections.abc import Iterator
from io import BytesIO

import av
import httpx
import openai
import pytest

from tests.e2e.all_tasks.catalog import SPEECH, VOICE
from tests.fixtures.server import Server

SENTENCE = "The morning train leaves the station at half past seven. "

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def http(all_tasks: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {all_tasks.key('talker')}"}
    with httpx.Client(base_url=f"{all_tasks.url}/openai/v1", headers=headers, timeout=60) as http:
        yield http


def body(**fields: object) -> dict[str, object]:
    return {"model": SPEECH, "voice": VOICE, "input": SENTENCE, **fields}


@pytest.mark.parametrize("response_format", ["wav", "mp3", "flac", "ogg", "mulaw"])
def test_the_first_bytes_leave_long_before_the_last_sentence_is_spoken(
    http: httpx.Client, response_format: str
) -> None:
    text = SENTENCE * 30
    wanted = body(input=text, response_format=response_format)
    started, first, size = time.perf_counter(), 0.0, 0
    with http.stream("POST", "/audio/speech", json=wanted) as answer:
        assert answer.status_code == 200
        assert "content-length" not in answer.headers
        for chunk in answer.iter_bytes():
            first = first or time.perf_counter() - started
            size += len(chunk)
    whole = time.perf_counter() - started
    print(f"{response_format}: first bytes {first:.2f} s, whole {whole:.2f} s, {size} bytes")
    assert first < 0.35 * whole


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_wav_has_the_sample_rate_that_was_asked_for(http: httpx.Client, sample_rate: int) -> None:
    answer = http.post("/audio/speech", json=body(sample_rate=sample_rate))
    with av.open(BytesIO(answer.content)) as audio:
        assert audio.streams.audio[0].rate == sample_rate


def test_twice_the_speed_takes_half_the_time(http: httpx.Client) -> None:
    seconds = [
        len(http.post("/audio/speech", json=body(speed=speed, response_format="pcm")).content)
        for speed in (1, 2)
    ]
    assert 0.4 < seconds[1] / seconds[0] < 0.6


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"voice": "nobody"}, "voice"),
        ({"input": ""}, "input"),
        ({"input": "a" * 100_000}, "input"),
        ({"response_format": "wma"}, "response_format"),
        ({"sample_rate": 12345}, "sample_rate"),
        ({"speed": 9}, "speed"),
    ],
)
def test_what_cannot_be_spoken_is_a_400(
    http: httpx.Client, fields: dict[str, object], param: str
) -> None:
    answer = http.post("/audio/speech", json=body(**fields))

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_the_server_speaks_on_when_a_client_has_left(
    http: httpx.Client, all_tasks_client: openai.OpenAI
) -> None:
    for _ in range(5):
        with http.stream("POST", "/audio/speech", json=body(input=SENTENCE * 30)) as answer:
            next(answer.iter_bytes())
    started = time.perf_counter()
    speech = all_tasks_client.audio.speech.create(model=SPEECH, voice=VOICE, input="Hello.")
    assert len(speech.read()) > 1000
    assert time.perf_counter() - started < 10
