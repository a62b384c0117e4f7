"""vLLM's outputs to our deltas: text, logprobs, clocks, and calls that are put together."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm.entrypoints.generate.base.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
)
from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.v1.metrics.stats import RequestStateStats

from app.engine import vllm_translation as translation
from app.engine.base import AnswerUnreadable, ChatJob, Delta, EngineError, Sampling, ToolCall
from app.engine.vllm_outputs import AnswerReader, ParsedBy

JOB = ChatJob([{"role": "user", "content": "hi"}], Sampling(), "salt")


def output(
    text: str = "", *, tokens: int = 1, reason: str | None = None, **fields: Any
) -> RequestOutput:
    """An output of one piece; the last one where it has a reason."""
    clocks = fields.pop("clocks", {})
    piece = CompletionOutput(
        index=0,
        text=text,
        token_ids=list(range(tokens)),
        cumulative_logprob=None,
        logprobs=fields.pop("logprobs", None),
        finish_reason=reason,
    )
    return RequestOutput(
        request_id="r1",
        prompt=None,
        prompt_token_ids=[1, 2, 3],
        prompt_logprobs=None,
        outputs=[piece],
        finished=fields.pop("finished", reason is not None),
        metrics=RequestStateStats(**clocks),
        num_cached_tokens=2,
    )


class ScriptedParser:
    """Says what its script says, piece by piece; counts no thoughts."""

    def __init__(self, *messages: DeltaMessage | Exception | None) -> None:
        self._messages = iter(messages)

    def parse_delta(self, *args: Any, **kwargs: Any) -> DeltaMessage | None:
        message = next(self._messages)
        if isinstance(message, Exception):
            raise message
        return message

    def count_reasoning_tokens(self, token_ids: Any) -> int:
        return 2


def parsed(parser: Any, *, parallel: bool = True) -> AnswerReader:
    request = translation.chat_request(JOB)
    request.parallel_tool_calls = parallel
    return AnswerReader(ParsedBy(parser, request), keep_raw=True)


def call(index: int, id: str | None = None, name: str | None = None, arguments: str = "") -> Any:
    function = DeltaFunctionCall(name=name, arguments=arguments)
    return DeltaToolCall(index=index, id=id, type="function", function=function)


def read_all(reader: AnswerReader, outputs: list[RequestOutput]) -> list[Delta]:
    return [delta for each in outputs if (delta := reader.read(each)) is not None]


def test_text_passes_and_the_last_delta_has_the_outcome():
    deltas = read_all(AnswerReader(None), [output("a"), output("b", tokens=2, reason="length")])
    assert [delta.text for delta in deltas] == ["a", "b"]
    assert [delta.tokens for delta in deltas] == [1, 2]
    assert deltas[0].usage is None
    assert deltas[1].finish_reason == "length"
    assert deltas[1].usage is not None
    assert deltas[1].usage.completion_tokens == 3


def test_tokens_without_text_are_told_with_the_next_piece():
    deltas = read_all(AnswerReader(None), [output(""), output(""), output("a")])
    assert [(delta.text, delta.tokens) for delta in deltas] == [("a", 3)]


@pytest.mark.parametrize("reason", ["abort", "error", "repetition", None])
def test_an_engine_that_gave_up_is_an_error(reason: str | None):
    with pytest.raises(EngineError):
        AnswerReader(None).read(output("a", reason=reason, finished=True))


def test_usage_comes_from_the_engines_clocks():
    clocks = {"queued_ts": 1.0, "scheduled_ts": 1.5, "first_token_ts": 3.5, "last_token_ts": 7.5}
    delta = AnswerReader(None).read(output("a", tokens=6, reason="stop", clocks=clocks))
    assert delta is not None
    assert (usage := delta.usage) is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (3, 6, 2)
    assert (usage.queue_seconds, usage.prompt_seconds, usage.completion_seconds) == (0.5, 2.0, 4.0)


def test_pieces_of_a_call_come_out_whole_when_the_next_one_begins():
    parser = ScriptedParser(
        DeltaMessage(reasoning="hm"),
        DeltaMessage(tool_calls=[call(0, "id-0", "f")]),
        DeltaMessage(tool_calls=[call(0, arguments='{"a"')]),
        DeltaMessage(tool_calls=[call(0, arguments=": 1}"), call(1, "id-1", "g", "{}")]),
        None,
    )
    outputs = [output("x") for _ in range(4)] + [output("x", reason="stop")]
    deltas = read_all(parsed(parser), outputs)
    assert [delta.reasoning for delta in deltas] == ["hm", "", ""]
    assert [list(delta.tool_calls) for delta in deltas] == [
        [],
        [ToolCall("id-0", "f", '{"a": 1}')],
        [ToolCall("id-1", "g", "{}")],
    ]
    last = deltas[-1]
    assert (last.finish_reason, last.raw) == ("tool_calls", "xxxxx")
    assert last.usage is not None
    assert last.usage.reasoning_tokens == 2


@given(st.lists(st.tuples(st.text(max_size=3), st.lists(st.text(max_size=3))), max_size=4))
def test_calls_are_what_their_pieces_say_however_they_are_cut(calls: Any):
    pieces = [
        call(index, f"id-{index}" if first else None, name if first else None, arguments)
        for index, (name, cuts) in enumerate(calls)
        for first, arguments in [(True, ""), *((False, cut) for cut in cuts)]
    ]
    parser = ScriptedParser(*(DeltaMessage(tool_calls=[piece]) for piece in pieces), None)
    outputs = [output("x") for _ in pieces] + [output("x", reason="stop")]
    told = [call for delta in read_all(parsed(parser), outputs) for call in delta.tool_calls]
    wanted = [(name, "".join(cuts) or "{}") for name, cuts in calls]
    assert [(call.name, call.arguments) for call in told] == wanted


def test_one_call_is_enough_where_calls_must_not_be_parallel():
    both = DeltaMessage(tool_calls=[call(0, "a", "f", "{}"), call(1, "b", "g", "{}")])
    reader = parsed(ScriptedParser(both), parallel=False)
    delta = reader.read(output("x", reason="stop"))
    assert delta is not None
    assert [call.name for call in delta.tool_calls] == ["f"]


def test_a_parser_that_fails_is_an_error_of_the_engine():
    reader = parsed(ScriptedParser(None, IndexError("a secret of the parser")))
    assert reader.read(output("x")) is None
    with pytest.raises(AnswerUnreadable) as caught:
        reader.read(output("y"))
    assert (caught.value.raw, "secret" in str(caught.value)) == ("xy", False)


@pytest.mark.parametrize(("asked", "best"), [(0, []), (1, ["b"]), (2, ["b", "c"])])
def test_the_chosen_token_is_told_beside_the_likeliest(asked: int, best: list[str]):
    step = {
        0: Logprob(-3.0, rank=7, decoded_token="a"),
        1: Logprob(-0.5, rank=1, decoded_token="b"),
        2: Logprob(-1.5, rank=2, decoded_token="c"),
    }
    delta = AnswerReader(None, logprobs=asked).read(output("a", logprobs=[step]))
    assert delta is not None
    (told,) = delta.logprobs
    assert (told.chosen.text, told.chosen.logprob) == ("a", -3.0)
    assert [candidate.text for candidate in told.top] == best


def test_an_impossible_token_has_a_number_that_json_can_hold():
    step = {0: Logprob(float("-inf"), rank=9, decoded_token="a")}
    delta = AnswerReader(None, logprobs=0).read(output("a", logprobs=[step]))
    assert delta is not None
    assert delta.logprobs[0].chosen.logprob == -9999.0


def test_what_an_engine_tells_wrong_is_its_own_error_and_not_the_callers():
    step = {7: Logprob(-1.0, rank=1, decoded_token="b")}  # the chosen token is missing
    with pytest.raises(EngineError, match="could not be read"):
        AnswerReader(None, logprobs=0).read(output("a", logprobs=[step]))
