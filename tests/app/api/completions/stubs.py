"""The completions service on scripted inference, and what its engine may say."""

import json
from collections.abc import Sequence
from typing import Any

from app.api.completions.service import CompletionsService
from app.engine.base import Candidate, Delta, TokenLogprob
from tests.app.inference.stubs import BASE, USAGE, InferenceRig


class Rig(InferenceRig):
    """A completions service with everything round it scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.service = CompletionsService(self.inference)


def completion_body(**fields: Any) -> dict[str, Any]:
    """Make a valid body, with some fields set or replaced."""
    return {"model": BASE, "prompt": "Once", **fields}


def token(text: str, logprob: float = -0.5, *others: tuple[str, float]) -> TokenLogprob:
    """Make a chosen token, and those that are likelier or less likely than it."""
    top = [Candidate(text, logprob), *(Candidate(*other) for other in others)]
    return TokenLogprob(top[0], sorted(top, key=lambda each: -each.logprob))


def told(*pieces: tuple[str, Sequence[TokenLogprob]], reason: Any = "stop") -> list[Delta]:
    """Make the deltas of an answer that tells its tokens; the last one has the outcome."""
    *middle, (text, tokens) = pieces
    deltas = [Delta(text, logprobs=tokens, tokens=len(tokens)) for text, tokens in middle]
    return [*deltas, Delta(text, logprobs=tokens, finish_reason=reason, usage=USAGE, tokens=1)]


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    """Read the chunks of a stream that has ended with `[DONE]`."""
    *frames, done, rest = stream.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]


def accumulated(chunks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the choices of a stream's chunks together, as a client would."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            empty = {"text": "", "index": choice["index"], "logprobs": None, "finish_reason": None}
            whole = choices.setdefault(choice["index"], empty)
            assert whole["finish_reason"] is None, "nothing comes after a choice has ended"
            whole["text"] += choice["text"]
            whole["finish_reason"] = choice["finish_reason"]
            for field, values in (choice["logprobs"] or {}).items():
                whole["logprobs"] = whole["logprobs"] or {}
                whole["logprobs"][field] = whole["logprobs"].get(field, []) + values
    return [choices[index] for index in sorted(choices)]
