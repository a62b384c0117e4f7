"""SNAC, the codec that makes audio of an Orpheus-style model's codes; owns its weights and threads.

Weights come as safetensors and never as a pickle. The decoder mixes noise into the audio where its
configuration says so, as it was trained to: the same codes then sound the same and are not equal
bit by bit. How many frames are decoded together changes the edges of a piece by a little as well.
"""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from safetensors.torch import load_file
from snac import SNAC
from torch.nn.utils import parametrize

from app.engine.base import EngineError
from app.engine.orpheus_tokens import Piece
from app.engine.speech import Audio

CONFIG, WEIGHTS, PICKLE = "config.json", "model.safetensors", "pytorch_model.bin"
STRIDES = [4, 2, 1]
"""Of the codebooks: a code of the first lasts as long as two of the second, four of the third."""

THREADS = 2

TO_SAFETENSORS = (
    "import torch; from safetensors.torch import save_file; "
    f"save_file(torch.load('{PICKLE}', weights_only=True), '{WEIGHTS}')"
)


class CodecUnusable(Exception):
    """The codec cannot be loaded; the message says why, for the operator."""


class SnacDecoder:
    """A SNAC model that decodes for several requests at once. Ended by `close`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = torch.device("cpu")
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="snac")
        self.sample_rate = int(model.sampling_rate)
        self.codebook_size = int(model.codebook_size)
        self.frame_samples = int(model.hop_length) * STRIDES[0]

    @classmethod
    def load(cls, codec: str) -> Self:
        """Read a codec from a directory, or a hub's by its id, onto the CPU. Blocks.

        **Raises:** CodecUnusable.
        """
        directory = _directory(codec)
        model = _model(directory / CONFIG)
        try:
            model.load_state_dict(load_file(_weights(directory)))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise CodecUnusable(f"{directory / WEIGHTS}: not this SNAC's weights") from error
        return cls(_merged(model.eval()))

    def to_accelerator(self) -> None:
        """Move to a GPU, where there is one. Blocks."""
        if torch.cuda.is_available():
            self._device = torch.device("cuda")
            self._model.to(self._device)

    async def decode(self, piece: Piece) -> Audio:
        """Return the audio that is kept of a piece: (samples,) float32, -1 to 1.

        **Raises:** EngineError.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self.decoded, piece)
        except RuntimeError as error:
            raise EngineError("the codec failed") from error

    def decoded(self, piece: Piece) -> Audio:
        """Do what `decode` does, here and now. Blocks."""
        codes = [torch.tensor([each], device=self._device) for each in piece.codes()]
        with torch.inference_mode():
            audio = self._model.decode(codes)[0, 0]
        kept = audio[piece.start * self.frame_samples : piece.stop * self.frame_samples]
        return np.asarray(kept.float().cpu().numpy(), dtype=np.float32)

    def close(self) -> None:
        """Take no more work; what is decoded now ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _directory(codec: str) -> Path:
    if Path(codec).is_dir():
        return Path(codec)
    try:
        return Path(snapshot_download(codec, allow_patterns=[CONFIG, "*.safetensors"]))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise CodecUnusable(f"{codec}: no directory, and not to be had from the hub") from error


def _model(config: Path) -> Any:
    try:
        model = SNAC.from_config(config)
    except OSError as error:
        raise CodecUnusable(f"{config}: {error.strerror}") from error
    except (TypeError, ValueError, json.JSONDecodeError) as error:
        raise CodecUnusable(f"{config}: not a SNAC's configuration") from error
    if list(model.vq_strides) != STRIDES or model.attn_window_size is not None:
        needs = f"an Orpheus-style model needs vq_strides {STRIDES} and no attention"
        raise CodecUnusable(f"{config}: {needs}")
    return model


def _weights(directory: Path) -> Path:
    weights = directory / WEIGHTS
    if weights.is_file():
        return weights
    if (directory / PICKLE).is_file() or not list(directory.glob("*.safetensors")):
        advice = f"{PICKLE} is a pickle and never read; convert it once with python -c"
        raise CodecUnusable(f'{directory}: no {WEIGHTS}. {advice} "{TO_SAFETENSORS}"')
    raise CodecUnusable(f"{directory}: no {WEIGHTS}")


def _merged(model: Any) -> Any:
    """Work out the normed weights once, and not for every piece."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return model
