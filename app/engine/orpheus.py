"""Text to speech with an Orpheus-style language model on vLLM, whose tokens SNAC turns into audio.

Audio goes out while tokens are still generated. Adapters are LoRA as for any language model: they
live in the engine, and change how the voices that the catalog names sound. What a text's length has
to do with its tokens is the model's to decide: a speech that fills its context is cut off there.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import structlog
from vllm.inputs.engine import tokens_input
from vllm.sampling_params import RequestOutputKind, SamplingParams

from adapters_registry.host import AdapterHost
from app.catalog import ModelSpec, SpeechSpec
from app.engine.base import (
    EngineStartError,
    ModelCard,
    Run,
)
from app.engine.metrics import EngineMetrics
from app.engine.orpheus_prompt import PromptWriter
from app.engine.orpheus_tokens import AudioTokens, FrameReader, SlidingWindow
from app.engine.snac_decoder import CodecUnusable, SnacDecoder
from app.engine.speech import Sound, SpeechJob, SpeechPrompt
from app.engine.speech_text import speakable
from app.engine.speech_voices import VoiceNames
from app.engine.vllm_start import Running, card, ended, started
from app.engine.vllm_translation import generate_errors, room

log = structlog.get_logger()

SAMPLING = {"temperature": 0.6, "top_p": 0.8, "repetition_penalty": 1.3}
"""The reference's; a model's own generation_config wins. Without a penalty the model babbles."""

PROBE_TOKENS = 4


@dataclass(frozen=True, slots=True)
class OrpheusPrompt:
    """A rendered job."""

    tokens: int
    max_tokens: int
    input: Any
    parameters: SamplingParams


@dataclass(frozen=True, slots=True)
class OrpheusParts:
    """What stands round the engine of a model."""

    writer: PromptWriter
    audio: AudioTokens
    card: ModelCard


class OrpheusEngine:
    """Implements app.engine.speech.SpeechEngine. Made by `start`, ended by `close`."""

    def __init__(
        self,
        speech: SpeechSpec,
        names: VoiceNames,
        running: Running,
        parts: OrpheusParts,
        codec: SnacDecoder,
        metrics: EngineMetrics,
    ) -> None:
        self._speech = speech
        self._names = names
        self._running = running
        self._llm = running.llm
        self._parts = parts
        self._codec = codec
        self._metrics = metrics
        self._model_defaults = running.llm.model_config.get_diff_sampling_param()

    @classmethod
    async def start(cls, spec: ModelSpec, metrics: EngineMetrics) -> Self:
        """Load the codec and start the engine of one catalog entry; takes tens of seconds.

        **Raises:** EngineStartError, naming the model.
        """
        assert spec.speech is not None, "the catalog gives every speech model its block"
        assert spec.speech.codec is not None, "the catalog gives every Orpheus a codec"
        try:
            names = VoiceNames(spec.speech.voices, spec.speech.aliases)
            codec = await asyncio.to_thread(SnacDecoder.load, spec.speech.codec)
        except CodecUnusable as error:
            raise EngineStartError(f"model {spec.id}: speech.codec: {error}") from error
        except ValueError as error:
            raise EngineStartError(f"model {spec.id}: {error}") from error

        def furnish(spec: ModelSpec, running: Running) -> OrpheusParts:
            writer = PromptWriter(running.llm.renderer.get_tokenizer())
            codec.to_accelerator()
            audio = writer.audio(codec.codebook_size)
            return OrpheusParts(writer, audio, card(spec, running.llm, tells_logprobs=False))

        running, parts = await started(spec, metrics, furnish)
        return cls(spec.speech, names, running, parts, codec, metrics)

    @property
    def card(self) -> ModelCard:
        return self._parts.card

    @property
    def adapters(self) -> AdapterHost | None:
        return self._running.adapters

    @property
    def voices(self) -> Sequence[str]:
        """Their names, aliases among them."""
        return self._names.names

    @property
    def max_characters(self) -> int:
        return self._speech.max_characters

    @property
    def sample_rate(self) -> int:
        """Of the codec, in Hz."""
        return self._codec.sample_rate

    async def prepare(self, job: SpeechJob) -> OrpheusPrompt:
        """Check voice and text, and tokenize them. **Raises:** PromptTooLong, PromptRefused."""
        voice = self._names.voice(job.voice)
        text = speakable(job.text, self.max_characters)
        tokens = await asyncio.to_thread(self._parts.writer.write, voice, text)
        most = self.card.max_completion_tokens
        max_tokens = room(self.card.context_window, len(tokens), None, most)
        prompt = tokens_input(tokens, cache_salt=job.cache_salt)
        return OrpheusPrompt(len(tokens), max_tokens, prompt, self._parameters(max_tokens))

    async def speak(self, prompt: SpeechPrompt, run: Run) -> AsyncIterator[Sound]:
        """Speak a text; the first piece comes with the third frame, of about 85 ms each.

        Of tokens that are no audio it makes one empty piece.
        Closing or cancelling aborts it. **Raises:** EngineError and its kinds.
        """
        assert isinstance(prompt, OrpheusPrompt), "an engine runs what it prepared itself"
        reader, window = FrameReader(self._parts.audio), SlidingWindow()
        tokens, is_silent = 0, True
        async with aclosing(self._generated(prompt, run)) as outputs:
            async for output in outputs:
                tokens += len(output.outputs[0].token_ids)
                window.push(reader.read(output.outputs[0].token_ids))
                for piece in window.pieces(is_end=output.finished):
                    is_silent = False
                    yield Sound(await self._codec.decode(piece), tokens)
                    tokens = 0
        if is_silent:
            yield Sound(np.zeros(0, np.float32), tokens)

    async def check(self) -> None:
        """Return when the engine process is alive. **Raises:** EngineDead."""
        await self._running.check()

    async def probe(self, run: Run) -> None:
        """Generate a few tokens, of whatever kind. **Raises:** EngineError."""
        prompt = await self.prepare(SpeechJob("Hello", self.voices[0], "probe"))
        prompt = replace(prompt, parameters=self._parameters(PROBE_TOKENS))
        async with aclosing(self._generated(prompt, run)) as outputs:
            async for _ in outputs:
                pass

    async def close(self) -> None:
        """End the engine process and the codec's threads; running requests are lost."""
        self._codec.close()
        await ended(self._running, self._metrics)

    async def _generated(self, prompt: OrpheusPrompt, run: Run) -> AsyncGenerator[Any, None]:
        outputs = self._llm.generate(
            prompt.input,
            prompt.parameters,
            run.request_id,
            lora_request=self._running.request(run.adapter),
            priority=run.priority,
        )
        with generate_errors():
            async with aclosing(outputs):
                async for output in outputs:
                    yield output
                    self._note_end(prompt, output)

    def _note_end(self, prompt: OrpheusPrompt, output: Any) -> None:
        if output.outputs[0].finish_reason == "length":
            most = prompt.parameters.max_tokens
            log.warning("speech cut off", model=self.card.id, max_tokens=most)

    def _parameters(self, max_tokens: int) -> SamplingParams:
        return SamplingParams(
            **{**SAMPLING, **self._model_defaults, "max_tokens": max_tokens},
            stop_token_ids=list(self._parts.writer.tokens.ends),
            output_kind=RequestOutputKind.DELTA,
            detokenize=False,
        )
