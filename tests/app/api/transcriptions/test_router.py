"""Transcriptions and translations over HTTP, called as the official clients call them."""

import asyncio
import threading
from typing import Any

import groq
import httpx
import openai
import pytest
from starlette.types import ASGIApp, Message

from app.api.transcriptions.formats import Answer
from app.engine.base import EngineDead, PromptTooLong
from app.engine.transcription import Segment
from app.inference import transcription
from app.limits.limiter import make_rate_limits
from app.limits.plans import Plans
from app.observability.metrics import Metrics
from tests.app.api.transcriptions.stubs import Rig
from tests.app.inference.stubs import ADAPTER_HEADERS, ADAPTER_MODEL, BASE
from tests.app.inference.transcription_stubs import said

URL = "/openai/v1/audio/transcriptions"
TRANSLATIONS = "/openai/v1/audio/translations"
WAV = ("speech.wav", b"12")


async def post(
    http: httpx.AsyncClient, url: str = URL, *, content: bytes = b"12", **fields: Any
) -> httpx.Response:
    data = {"model": BASE, **fields}
    return await http.post(url, data=data, files={"file": ("a.wav", content)})


@pytest.fixture
async def groqs(app: ASGIApp) -> Any:
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app))
    async with groq.AsyncGroq(
        api_key="k", base_url="http://api.test", http_client=http, max_retries=0
    ) as client:
        yield client


async def test_openais_client_reads_an_answer_in_strict_mode(client: openai.AsyncOpenAI) -> None:
    answer = await client.audio.transcriptions.create(file=WAV, model=BASE, language="en")
    assert answer.text == "1 2"


async def test_groqs_client_reads_an_answer(groqs: groq.AsyncGroq) -> None:
    answer = await groqs.audio.transcriptions.create(
        file=WAV, model=BASE, language="en", temperature=0.0, prompt="Names"
    )
    assert answer.text == "1 2"
    translation = await groqs.audio.translations.create(file=WAV, model=BASE)
    assert translation.text == "1 2"


async def test_groqs_client_sends_a_url_in_place_of_a_file(rig: Rig, groqs: groq.AsyncGroq) -> None:
    rig.fetcher.contents["https://x.example/a.mp3"] = b"3"
    answer = await groqs.audio.transcriptions.create(url="https://x.example/a.mp3", model=BASE)
    assert answer.text == "3"


@pytest.mark.parametrize("kind", ["text", "srt", "vtt"])
async def test_openais_client_reads_texts(client: openai.AsyncOpenAI, kind: Any) -> None:
    answer: Any = await client.audio.transcriptions.create(
        file=WAV, model=BASE, response_format=kind
    )
    assert isinstance(answer, str)
    assert "2" in answer


async def test_openais_client_reads_segments_and_words_in_strict_mode(
    client: openai.AsyncOpenAI,
) -> None:
    answer = await client.audio.transcriptions.create(
        file=WAV,
        model=BASE,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (answer.language, answer.duration, answer.text) == ("german", 8.0, "1 2")
    assert answer.segments is not None
    assert [each.text for each in answer.segments] == [" 1", " 2"]
    assert answer.words is not None
    assert [each.word for each in answer.words] == ["1", "2"]


async def test_openais_client_reads_a_translation_in_strict_mode(
    client: openai.AsyncOpenAI,
) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = await client.audio.translations.create(
            file=WAV, model=BASE, response_format="verbose_json"
        )
    assert (answer.language, answer.text) == ("english", "1 2")


async def test_json_has_the_text_and_the_request_s_id(http: httpx.AsyncClient) -> None:
    response = await post(http)
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"text": "1 2", "x_groq": {"id": response.headers["x-request-id"]}}


async def test_text_is_the_text_alone(http: httpx.AsyncClient) -> None:
    response = await post(http, response_format="text")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.content == b"1 2"


