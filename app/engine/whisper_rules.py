"""Whisper's rules for stamps of time, as a logits processor that runs inside vLLM's engine process.

vLLM knows none of them: stamps come in pairs, never go back, the first is early, and where they are
together likelier than any word, one is taken. An answer begins with what it is told to begin with
(language and task), so that the model's first distribution, which says whether anybody speaks, is
seen without a second run. Requests without `ARGUMENT` are left alone. vLLM has two model runners
that call a processor in two ways; this one answers to both.

**Source:** whisper.decoding.ApplyTimestampRules, SuppressTokens.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, process_dict_updates
from vllm.v1.sample.logits_processor import LogitsProcessor as HostProcessor
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as DeviceProcessor

ARGUMENT = "whisper_rules"
"""Key of a request's rules in `SamplingParams.extra_args`."""

PROCESSOR = "app.engine.whisper_rules:WhisperRules"
"""What vLLM's engine argument `logits_processors` takes."""

NONE = -1


@dataclass(frozen=True, slots=True)
class Rules:
    """What one request is held to; ids of tokens. `opening` is how its answer begins.

    Requests of one engine differ in the tokens of their openings only, not in the number of these.
    """

    opening: Sequence[int]
    end: int
    first_stamp: int
    last_first_stamp: int
    suppressed: Sequence[int]

    def as_arguments(self) -> dict[str, Any]:
        """Return the `extra_args` of a request."""
        return {ARGUMENT: asdict(self)}


@dataclass(frozen=True, slots=True)
class Said:
    """What stands after the opening: (rows, 1) int64 each, NONE where there is no such token.

    `count` of tokens is negative within the opening. `stamp` is the latest.
    """

    count: torch.Tensor
    last: torch.Tensor
    before: torch.Tensor
    stamp: torch.Tensor


def said(tokens: torch.Tensor, begin: torch.Tensor, end: torch.Tensor, first_stamp: int) -> Said:
    """Read (rows, most) int64 `tokens`, of which those from `begin` up to `end` count."""
    begin, end = begin[:, None], end[:, None]
    places = torch.arange(tokens.shape[1], device=tokens.device)
    is_said = (places >= begin) & (places < end)
    counted = torch.where(is_said, tokens, NONE)
    stamps = torch.where(counted >= first_stamp, counted, NONE)
    return Said(
        count=end - begin,
        last=counted.gather(1, (end - 1).clamp(min=0)),
        before=counted.gather(1, (end - 2).clamp(min=0)),
        stamp=stamps.amax(dim=1, keepdim=True),
    )


def restrict(logits: torch.Tensor, said: Said, rules: Rules) -> None:
    """Forbid what the rules forbid, in place. `logits` is (rows, vocabulary) float32."""
    words, stamps = logits[:, : rules.first_stamp], logits[:, rules.first_stamp :]
    begins = said.count == 0
    after_stamp = said.last >= rules.first_stamp
    is_pair = (said.count < 2) | (said.before >= rules.first_stamp)
    is_open = after_stamp & ~is_pair
    earliest = torch.where(is_open, said.stamp, said.stamp + 1)
    ids = torch.arange(rules.first_stamp, logits.shape[1], device=logits.device)
    stamps.masked_fill_(after_stamp & is_pair, -torch.inf)
    stamps.masked_fill_(ids < earliest, -torch.inf)
    stamps.masked_fill_(begins & (ids > rules.last_first_stamp), -torch.inf)
    words[:, rules.end + 1 :] = -torch.inf
    words[:, list(rules.suppressed)] = -torch.inf
    words[:, : rules.end].masked_fill_(is_open, -torch.inf)
    words.masked_fill_(begins, -torch.inf)
    likelier = stamps.logsumexp(dim=1, keepdim=True) > words.amax(dim=1, keepdim=True)
    words.masked_fill_(likelier, -torch.inf)


def open_with(logits: torch.Tensor, said: Said, opening: torch.Tensor) -> None:
    """Leave one token to each row that is within its opening, (rows, tokens) int64; in place."""
    length = opening.shape[1]
    if length:
        token = opening.gather(1, (said.count + length).clamp(0, length - 1))
        ids = torch.arange(logits.shape[1], device=logits.device)
        is_open = said.count < 0
        logits.masked_fill_(is_open, -torch.inf)
        logits.masked_fill_(is_open & (ids == token), 0.0)


class WhisperRules(HostProcessor, DeviceProcessor):  # type: ignore[misc]
    """Holds requests to their rules, under either model runner.

    The older runner keeps an answer's tokens in lists and tells who moved where; the newer has
    numbered slots and keeps the tokens on the device.
    """

    def __init__(self, vllm_config: Any, where: Any, is_pin_memory: bool = False) -> None:
        self._slots: Any = None if isinstance(where, torch.device) else where
        self._rules: dict[int, Rules] = {}
        self._answers: dict[int, tuple[Rules, list[int]]] = {}

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Accept all: requests are made by the service alone."""

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        process_dict_updates(self._answers, batch_update, _answer)

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        rules = _rules(sampling_params)
        if rules is None:
            self._rules.pop(req_idx, None)
            return False
        self._rules[req_idx] = rules
        return True

    def apply(self, logits: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        if self._slots is None:
            self._apply_on_host(logits)
        else:
            self._apply_on_device(logits, ctx)
        return logits

    def _apply_on_host(self, logits: torch.Tensor) -> None:
        rows = sorted(self._answers)
        if not rows:
            return
        rules, answers = zip(*(self._answers[row] for row in rows), strict=True)
        ends = torch.tensor([len(answer) for answer in answers])
        lists = [torch.tensor(answer or [NONE]) for answer in answers]
        tokens = torch.nn.utils.rnn.pad_sequence(lists, batch_first=True)
        _hold(logits, rows, rules, (tokens, torch.zeros_like(ends), ends))

    def _apply_on_device(self, logits: torch.Tensor, context: Any) -> None:
        slots = context.idx_mapping_np.tolist()
        rows = [row for row, slot in enumerate(slots) if slot in self._rules]
        if not rows:
            return
        index = torch.tensor(rows, device=logits.device)
        kept = context.expanded_idx_mapping[index].long()
        tokens = self._slots.all_token_ids.gpu[kept].long()
        begins = self._slots.prompt_len.gpu[kept].long()
        rules = [self._rules[slots[row]] for row in rows]
        _hold(logits, rows, rules, (tokens, begins, context.pos[index].long() + 1))


def _hold(
    logits: torch.Tensor,
    rows: Sequence[int],
    rules: Sequence[Rules],
    answers: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """Apply the rules to these rows. `answers` are tokens, where they begin, and where they end."""
    device = logits.device
    tokens, begins, ends = (part.to(device) for part in answers)
    index = torch.tensor(rows, device=device)
    opening = torch.tensor([list(rule.opening) for rule in rules], device=device)
    answer = said(tokens, begins + opening.shape[1], ends, rules[0].first_stamp)
    held = logits[index]
    restrict(held, answer, rules[0])
    open_with(held, answer, opening)
    logits[index] = held


def _rules(parameters: SamplingParams) -> Rules | None:
    arguments = (parameters.extra_args or {}).get(ARGUMENT)
    return None if arguments is None else Rules(**arguments)


def _answer(
    parameters: SamplingParams, prompt: list[int] | None, answer: list[int]
) -> tuple[Rules, list[int]] | None:
    rules = _rules(parameters)
    return None if rules is None else (rules, answer)
