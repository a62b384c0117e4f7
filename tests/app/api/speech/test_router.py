"""Speech over HTTP: called as the official clients call it, cut off, and read slowly."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import groq
import httpx
import openai
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message

from app import transport
from app.api.speech.schemas import SpeechRequest
from app.engine.base import EngineDead
from tests.app.api.application import JSON, Client, hang_up_when
from tests.app.api.speech.stubs import Rig, speech_body
from tests.app.inference.speech_stubs import sound
from tests.app.inference.stubs import ADAPTER_HEADERS, ADAPTER_MODEL, BASE

URL = "/openai/v1/audio/speech"

FIELDS = st.sampled_from(sorted(SpeechRequest.model_fields))
KINDS = [
    ("wav", "audio/wav", b"RIFF"),
    ("mp3", "audio/mpeg", b"\xff"),
    ("flac", "audio/flac", b"fLaC"),
    ("ogg", "audio/ogg", b"OggS"),
    ("opus", "audio/ogg", b"OggS"),
    ("aac", "audio/aac", b"\xff"),
    ("mulaw", "audio/basic", b""),
    ("pcm", "audio/pcm", b""),
]


@pytest.mark.parametrize(("format", "media_type", "magic"), KINDS)
async def test_openais_client_gets_each_format_under_its_type(
    rig: Rig, client: openai.AsyncOpenAI, format: Any, media_type: str, magic: bytes
) -> None:
    rig.engine.script = [sound(0.5)]
    answer = await client.audio.speech.create(
        model=BASE, input="Hi", voice="troy", response_format=format
    )
    assert answer.response.headers["content-type"] == media_type
    assert answer.content.startswith(magic)
    assert len(answer.content) > 500


async def test_openais_client_streams(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.engine.script = [sound(0.5), sound(0.5)]
    streaming = client.audio.speech.with_streaming_response
    async with streaming.create(
        model=BASE, input="Hi", voice="troy", response_format="pcm", stream_format="audio"
    ) as answer:
        assert sum([len(piece) async for piece in answer.iter_bytes()]) == 48_000


async def test_groqs_client_gets_wav_at_48_khz(rig: Rig, app: ASGIApp) -> None:
    rig.engine.script = [sound(0.5)]
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app))
    async with groq.AsyncGroq(api_key="k", base_url="http://api.test", http_client=http) as client:
        answer = await client.audio.speech.create(model=BASE, input="Hi", voice="troy")
        wav = await answer.read()
    assert (wav[:4], wav[8:12]) == (b"RIFF", b"WAVE")
    assert int.from_bytes(wav[24:28], "little") == 48_000


async def test_the_answer_is_chunked_and_not_to_be_held_back(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = [sound()]
    response = await http.post(URL, json=speech_body(model=ADAPTER_MODEL))
    assert "content-length" not in response.headers
    assert response.headers["x-accel-buffering"] == "no"
    assert {**response.headers, **ADAPTER_HEADERS} == dict(response.headers)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"model": "nope"}, 404, "The model `nope` does not exist"),
        ({"voice": "alloy"}, 400, "'voice' : `alloy` is not one of this model's voices [troy, "),
        ({"input": "x" * 201}, 400, "'input' : this model speaks at most 200 characters"),
        ({"instructions": "x"}, 400, "property 'instructions' is unsupported"),
    ],
)
async def test_what_is_wrong_with_a_request_is_plain_json(
    http: httpx.AsyncClient, fields: dict[str, Any], status: int, message: str
) -> None:
    response = await http.post(URL, json=speech_body(**fields))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["message"].startswith(message)


async def test_an_error_before_the_first_sound_is_an_http_error(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = [EngineDead("pid 7")]
    response = await http.post(URL, json=speech_body())
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "The service is temporarily unavailable."


async def test_bytes_are_sent_before_the_last_sound_is_made(rig: Rig, app: ASGIApp) -> None:
    last = asyncio.Event()
    rig.engine.script = [sound(), last, sound()]
    client = Client(URL, speech_body())
    calling = asyncio.ensure_future(client.call(app))
    await client.streaming.wait()
    await rig.engine.waiting.wait()
    assert client.sent[-1]["more_body"] is True
    last.set()
    await asyncio.wait_for(calling, 10)
    assert client.sent[-1]["more_body"] is False


async def test_an_error_after_the_first_sound_leaves_the_body_without_its_end(
    rig: Rig, app: ASGIApp
) -> None:
    rig.engine.script = [sound(), EngineDead("pid 7")]
    client = Client(URL, speech_body())
    await client.call(app)
    start, *bodies = client.sent
    assert start["status"] == 200
    assert bodies
    assert all(body["more_body"] for body in bodies)


@pytest.fixture
async def port(app: ASGIApp) -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


async def test_a_client_on_a_socket_sees_that_the_body_is_broken(rig: Rig, port: int) -> None:
    rig.engine.script = [sound(), EngineDead("pid 7")]
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await http.post(f"http://127.0.0.1:{port}{URL}", json=speech_body())
        rig.engine.script = [sound()]
        whole = await http.post(f"http://127.0.0.1:{port}{URL}", json=speech_body())
    assert whole.headers["transfer-encoding"] == "chunked"
    assert whole.content.startswith(b"RIFF")


async def test_hanging_up_while_it_speaks_aborts_the_synthesis(rig: Rig, app: ASGIApp) -> None:
    rig.engine.script = [sound(), asyncio.Event()]
    client = Client(URL, speech_body(model=ADAPTER_MODEL))
    await hang_up_when(client, app, client.streaming)
    assert client.sent[0]["status"] == 200
    assert (rig.engine.running, rig.adapters.held) == (0, 0)


async def test_hanging_up_before_the_first_sound_aborts_the_synthesis(
    rig: Rig, app: ASGIApp
) -> None:
    rig.engine.script = [asyncio.Event()]
    client = Client(URL, speech_body(model=ADAPTER_MODEL))
    await hang_up_when(client, app, rig.engine.waiting)
    assert client.sent[0]["status"] == 499
    assert (rig.engine.running, rig.adapters.held) == (0, 0)


class Stuck(Client):
    """Reads nothing after the headers."""

    async def _send(self, message: Message) -> None:
        await super()._send(message)
        if message.get("body"):
            await asyncio.Event().wait()


async def test_a_reader_who_takes_nothing_counts_as_gone(
    rig: Rig, app: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SEND_SECONDS", 0.01)
    rig.engine.script = [sound(), sound(), asyncio.Event()]
    await asyncio.wait_for(Stuck(URL, speech_body(model=ADAPTER_MODEL)).call(app), 10)
    assert (rig.engine.running, rig.adapters.held) == (0, 0)


@given(fields=st.dictionaries(FIELDS | st.text(max_size=8), JSON, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_json_value_in_any_field_makes_a_server_error(
    rig: Rig, http: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    rig.engine.script = [sound()]
    response = await http.post(URL, content=json.dumps(speech_body(**fields)).encode())
    assert response.status_code == 200 or 400 <= response.status_code < 500