async def test_verbose_json_has_groqs_fields(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.answers = {
        1: [said(segments=[Segment(0.123456, 0.9876543, " Grüße", (50364, 9), -0.25)])]
    }
    response = await post(http, content=b"1", response_format="verbose_json")
    assert response.json() == {
        "task": "transcribe",
        "language": "german",
        "duration": 4.0,
        "text": "Grüße",
        "segments": [
            {
                "id": 0,
                "seek": 0,
                "start": 0.123,
                "end": 0.988,
                "text": " Grüße",
                "tokens": [50364, 9],
                "temperature": 0.0,
                "avg_logprob": -0.25,
                "compression_ratio": pytest.approx(8 / 16),
                "no_speech_prob": 0.01,
            }
        ],
        "x_groq": {"id": response.headers["x-request-id"]},
    }


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        (["word"], {"words"}),
        (["segment"], {"segments"}),
        (["segment", "word"], {"words", "segments"}),
        ([], {"segments"}),
    ],
)
async def test_verbose_json_has_the_granularities_that_were_asked_for(
    http: httpx.AsyncClient, asked: list[str], there: set[str]
) -> None:
    lists = {"timestamp_granularities[]": asked}
    body = (await post(http, response_format="verbose_json", **lists)).json()
    assert {"words", "segments"} & set(body) == there


@pytest.mark.parametrize(
    ("kind", "content_type", "body"),
    [
        ("json", "application/json", None),
        ("text", "text/plain; charset=utf-8", b""),
        ("srt", "text/plain; charset=utf-8", b""),
        ("vtt", "text/vtt; charset=utf-8", b"WEBVTT\n\n"),
    ],
)
async def test_silence_is_a_valid_empty_answer(
    rig: Rig, http: httpx.AsyncClient, kind: str, content_type: str, body: bytes | None
) -> None:
    response = await post(http, content=b"sss", response_format=kind)
    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    if body is None:
        assert response.json()["text"] == ""
    else:
        assert response.content == body
    assert rig.engine.heard == []


async def test_nobody_knows_the_language_of_silence(http: httpx.AsyncClient) -> None:
    body = (await post(http, content=b"s", response_format="verbose_json")).json()
    assert (body["language"], body["segments"], body["duration"]) == ("unknown", [], 1.0)
    told = await post(http, content=b"s", response_format="verbose_json", language="fr")
    assert told.json()["language"] == "french"


async def test_what_is_asked_reaches_the_engine(rig: Rig, http: httpx.AsyncClient) -> None:
    await post(http, content=b"1", language="fr", prompt="Zoë", temperature="0.5")
    await post(http, TRANSLATIONS, content=b"1", prompt="x", language="en")
    (_, first), (_, second) = rig.engine.heard
    assert (first.task, first.language, first.context) == ("transcribe", "fr", "Zoë")
    assert first.temperature == 0.5
    assert (second.task, second.language, second.context) == ("translate", "de", "x")
    assert rig.engine.contexts == ["Zoë", "x"]


async def test_the_adapter_that_answers_is_told(rig: Rig, http: httpx.AsyncClient) -> None:
    response = await post(http, model=ADAPTER_MODEL)
    assert ADAPTER_HEADERS.items() <= response.headers.items()
    assert rig.engine.runs[0].adapter is not None


@pytest.mark.parametrize("language", ["xx", "EN", "english", "", "en-US", "x" * 9999])
async def test_an_unknown_language_is_refused_with_those_there_are(
    rig: Rig, http: httpx.AsyncClient, language: str
) -> None:
    response = await post(http, language=language)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "language")
    assert "[de, en, fr]" in error["message"]
    assert len(error["message"]) < 400
    assert rig.decoder.decoded == []


