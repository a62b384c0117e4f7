"""One real vLLM engine and a real SNAC: what is heard is what was generated, as it is generated."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import pytest_asyncio

from adapters_registry.types import AdapterVersion, Digest, LoadedAdapter
from app.catalog import Catalog, LoraSpec, ModelSpec, SpeechSpec
from app.engine.base import EngineStartError, PromptRefused, PromptTooLong, Run
from app.engine.factory import start_engines
from app.engine.metrics import EngineMetrics
from app.engine.orpheus import SAMPLING, OrpheusEngine
from app.engine.orpheus_tokens import PLACES, Piece
from app.engine.snac_decoder import SnacDecoder
from app.engine.speech import Sound, SpeechJob
from tests.fixtures.tiny_orpheus import (
    CONTEXT,
    FRAME_SAMPLES,
    MAX_TOKENS,
    MODEL_ID,
    SCRIPTS,
    SPOKEN,
    VOICES,
    custom,
    frame,
    write_adapter,
    write_model,
    write_snac,
)

pytestmark = pytest.mark.engine

EDGE_SAMPLES = 512
_ids = itertools.count(2_000_000)


def _spec(directory: Path) -> ModelSpec:
    return ModelSpec(
        id=MODEL_ID,
        task="speech",
        source=str(directory / "llama"),
        context_window=CONTEXT,
        max_completion_tokens=MAX_TOKENS,
        lora=LoraSpec(ranks=(8,), max_loras=2, max_cpu_loras=4, max_lora_rank=8),
        speech=SpeechSpec(
            backend="orpheus",
            voices=VOICES,
            aliases={"troy": "leo"},
            codec=str(directory / "snac"),
            max_characters=500,
        ),
        vllm={
            "dtype": "float32",
            "enforce_eager": True,
            "kv_cache_memory_bytes": 64 << 20,
            "max_num_seqs": 8,
        },
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("orpheus")
    write_model(directory / "llama")
    write_snac(directory / "snac")
    for script in SCRIPTS:
        write_adapter(directory / script, to=script)
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(directory: Path) -> AsyncIterator[OrpheusEngine]:
    engines = await start_engines(Catalog(models=(_spec(directory),)))
    try:
        yield cast(OrpheusEngine, engines.running[MODEL_ID])
    finally:
        await engines.close()


@pytest.fixture
def codec(directory: Path) -> SnacDecoder:
    return SnacDecoder.load(str(directory / "snac"))


def _adapter(directory: Path, script: str) -> LoadedAdapter:
    digest = Digest(f"{list(SCRIPTS).index(script):064x}")
    return LoadedAdapter(AdapterVersion(digest, MODEL_ID), next(_ids), directory / script)


async def _sounds(
    engine: OrpheusEngine, adapter: LoadedAdapter | None = None, text: str = "Hello there."
) -> AsyncGenerator[Sound, None]:
    prompt = await engine.prepare(SpeechJob(text, VOICES[0], "salt"))
    run = Run(f"speech-{next(_ids)}", adapter)
    async with aclosing(cast(AsyncGenerator[Sound, None], engine.speak(prompt, run))) as sounds:
        async for sound in sounds:
            yield sound


async def _heard(engine: OrpheusEngine, adapter: LoadedAdapter | None = None) -> Sequence[Sound]:
    if adapter is None:
        return [sound async for sound in _sounds(engine)]
    assert engine.adapters is not None
    await engine.adapters.load(adapter)
    try:
        return [sound async for sound in _sounds(engine, adapter)]
    finally:
        await engine.adapters.unload(adapter)


def _assert_speaks(sounds: Sequence[Sound], codec: SnacDecoder, script: str) -> None:
    """Compare sample by sample with the whole, but for what the window's edge changes."""
    frames = [frame(number) for number in SPOKEN[script]]
    whole = codec.decoded(Piece(frames, 0, len(frames))).reshape(len(frames), FRAME_SAMPLES)
    samples = np.concatenate([sound.samples for sound in sounds])
    difference = np.abs(samples.reshape(len(frames), FRAME_SAMPLES) - whole)
    assert difference[:, EDGE_SAMPLES:].max() < 1e-5
    assert difference.max() < 0.1 * np.abs(whole).max()


async def test_what_is_heard_is_every_frame_that_was_generated(
    engine: OrpheusEngine, codec: SnacDecoder
):
    _assert_speaks(await _heard(engine), codec, "base")


async def test_audio_goes_out_while_tokens_are_generated(engine: OrpheusEngine):
    sounds = await _heard(engine)
    assert len(sounds) > 2
    assert 3 * PLACES <= sounds[0].tokens < len(SCRIPTS["base"]) / 2
    assert sum(sound.tokens for sound in sounds) == len(SCRIPTS["base"])


