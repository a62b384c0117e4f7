"""Hostile and mistaken forms: each refused for what it is, early, and nothing is left behind."""

import time
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.api.transcriptions.stubs import LIMITS, Rig
from tests.app.inference.stubs import BASE

URL = "/openai/v1/audio/transcriptions"
TRANSLATIONS = "/openai/v1/audio/translations"
BOUNDARY = "xYzZyXbOuNdArY"
FILE = 'name="file"; filename="a.wav"'
ENOUGH = 'name="model"', BASE.encode()


def part(disposition: str, value: bytes = b"") -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return head.encode() + value + b"\r\n"


def form(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(part(*each) for each in parts) + f"--{BOUNDARY}--\r\n".encode()


async def send(
    http: httpx.AsyncClient, body: bytes | AsyncIterator[bytes], url: str = URL, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    return await http.post(url, content=body, headers={"content-type": content_type, **named})


async def refusal(http: httpx.AsyncClient, *parts: tuple[str, bytes], url: str = URL) -> Any:
    response = await send(http, form(*parts), url)
    assert response.status_code == 400, response.text
    return response.json()["error"]


async def test_a_form_needs_a_file_or_a_url(http: httpx.AsyncClient) -> None:
    error = await refusal(http, ENOUGH)
    assert error["message"] == "either `file` or `url` must be provided"


@pytest.mark.parametrize("swapped", [False, True])
async def test_a_form_may_not_have_both(http: httpx.AsyncClient, swapped: bool) -> None:
    both = [(FILE, b"1"), ('name="url"', b"https://x.example/a.wav")]
    error = await refusal(http, ENOUGH, *(both[::-1] if swapped else both))
    assert "only one of" in error["message"]


@pytest.mark.parametrize("twice", [(FILE, b"1"), ('name="url"', b"x"), ENOUGH])
async def test_a_part_may_not_come_twice(
    rig: Rig, http: httpx.AsyncClient, twice: tuple[str, bytes]
) -> None:
    assert "more than once" in (await refusal(http, twice, twice))["message"]
    assert rig.decoder.decoded == []


@pytest.mark.parametrize("url", [URL, TRANSLATIONS])
@pytest.mark.parametrize(
    "name", ["include[]", "chunking_strategy", "keywords", "file[]", "urls", "Model", "user"]
)
async def test_what_groq_does_not_know_is_unsupported(
    http: httpx.AsyncClient, url: str, name: str
) -> None:
    error = await refusal(http, ENOUGH, (f'name="{name}"', b"1"), (FILE, b"1"), url=url)
    assert error["message"] == f"property '{name}' is unsupported"


async def test_translations_have_no_granularities(http: httpx.AsyncClient) -> None:
    granularity = 'name="timestamp_granularities[]"', b"word"
    error = await refusal(http, ENOUGH, granularity, url=TRANSLATIONS)
    assert error["message"] == "property 'timestamp_granularities[]' is unsupported"


@pytest.mark.parametrize("name", ["a.txt", "a", "a.wav.exe"])
async def test_a_file_of_another_type_is_refused_before_its_bytes_are_read(
    http: httpx.AsyncClient, name: str
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield part(f'name="file"; filename="{name}"')[:-2]
        while True:
            sent += 1
            yield b"x" * 1000

    response = await send(http, endless())
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("file must be one of the following")
    assert sent <= 1


async def test_an_empty_file_is_refused(http: httpx.AsyncClient) -> None:
    assert (await refusal(http, ENOUGH, (FILE, b"")))["message"] == "file is empty"


async def test_a_file_of_the_largest_size_is_taken_and_one_byte_more_is_not(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    most = LIMITS.audio_bytes
    rig.decoder.errors = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        await send(http, form(ENOUGH, (FILE, b"s" * most)))
    response = await send(http, form(ENOUGH, (FILE, b"s" * (most + 1))))
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (413, "request_too_large")
    assert error["type"] == "invalid_request_error"


async def endless(head: bytes, chunk: bytes, read: list[int]) -> AsyncIterator[bytes]:
    yield head
    while True:
        read[0] += len(chunk)
        yield chunk


@pytest.mark.parametrize(
    ("head", "chunk", "status"),
    [
        (part(FILE)[:-2], b"x" * 65536, 413),
        (part('name="url"')[:-2], b"x" * 65536, 413),
        (part('name="prompt"')[:-2], b"x" * 65536, 400),
        (part('name="timestamp_granularities[]"')[:-2], b"x" * 65536, 400),
        (b"", part('name="timestamp_granularities[]"', b"word") * 10_000, 400),
        (b"", b"".join(part(f'name="x{number}"') for number in range(10_000)), 400),
        (part(*ENOUGH), part('name="prompt"', b"x") * 10_000, 400),
    ],
)
async def test_a_body_without_end_is_refused_early(
    http: httpx.AsyncClient, head: bytes, chunk: bytes, status: int
) -> None:
    read = [0]
    tracemalloc.start()
    began = time.process_time()
    try:
        response = await send(http, endless(head, chunk, read))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.status_code == status
    assert read[0] <= LIMITS.audio_bytes + (256 << 10) + len(chunk)
    assert peak < 8 << 20
    assert time.process_time() - began < 5


async def test_a_length_that_is_claimed_too_large_is_refused_before_reading(
    http: httpx.AsyncClient,
) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    response = await send(http, untouched(), content_length="10000000000")
    assert response.status_code == 413


async def test_a_length_that_is_claimed_too_small_ends_nothing_early(
    http: httpx.AsyncClient,
) -> None:
    async def sent() -> AsyncIterator[bytes]:
        yield form(ENOUGH, (FILE, b"1"))

    assert (await send(http, sent(), content_length="10")).status_code == 200


async def test_eight_granularities_are_enough(http: httpx.AsyncClient) -> None:
    word = 'name="timestamp_granularities[]"', b"word"
    verbose = 'name="response_format"', b"verbose_json"
    assert (await send(http, form(ENOUGH, verbose, (FILE, b"1"), *[word] * 8))).status_code == 200
    assert "more than 8 times" in (await refusal(http, ENOUGH, *[word] * 9))["message"]


FIELDS = ("model", "prompt", "response_format", "temperature", "language", "stream", "url")
VALUES = (b"", b"\xff", b"\x00", b"1e999", b"nan", b"-1", b"true", b"[]", b"{}", b"x" * 20_000)


@pytest.mark.parametrize("url", [URL, TRANSLATIONS])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", VALUES)
async def test_a_field_of_the_wrong_kind_is_a_refusal_or_a_plain_answer(
    rig: Rig, http: httpx.AsyncClient, url: str, field: str, value: bytes
) -> None:
    if field == "url":
        rig.fetcher.contents = {value.decode("latin-1"): b""}
    parts = [(f'name="{field}"', value)]
    parts += [] if field == "model" else [ENOUGH]
    parts += [] if field == "url" else [(FILE, b"1")]
    response = await send(http, form(*parts), url)
    # A prompt is any text.
    is_plain = field == "prompt" and value not in (b"\xff", b"x" * 20_000)
    unknown = (404,) if field == "model" else ()
    assert response.status_code in ((200,) if is_plain else (400, *unknown))
    assert len(response.content) < 2_000


DISPOSITIONS = ('name="file"; filename="a.wav"', 'name="file"', 'name="url"', 'name="model"')


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(DISPOSITIONS) | st.sampled_from(FIELDS).map(lambda n: f'name="{n}"'),
            st.sampled_from((BASE.encode(), b"1", b"0.5", b"json", b"en")) | st.binary(max_size=9),
        ),
        max_size=6,
    )
)
async def test_any_form_is_an_answer_or_a_refusal(
    rig: Rig, http: httpx.AsyncClient, parts: Iterable[tuple[str, bytes]]
) -> None:
    rig.fetcher.contents = _AnyUrl()
    rig.decoder.errors = []
    response = await send(
        http, form(*((name, b"1") if "file" in name else (name, value) for name, value in parts))
    )
    assert response.status_code in (200, 400, 404)


class _AnyUrl(dict[str, bytes]):
    """Has the same recording at every URL."""

    def __missing__(self, url: str) -> bytes:
        return b"1"
