"""all-MiniLM on a real engine: its vectors against sentence-transformers' and PEFT's."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from adapters_registry.host import AdapterHost
from adapters_registry.types import AdapterVersion, Digest, LoadedAdapter
from app.catalog import LoraSpec, ModelSpec
from app.engine.base import EngineError
from app.engine.pooling import EmbeddingJob, InputFault, InputRefused
from app.engine.vllm_pooling import VllmPoolingEngine
from tests.fixtures.pooling_engines import EXACT, new_run, pooling_engine, vectors
from tests.fixtures.random_adapter import write_random_adapter

pytestmark = pytest.mark.engine

WINDOW = 256
"""all-MiniLM's own, from its sentence_bert_config.json; its encoder could take 512."""
DIMENSIONS = 384
TOLERANCE = 1e-5

TEXTS = (
    *("hello", "Hello, World!", "a", "?", "   ", "\n\t", "[SEP] and [CLS] as text", "😀 👩‍👩‍👧 🇧🇷"),
    *(
        "Ünïcödé ist schön",
        "ﬁne ligatures ﬀ",
        "e\u0301 and é",
        "漢字とひらがな",
        "Привет, мир",
        "مرحبا",
    ),
    *("zero\u200bwidth", "nul\x00byte", "tab\tand\r\nline ends", "don't — “quotes” …", "x" * 150),
    *("https://example.org/a?b=c&d=%20", "SELECT * FROM t WHERE a = 'b';", '{"json": [1, 2.5e-3]}'),
    *(f"The {n}th sentence is about the number {n * n}." for n in range(6)),
    *("word " * n for n in (10, 50, 100, 200, 254)),
    *("long sentences have many different words in them, " * n for n in (2, 5, 10, 20)),
    *("été " * 60, "数学" * 40, "end"),
)

Adapters = Callable[[int], LoadedAdapter]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(minilm: Path) -> AsyncIterator[VllmPoolingEngine]:
    lora = LoraSpec(ranks=(8,), max_loras=2, max_cpu_loras=4, max_lora_rank=8)
    spec = ModelSpec(id="minilm", task="embedding", source=str(minilm), lora=lora, vllm=EXACT)
    async with pooling_engine(spec) as running:
        yield running


@pytest.fixture(scope="module")
def reference(minilm: Path) -> SentenceTransformer:
    return SentenceTransformer(str(minilm), device="cpu")


@pytest.fixture(scope="module")
def adapters(engine: VllmPoolingEngine, tmp_path_factory: pytest.TempPathFactory) -> Adapters:
    directory, ids = tmp_path_factory.mktemp("minilm-adapters"), itertools.count(1)

    def written(seed: int) -> LoadedAdapter:
        path = write_random_adapter(directory / str(seed), _host(engine).shapes, seed)
        return LoadedAdapter(AdapterVersion(Digest(f"{seed:064x}"), "minilm"), next(ids), path)

    return written


