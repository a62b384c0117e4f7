"""A Whisper model on vLLM: owns one AsyncLLM and has it write down one window of audio at a time.

vLLM's renderer makes features of the audio; the decoder's prompt, the rules of stamps and what the
tokens mean are ours, since vLLM gives Whisper a prompt without its control tokens in the right
order. vLLM's HTTP layer is not used.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.transformers_utils.processor import cached_feature_extractor_from_config
from vllm.v1.engine.async_llm import AsyncLLM

from app.catalog import ModelSpec
from app.engine.base import EngineError, ModelCard, PromptRefused, PromptTooLong, Run
from app.engine.metrics import EngineMetrics
from app.engine.transcription import Audio, Heard, Listening, Spoken, Word
from app.engine.vllm_args_transcription import transcribing
from app.engine.vllm_start import Running, card, ended, started
from app.engine.vllm_translation import MOST_CHARACTERS_PER_TOKEN, generate_errors, render_errors
from app.engine.whisper_alignment import WhisperAligner
from app.engine.whisper_outputs import Token, mean, segments
from app.engine.whisper_rules import Rules
from app.engine.whisper_tokens import WhisperText, WhisperTokens, whisper_tokens

AUDIO_REFUSED = "This audio cannot be given to this model."
LANGUAGE_REFUSED = "This model does not know this language."
TRANSLATION_REFUSED = "This model cannot translate."
AUDIO_TOO_LONG = "The audio is longer than this model hears at once."
CONTEXT_TOO_LONG = "Please reduce the length of the prompt."

MOST_CONTEXT_TOKENS = 224
SAMPLE_RATE = 16_000
PROBE = np.zeros(SAMPLE_RATE, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class WhisperParts:
    """What stands round a Whisper model's engine."""

    card: ModelCard
    tokens: WhisperTokens
    text: WhisperText
    window_seconds: float
    translates: bool
    aligner: WhisperAligner | None


