"""Inputs of models that pool, as vLLM runs them; tokenizes and starts nothing.

Each engine has a tokenizer of its own, always called in the same way: how it truncates and whether
it reads control tokens are states of a tokenizer, which concurrent calls would change for another.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from vllm.entrypoints.pooling.scoring.io_processor import CrossEncoderIOProcessor
from vllm.entrypoints.pooling.scoring.utils import compress_token_type_ids
from vllm.inputs.engine import TokensInput, tokens_input
from vllm.pooling_params import PoolingParams
from vllm.renderers.chat_utils import ChatTemplateConfig
from vllm.v1.engine.async_llm import AsyncLLM

from app.engine.base import PromptRefused
from app.engine.control_tokens import ControlTokens
from app.engine.pooling import EmbeddingJob, InputRefused, PoolingJob, RerankingJob
from app.engine.vllm_translation import MOST_CHARACTERS_PER_TOKEN, render_errors
from app.tasks import Task

EMPTY_QUERY = "The query is empty."
NO_INSTRUCTION = "This model takes no instruction."
UNREADABLE_QUERY = "The query or the instruction cannot be given to this model."
PAIR_REFUSED = "This query and these documents cannot be given to this model."

CHARACTERS_AT_ONCE = 1 << 17
"""Tokenizing more takes longer than other requests should wait: tens of milliseconds."""

OneInput = str | Sequence[int]

PROBES: Mapping[Task, PoolingJob] = {
    "embedding": EmbeddingJob(("Hello",), "probe"),
    "reranking": RerankingJob("Hello", ("Hello",), "probe"),
}
"""One short input for each task."""


@dataclass(frozen=True, slots=True)
class VllmPoolingPrompt:
    """One input, tokenized."""

    tokens: int
    input: TokensInput
    parameters: PoolingParams


class PoolingPrompts(Protocol):
    """Turns the jobs of one task into prompts."""

    def prepare(self, job: PoolingJob) -> Iterator[Sequence[VllmPoolingPrompt]]:
        """Tokenize a job bit by bit, in its order; each step blocks, for a thread.

        **Raises:** InputRefused, PromptRefused.
        """
        ...


class EmbeddingPrompts:
    """Texts as they stand: control tokens in them are control tokens, as in their training."""

    def __init__(self, llm: AsyncLLM, context_window: int) -> None:
        self._tokenizer = copy.deepcopy(llm.renderer.get_tokenizer())
        self._lowers = llm.renderer.default_cmpl_tok_params.do_lower_case
        self._vocabulary = llm.model_config.get_vocab_size()
        self._window = context_window

    def prepare(self, job: PoolingJob) -> Iterator[Sequence[VllmPoolingPrompt]]:
        """Tokenize many texts in one call. **Raises:** InputRefused."""
        assert isinstance(job, EmbeddingJob), "an embedding engine is asked for embeddings"
        for index, each in enumerate(job.inputs):
            self._check(index, each)
        for first, inputs in _batches(job.inputs):
            yield [
                VllmPoolingPrompt(
                    _checked_length(index, tokens, self._window),
                    tokens_input(tokens, cache_salt=job.cache_salt),
                    PoolingParams(task="embed"),
                )
                for index, tokens in enumerate(self._tokens(inputs), first)
            ]

    def _check(self, index: int, each: OneInput) -> None:
        if not each:
            raise InputRefused(index, "empty")
        if isinstance(each, str):
            _check_text(index, each, len(each), self._window)
        elif min(each) < 0 or max(each) >= self._vocabulary:
            raise InputRefused(index, "unknown_token")

    def _tokens(self, inputs: Sequence[OneInput]) -> Iterator[list[int]]:
        encoded = self._encoded([each for each in inputs if isinstance(each, str)])
        for each in inputs:
            yield next(encoded) if isinstance(each, str) else list(each)

    def _encoded(self, texts: list[str]) -> Iterator[list[int]]:
        if not texts:
            return iter(())
        if self._lowers:
            texts = [text.lower() for text in texts]
        options = {"return_attention_mask": False, "return_token_type_ids": False}
        encoded = self._tokenizer(texts, truncation=False, verbose=False, **options)
        return iter(cast(list[list[int]], encoded["input_ids"]))


class RerankingPrompts:
    """A query and a document each, in the form that vLLM or the entry's template gives a pair.

    Control tokens that callers write stay text.
    """

    def __init__(
        self, llm: AsyncLLM, context_window: int, *, template: str | None, instruction: str
    ) -> None:
        tokenizer = copy.deepcopy(llm.renderer.get_tokenizer())
        self._processor = CrossEncoderIOProcessor(
            vllm_config=llm.vllm_config,
            renderer=llm.renderer,
            chat_template_config=ChatTemplateConfig(chat_template=template),
        )
        self._processor.tokenizer = tokenizer
        self._template = template
        self._instruction = instruction
        self._control_tokens = None if template is None else ControlTokens(tokenizer)
        self._window = context_window

    def prepare(self, job: PoolingJob) -> Iterator[Sequence[VllmPoolingPrompt]]:
        """Tokenize a prompt for each document. **Raises:** InputRefused, PromptRefused."""
        assert isinstance(job, RerankingJob), "a reranking engine is asked to rerank"
        instruction = self._checked_instruction(job)
        for index, doc in enumerate(job.docs):
            if not doc:
                raise InputRefused(index, "empty")
            characters = len(job.query) + len(instruction) + len(doc)
            _check_text(index, doc, characters, self._window)
        for index, doc in enumerate(job.docs):
            tokens, parameters = self._pair(job.query, doc, instruction)
            length = _checked_length(index, tokens, self._window)
            given = tokens_input(tokens, cache_salt=job.cache_salt)
            yield [VllmPoolingPrompt(length, given, parameters)]

    def _checked_instruction(self, job: RerankingJob) -> str:
        if not job.query:
            raise PromptRefused(EMPTY_QUERY, param="query")
        if self._template is None and job.instruction is not None:
            raise PromptRefused(NO_INSTRUCTION, param="instruction")
        instruction = self._instruction if job.instruction is None else job.instruction
        if not _is_text(job.query) or not _is_text(instruction):
            raise PromptRefused(UNREADABLE_QUERY, param="query")
        return "" if self._template is None else instruction

    def _pair(self, query: str, doc: str, instruction: str) -> tuple[list[int], PoolingParams]:
        with render_errors(PAIR_REFUSED):
            if self._control_tokens is None:
                return self._plain_pair(query, doc)
            return self._told_pair(self._control_tokens, [query, doc, instruction]), _scored()

    def _plain_pair(self, query: str, doc: str) -> tuple[list[int], PoolingParams]:
        encoding = {"truncation": False, "split_special_tokens": True, "verbose": False}
        _, prompt = self._processor.get_score_prompt(query, doc, encoding)
        types = prompt.get("token_type_ids")
        extra = (
            {} if types is None else {"compressed_token_type_ids": compress_token_type_ids(types)}
        )
        return prompt["prompt_token_ids"], _scored(extra)

    def _told_pair(self, control_tokens: ControlTokens, texts: list[str]) -> list[int]:
        hidden = control_tokens.hide(texts)
        query, doc, instruction = texts if hidden is None else hidden.value
        # The template writes every control token itself.
        encoding = {"truncation": False, "add_special_tokens": False, "verbose": False}
        told = {"instruction": instruction}
        rendered, prompt = self._processor.get_score_prompt(
            query, doc, encoding, self._template, chat_template_kwargs=told
        )
        if hidden is not None:
            return control_tokens.tokens(rendered, hidden)
        return cast(list[int], prompt["prompt_token_ids"])


def _batches(inputs: Sequence[OneInput]) -> Iterator[tuple[int, Sequence[OneInput]]]:
    """Yield inputs that are tokenized together, and the place of the first among all."""
    first = characters = 0
    for end, each in enumerate(inputs, 1):
        characters += len(each)
        if characters >= CHARACTERS_AT_ONCE or end == len(inputs):
            yield first, inputs[first:end]
            first, characters = end, 0


def _scored(extra: dict[str, Any] | None = None) -> PoolingParams:
    # Some cross-encoders are set up to give bare logits; so all do, and the service squashes them.
    return PoolingParams(task="classify", use_activation=False, extra_kwargs=extra or None)


def _check_text(index: int, text: str, characters: int, window: int) -> None:
    """Refuse what no tokenizer would fit, or could read, before one tries."""
    if characters > window * MOST_CHARACTERS_PER_TOKEN:
        raise InputRefused(index, "too_long")
    if not _is_text(text):
        raise InputRefused(index, "unreadable")


def _checked_length(index: int, tokens: Sequence[int], window: int) -> int:
    if not tokens:
        raise InputRefused(index, "empty", 0)
    if len(tokens) > window:
        raise InputRefused(index, "too_long", len(tokens))
    return len(tokens)


def _is_text(text: str) -> bool:
    """Tell half of a surrogate pair, which JSON can spell, from characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
