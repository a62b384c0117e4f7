"""When each word of a window is spoken, by where Whisper's decoder looks while it writes it.

Owns a second copy of the weights, in transformers on the CPU, since vLLM keeps no attention; and
the one thread that runs it, so that nothing here takes the processor from the service.

**Source:** whisper.timing.find_alignment.
"""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, WhisperForConditionalGeneration

from app.engine.transcription import Audio, Segment, Word
from app.engine.whisper_tokens import WhisperText, WhisperTokens
from app.engine.word_alignment import TokenWord, entered, grouped
from app.engine.word_sounds import Span, fitted

TORCH_THREADS = 2
SMOOTHED_FRAMES = 7
SECONDS_PER_FRAME = 0.02
SAMPLES_PER_FRAME = 320


class WhisperAligner:
    """Aligns one window at a time; others wait. Making it loads the weights, and blocks.

    `source` is a directory or hub id, and its revision. `features` is the model's own extractor.
    """

    def __init__(
        self,
        source: tuple[str, str | None],
        tokens: WhisperTokens,
        text: WhisperText,
        features: Any,
    ) -> None:
        self._tokens = tokens
        self._text = text
        self._features = features
        directory, revision = source
        whole = WhisperForConditionalGeneration.from_pretrained(
            directory, revision=revision, dtype=torch.float32, use_safetensors=True
        )
        self._model = whole.model.eval()
        self._heads = _alignment_heads(whole.generation_config, self._model.config)
        self._executor = ThreadPoolExecutor(
            1, "whisper-alignment", torch.set_num_threads, (TORCH_THREADS,)
        )

    async def align(
        self, audio: Audio, opening: Sequence[int], language: str, segments: Sequence[Segment]
    ) -> list[list[Word]]:
        """Return the words of each segment, in order, within the audio."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._executor, self._align, audio, opening, language, segments
        )

    def close(self) -> None:
        """End the thread; what waits for it is cancelled."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _align(
        self, audio: Audio, opening: Sequence[int], language: str, segments: Sequence[Segment]
    ) -> list[list[Word]]:
        groups = [grouped(part.tokens, self._text.decode, language) for part in segments]
        said = [token for part in segments for token in part.tokens]
        if not said:
            return [[] for _ in segments]
        looked_at = self._looked_at(audio, opening, said)
        starts = entered(looked_at) * SECONDS_PER_FRAME
        words = [word for group in groups for word in group]
        seconds = len(audio) / (SAMPLES_PER_FRAME / SECONDS_PER_FRAME)
        spans = fitted(_spans(words, starts, seconds), audio)
        timed = iter(
            Word(word.text.strip(), span.start, span.end)
            for word, span in zip(words, spans, strict=True)
        )
        return [[next(timed) for _ in group] for group in groups]

    def _looked_at(
        self, audio: Audio, opening: Sequence[int], said: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return (tokens + end, frames): where the model looks before it writes each token."""
        control = [self._tokens.start, *opening, self._tokens.no_stamps]
        ids = torch.tensor([[*control, *said]])
        features = self._features(audio, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode(), _Watched(self._model.decoder.layers, self._heads) as watched:
            encoded = self._model.encoder(features.input_features).last_hidden_state
            self._model.decoder(ids, encoder_hidden_states=encoded, use_cache=False)
            frames = min(-(-len(audio) // SAMPLES_PER_FRAME), encoded.shape[1])
            weights = _sharpened(watched.weights(frames))
        looked_at: NDArray[np.float32] = weights[len(control) - 1 :].numpy()
        return looked_at


class _Watched:
    """Keeps the queries and keys of the heads that look at the audio, while it is entered."""

    def __init__(self, layers: Any, heads: Sequence[tuple[int, int]]) -> None:
        self._layers = layers
        self._heads = heads
        self._queries: dict[int, torch.Tensor] = {}
        self._keys: dict[int, torch.Tensor] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> "_Watched":
        for layer in {layer for layer, _ in self._heads}:
            attention = self._layers[layer].encoder_attn
            self._hooks.append(attention.q_proj.register_forward_hook(_keep(self._queries, layer)))
            self._hooks.append(attention.k_proj.register_forward_hook(_keep(self._keys, layer)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def weights(self, frames: int) -> torch.Tensor:
        """Return (heads, tokens, frames) probabilities over the frames that hold audio."""
        return torch.stack([self._of(layer, head, frames) for layer, head in self._heads])

    def _of(self, layer: int, head: int, frames: int) -> torch.Tensor:
        attention = self._layers[layer].encoder_attn
        size = attention.head_dim
        part = slice(head * size, (head + 1) * size)
        queries = self._queries[layer][0, :, part] * attention.scaling
        keys = self._keys[layer][0, :frames, part]
        return (queries @ keys.T).softmax(dim=-1)


def _keep(kept: dict[int, torch.Tensor], layer: int) -> Any:
    def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
        kept[layer] = output

    return hook


def _sharpened(weights: torch.Tensor) -> torch.Tensor:
    """Return (tokens, frames), the mean of heads: against how each frame is looked at at all."""
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, correction=0)
    weights = (weights - mean) / deviation.clamp(min=1e-9)
    beside = SMOOTHED_FRAMES // 2
    if weights.shape[-1] > beside:
        padded = torch.nn.functional.pad(weights, (beside, beside), mode="reflect")
        weights = padded.unfold(-1, SMOOTHED_FRAMES, 1).sort(dim=-1).values[..., beside]
    return weights.mean(dim=0)


def _alignment_heads(generation: GenerationConfig, config: Any) -> list[tuple[int, int]]:
    """Return (layer, head) of those that follow the audio; unknown, all of the upper half."""
    told: Iterable[Sequence[int]] | None = getattr(generation, "alignment_heads", None)
    if told:
        return [(layer, head) for layer, head in told]
    layers = range(config.decoder_layers // 2, config.decoder_layers)
    return [(layer, head) for layer in layers for head in range(config.decoder_attention_heads)]


def _spans(words: Sequence[TokenWord], starts: NDArray[Any], seconds: float) -> list[Span]:
    ends = np.cumsum([word.tokens for word in words])
    borders = np.minimum([0, *ends], len(starts) - 1)
    times = np.minimum(starts[borders], seconds)
    return [Span(a, b) for a, b in pairwise(times.tolist())]
