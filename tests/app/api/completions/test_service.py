"""The completions service on a scripted engine: what it asks of the engine, and what it lets go."""

import asyncio
import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters_registry.errors import StoreUnavailable
from app.api.completions.schemas import CompletionRequest
from app.api.completions.service import MOST_AT_ONCE
from app.engine.base import (
    Delta,
    EngineDead,
    EngineOverloaded,
    FinishReason,
    PromptRefused,
    PromptTooLong,
    TextJob,
    TokenLogprob,
    Usage,
)
from app.errors import ApiError, invalid_request
from app.json_document import parse
from tests.app.api.completions.stubs import (
    Rig,
    accumulated,
    chunks_of,
    completion_body,
    token,
    told,
)
from tests.app.inference.stubs import (
    ADAPTER_HEADERS,
    ADAPTER_MODEL,
    BASE,
    CARD,
    ORG,
    REQUEST,
    USAGE,
    answer,
)

TEXTS = st.text(max_size=4)
TOKENS = st.lists(
    st.builds(token, TEXTS, st.floats(-9, 0), st.tuples(TEXTS, st.floats(-9, 0))), max_size=3
)
USAGES = st.builds(Usage, *[st.integers(0, 9)] * 3, *[st.sampled_from([0.0, 0.25, 1.5])] * 3)
REASONS = st.sampled_from(["stop", "length"])


def request(**fields: Any) -> CompletionRequest:
    return parse(CompletionRequest, json.dumps(completion_body(**fields)).encode())


async def streamed(rig: Rig, **fields: Any) -> bytes:
    frames = await rig.service.stream(rig.context, request(stream=True, **fields))
    return b"".join([frame async for frame in frames])


async def test_the_engine_gets_what_the_request_asked_for(rig: Rig) -> None:
    rig.engine.script = answer("upon")
    wanted = request(
        prompt=[1, 2],
        temperature=0,
        top_p=0,
        max_tokens=5,
        seed=-1,
        stop="a",
        frequency_penalty=-2,
        presence_penalty=1.5,
        logprobs=3,
        logit_bias={"7": -100},
    )
    await rig.service.complete(rig.context, wanted)
    (job,) = rig.engine.jobs
    assert isinstance(job, TextJob)
    assert (job.prompt, job.cache_salt, job.stream, job.echo) == (
        [1, 2],
        f"salt of {ORG}",
        False,
        False,
    )
    sampling = job.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0, 0, 5)
    assert (sampling.seed, list(sampling.stop), sampling.logprobs) == (-1, ["a"], 3)
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (-2, 1.5)
    assert sampling.logit_bias == {"7": -100}