async def test_a_model_that_does_not_translate_says_so(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.translates = False
    response = await post(http, TRANSLATIONS)
    assert response.status_code == 400
    assert "does not support translation" in response.json()["error"]["message"]
    assert (await post(http)).status_code == 200


async def test_a_model_that_aligns_no_words_says_so(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.aligns_words = False
    lists = {"timestamp_granularities[]": ["word"]}
    response = await post(http, response_format="verbose_json", **lists)
    assert response.status_code == 400
    assert "word timestamps" in response.json()["error"]["message"]


async def test_a_prompt_that_is_too_long_is_refused_before_decoding(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.context_refusal = PromptTooLong()
    response = await post(http, prompt="word " * 500)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "prompt"
    assert rig.decoder.decoded == []


async def test_a_dead_engine_is_a_503_that_tells_nothing(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.answers = {1: [EngineDead("secret")]}
    response = await post(http)
    assert response.status_code == 503
    assert "secret" not in response.text


@pytest.mark.parametrize("url", [URL, TRANSLATIONS])
async def test_an_answer_is_put_together_off_the_loop(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    threads: list[threading.Thread] = []

    def watched(module: Any, name: str) -> None:
        called = getattr(module, name)

        def watching(*args: Any) -> Any:
            threads.append(threading.current_thread())
            return called(*args)

        monkeypatch.setattr(module, name, watching)

    watched(transcription, "put_together")
    watched(Answer, "written")
    assert (await post(http, url)).json()["text"] == "1 2"
    assert len(threads) == 2
    assert threading.main_thread() not in threads


async def test_an_unknown_model_is_a_404(rig: Rig, http: httpx.AsyncClient) -> None:
    response = await post(http, model="nobody")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert rig.decoder.decoded == []


@pytest.mark.parametrize(
    ("limit", "content", "statuses", "what"),
    [
        (25, b"s", [200, 200, 429], "Rate limit reached"),
        (25, b"s" * 26, [413], "Request too large"),
    ],
)
async def test_over_the_seconds_of_a_plan_groqs_words_are_said(
    rig: Rig,
    http: httpx.AsyncClient,
    limit: int,
    content: bytes,
    statuses: list[int],
    what: str,
) -> None:
    plan = {"models": {"*": {"ash": limit}}}
    plans = Plans.model_validate({"default": "free", "plans": {"free": plan}})
    options: dict[str, Any] = {"storage_url": None, "timeout_seconds": 1.0, "retry_seconds": 1.0}
    limits = make_rate_limits(plans, Metrics(), **options)
    rig.limits.open = limits.open  # type: ignore[method-assign, assignment]
    rig.limits.allows = limits.allows  # type: ignore[method-assign]
    responses = [await post(http, content=content) for _ in statuses]
    assert [response.status_code for response in responses] == statuses
    error = responses[-1].json()["error"]
    assert (error["type"], error["code"]) == ("seconds", "rate_limit_exceeded")
    assert error["message"].startswith(what)
    assert "seconds of audio per hour (ASPH): Limit 25" in error["message"]


class HangingUp:
    """Sends a form and hangs up on demand; drives the application itself."""

    def __init__(self) -> None:
        request = httpx.Request(
            "POST", "http://x", data={"model": BASE}, files={"file": ("a.wav", b"1234")}
        )
        self._type = request.headers["content-type"].encode()
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox.put_nowait({"type": "http.request", "body": request.read()})
        self.statuses: list[int] = []

    def hang_up(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def call(self, app: ASGIApp) -> None:
        scope = {
            **{"type": "http", "method": "POST", "path": URL, "raw_path": URL.encode()},
            **{"query_string": b"", "headers": [(b"content-type", self._type)]},
        }
        await app(scope, self._inbox.get, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])


@pytest.mark.parametrize("stage", ["decoding", "hearing"])
async def test_a_client_that_goes_away_aborts_whatever_runs(
    rig: Rig, app: ASGIApp, stage: str
) -> None:
    place = rig.decoder if stage == "decoding" else rig.engine
    place.gate = asyncio.Event()  # type: ignore[attr-defined]
    client = HangingUp()
    calling = asyncio.ensure_future(client.call(app))
    await place.waiting.wait()  # type: ignore[attr-defined]
    client.hang_up()
    await asyncio.wait_for(calling, 10)
    assert client.statuses == [499]
    assert (rig.engine.running, sum(rig.admission.stats()[BASE].inside.values())) == (0, 0)
    assert len(rig.limits.budgets[0].settled) == 1
