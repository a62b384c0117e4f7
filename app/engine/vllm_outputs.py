"""From vLLM's outputs to our deltas; vLLM's parsers take thoughts and tool calls out of the text.

Parsers read piece by piece, also where the caller wants the whole answer: on a whole one vLLM's
parsers decide otherwise, so that a stream would say something else. Tool calls are given out whole,
as Groq streams them: their pieces are kept until the next call begins or the answer ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm.entrypoints.generate.base.protocol import DeltaMessage, DeltaToolCall
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.parser import Parser
from vllm.renderers.chat_utils import make_tool_call_id

from app.engine.base import (
    AnswerUnreadable,
    Candidate,
    Delta,
    EngineError,
    FinishReason,
    TokenLogprob,
    ToolCall,
    Usage,
)

LEAST_LOGPROB = -9999.0
"""JSON has no infinity; vLLM's own server says it like this."""


@dataclass(slots=True)
class ParsedBy:
    """The parser of one request and the request as the parser wants it."""

    parser: Parser
    request: ChatCompletionRequest


class AnswerReader:
    """Reads the outputs of one request, in order."""

    def __init__(
        self, parsed: ParsedBy | None, *, keep_raw: bool = False, logprobs: int | None = None
    ) -> None:
        self._parsed = parsed
        self._logprobs = logprobs
        self._keep_raw = keep_raw
        self._raw: list[str] = []
        self._token_ids: list[int] = []
        self._completion_tokens = 0
        self._untold = 0
        self._calls = _CallPieces()
        self._has_calls = False

    def read(self, output: RequestOutput) -> Delta | None:
        """Return what is new in the answer; None where that is nothing yet.

        **Raises:** EngineError, when the engine gave the request up or its parser failed.
        """
        try:
            return self._read(output)
        except EngineError:
            raise
        except Exception as error:
            # What an engine tells is not checked; an error of ours must not pass for the caller's.
            raise EngineError("the engine's output could not be read") from error

    def _read(self, output: RequestOutput) -> Delta | None:
        (piece,) = output.outputs
        self._completion_tokens += len(piece.token_ids)
        self._untold += len(piece.token_ids)
        if self._keep_raw:
            self._raw.append(piece.text)
        text, reasoning, calls = self._parse(output, piece)
        self._has_calls = self._has_calls or bool(calls)
        logprobs = () if self._logprobs is None else _logprobs(piece, self._logprobs)
        if output.finished:
            reason = self._finish_reason(piece.finish_reason)
            usage = self._usage(output)
            raw = "".join(self._raw)
            return Delta(text, reasoning, calls, logprobs, reason, usage, raw, self._told())
        if text or reasoning or calls or logprobs:
            return Delta(text, reasoning, calls, logprobs, tokens=self._told())
        return None

    def _told(self) -> int:
        tokens, self._untold = self._untold, 0
        return tokens

    def _parse(
        self, output: RequestOutput, piece: CompletionOutput
    ) -> tuple[str, str, Sequence[ToolCall]]:
        if self._parsed is None:
            return piece.text, "", ()
        self._token_ids += piece.token_ids
        try:
            text, reasoning, calls = self._read_piece(self._parsed, output, piece)
        except Exception as error:
            # Parsers read whatever a model writes; any error may come out of one.
            raise self._unreadable() from error
        if self._parsed.request.parallel_tool_calls is False:
            calls = () if self._has_calls else calls[:1]
        return text, reasoning, calls

    def _read_piece(
        self, parsed: ParsedBy, output: RequestOutput, piece: CompletionOutput
    ) -> tuple[str, str, Sequence[ToolCall]]:
        message = (
            parsed.parser.parse_delta(
                piece.text,
                list(piece.token_ids),
                parsed.request,
                prompt_token_ids=output.prompt_token_ids,
                finished=output.finished,
            )
            or DeltaMessage()
        )
        calls = self._calls.add(message.tool_calls)
        if output.finished:
            calls += self._calls.end()
        return message.content or "", message.reasoning or "", calls

    def _unreadable(self) -> EngineError:
        """Blame the model where it was to keep to a form; its thoughts keep to none."""
        if self._keep_raw:
            return AnswerUnreadable("".join(self._raw))
        return EngineError("the model's answer could not be parsed")

    def _finish_reason(self, reason: str | None) -> FinishReason:
        if reason == "stop":
            return "tool_calls" if self._has_calls else "stop"
        if reason == "length":
            return "length"
        raise EngineError(f"the engine ended a request with {reason!r}")

    def _usage(self, output: RequestOutput) -> Usage:
        """Return what the request took.

        **Source:** vllm.v1.metrics.stats.RequestStateStats (0.32); its `*_ts` are monotonic
        seconds of the engine process.
        """
        stats = output.metrics
        parser = self._parsed.parser if self._parsed else None
        return Usage(
            prompt_tokens=len(output.prompt_token_ids or ()),
            completion_tokens=self._completion_tokens,
            cached_tokens=output.num_cached_tokens or 0,
            queue_seconds=max(0.0, stats.scheduled_ts - stats.queued_ts),
            prompt_seconds=max(0.0, stats.first_token_ts - stats.scheduled_ts),
            completion_seconds=max(0.0, stats.last_token_ts - stats.first_token_ts),
            reasoning_tokens=parser.count_reasoning_tokens(self._token_ids) if parser else 0,
        )


@dataclass(slots=True)
class _CallPieces:
    """Joins the pieces of tool calls; one call is open at a time."""

    _index: int | None = None
    _id: str | None = None
    _name: str = ""
    _arguments: list[str] = field(default_factory=list)

    def add(self, pieces: Sequence[DeltaToolCall]) -> list[ToolCall]:
        """Take pieces in, and return the calls that they show to be complete."""
        complete: list[ToolCall] = []
        for piece in pieces:
            if piece.index != self._index:
                complete += self.end()
                self._index = piece.index
            self._id = self._id or piece.id
            if piece.function is not None:
                self._name = self._name or piece.function.name or ""
                self._arguments.append(piece.function.arguments or "")
        return complete

    def end(self) -> list[ToolCall]:
        """Return the open call, if there is one."""
        if self._index is None:
            return []
        # A call without arguments may come without their text.
        arguments = "".join(self._arguments) or "{}"
        call = ToolCall(self._id or make_tool_call_id(), self._name, arguments)
        self._index, self._id, self._name, self._arguments = None, None, "", []
        return [call]


def _logprobs(piece: CompletionOutput, asked: int) -> Sequence[TokenLogprob]:
    """The chosen token is told in any case; it is among the best only if it is one of them."""
    return [
        TokenLogprob(
            _candidate(step[token]),
            [
                _candidate(other)
                for other in sorted(step.values(), key=lambda each: each.rank or 0)
                if (other.rank or 0) <= asked
            ],
        )
        for token, step in zip(piece.token_ids, piece.logprobs or (), strict=False)
    ]


def _candidate(logprob: Logprob) -> Candidate:
    return Candidate(logprob.decoded_token or "", max(logprob.logprob, LEAST_LOGPROB))