async def test_absent_fields_mean_openais_defaults(rig: Rig) -> None:
    rig.engine.script = answer("upon")
    await rig.service.complete(rig.context, request())
    sampling = rig.engine.jobs[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (1, 1, 16)
    assert (list(sampling.stop), sampling.logprobs) == ([], None)


async def test_an_answer_has_a_choice_for_each_prompt_in_their_order(rig: Rig) -> None:
    free = asyncio.Event()
    rig.engine.scripts = {"a": [free, *answer("A")], "b": answer("B")}
    completing = asyncio.ensure_future(
        rig.service.complete(rig.context, request(prompt=["a", "b", "a"], max_tokens=9))
    )
    await rig.engine.closed.wait()
    free.set()
    completion = await completing
    assert [(each.index, each.text) for each in completion.choices] == [
        (0, "A"),
        (1, "B"),
        (2, "A"),
    ]
    assert completion.id.startswith("cmpl-")
    assert completion.usage.total_tokens == 3 * (USAGE.prompt_tokens + USAGE.completion_tokens)
    assert completion.usage.total_time == 3 * (USAGE.prompt_seconds + USAGE.completion_seconds)


async def test_several_prompts_are_one_request_with_one_seed_and_one_reservation(rig: Rig) -> None:
    rig.engine.script = answer("x")
    completion = await rig.service.complete(
        rig.context, request(prompt=["a", "b", "c"], max_tokens=9)
    )
    (budget,) = rig.limits.budgets
    assert budget.reserved == [3 * (USAGE.prompt_tokens + 9)]
    assert budget.settled == [3 * (USAGE.prompt_tokens + USAGE.completion_tokens)]
    assert {job.sampling.seed for job in rig.engine.jobs} == {completion.x_groq.seed}
    assert [run.request_id for run in rig.engine.runs] == [
        REQUEST,
        f"{REQUEST}-1",
        f"{REQUEST}-2",
    ]


async def test_one_request_takes_a_part_of_the_engine_only(rig: Rig) -> None:
    rig.engine.script = answer("x")
    rig.engine.pauses = itertools.repeat(1)
    await rig.service.complete(rig.context, request(prompt=["a"] * 30))
    assert len(rig.engine.runs) == 30
    assert rig.engine.most_running == CARD.max_running // 4


async def test_a_large_engine_runs_only_so_many_of_one_request(rig: Rig) -> None:
    rig.engine.card = replace(CARD, max_running=1_000)
    rig.engine.script = answer("x")
    rig.engine.pauses = itertools.repeat(1)
    await rig.service.complete(rig.context, request(prompt=["a"] * 30))
    assert rig.engine.most_running == MOST_AT_ONCE


async def test_long_prompts_run_one_after_the_other(rig: Rig) -> None:
    rig.engine.card = replace(CARD, cache_tokens=4 * 2 * USAGE.prompt_tokens - 1)
    rig.engine.script = answer("x")
    rig.engine.pauses = itertools.repeat(1)
    await rig.service.complete(rig.context, request(prompt=["a"] * 5))
    assert rig.engine.most_running == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_adapter_answers_under_its_own_id(rig: Rig, stream: bool) -> None:
    rig.engine.script = answer("arr")
    if stream:
        answered = chunks_of(await streamed(rig, model=ADAPTER_MODEL))[0]
    else:
        whole = await rig.service.complete(rig.context, request(model=ADAPTER_MODEL))
        answered = json.loads(whole.json_bytes())
    assert answered["model"] == ADAPTER_MODEL
    assert answered["system_fingerprint"] != CARD.fingerprint
    assert {**rig.context.headers, **ADAPTER_HEADERS} == rig.context.headers
    assert (rig.adapters.given, rig.adapters.held) == (1, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_puts_the_prompt_before_each_choice(rig: Rig, stream: bool) -> None:
    rig.engine.script = answer("x", "y")
    fields: dict[str, Any] = {"prompt": ["a", "b"], "echo": True}
    if stream:
        choices = accumulated(chunks_of(await streamed(rig, **fields)))
    else:
        completion = await rig.service.complete(rig.context, request(**fields))
        choices = [choice.model_dump() for choice in completion.choices]
    assert [choice["text"] for choice in choices] == ["axy", "bxy"]
    assert all(job.echo for job in rig.engine.jobs)


@pytest.mark.parametrize("stream", [False, True])
async def test_no_tokens_with_echo_give_the_prompt_back_and_run_nothing(
    rig: Rig, stream: bool
) -> None:
    fields: dict[str, Any] = {"prompt": "abc", "echo": True, "max_tokens": 0}
    if stream:
        chunks = chunks_of(await streamed(rig, **fields))
        (choice,), usage = accumulated(chunks), chunks[-1]["usage"]
    else:
        completion = await rig.service.complete(rig.context, request(**fields))
        choice, usage = completion.choices[0].model_dump(), completion.usage.model_dump()
    assert (choice["text"], choice["finish_reason"]) == ("abc", "length")
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (USAGE.prompt_tokens, 0)
    assert rig.engine.runs == []
    assert rig.limits.budgets[0].settled == [0]


async def test_more_tokens_than_the_model_gives_are_refused(rig: Rig) -> None:
    with pytest.raises(ApiError) as caught:
        await rig.service.complete(rig.context, request(max_tokens=CARD.max_completion_tokens + 1))
    assert (caught.value.status, caught.value.param) == (400, "max_tokens")
    assert rig.engine.jobs == []


@pytest.mark.parametrize("fields", [{"logprobs": 0}, {"logit_bias": {"1": 1}}])
async def test_logprobs_that_the_catalog_turned_off_are_refused(
    rig: Rig, fields: dict[str, Any]
) -> None:
    rig.engine.card = replace(CARD, tells_logprobs=False)
    with pytest.raises(ApiError) as caught:
        await rig.service.complete(rig.context, request(**fields))
    assert caught.value.param == next(iter(fields))


@pytest.mark.parametrize(
    ("refusal", "message", "code"),
    [
        (
            PromptTooLong(),
            "Please reduce the length of the prompt or completion.",
            "context_length_exceeded",
        ),
        (PromptRefused("The prompt is empty."), "The prompt is empty.", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_cannot_be_run_is_named_as_the_caller_wrote_it(
    rig: Rig, refusal: Exception, message: str, code: str | None, stream: bool
) -> None:
    rig.engine.refusal = refusal
    begin = rig.service.stream if stream else rig.service.complete
    with pytest.raises(ApiError) as caught:
        await begin(rig.context, request(stream=stream))
    error = caught.value
    assert (error.status, error.param, error.message, error.code) == (400, "prompt", message, code)


async def test_a_refused_tier_is_an_error_before_anything_runs(rig: Rig) -> None:
    rig.limits.no_tokens["on_demand"] = invalid_request("no")
    with pytest.raises(ApiError, match="no"):
        await rig.service.complete(rig.context, request(prompt=["a", "b"]))
    assert rig.engine.runs == []


async def test_an_adapter_that_cannot_be_leased_is_an_error_before_any_answer(rig: Rig) -> None:
    rig.adapters.error = StoreUnavailable("s")
    with pytest.raises(ApiError) as caught:
        await rig.service.stream(
            rig.context, request(model=ADAPTER_MODEL, prompt=["a", "b"], stream=True)
        )
    assert caught.value.status == 503
    assert rig.adapters.held == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_of_one_prompt_before_any_token_is_the_requests(
    rig: Rig, stream: bool
) -> None:
    rig.engine.scripts = {"a": [asyncio.Event()], "b": [EngineOverloaded()]}
    begin = rig.service.stream if stream else rig.service.complete
    with pytest.raises(ApiError) as caught:
        await begin(rig.context, request(prompt=["a", "b"], stream=stream))
    assert caught.value.status == 503
    assert rig.engine.running == 0


async def test_an_engine_that_dies_under_one_choice_ends_the_stream_with_an_error(rig: Rig) -> None:
    rig.engine.scripts = {
        "a": [Delta("x"), asyncio.Event()],
        "b": [Delta("y"), EngineDead("pid 7 died in /srv/x")],
    }
    sent = await streamed(rig, model=ADAPTER_MODEL, prompt=["a", "b"])
    head, data = sent.split(b"\n\n")[-2].split(b"\n")
    assert head == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["error"]["type"] == "internal_server_error"
    assert b"[DONE]" not in sent
    assert b"/srv/x" not in sent
    assert (rig.engine.running, rig.adapters.held) == (0, 0)


async def test_closing_a_stream_that_nobody_read_leaves_no_run(rig: Rig) -> None:
    rig.engine.script = [Delta("a"), asyncio.Event()]
    wanted = request(model=ADAPTER_MODEL, prompt=["a", "b", "c"], stream=True)
    frames = await rig.service.stream(rig.context, wanted)
    assert rig.engine.running > 0
    await frames.aclose()
    assert (rig.engine.running, rig.adapters.held) == (0, 0)
    assert len(rig.limits.budgets[0].settled) == 1


async def test_cancelling_a_completion_leaves_no_run(rig: Rig) -> None:
    rig.engine.script = [Delta("a"), asyncio.Event()]
    completing = asyncio.ensure_future(
        rig.service.complete(rig.context, request(model=ADAPTER_MODEL, prompt=["a", "b", "c"]))
    )
    await rig.engine.waiting.wait()
    completing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await completing
    assert (rig.engine.running, rig.adapters.held) == (0, 0)


async def test_the_base_model_is_named_where_no_adapter_is_asked_for(rig: Rig) -> None:
    rig.engine.script = answer("x")
    completion = await rig.service.complete(rig.context, request())
    assert (completion.model, completion.system_fingerprint) == (BASE, CARD.fingerprint)
    assert (completion.x_groq.id, completion.service_tier) == (REQUEST, "on_demand")


Said = list[tuple[str, list[TokenLogprob]]]
SAID = st.lists(st.tuples(TEXTS, TOKENS), min_size=1, max_size=4)
SCRIPT = st.tuples(SAID, REASONS, USAGES)


def played(said: Said, reason: FinishReason, usage: Usage, *, tells: bool) -> list[Delta]:
    deltas = told(*[(text, tokens if tells else []) for text, tokens in said], reason=reason)
    return [*deltas[:-1], replace(deltas[-1], usage=usage)]


@given(
    scripts=st.lists(SCRIPT, min_size=1, max_size=4),
    gaps=st.lists(st.integers(0, 3), max_size=12),
    tells=st.booleans(),
    echo=st.booleans(),
)
async def test_a_stream_put_together_is_the_whole_answer_however_its_choices_interleave(
    scripts: list[tuple[Said, FinishReason, Usage]], gaps: list[int], tells: bool, echo: bool
) -> None:
    rig = Rig()
    rig.engine.card = replace(CARD, max_running=32)
    names = [f"prompt {number}" for number in range(len(scripts))]
    rig.engine.scripts = {
        name: played(*script, tells=tells) for name, script in zip(names, scripts, strict=True)
    }
    fields: dict[str, Any] = {"prompt": names, "seed": 1}
    fields |= {"logprobs": 1} if tells else {"echo": echo}
    whole = await rig.service.complete(rig.context, request(**fields))
    rig.engine.pauses = itertools.cycle(gaps or [0])
    chunks = chunks_of(await streamed(rig, **fields))
    expected = [
        {**choice.model_dump(), "logprobs": _listed(choice.logprobs)} for choice in whole.choices
    ]
    assert accumulated(chunks) == expected
    assert chunks[-1]["usage"] == json.loads(whole.usage.model_dump_json(exclude_unset=True))
    assert [chunk for chunk in chunks if "usage" in chunk] == chunks[-1:]


def _listed(logprobs: Any) -> dict[str, Any] | None:
    """Give them as a client that adds lists up has them: nothing where no token was told."""
    return logprobs.model_dump() if logprobs is not None and logprobs.tokens else None
