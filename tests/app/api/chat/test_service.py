"""The chat service on a scripted engine: what it asks of the engine, and what it lets go."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    ObjectCorrupt,
    ObjectNotFound,
    RegistryError,
    StoreUnavailable,
)
from adapters_registry.types import Digest
from app.api.chat.schemas import ChatCompletionRequest
from app.api.chat.service import ChatService
from app.auth.authenticator import Caller
from app.engine.base import Delta, EngineDead, EngineOverloaded, ModelCard, PromptTooLong, Run
from app.errors import ApiError, invalid_request
from app.inference.context import RequestContext
from app.inference.tiers import PRIORITIES
from app.json_document import parse
from tests.app.api.chat.bodies import chat_body, encode
from tests.app.api.chat.stubs import Rig
from tests.app.inference.stubs import (
    ADAPTER_HEADERS,
    ADAPTER_MODEL,
    BASE,
    CARD,
    ORG,
    REQUEST,
    USAGE,
    VERSION,
    answer,
)


def request(**fields: Any) -> ChatCompletionRequest:
    return parse(ChatCompletionRequest, encode(chat_body(**fields)))


async def frames_of(rig: Rig, wanted: ChatCompletionRequest) -> AsyncGenerator[bytes, None]:
    return await rig.service.stream(rig.context, wanted)


def adapter_headers(rig: Rig) -> dict[str, str]:
    return {k: v for k, v in rig.context.headers.items() if k.startswith("x-adapter")}


async def drain(frames: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([frame async for frame in frames])


async def test_the_engine_gets_what_the_request_asked_for(rig: Rig) -> None:
    rig.engine.script = answer("hi")
    wanted = request(
        temperature=0,
        top_p=0,
        max_completion_tokens=5,
        seed=-1,
        stop=["a", "b"],
        frequency_penalty=-2,
        presence_penalty=1.5,
    )
    await rig.service.complete(rig.context, wanted)
    (job,), (run,) = rig.engine.jobs, rig.engine.runs
    assert run == Run(REQUEST, None, PRIORITIES["on_demand"])
    assert job.messages == [{"role": "user", "content": "hi"}]
    assert job.cache_salt == f"salt of {ORG}"
    assert not job.stream
    sampling = job.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0, 0, 5)
    assert (sampling.seed, list(sampling.stop)) == (-1, ["a", "b"])
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (-2, 1.5)


async def test_absent_fields_mean_groqs_defaults(rig: Rig) -> None:
    rig.engine.script = answer("hi")
    await rig.service.complete(rig.context, request(temperature=None))
    sampling = rig.engine.jobs[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (1, 1, None)
    assert list(sampling.stop) == []


async def test_a_drawn_seed_is_the_one_that_is_told(rig: Rig) -> None:
    rig.engine.script = answer("hi")
    first = await rig.service.complete(rig.context, request())
    second = await rig.service.complete(rig.context, request())
    told = [first.x_groq.seed, second.x_groq.seed]
    assert told == [job.sampling.seed for job in rig.engine.jobs]
    assert told[0] != told[1]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_more_tokens_than_the_model_gives_are_refused_under_the_field_used(
    rig: Rig, field: str
) -> None:
    most = CARD.max_completion_tokens
    with pytest.raises(ApiError) as caught:
        await rig.service.complete(rig.context, request(**{field: most + 1}))
    assert caught.value.message == (
        f"`{field}` must be less than or equal to `{most}`, the maximum value for `{field}` "
        "is less than the `context_window` for this model"
    )
    assert caught.value.param == field
    assert rig.engine.jobs == []


async def test_an_answer_names_the_base_model_and_its_fingerprint(rig: Rig) -> None:
    rig.engine.script = answer("hel", "lo")
    completion = await rig.service.complete(rig.context, request())
    assert completion.choices[0].message.content == "hello"
    assert (completion.model, completion.system_fingerprint) == (BASE, CARD.fingerprint)
    assert completion.x_groq.id == REQUEST


async def test_an_adapter_answers_under_its_own_id_and_fingerprint(rig: Rig) -> None:
    rig.engine.script = answer("arr")
    completion = await rig.service.complete(rig.context, request(model=ADAPTER_MODEL))
    (run,) = rig.engine.runs
    assert run.adapter is not None
    assert run.adapter.version == VERSION
    assert completion.model == ADAPTER_MODEL
    assert completion.system_fingerprint.startswith("fp_")
    assert len(completion.system_fingerprint) == 13
    assert completion.system_fingerprint != CARD.fingerprint
    assert (rig.adapters.given, rig.adapters.held) == (1, 0)


async def test_two_versions_of_an_adapter_have_two_fingerprints(rig: Rig) -> None:
    rig.engine.script = answer("arr")
    prints = set()
    for digest in ("ab" * 32, "cd" * 32):
        rig.resolver.version = replace(VERSION, digest=Digest(digest))
        completion = await rig.service.complete(rig.context, request(model=ADAPTER_MODEL))
        prints.add(completion.system_fingerprint)
    assert len(prints) == 2


@pytest.mark.parametrize(("model", "headers"), [(ADAPTER_MODEL, ADAPTER_HEADERS), (BASE, {})])
async def test_headers_say_which_adapter_answers_and_what_it_cost_to_have_it(
    rig: Rig, model: str, headers: dict[str, str]
) -> None:
    rig.engine.script = answer("arr")
    await rig.service.complete(rig.context, request(model=model))
    assert adapter_headers(rig) == headers
    rig.context.headers.clear()
    opened = await rig.service.stream(rig.context, request(model=model, stream=True))
    assert adapter_headers(rig) == headers
    await drain(opened)


@pytest.mark.parametrize("model", [BASE, ADAPTER_MODEL])
async def test_an_error_of_the_engine_says_which_adapter_it_was_too(rig: Rig, model: str) -> None:
    rig.engine.script = [EngineOverloaded()]
    with pytest.raises(ApiError) as caught:
        await rig.service.complete(rig.context, request(model=model))
    assert caught.value.headers == {"retry-after": "1"}
    assert adapter_headers(rig) == (ADAPTER_HEADERS if model == ADAPTER_MODEL else {})


async def test_a_base_model_takes_no_lease(rig: Rig) -> None:
    rig.engine.script = answer("hi")
    await rig.service.complete(rig.context, request())
    assert rig.adapters.given == 0


async def test_the_lease_is_held_while_the_stream_runs_and_no_longer(rig: Rig) -> None:
    rig.engine.script = answer("a", "b")
    frames = await frames_of(rig, request(model=ADAPTER_MODEL, stream=True))
    assert rig.adapters.held == 1
    await drain(frames)
    assert rig.adapters.held == 0
    assert rig.engine.closed.is_set()


async def test_closing_a_stream_that_nobody_read_frees_the_lease_and_the_engine(rig: Rig) -> None:
    rig.engine.script = [Delta("a"), asyncio.Event()]
    frames = await frames_of(rig, request(model=ADAPTER_MODEL, stream=True))
    await frames.aclose()
    assert rig.engine.closed.is_set()
    assert rig.adapters.held == 0


async def test_cancelling_a_completion_frees_the_lease_and_the_engine(rig: Rig) -> None:
    rig.engine.script = [Delta("a"), asyncio.Event()]
    answering = asyncio.ensure_future(
        rig.service.complete(rig.context, request(model=ADAPTER_MODEL))
    )
    await rig.engine.waiting.wait()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert rig.engine.closed.is_set()
    assert rig.adapters.held == 0


LEASE_ERRORS: list[tuple[RegistryError, int, str | None]] = [
    (ObjectNotFound("k"), 404, "model_not_found"),
    (AdapterCapacityExceeded(), 503, None),
    (AdapterLoadFailed("d"), 503, None),
    (ObjectCorrupt("k"), 503, None),
    (StoreUnavailable("s"), 503, None),
]


@pytest.mark.parametrize(("error", "status", "code"), LEASE_ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_adapter_that_cannot_be_leased_is_an_error_before_any_answer(
    rig: Rig, error: RegistryError, status: int, code: str | None, stream: bool
) -> None:
    rig.adapters.error = error
    wanted = request(model=ADAPTER_MODEL, stream=stream)
    begin = rig.service.stream if stream else rig.service.complete
    with pytest.raises(ApiError) as caught:
        await begin(rig.context, wanted)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert adapter_headers(rig) == {}
    assert rig.engine.runs == []


async def test_a_foreign_adapter_is_unknown(rig: Rig) -> None:
    context = RequestContext(Caller("org_other", "key_2"), REQUEST)
    with pytest.raises(ApiError) as caught:
        await rig.service.complete(context, request(model=ADAPTER_MODEL))
    assert caught.value.code == "model_not_found"


async def test_a_stream_fails_before_it_starts_when_the_prompt_is_too_long(rig: Rig) -> None:
    rig.engine.refusal = PromptTooLong()
    with pytest.raises(ApiError) as caught:
        await rig.service.stream(rig.context, request(stream=True))
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.message == "Please reduce the length of the messages or completion."


async def test_an_overloaded_engine_is_over_capacity_by_the_models_name(rig: Rig) -> None:
    rig.engine.script = [EngineOverloaded()]
    with pytest.raises(ApiError) as caught:
        await rig.service.complete(rig.context, request())
    assert caught.value.message.startswith(f"{BASE} is currently over capacity")
    assert "retry-after" in caught.value.headers


async def test_an_engine_that_dies_in_a_stream_ends_it_with_an_error_event(rig: Rig) -> None:
    rig.engine.script = [Delta("a"), EngineDead("pid 7 died in /srv/x")]
    frames = await frames_of(rig, request(model=ADAPTER_MODEL, stream=True))
    sent = await drain(frames)
    event = sent.split(b"\n\n")[-2]
    head, data = event.split(b"\n")
    assert head == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["error"]["type"] == "internal_server_error"
    assert b"[DONE]" not in sent
    assert b"/srv/x" not in sent
    assert rig.adapters.held == 0


async def test_an_unforeseen_error_in_a_stream_is_not_dressed_up_but_frees_everything(
    rig: Rig,
) -> None:
    rig.engine.script = [Delta("a"), RuntimeError("a bug")]
    frames = await frames_of(rig, request(model=ADAPTER_MODEL, stream=True))
    with pytest.raises(RuntimeError, match="a bug"):
        await drain(frames)
    assert rig.adapters.held == 0


@pytest.mark.parametrize("script", [[Delta("a")], [Delta("a", finish_reason="stop")], []])
async def test_an_engine_that_stops_without_an_outcome_has_failed(
    rig: Rig, script: list[Any]
) -> None:
    rig.engine.script = script
    with pytest.raises(ApiError) as caught:
        await rig.service.complete(rig.context, request())
    assert caught.value.status == 503


@pytest.mark.parametrize("stream", [False, True])
async def test_a_generation_is_observed_once_under_its_base_model(rig: Rig, stream: bool) -> None:
    rig.engine.script = answer("a", "b", usage=replace(USAGE, completion_seconds=0.0))
    wanted = request(model=ADAPTER_MODEL, stream=stream)
    if stream:
        await drain(await frames_of(rig, wanted))
    else:
        await rig.service.complete(rig.context, wanted)
    ((label, seconds),) = rig.observer.first_tokens
    ((counted, usage),) = rig.observer.usages
    assert label == counted == BASE
    assert 0 <= seconds < 60
    assert usage.completion_tokens == USAGE.completion_tokens


async def test_an_error_before_the_first_token_counts_as_no_generation(rig: Rig) -> None:
    rig.engine.refusal = PromptTooLong()
    with pytest.raises(ApiError):
        await rig.service.complete(rig.context, request())
    assert rig.observer.first_tokens == []
    assert rig.observer.usages == []


async def test_each_lease_is_observed(rig: Rig) -> None:
    rig.engine.script = answer("hi")
    await rig.service.complete(rig.context, request(model=ADAPTER_MODEL))
    (lease,) = rig.observer.leases
    await rig.service.complete(rig.context, request())
    assert rig.observer.leases == [lease]


IMAGE = {"type": "image_url", "image_url": {"url": "https://a.test/b.png", "detail": "low"}}


class TakenIn:
    """Takes images in by their number, or refuses them."""

    def __init__(self, refusal: ApiError | None = None) -> None:
        self._refusal = refusal
        self.seen: list[tuple[ModelCard, str]] = []

    async def taken_in(
        self, messages: Any, card: ModelCard, *, org_id: str
    ) -> list[dict[str, Any]]:
        self.seen.append((card, org_id))
        if self._refusal is not None:
            raise self._refusal
        return [{**message, "content": "seen"} for message in messages]


async def test_the_engine_sees_images_as_they_were_taken_in(rig: Rig) -> None:
    rig.engine.script = answer("a cat")
    images = TakenIn()
    service = ChatService(rig.inference, images)
    asked = request(messages=[{"role": "user", "content": [IMAGE]}])
    await service.complete(rig.context, asked)
    assert rig.engine.jobs[0].messages == [{"role": "user", "content": "seen"}]
    assert images.seen == [(CARD, ORG)]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_image_that_cannot_be_taken_in_ends_the_request(rig: Rig, stream: bool) -> None:
    refused = invalid_request("no", param="messages.0.content.0.image_url")
    service = ChatService(rig.inference, TakenIn(refused))
    asked = request(messages=[{"role": "user", "content": [IMAGE]}], stream=stream)
    with pytest.raises(ApiError) as caught:
        await (service.stream if stream else service.complete)(rig.context, asked)
    assert caught.value is refused
    assert rig.engine.jobs == []
    assert [budget.settled for budget in rig.limits.budgets] == [[0]]
