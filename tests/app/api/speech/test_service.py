"""Audio as it is made: what leaves when, and how it ends."""

import asyncio
import threading
from contextlib import aclosing
from typing import Any, get_args

import numpy as np
import pytest

from app.api.speech.schemas import Format, SpeechRequest
from app.audio.encoding import AudioEncoder
from app.engine.base import EngineDead, EngineOverloaded
from app.errors import ApiError
from tests.app.api.speech.stubs import Rig, speech_body
from tests.app.inference.speech_stubs import RATE, sound
from tests.app.inference.stubs import ADAPTER_MODEL, BASE


@pytest.fixture
def rig() -> Rig:
    return Rig()


def request(**fields: Any) -> SpeechRequest:
    return SpeechRequest.model_validate(speech_body(**fields))


async def spoken(rig: Rig, **fields: Any) -> bytes:
    async with aclosing(await rig.service.speak(rig.context, request(**fields))) as pieces:
        return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("format", get_args(Format))
async def test_the_first_bytes_leave_before_the_last_sound_is_made(rig: Rig, format: str) -> None:
    last = asyncio.Event()
    rig.engine.script = [sound(2.0), last, sound(0.5)]
    pieces = await rig.service.speak(rig.context, request(response_format=format))
    async with aclosing(pieces):
        assert await anext(pieces)
        assert rig.observer.audio_out == []
        last.set()
        assert b"".join([piece async for piece in pieces])
    assert rig.observer.audio_out == [(BASE, 2.5)]


async def test_nothing_is_returned_before_the_first_sound(rig: Rig) -> None:
    first = asyncio.Event()
    rig.engine.script = [first, sound()]
    speaking = asyncio.ensure_future(rig.service.speak(rig.context, request()))
    await rig.engine.waiting.wait()
    assert not speaking.done()
    first.set()
    async with aclosing(await speaking) as pieces:
        assert await anext(pieces)


async def test_the_bytes_are_those_of_the_encoder_with_what_was_asked_for(rig: Rig) -> None:
    rig.engine.script = [sound(0.2), sound(0.3, hertz=880.0)]
    asked = {"response_format": "flac", "sample_rate": 16_000, "speed": 1.5}
    encoder = AudioEncoder("flac", source_rate=RATE, target_rate=16_000, speed=1.5)
    expected = b"".join(encoder.encode(each.samples) for each in rig.engine.script)  # type: ignore[union-attr]
    assert await spoken(rig, **asked) == expected + encoder.finish()


@pytest.mark.parametrize(("rate", "samples"), [(None, 24_000), (48_000, 48_000), (8000, 8000)])
async def test_pcm_has_openais_rate_unless_another_is_given(
    rig: Rig, rate: int | None, samples: int
) -> None:
    rig.engine.script = [sound(1.0)]
    pcm = await spoken(rig, response_format="pcm", sample_rate=rate)
    assert len(pcm) / 2 == pytest.approx(samples, rel=0.01)


async def test_pcm_at_the_engine_s_own_rate_is_its_samples(rig: Rig) -> None:
    tone = sound(0.5)
    rig.engine.script = [tone]
    pcm = np.frombuffer(await spoken(rig, response_format="pcm"), "<i2")
    assert np.abs(pcm / 32768 - tone.samples).max() < 1e-3


@pytest.mark.parametrize(("speed", "seconds"), [(0.5, 4.0), (2, 1.0), (5, 0.4)])
async def test_speed_changes_the_length(rig: Rig, speed: float, seconds: float) -> None:
    rig.engine.script = [sound(2.0)]
    pcm = await spoken(rig, response_format="pcm", speed=speed)
    assert len(pcm) / 2 / RATE == pytest.approx(seconds, rel=0.1)


async def test_encoding_is_done_off_the_loop(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    for name in ("__init__", "encode", "finish"):
        call = getattr(AudioEncoder, name)

        def watched(*args: Any, call: Any = call, **kwargs: Any) -> Any:
            threads.append(threading.current_thread())
            return call(*args, **kwargs)

        monkeypatch.setattr(AudioEncoder, name, watched)
    rig.engine.script = [sound(), sound()]
    await spoken(rig)
    assert len(threads) == 4
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(
    ("error", "status"), [(EngineDead("pid 7"), 503), (EngineOverloaded(), 503)]
)
async def test_an_error_before_the_first_sound_is_raised_at_once(
    rig: Rig, error: Exception, status: int
) -> None:
    rig.engine.script = [error]
    with pytest.raises(ApiError) as caught:
        await rig.service.speak(rig.context, request(model=ADAPTER_MODEL))
    assert caught.value.status == status
    assert (rig.engine.running, rig.adapters.held) == (0, 0)


async def test_an_error_after_the_first_sound_ends_the_pieces(rig: Rig) -> None:
    rig.engine.script = [sound(), EngineDead("pid 7")]
    async with aclosing(await rig.service.speak(rig.context, request())) as pieces:
        assert await anext(pieces)
        with pytest.raises(ApiError, match="temporarily unavailable"):
            await anext(pieces)
    assert rig.limits.budgets[0].settled == [0]


async def test_the_engine_is_let_go_before_the_last_bytes_are_taken(rig: Rig) -> None:
    rig.engine.script = [sound()]
    async with aclosing(
        await rig.service.speak(rig.context, request(model=ADAPTER_MODEL))
    ) as pieces:
        assert rig.adapters.held == 1
        await anext(pieces)
        await anext(pieces)
        assert rig.adapters.held == 0


async def test_closing_the_pieces_aborts_the_synthesis(rig: Rig) -> None:
    rig.engine.script = [sound(), asyncio.Event()]
    async with aclosing(await rig.service.speak(rig.context, request())) as pieces:
        await anext(pieces)
        assert rig.engine.running == 1
    assert rig.engine.running == 0
    assert rig.observer.audio_out == [(BASE, 0.1)]