class VllmTranscriptionEngine:
    """Implements TranscriptionEngine. Made by `start`, ended by `close`."""

    def __init__(self, running: Running, parts: WhisperParts, metrics: EngineMetrics) -> None:
        self._running = running
        self._llm = running.llm
        self._metrics = metrics
        self._parts = parts
        self._tokens = parts.tokens

    @classmethod
    async def start(cls, spec: ModelSpec, metrics: EngineMetrics) -> Self:
        """Start the engine of one catalog entry; takes tens of seconds.

        **Raises:** EngineStartError, naming the model.
        """
        running, parts = await started(transcribing(spec), metrics, _furnish)
        return cls(running, parts, metrics)

    @property
    def card(self) -> ModelCard:
        return self._parts.card

    @property
    def adapters(self) -> None:
        return None

    @property
    def languages(self) -> Mapping[str, str]:
        """ISO-639-1 code -> English name of every language that may be asked for."""
        return self._tokens.names

    @property
    def window_seconds(self) -> float:
        """The longest audio that is heard at once."""
        return self._parts.window_seconds

    @property
    def translates(self) -> bool:
        """Whether it can translate into English."""
        return self._parts.translates

    @property
    def aligns_words(self) -> bool:
        """Whether it tells when each word is spoken."""
        return self._parts.aligner is not None

    def check_context(self, text: str) -> None:
        """Refuse text that is too long to come before. Blocks. **Raises:** PromptTooLong."""
        if len(text) > MOST_CONTEXT_TOKENS * MOST_CHARACTERS_PER_TOKEN:
            raise PromptTooLong(CONTEXT_TOO_LONG)
        if len(self._parts.text.encode_context(text)) > MOST_CONTEXT_TOKENS:
            raise PromptTooLong(CONTEXT_TOO_LONG)

    async def detect(self, audio: Audio, run: Run) -> Spoken:
        """Tell the language. Cancelling aborts. **Raises:** EngineError."""
        if not self._tokens.languages:
            return Spoken("en", 1.0)
        ids = list(self._tokens.languages.values())
        parameters = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            allowed_token_ids=ids,
            logprob_token_ids=ids,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self._run(audio, [self._tokens.start], parameters, run)
        return _likeliest(output.outputs[0], self._tokens.languages)

    async def hear(self, audio: Audio, how: Listening, run: Run) -> Heard:
        """Write one window down. Cancelling aborts. **Raises:** EngineError."""
        opening = self._opening(how)
        context = await asyncio.to_thread(self._parts.text.encode_context, how.context)
        prompt = [*self._context(context), self._tokens.start]
        most = self._room(len(prompt) + len(opening))
        parameters = self._parameters(opening, how.temperature, most)
        output = await self._run(audio, prompt, parameters, run)
        used = len(prompt) + len(opening)
        return self._heard(output.outputs[0], used, len(opening), len(audio) / SAMPLE_RATE)

    async def align(self, audio: Audio, how: Listening, heard: Heard) -> list[list[Word]]:
        """Tell when each word of each segment is spoken.

        Takes about as long as hearing; runs beside the engine. **Raises:** EngineError.
        """
        aligner = self._parts.aligner
        if aligner is None:
            raise EngineError("this model has been started without alignment of words")
        try:
            return await aligner.align(audio, self._opening(how), how.language, heard.segments)
        except RuntimeError as error:
            # What torch raises, for want of memory as well.
            raise EngineError("the words could not be aligned") from error

    async def probe(self, run: Run) -> None:
        """Hear a second of silence. **Raises:** EngineError."""
        await self.hear(PROBE, Listening("transcribe", next(iter(self.languages))), run)

    async def check(self) -> None:
        """Return when the engine process is alive. **Raises:** EngineDead."""
        await self._running.check()

    async def close(self) -> None:
        """End the engine process; running requests are lost."""
        if self._parts.aligner is not None:
            self._parts.aligner.close()
        await ended(self._running, self._metrics)

    def _opening(self, how: Listening) -> tuple[int, ...]:
        if how.language not in self.languages:
            raise PromptRefused(LANGUAGE_REFUSED)
        if how.task == "translate" and not self.translates:
            raise PromptRefused(TRANSLATION_REFUSED)
        return self._tokens.opening(how.language, how.task)

    def _context(self, context: Sequence[int]) -> list[int]:
        """Return the tokens of what came before; of too much, the latest count."""
        if not context:
            return []
        return [self._tokens.context, *context[-MOST_CONTEXT_TOKENS:]]

    def _room(self, used: int) -> int:
        """Return how many tokens may be written: half of the window, as Whisper was trained."""
        window = self._parts.card.context_window
        return min(self._parts.card.max_completion_tokens, window // 2, window - used)

    def _parameters(self, opening: Sequence[int], temperature: float, most: int) -> SamplingParams:
        rules = Rules(
            opening,
            self._tokens.end,
            self._tokens.first_stamp,
            self._tokens.last_first_stamp,
            self._tokens.suppressed,
        )
        return SamplingParams(
            max_tokens=len(opening) + most,
            temperature=temperature,
            # Beside that of each token, the probability that nobody speaks, for the first of them.
            logprob_token_ids=[self._tokens.no_speech],
            extra_args=rules.as_arguments(),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _heard(self, output: CompletionOutput, used: int, opening: int, seconds: float) -> Heard:
        rows = output.logprobs or []
        answer = [
            Token(id, row[id].logprob)
            for id, row in zip(output.token_ids[opening:], rows[opening:], strict=True)
        ]
        return Heard(
            segments=segments(answer, self._tokens, self._parts.text, seconds),
            no_speech=math.exp(rows[0][self._tokens.no_speech].logprob),
            avg_logprob=mean([token.logprob for token in answer]),
            prompt_tokens=used,
            completion_tokens=len(answer),
            is_cut=output.finish_reason == "length",
        )

    async def _run(
        self, audio: Audio, prompt: Sequence[int], parameters: SamplingParams, run: Run
    ) -> RequestOutput:
        """Run the decoder from a prompt of tokens, as they are. **Raises:** EngineError."""
        rendered = await self._rendered(audio, prompt)
        outputs = self._llm.generate(rendered, parameters, run.request_id, priority=run.priority)
        with generate_errors():
            async with aclosing(outputs):
                async for output in outputs:
                    if output.finished:
                        return output
        raise EngineError("the engine gave no answer")

    async def _rendered(self, audio: Audio, prompt: Sequence[int]) -> Any:
        if len(audio) > self._parts.window_seconds * SAMPLE_RATE:
            raise PromptTooLong(AUDIO_TOO_LONG)
        request = {
            "encoder_prompt": {
                "prompt": "",
                "multi_modal_data": {"audio": (_heard_by_vllm(audio), SAMPLE_RATE)},
            },
            "decoder_prompt": {"prompt_token_ids": [self._tokens.start]},
        }
        with render_errors(AUDIO_REFUSED):
            (rendered,) = await self._llm.renderer.render_cmpl_async([request])
        # vLLM would put a start before the context, where the model never saw one.
        rendered["decoder_prompt"]["prompt_token_ids"] = list(prompt)
        return rendered


def _heard_by_vllm(audio: Audio) -> Audio:
    """Return at least one frame of audio; features of less cannot be made."""
    missing = SAMPLE_RATE // 10 - len(audio)
    return np.pad(audio, (0, missing)) if missing > 0 else audio


def _likeliest(output: CompletionOutput, languages: Mapping[str, int]) -> Spoken:
    """Return the language with the highest probability, which is told among languages only."""
    row = (output.logprobs or [])[0]
    weights = {code: math.exp(row[id].logprob) for code, id in languages.items()}
    code = max(weights, key=weights.__getitem__)
    return Spoken(code, weights[code] / sum(weights.values()))


def _furnish(spec: ModelSpec, running: Running) -> WhisperParts:
    """Make the parts of a running model. Blocks. Raises what the model's files raise."""
    config = running.llm.model_config
    tokenizer = running.llm.renderer.get_tokenizer()
    generation = config.try_get_generation_config() or {}
    tokens = whisper_tokens(tokenizer, generation, config.get_vocab_size())
    text = WhisperText(tokenizer)
    features = cached_feature_extractor_from_config(config)
    aligner = None
    if spec.transcription.word_timestamps:
        aligner = WhisperAligner((spec.source, spec.revision), tokens, text, features)
    return WhisperParts(
        card=_card(spec, running.llm),
        tokens=tokens,
        text=text,
        window_seconds=float(features.chunk_length),
        translates=bool(tokens.languages) and spec.transcription.translates,
        aligner=aligner,
    )


def _card(spec: ModelSpec, llm: AsyncLLM) -> ModelCard:
    if llm.model_config.hf_config.model_type != "whisper":
        raise ValueError("it is no Whisper model")
    return card(spec, llm, tells_logprobs=False)
