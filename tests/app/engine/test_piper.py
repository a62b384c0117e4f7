"""Real Piper in its process: order, turns, endings of all kinds, and texts made to hurt."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
import pytest_asyncio

from app.catalog import ModelSpec, SpeechSpec
from app.engine import piper, piper_process
from app.engine.base import (
    EngineDead,
    EngineError,
    EngineStartError,
    PromptRefused,
    PromptTooLong,
    Run,
)
from app.engine.metrics import EngineMetrics
from app.engine.piper import PiperEngine
from app.engine.piper_process import PiperProcess, WorkerSettings
from app.engine.speech import Sound, SpeechJob
from app.engine.supervised import SupervisedEngine

JOE = "en_US-joe-medium"
RUN = Run("test")
LONG = "The quick brown fox jumps over the lazy dog, and then it goes home. " * 12
RATE = 22_050


def _spec(
    directory: Path, *, voices: tuple[str, ...] = (), max_characters: int = 4096
) -> ModelSpec:
    speech = SpeechSpec(backend="piper", voices=voices, max_characters=max_characters)
    return ModelSpec(id="piper", task="speech", source=str(directory), speech=speech)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(piper_voice: Path) -> AsyncIterator[PiperEngine]:
    engine = await PiperEngine.start(_spec(piper_voice.parent), EngineMetrics())
    yield engine
    await engine.close()


@pytest.fixture
async def own_engine(piper_voice: Path) -> AsyncIterator[PiperEngine]:
    """An engine that a test may break."""
    engine = await PiperEngine.start(_spec(piper_voice.parent), EngineMetrics())
    yield engine
    await engine.close()


@pytest.fixture
def settings(piper_voice: Path) -> WorkerSettings:
    return WorkerSettings({JOE: str(piper_voice)}, running=1, threads=1, run_seconds=30)


async def _sounds(engine: PiperEngine, text: str) -> AsyncGenerator[Sound, None]:
    prompt = await engine.prepare(SpeechJob(text, JOE, "salt"))
    async with aclosing(cast(AsyncGenerator[Sound, None], engine.speak(prompt, RUN))) as sounds:
        async for sound in sounds:
            yield sound


async def _seconds(engine: PiperEngine, text: str) -> float:
    return sum([len(sound.samples) async for sound in _sounds(engine, text)]) / RATE


def _process(engine: PiperEngine) -> PiperProcess:
    return engine._process


async def _kill(engine: PiperEngine) -> None:
    os.kill(_process(engine).pid, signal.SIGKILL)
    reading = _process(engine)._reading
    assert reading is not None
    await asyncio.wait_for(asyncio.shield(reading), timeout=10)


def test_our_own_process_never_imports_piper():
    program = "import sys, app.engine.piper; sys.exit('piper' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_a_sentence_becomes_audio_at_full_level(engine: PiperEngine):
    sounds = [sound async for sound in _sounds(engine, "Hello there. How are you?")]
    samples = np.concatenate([sound.samples for sound in sounds])
    assert samples.dtype == np.float32
    assert 1.0 < len(samples) / engine.sample_rate < 6.0
    assert 0.9 < np.abs(samples).max() <= 1.0
    assert len(sounds) == 2


async def test_the_card_tells_what_the_service_needs(engine: PiperEngine):
    assert engine.voices == (JOE,)
    assert engine.sample_rate == RATE
    assert engine.max_characters == engine.card.context_window == 4096
    assert engine.card.task == "speech"
    assert engine.card.max_running >= 2
    assert engine.adapters is None


async def test_the_first_sound_comes_before_the_last_is_made(settings: WorkerSettings):
    """The process itself tells how many parts it made of a text that was stopped at the first."""
    process = await PiperProcess.start(settings)
    try:
        async with aclosing(process.speak(JOE, LONG)) as parts:
            first = await anext(parts)
            (request,) = process._requests.values()
        async with asyncio.timeout(10):
            while await request.parts.get() is not None:
                pass
    finally:
        await process.close()
    assert (first.number, request.outcome) == (1, "cancelled")
    assert request.made < first.of


async def test_one_place_is_given_in_the_order_of_coming(settings: WorkerSettings):
    process = await PiperProcess.start(settings)
    done: list[int] = []

    async def speak(number: int, text: str) -> None:
        async for _ in process.speak(JOE, text):
            pass
        done.append(number)

    try:
        texts = [LONG, "One.", "Two.", "Three."]
        async with asyncio.timeout(60):
            await asyncio.gather(*(speak(*each) for each in enumerate(texts)))
    finally:
        await process.close()
    assert done == [0, 1, 2, 3]


async def test_several_texts_are_spoken_at_once_and_not_mixed_up(engine: PiperEngine):
    texts = ["One.", LONG[:200], "Three sentences. Are here. All short."] * 2
    alone = [await _seconds(engine, text) for text in texts[:3]]
    together = await asyncio.gather(*(_seconds(engine, text) for text in texts))
    # Every run draws its own noise, by which sentences differ in length a little.
    assert together == pytest.approx(alone * 2, rel=0.2)


async def test_who_waits_for_a_place_and_goes_takes_none(settings: WorkerSettings):
    process = await PiperProcess.start(settings)
    try:
        async with aclosing(process.speak(JOE, LONG)) as parts:
            await anext(parts)
            waiting = asyncio.create_task(anext(process.speak(JOE, "Never spoken.")))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        async with asyncio.timeout(20):
            assert [part.of async for part in process.speak(JOE, "One.")] == [1]
        assert not process._requests
    finally:
        await process.close()


async def test_a_run_over_its_time_ends_that_text_only(settings: WorkerSettings):
    process = await PiperProcess.start(replace(settings, run_seconds=0.02))
    try:
        with pytest.raises(EngineError, match="too long"):
            async for _ in process.speak(JOE, LONG):
                pass
        assert process.is_alive
    finally:
        await process.close()


async def test_a_process_that_hangs_is_ended(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(piper_process, "GRACE_SECONDS", 0.2)
    process = await PiperProcess.start(replace(settings, run_seconds=0.2))
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(EngineDead, match="does not answer"):
            await anext(process.speak(JOE, "Hello."))
        with pytest.raises(EngineDead, match="has ended"):
            await anext(process.speak(JOE, "Hello."))
    finally:
        await process.close()


async def test_a_killed_process_fails_what_is_in_flight_and_all_that_follows(
    own_engine: PiperEngine,
):
    sounds = _sounds(own_engine, LONG)
    waiting = [asyncio.create_task(_seconds(own_engine, LONG)) for _ in range(4)]
    await anext(sounds)
    await _kill(own_engine)
    with pytest.raises(EngineDead):
        async for _ in sounds:
            pass
    with pytest.raises(EngineDead):
        await own_engine.check()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, EngineDead) for outcome in outcomes)
    with pytest.raises(EngineDead):
        await own_engine.probe(RUN)


async def test_a_supervised_engine_is_another_process_after_a_death(own_engine: PiperEngine):
    spec = _spec(Path(own_engine._voices[JOE].path).parent)
    start = partial(PiperEngine.start, spec, EngineMetrics())
    supervised = SupervisedEngine(spec.id, own_engine, start)
    speaker: Any = supervised
    await _kill(own_engine)
    await supervised.bury()
    with pytest.raises(EngineDead):
        await _seconds(speaker, "I am dead.")
    await supervised.revive(_nothing)
    assert await _seconds(speaker, "I am back.") > 0.3
    await supervised.close()


async def _nothing() -> None:
    return None


async def test_closing_leaves_no_process(piper_voice: Path):
    engine = await PiperEngine.start(_spec(piper_voice.parent), EngineMetrics())
    pid = _process(engine).pid
    speaking = asyncio.create_task(_seconds(engine, LONG))
    await asyncio.sleep(0)
    await engine.close()
    with pytest.raises(EngineDead):
        await speaking
    assert not psutil.pid_exists(pid)
    with pytest.raises(EngineDead):
        await engine.probe(RUN)


async def test_a_process_without_a_parent_ends(settings: WorkerSettings):
    """Its input ends with whoever started it."""
    process = await PiperProcess.start(settings)
    process._input.close()
    async with asyncio.timeout(10):
        await process._process.wait()
    await process.close()


HOSTILE = {
    "control characters": "One\0two\x07three\x1b[31m four\x7f\u202e five.",
    "lone surrogates": "a \ud800 b \udfff c",
    "markup": "<speak><break time='100000s'/>Hi <audio src='file:///etc/passwd'/></speak>" * 3,
    "phonemes": "[[ˈpaɪ]] [[]] [[ [[[[x",
    "emoji": "😀👩‍👩‍👧‍👦🏳️‍🌈" * 10,
    "exclamations": "a" + "! " * 150,
    "points": "a" + "." * 4095,
    "marks": "a" + "\u0301" * 4095,
    "one word": "x" * 1000,
    "long number": "9" * 300,
    "other script": "漢字" * 40,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_texts_end_and_harm_nobody(engine: PiperEngine, name: str):
    pid = _process(engine).pid
    async with asyncio.timeout(60):
        assert await _seconds(engine, HOSTILE[name]) > 0
        assert await _seconds(engine, "Still here.") > 0.3
    assert _process(engine).pid == pid
    assert psutil.Process(pid).memory_info().rss < 1 << 30


@pytest.mark.parametrize("text", ["", "  \n", "?!" * 2048, "\0\0", "\u200b\u202e", "—…—"])
async def test_a_text_without_anything_to_speak_is_refused(engine: PiperEngine, text: str):
    with pytest.raises(PromptRefused, match="nothing"):
        await engine.prepare(SpeechJob(text, JOE, "salt"))


async def test_what_turns_out_to_have_no_sound_is_silence(engine: PiperEngine):
    """A symbol may have a name in this language, or none."""
    sounds = [sound.samples async for sound in _sounds(engine, "\u02c8")]
    assert sum(map(len, sounds)) > 0


async def test_a_caller_gives_no_phonemes(engine: PiperEngine):
    prompt = await engine.prepare(SpeechJob("say [[[ˈpaɪ]]] now", JOE, "salt"))
    assert prompt.text == "say [ [ [ˈpaɪ]]] now"


async def test_an_unknown_voice_is_told_with_those_that_there_are(engine: PiperEngine):
    with pytest.raises(PromptRefused, match=JOE):
        await engine.prepare(SpeechJob("Hello.", "../../etc/passwd", "salt"))


async def test_a_text_over_the_limit_is_too_long(engine: PiperEngine):
    await engine.prepare(SpeechJob("a" * 4096, JOE, "salt"))
    with pytest.raises(PromptTooLong):
        await engine.prepare(SpeechJob("a" * 4097, JOE, "salt"))


def _copy(voice: Path, directory: Path, name: str, rate: int = RATE) -> None:
    shutil.copy(voice, directory / f"{name}.onnx")
    config = json.loads(Path(f"{voice}.json").read_text())
    config["audio"]["sample_rate"] = rate
    (directory / f"{name}.onnx.json").write_text(json.dumps(config))


async def _refusal(spec: ModelSpec) -> str:
    with pytest.raises(EngineStartError) as caught:
        await PiperEngine.start(spec, EngineMetrics())
    return str(caught.value)


async def test_every_voice_of_the_directory_is_served_or_those_that_are_named(
    piper_voice: Path, tmp_path: Path
):
    for name in ("anna", "bert"):
        _copy(piper_voice, tmp_path, name)
    both = await PiperEngine.start(_spec(tmp_path), EngineMetrics())
    one = await PiperEngine.start(_spec(tmp_path, voices=("bert",)), EngineMetrics())
    try:
        assert (both.voices, one.voices) == (("anna", "bert"), ("bert",))
        assert both.card.fingerprint != one.card.fingerprint
    finally:
        await asyncio.gather(both.close(), one.close())


async def test_an_alias_of_no_voice_is_refused(piper_voice: Path):
    spec = _spec(piper_voice.parent)
    speech = SpeechSpec(backend="piper", aliases={"troy": "nobody"})
    refusal = await _refusal(spec.model_copy(update={"speech": speech}))
    assert "no voice nobody" in refusal


async def test_voices_of_differing_rates_are_refused(piper_voice: Path, tmp_path: Path):
    _copy(piper_voice, tmp_path, "anna")
    _copy(piper_voice, tmp_path, "bert", rate=16_000)
    assert "bert: 16000 Hz" in await _refusal(_spec(tmp_path))


async def test_a_directory_without_voices_is_refused(tmp_path: Path):
    assert "no *.onnx file" in await _refusal(_spec(tmp_path))


async def test_a_hub_id_is_refused():
    assert "local directory" in await _refusal(_spec(Path("rhasspy/piper-voices")))


async def test_a_voice_without_its_json_is_refused(piper_voice: Path, tmp_path: Path):
    shutil.copy(piper_voice, tmp_path / "anna.onnx")
    assert "anna.onnx.json" in await _refusal(_spec(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", '{"audio": {"sample_rate": "x"}}'])
async def test_a_voice_with_strange_json_is_refused(tmp_path: Path, content: str):
    (tmp_path / "anna.onnx").write_bytes(b"")
    (tmp_path / "anna.onnx.json").write_text(content)
    assert "voice anna" in await _refusal(_spec(tmp_path))


async def test_a_voice_that_is_named_and_not_there_is_refused(piper_voice: Path):
    assert "voice nobody" in await _refusal(_spec(piper_voice.parent, voices=("nobody",)))


async def test_a_voice_that_cannot_be_loaded_leaves_no_process(piper_voice: Path, tmp_path: Path):
    _copy(piper_voice, tmp_path, "anna")
    (tmp_path / "anna.onnx").write_bytes(b"no model")
    before = {child.pid for child in psutil.Process().children()}
    assert "cannot use its voices" in await _refusal(_spec(tmp_path))
    assert {child.pid for child in psutil.Process().children()} <= before


async def test_a_machine_that_starts_no_process_is_an_error_of_the_model(
    piper_voice: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(EngineStartError, match=r"model piper: .* cannot be started"):
        await PiperEngine.start(_spec(piper_voice.parent), EngineMetrics())


async def test_without_piper_the_extra_is_named(
    piper_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A Python that has nothing but the standard library and numpy."""
    bare = tmp_path / "python"
    blocked = "import sys; sys.modules['piper'] = None; import runpy"
    run = f"{blocked}; runpy.run_path(sys.argv[2], run_name='__main__')"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{run}" "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    assert "lora-inference-api[piper]" in await _refusal(_spec(piper_voice.parent))


def test_the_number_of_texts_at_once_is_small():
    assert 2 <= piper._running() <= piper.MOST_RUNNING
