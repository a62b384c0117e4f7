"""What stands round a pooling model's engine: what makes its prompts, and its card.

Refuses models whose numbers would not be what their task says.
"""

from dataclasses import dataclass, replace

from vllm.v1.engine.async_llm import AsyncLLM

from app.catalog import ModelSpec
from app.engine.base import EngineStartError, ModelCard
from app.engine.pooling_prompts import PROBES, EmbeddingPrompts, PoolingPrompts, RerankingPrompts
from app.engine.vllm_start import Running, card


@dataclass(frozen=True, slots=True)
class PoolingParts:
    """Tokenizes jobs, and tells what the model can do."""

    prompts: PoolingPrompts
    card: ModelCard


def check_template(spec: ModelSpec) -> None:
    """Refuse a language model that nothing asks, before an engine has been started for it.

    **Raises:** EngineStartError.
    """
    if spec.reranking.answers is not None and spec.reranking.template is None:
        raise EngineStartError(f"model {spec.id}: reranking.answers needs reranking.template")


def furnish(spec: ModelSpec, running: Running) -> PoolingParts:
    """Make the parts of a running pooling model. Blocks. Raises what the model's files raise."""
    llm = running.llm
    _check_kind(spec, llm)
    _check_answers(spec, llm)
    told = _card(spec, llm)
    prompts = _prompts(spec, llm, told.context_window)
    # Shows a template that fails, and settles the tokenizer's state before threads share it.
    list(prompts.prepare(PROBES[spec.task]))
    return PoolingParts(prompts, told)


def _prompts(spec: ModelSpec, llm: AsyncLLM, context_window: int) -> PoolingPrompts:
    if spec.task == "embedding":
        return EmbeddingPrompts(llm, context_window)
    template = spec.reranking.template
    return RerankingPrompts(
        llm,
        context_window,
        template=None if template is None else template.read_text(),
        instruction=spec.reranking.instruction,
    )


def _check_kind(spec: ModelSpec, llm: AsyncLLM) -> None:
    kind = llm.model_config.score_type
    if spec.task == "embedding" and kind != "bi-encoder":
        raise ValueError(f"it is no embedding model but a {kind}")
    if spec.task == "reranking" and kind != "cross-encoder":
        raise ValueError("it has no classifier; a language model needs reranking.answers")
    if spec.task == "reranking" and (labels := llm.model_config.hf_config.num_labels) != 1:
        raise ValueError(f"it tells {labels} classes apart, where a relevance score is one number")


def _check_answers(spec: ModelSpec, llm: AsyncLLM) -> None:
    """Refuse tokens that vLLM would take for the unknown one, and score nothing with."""
    vocabulary = llm.renderer.get_tokenizer().get_vocab()
    for answer in spec.reranking.answers or ():
        if answer not in vocabulary:
            raise ValueError(f"reranking.answers: {answer!r} is no token of its vocabulary")


def _card(spec: ModelSpec, llm: AsyncLLM) -> ModelCard:
    told = card(spec, llm)
    if llm.model_config.attn_type != "encoder_only":
        return told
    # An encoder keeps nothing between steps, so its engine never waits for room in a cache.
    return replace(told, cache_tokens=told.max_running * told.context_window)
