"""vLLM answers with an adapter as PEFT does: same greedy tokens, in one batch with base requests.

float32 on both sides. Where the two best logits lie within TIE of each other, rounding may choose
either; the texts may part there, and only there, and only to the second-best token.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from adapters_registry.types import AdapterVersion, Digest, LoadedAdapter
from app.catalog import Catalog, LoraSpec, ModelSpec
from app.engine.base import ChatEngine, ChatJob, Run, Sampling
from app.engine.factory import start_engines
from deploy.quickstart.styles import PIRATE
from tests.fixtures.engines import generate as answered
from tests.fixtures.engines import import_vllm

pytestmark = pytest.mark.engine

MODEL_ID = "smollm2-float32"
NEW_TOKENS = 24
TIE = 1e-3
PROMPTS = (
    "What is the capital of France?",
    "What is the capital of Spain?",
    "What is a telescope?",
    "Why is exercise good for me?",
    "Who wrote Romeo and Juliet?",
    "How do I make a cup of tea?",
    "What do cows eat?",
    "Tell me about dogs.",
    "What is photosynthesis?",
    "Give me three tips for better sleep.",
    "Write a short poem about the moon.",
    "What is 7 times 6?",
    "Explain gravity to a child.",
    "What is the largest planet?",
    "How many months are in a year?",
    "Name a musical instrument.",
    "Why is the sky blue?",
    "What does a librarian do?",
    "How far away is the sun?",
    "Suggest a name for a cat.",
    "What is the opposite of hot?",
    "Describe the sea in one sentence.",
)


@dataclass(frozen=True)
class Reference:
    """One greedy answer of transformers; `best` holds each step's two best (logit, token)."""

    tokens: Sequence[int]
    best: Sequence[Sequence[tuple[float, int]]]


@dataclass(frozen=True)
class Answers:
    """By vLLM as text, and by transformers, in the order of PROMPTS."""

    engine: Sequence[str]
    reference: Sequence[Reference]


@pytest.fixture(scope="module")
def references(smollm2: Path, pirate_adapter: Path) -> dict[str, Sequence[Reference]]:
    with warnings.catch_warnings():
        # Deprecations inside transformers and PEFT are not this project's to fix.
        warnings.simplefilter("ignore")
        base = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
        plain = generate(base, smollm2)
        adapted = PeftModel.from_pretrained(base, str(pirate_adapter)).eval()
        return {"base": plain, "pirate": generate(adapted, smollm2)}


def generate(model: PreTrainedModel | PeftModel, directory: Path) -> Sequence[Reference]:
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    rendered = [
        tokenizer.apply_chat_template(
            conversation(text), add_generation_prompt=True, tokenize=False
        )
        for text in PROMPTS
    ]
    batch = tokenizer(rendered, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.inference_mode():
        made = model.generate(
            **batch,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    tokens = made.sequences[:, batch["input_ids"].shape[1] :]
    best = torch.stack(made.logits, dim=1).topk(2)
    return [
        Reference(
            row.tolist(),
            [list(zip(*step, strict=True)) for step in zip(values, indices, strict=True)],
        )
        for row, values, indices in zip(
            tokens, best.values.tolist(), best.indices.tolist(), strict=True
        )
    ]


def conversation(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(smollm2: Path) -> AsyncIterator[ChatEngine]:
    import_vllm()
    spec = ModelSpec(
        id=MODEL_ID,
        task="chat",
        source=str(smollm2),
        context_window=256,
        max_completion_tokens=NEW_TOKENS,
        lora=LoraSpec(ranks=(8,), max_loras=1, max_cpu_loras=1, max_lora_rank=8),
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "max_num_seqs": 2 * len(PROMPTS),
            "kv_cache_memory_bytes": 1 << 29,
        },
    )
    engines = await start_engines(Catalog(models=(spec,)))
    try:
        yield engines.running[MODEL_ID]
    finally:
        await engines.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def answers(
    engine: ChatEngine, pirate_adapter: Path, references: dict[str, Sequence[Reference]]
) -> dict[str, Answers]:
    """Ask every prompt of the base model and of the adapter, all at the same time."""
    version = AdapterVersion(Digest("0" * 64), MODEL_ID)
    adapter = LoadedAdapter(version, 1, pirate_adapter)
    assert engine.adapters is not None
    await engine.adapters.load(adapter)
    plain = [ask(engine, text, None) for text in PROMPTS]
    adapted = [ask(engine, text, adapter) for text in PROMPTS]
    texts = await asyncio.gather(*plain, *adapted)
    split = len(PROMPTS)
    return {
        "base": Answers(texts[:split], references["base"]),
        "pirate": Answers(texts[split:], references["pirate"]),
    }


async def ask(engine: ChatEngine, text: str, adapter: LoadedAdapter | None) -> str:
    sampling = Sampling(temperature=0.0, max_tokens=NEW_TOKENS)
    job = ChatJob(conversation(text), sampling, cache_salt="equality", stream=False)
    run = Run(f"{'pirate' if adapter else 'base'}: {text}", adapter)
    return "".join([delta.text async for delta in answered(engine, job, run)])


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(smollm2)


def difference(tokenizer: AutoTokenizer, text: str, expected: Reference) -> str | None:
    """Say where the engine's text leaves the reference other than at a tie; None if nowhere."""

    def decode(tokens: Sequence[int]) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=True))

    if text == decode(expected.tokens):
        return None
    for step in range(len(expected.tokens)):
        if not text.startswith(decode(expected.tokens[: step + 1])):
            break
    (high, _), (low, second) = expected.best[step]
    is_second = text.startswith(decode([*expected.tokens[:step], second]))
    if high - low <= TIE and is_second:
        return None
    return f"{text!r} is not {decode(expected.tokens)!r}: step {step}, {high - low:.5f} apart"


@pytest.mark.parametrize("model", ["pirate", "base"])
def test_greedy_answers_equal_those_of_peft_and_transformers(
    tokenizer: AutoTokenizer, answers: dict[str, Answers], model: str
) -> None:
    given = answers[model]
    pairs = zip(given.engine, given.reference, strict=True)

    assert [said for pair in pairs if (said := difference(tokenizer, *pair))] == []


def test_the_compared_answers_are_those_of_the_adapter(answers: dict[str, Answers]) -> None:
    assert sum(PIRATE.shows(text) for text in answers["pirate"].engine) >= len(PROMPTS) // 2
    assert not any(PIRATE.shows(text) for text in answers["base"].engine)