async def test_an_adapter_speaks_otherwise_and_a_spoilt_frame_is_left_out(
    engine: OrpheusEngine, codec: SnacDecoder, directory: Path
):
    _assert_speaks(await _heard(engine, _adapter(directory, "adapted")), codec, "adapted")
    _assert_speaks(await _heard(engine), codec, "base")


async def test_a_model_and_its_adapter_speak_at_once(
    engine: OrpheusEngine, codec: SnacDecoder, directory: Path
):
    adapter = _adapter(directory, "adapted")
    heard = await asyncio.gather(*(_heard(engine, each) for each in (None, adapter, None)))
    for sounds, script in zip(heard, ("base", "adapted", "base"), strict=True):
        _assert_speaks(sounds, codec, script)


async def test_closing_frees_the_engine(engine: OrpheusEngine, directory: Path):
    adapter = _adapter(directory, "endless")
    assert engine.adapters is not None
    await engine.adapters.load(adapter)
    async with aclosing(_sounds(engine, adapter)) as sounds:
        await anext(sounds)
    assert engine._llm.output_processor.get_num_unfinished_requests() == 0
    await engine.adapters.unload(adapter)


async def test_a_speech_without_an_end_is_cut_off_at_the_models_limit(
    engine: OrpheusEngine, directory: Path
):
    sounds = await _heard(engine, _adapter(directory, "endless"))
    assert sum(sound.tokens for sound in sounds) == MAX_TOKENS
    assert sum(len(sound.samples) for sound in sounds) == MAX_TOKENS // PLACES * FRAME_SAMPLES


async def test_a_model_that_says_nothing_tells_what_it_generated_and_can_be_probed(
    engine: OrpheusEngine, directory: Path
):
    adapter = _adapter(directory, "mute")
    (sound,) = await _heard(engine, adapter)
    assert (len(sound.samples), sound.tokens) == (0, len(SCRIPTS["mute"]))
    assert engine.adapters is not None
    await engine.adapters.load(adapter)
    await engine.probe(Run(f"probe-{next(_ids)}", adapter))
    await engine.adapters.unload(adapter)


async def test_the_card_tells_what_the_service_needs(engine: OrpheusEngine):
    assert engine.card.task == "speech"
    assert (engine.card.context_window, engine.card.max_completion_tokens) == (CONTEXT, MAX_TOKENS)
    assert engine.card.max_running == 8
    assert (engine.voices, engine.sample_rate, engine.max_characters) == (
        (*VOICES, "troy"),
        24_000,
        500,
    )
    await engine.check()
    await engine.probe(Run("probe"))


async def test_the_prompt_keeps_tenants_apart_and_draws_as_the_reference(engine: OrpheusEngine):
    prompt = await engine.prepare(SpeechJob("Hi.", "leo", "tenant"))
    assert prompt.input["cache_salt"] == "tenant"
    assert prompt.tokens == len(prompt.input["prompt_token_ids"]) == 2 + len("leo: Hi.") + 4
    assert prompt.max_tokens == prompt.parameters.max_tokens == MAX_TOKENS
    assert {name: getattr(prompt.parameters, name) for name in SAMPLING} == SAMPLING


async def test_an_alias_is_another_name_for_a_voice(engine: OrpheusEngine):
    own, alias = [await engine.prepare(SpeechJob("Hi.", each, "s")) for each in ("leo", "troy")]
    assert own.input == alias.input


async def test_control_tokens_in_a_text_do_not_end_it(engine: OrpheusEngine, codec: SnacDecoder):
    text = f"Hi <|eot_id|>{custom(1)}{custom(2)} \0 \ud800 there."
    _assert_speaks([sound async for sound in _sounds(engine, text=text)], codec, "base")


@pytest.mark.parametrize("text", ["", " \n", "...", "\0"])
async def test_a_text_without_anything_to_speak_is_refused(engine: OrpheusEngine, text: str):
    with pytest.raises(PromptRefused, match="nothing"):
        await engine.prepare(SpeechJob(text, "tara", "salt"))


async def test_an_unknown_voice_is_told_with_those_that_there_are(engine: OrpheusEngine):
    with pytest.raises(PromptRefused, match="tara, leo"):
        await engine.prepare(SpeechJob("Hello.", "nobody", "salt"))


async def test_a_text_over_the_limit_is_too_long(engine: OrpheusEngine):
    with pytest.raises(PromptTooLong):
        await engine.prepare(SpeechJob("a" * 501, "tara", "salt"))


async def test_a_codec_that_cannot_be_used_stops_the_start_before_the_engine(
    directory: Path, tmp_path: Path
):
    (tmp_path / "config.json").write_text(json.dumps({}))
    spec = _spec(directory)
    assert spec.speech is not None
    speech = spec.speech.model_copy(update={"codec": str(tmp_path)})
    with pytest.raises(EngineStartError, match=rf"{MODEL_ID}: speech.codec"):
        await OrpheusEngine.start(spec.model_copy(update={"speech": speech}), EngineMetrics())
