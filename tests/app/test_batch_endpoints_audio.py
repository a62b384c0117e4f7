"""Transcriptions and translations in lines of a batch: JSON in, with a URL, and JSON out."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.engine.base import EngineDead
from app.uploads import MAX_FIELD_BYTES, MAX_LIST_ITEMS
from tests.app.api.transcriptions.stubs import LIMITS
from tests.app.batch_world import AUDIO, BODIES, TRANSCRIPTIONS, TRANSLATIONS, World, plain

BOTH = (TRANSCRIPTIONS, TRANSLATIONS)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    assert world.audio.left() == [], "nothing is left behind, however a line ends"


def body(endpoint: str, /, **fields: Any) -> dict[str, Any]:
    return {**BODIES[endpoint], **fields}


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        (TRANSCRIPTIONS, {"language": "en", "prompt": "Names", "temperature": 0.5}),
        (TRANSCRIPTIONS, {"temperature": 0, "response_format": "json"}),
        (TRANSCRIPTIONS, {"temperature": 1e-05, "response_format": "verbose_json"}),
        (
            TRANSCRIPTIONS,
            {
                "response_format": "verbose_json",
                "timestamp_granularities": ["word", "segment"],
            },
        ),
        (TRANSLATIONS, {"language": "en", "prompt": "Names", "temperature": 1}),
        (TRANSLATIONS, {"response_format": "verbose_json"}),
    ],
)
async def test_a_line_is_answered_as_the_form_is(
    world: World, url: str, fields: dict[str, Any]
) -> None:
    response = await world.over_http(url, body(url, **fields))
    assert response.status_code == 200
    assert plain(await world.line(url, body(url, **fields))) == plain(response.content)
    asked = [(how.language, how.context, how.temperature) for _, how in world.audio.engine.heard]
    assert len(asked) == 4
    assert asked[:2] == asked[2:]


@pytest.mark.parametrize("kind", ["text", "srt", "vtt"])
@pytest.mark.parametrize("url", BOTH)
async def test_a_format_that_is_no_json_stands_in_an_object(
    world: World, url: str, kind: str
) -> None:
    response = await world.over_http(url, body(url, response_format=kind))
    answer = json.loads(await world.line(url, body(url, response_format=kind)))
    assert answer["text"] == response.text
    assert answer["x_groq"]["id"].startswith("req_")
    assert set(answer) == {"text", "x_groq"}


@pytest.mark.parametrize("url", BOTH)
async def test_a_data_url_is_taken(world: World, url: str) -> None:
    data = "data:audio/wav;base64," + "A" * 60_000
    world.audio.fetcher.contents[data] = b"3"
    assert json.loads(await world.line(url, body(url, url=data)))["text"] == "3"


@pytest.mark.parametrize("url", BOTH)
async def test_null_is_what_is_not_given(world: World, url: str) -> None:
    optional = ("prompt", "response_format", "temperature", "language", "stream", "file")
    answer = await world.line(url, body(url, **dict.fromkeys(optional)))
    assert json.loads(answer)["text"] == "1 2"


@pytest.mark.parametrize("url", BOTH)
async def test_a_file_is_refused(world: World, url: str) -> None:
    error = await world.refusal(url, body(url, file="UklGRg=="))
    assert (error.status, error.param) == (400, "file")
    assert error.message == "`file` cannot be sent here: give `url`"


@pytest.mark.parametrize("url", BOTH)
async def test_a_url_is_needed(world: World, url: str) -> None:
    error = await world.refusal(url, {"model": "tiny-base"})
    assert (error.status, error.param) == (400, "url")
    assert error.message == "'url' : property 'url' is missing"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": 5}, "'model' : value must be a string"),
        ({"url": None}, "'url' : Value is not nullable"),
        ({"url": ["x"]}, "'url' : value must be a string"),
        ({"prompt": {}}, "'prompt' : value must be a string"),
        ({"temperature": "0.5"}, "'temperature' : value must be a number"),
        ({"temperature": True}, "'temperature' : value must be a number"),
        ({"response_format": 1}, "'response_format' : value must be a string"),
        ({"language": 1}, "'language' : value must be a string"),
        ({"nonsense": 1}, "property 'nonsense' is unsupported"),
    ],
)
@pytest.mark.parametrize("url", BOTH)
async def test_a_value_of_the_wrong_type_is_named(
    world: World, url: str, fields: dict[str, Any], said: str
) -> None:
    error = await world.refusal(url, body(url, **fields))
    assert (error.status, error.message) == (400, said)


@pytest.mark.parametrize(
    ("granularities", "said"),
    [
        ("word", "'timestamp_granularities' : value must be an array"),
        ([1], "'timestamp_granularities.0' : value must be a string"),
        (["word"] * (MAX_LIST_ITEMS + 1), "property 'timestamp_granularities' is given more than"),
    ],
)
async def test_granularities_are_a_short_array_of_texts(
    world: World, granularities: object, said: str
) -> None:
    asked = body(TRANSCRIPTIONS, timestamp_granularities=granularities)
    error = await world.refusal(TRANSCRIPTIONS, asked)
    assert error.status == 400
    assert error.message.startswith(said)


async def test_a_translation_has_no_granularities(world: World) -> None:
    asked = body(TRANSLATIONS, timestamp_granularities=["word"])
    error = await world.refusal(TRANSLATIONS, asked)
    assert error.message == "property 'timestamp_granularities' is unsupported"


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        (TRANSCRIPTIONS, {"model": ""}),
        (TRANSCRIPTIONS, {"model": "nope"}),
        (TRANSCRIPTIONS, {"temperature": 1.5}),
        (TRANSCRIPTIONS, {"temperature": -1}),
        (TRANSCRIPTIONS, {"response_format": "xml"}),
        (TRANSCRIPTIONS, {"language": "xx"}),
        (TRANSCRIPTIONS, {"timestamp_granularities": ["word"]}),
        (TRANSCRIPTIONS, {"timestamp_granularities": ["letter"]}),
        (TRANSCRIPTIONS, {"prompt": "é" * MAX_FIELD_BYTES}),
        (TRANSCRIPTIONS, {"url": "ünïcode"}),
        (TRANSLATIONS, {"language": "de"}),
        (TRANSLATIONS, {"url": "x" * (LIMITS.audio_bytes + 1)}),
    ],
)
async def test_what_a_form_refuses_is_refused_in_its_words(
    world: World, url: str, fields: dict[str, Any]
) -> None:
    response = await world.over_http(url, body(url, **fields))
    error = await world.refusal(url, body(url, **fields))
    assert 400 <= error.status < 500
    assert (error.status, error.body()) == (response.status_code, response.content)


async def test_an_engine_that_fails_leaves_no_file(world: World) -> None:
    world.audio.engine.answers = {1: [EngineDead("pid 7")]}
    assert (await world.refusal(TRANSCRIPTIONS, BODIES[TRANSCRIPTIONS])).status == 503


async def test_a_line_that_is_cancelled_leaves_no_file(world: World) -> None:
    world.audio.decoder.gate = asyncio.Event()
    line = asyncio.create_task(world.line(TRANSCRIPTIONS, BODIES[TRANSCRIPTIONS]))
    await world.audio.decoder.waiting.wait()
    assert len(world.audio.left()) == 1
    line.cancel()
    with pytest.raises(asyncio.CancelledError):
        await line


async def test_audio_is_fetched_for_the_line_s_organisation(world: World) -> None:
    await world.line(TRANSCRIPTIONS, BODIES[TRANSCRIPTIONS])
    [(url, org_id, _)] = world.audio.fetcher.asked
    assert (url, org_id) == (AUDIO, world.audio.context.caller.org_id)