def _expected(model: SentenceTransformer, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.asarray(model.encode(list(texts), show_progress_bar=False))


async def test_vectors_are_those_of_sentence_transformers(
    engine: VllmPoolingEngine, reference: SentenceTransformer
):
    got = await vectors(engine, TEXTS)
    assert got.shape == (40, DIMENSIONS)
    assert np.abs(got - _expected(reference, TEXTS)).max() < TOLERANCE
    assert np.abs(np.linalg.norm(got, axis=1) - 1).max() < TOLERANCE


async def test_token_ids_give_the_vector_of_their_text(engine: VllmPoolingEngine, minilm: Path):
    ids = AutoTokenizer.from_pretrained(minilm)(list(TEXTS[:9]))["input_ids"]
    mixed = [
        text if number % 2 else tokens
        for number, (text, tokens) in enumerate(zip(TEXTS[:9], ids, strict=True))
    ]
    assert np.array_equal(await vectors(engine, mixed), await vectors(engine, TEXTS[:9]))


async def test_tokens_are_counted_with_the_special_ones(engine: VllmPoolingEngine):
    prompts = await engine.prepare(EmbeddingJob(("hello", "hello world", [101, 102]), "salt"))
    assert [prompt.tokens for prompt in prompts] == [3, 4, 2]


async def test_long_jobs_are_tokenized_by_turns(engine: VllmPoolingEngine):
    long = EmbeddingJob(["many words " * 100] * 2048, "salt")
    others = [asyncio.create_task(engine.prepare(long)) for _ in range(16)]
    await asyncio.sleep(0)
    await engine.prepare(EmbeddingJob(("hello",), "salt"))
    assert not any(other.done() for other in others)
    for other in others:
        other.cancel()
    await asyncio.wait(others)


async def test_of_a_long_job_every_input_keeps_its_place(engine: VllmPoolingEngine):
    texts = ["many words " * (number % 100 + 1) for number in range(1000)]
    prompts = await engine.prepare(EmbeddingJob(texts, "salt"))
    assert [prompt.tokens for prompt in prompts] == [2 * (n % 100 + 1) + 2 for n in range(1000)]
    texts[987] = "many words " * 200
    with pytest.raises(InputRefused) as caught:
        await engine.prepare(EmbeddingJob(texts, "salt"))
    assert (caught.value.index, caught.value.tokens) == (987, 402)


async def test_many_requests_at_once_get_their_own_vectors(engine: VllmPoolingEngine):
    alone = np.concatenate([await vectors(engine, [text]) for text in TEXTS])
    jobs = [TEXTS[start::5] for start in range(5)]
    together = await asyncio.gather(*(vectors(engine, job) for job in jobs))
    for start, got in enumerate(together):
        assert np.abs(got - alone[start::5]).max() < TOLERANCE


@pytest.mark.parametrize(
    ("bad", "fault", "tokens"),
    [
        ("", "empty", None),
        ([], "empty", None),
        ("word " * WINDOW, "too_long", WINDOW + 2),
        ([7] * (WINDOW + 1), "too_long", WINDOW + 1),
        (" " * WINDOW * 17, "too_long", None),
        ([101, 30522, 102], "unknown_token", None),
        ([-1], "unknown_token", None),
        ("half a pair \ud83d", "unreadable", None),
    ],
)
async def test_an_input_that_cannot_be_taken_is_named(
    engine: VllmPoolingEngine, bad: str | list[int], fault: InputFault, tokens: int | None
):
    with pytest.raises(InputRefused) as refusal:
        await engine.prepare(EmbeddingJob(("fine", [101, 102], bad, "fine"), "salt"))
    assert (refusal.value.index, refusal.value.fault, refusal.value.tokens) == (2, fault, tokens)


async def test_the_longest_input_just_fits(engine: VllmPoolingEngine):
    (vector,) = await vectors(engine, ["word " * (WINDOW - 2)])
    assert np.isfinite(vector).all()


async def test_the_card_tells_the_models_own_window_and_no_bound_of_a_cache(
    engine: VllmPoolingEngine,
):
    assert engine.card.task == "embedding"
    assert engine.card.context_window == WINDOW
    assert engine.card.cache_tokens == engine.card.max_running * WINDOW


async def test_an_engine_at_work_is_alive(engine: VllmPoolingEngine):
    await engine.check()


async def test_cancelled_requests_are_aborted_and_harm_no_other(engine: VllmPoolingEngine):
    expected = await vectors(engine, TEXTS)
    prompts = await engine.prepare(EmbeddingJob(["doomed " * 200] * 64, "salt"))
    doomed = [asyncio.create_task(engine.pool(prompt, new_run())) for prompt in prompts]
    kept = asyncio.create_task(vectors(engine, TEXTS))
    await asyncio.wait(doomed, return_when=asyncio.FIRST_COMPLETED)
    for task in doomed:
        task.cancel()
    outcomes = await asyncio.gather(*doomed, return_exceptions=True)
    assert any(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert np.abs(await kept - expected).max() < TOLERANCE
    assert engine._llm.get_num_unfinished_requests() == 0


async def test_an_adapter_gives_pefts_vectors(
    engine: VllmPoolingEngine, minilm: Path, adapters: Adapters
):
    adapter = adapters(1)
    await _host(engine).load(adapter)
    got = await vectors(engine, TEXTS, adapter)
    changed = SentenceTransformer(str(minilm), device="cpu")
    inner = changed[0].auto_model
    changed[0].auto_model = PeftModel.from_pretrained(inner, adapter.path).base_model.model
    expected = _expected(changed, TEXTS)
    assert np.abs(got - expected).max() < TOLERANCE
    base = await vectors(engine, TEXTS)
    assert np.sum(got * base, axis=1).mean() < 0.9, "an adapter that changes nothing shows nothing"


async def test_base_vectors_stay_exact_beside_adapters(
    engine: VllmPoolingEngine, adapters: Adapters
):
    first, second = adapters(1), adapters(2)
    for adapter in (first, second):
        await _host(engine).load(adapter)
    alone = [await vectors(engine, TEXTS, each) for each in (None, first, second)]
    for _ in range(3):
        mixed = await asyncio.gather(
            *(vectors(engine, TEXTS, each) for each in (None, first, second))
        )
        assert np.abs(mixed[0] - alone[0]).max() < 1e-6
        for got, expected in zip(mixed[1:], alone[1:], strict=True):
            assert np.abs(got - expected).max() < TOLERANCE


async def test_the_probe_refuses_numbers_that_are_not_finite(
    engine: VllmPoolingEngine, adapters: Adapters
):
    expected = await vectors(engine, TEXTS[:4])
    sound, broken = adapters(1), adapters(3)
    _spoil(broken.path / "adapter_model.safetensors")
    for adapter in (sound, broken):
        await _host(engine).load(adapter)
    await engine.probe(new_run(sound))
    with pytest.raises(EngineError, match="not finite"):
        await engine.probe(new_run(broken))
    beside, after = await asyncio.gather(
        asyncio.gather(engine.probe(new_run(broken)), return_exceptions=True),
        vectors(engine, TEXTS[:4]),
    )
    assert isinstance(beside[0], EngineError)
    assert np.abs(after - expected).max() < TOLERANCE
    await _host(engine).unload(broken)


async def test_the_host_names_the_encoders_layers(engine: VllmPoolingEngine):
    shapes = _host(engine).shapes
    assert shapes["encoder.layer.5.output.dense"] == (1536, DIMENSIONS)
    assert len(shapes) == 36


def _host(engine: VllmPoolingEngine) -> AdapterHost:
    assert engine.adapters is not None
    return engine.adapters


def _spoil(weights: Path) -> None:
    tensors = load_file(weights)
    save_file(
        {name: torch.full_like(tensor, torch.nan) for name, tensor in tensors.items()}, weights
    )
