"""Audio out of codes, piece by piece, against the whole at once; and codecs that cannot be used."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.engine.base import EngineError
from app.engine.orpheus_tokens import Frame, Piece, SlidingWindow
from app.engine.snac_decoder import TO_SAFETENSORS, CodecUnusable, SnacDecoder
from tests.fixtures.tiny_orpheus import CODEBOOK, FRAME_SAMPLES, frame, write_snac

FRAMES: Sequence[Frame] = [frame(number) for number in range(20)]
EDGE_SAMPLES = 512
"""At the beginning of a frame, what a frame more before the window would change."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_snac(tmp_path_factory.mktemp("codecs") / "snac")


@pytest.fixture(scope="module")
def codec(directory: Path) -> SnacDecoder:
    return SnacDecoder.load(str(directory))


def _streamed(codec: SnacDecoder, portion: int) -> np.ndarray:
    window = SlidingWindow()
    pieces = []
    for at in range(0, len(FRAMES), portion):
        window.push(FRAMES[at : at + portion])
        pieces += [codec.decoded(piece) for piece in window.pieces()]
    pieces += [codec.decoded(piece) for piece in window.pieces(is_end=True)]
    return np.concatenate(pieces)


def _whole(codec: SnacDecoder) -> np.ndarray:
    return codec.decoded(Piece(FRAMES, 0, len(FRAMES)))


def test_the_codec_tells_its_measures(codec: SnacDecoder):
    measures = (codec.sample_rate, codec.codebook_size, codec.frame_samples)
    assert measures == (24_000, CODEBOOK, FRAME_SAMPLES)


@pytest.mark.parametrize("portion", [1, 2, 3, 7, 20])
def test_pieces_are_the_whole_but_for_the_edges_of_windows(codec: SnacDecoder, portion: int):
    streamed, whole = _streamed(codec, portion), _whole(codec)
    assert streamed.shape == whole.shape == (len(FRAMES) * FRAME_SAMPLES,)
    difference = np.abs(streamed - whole).reshape(len(FRAMES), FRAME_SAMPLES)
    assert difference[:, EDGE_SAMPLES:].max() < 1e-5
    assert difference.max() < 0.1 * np.abs(whole).max()


def test_frames_sound_differently(codec: SnacDecoder):
    sounds = _whole(codec).reshape(len(FRAMES), FRAME_SAMPLES)
    differences = np.abs(sounds[1:] - sounds[:-1]).max(axis=1)
    assert differences.min() > 0.01


async def test_several_pieces_are_decoded_at_once(codec: SnacDecoder):
    pieces = [Piece(FRAMES[at : at + 4], 1, 2) for at in range(10)]
    together = await asyncio.gather(*(codec.decode(piece) for piece in pieces))
    for piece, samples in zip(pieces, together, strict=True):
        np.testing.assert_array_equal(samples, codec.decoded(piece))


async def test_what_fails_in_the_codec_is_an_engine_error(directory: Path):
    codec = SnacDecoder.load(str(directory))
    codec.close()
    with pytest.raises(EngineError):
        await codec.decode(Piece(FRAMES, 0, 1))


def test_a_pickle_is_never_read(directory: Path, tmp_path: Path):
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    torch.save({"x": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CodecUnusable, match=r"never read; convert it once .*save_file"):
        SnacDecoder.load(str(tmp_path))


def test_the_advice_for_a_pickle_makes_a_codec_that_loads(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: SnacDecoder
):
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    torch.save(load_file(directory / "model.safetensors"), tmp_path / "pytorch_model.bin")
    monkeypatch.chdir(tmp_path)
    exec(TO_SAFETENSORS)
    np.testing.assert_array_equal(_whole(SnacDecoder.load(str(tmp_path))), _whole(codec))


def _changed(directory: Path, to: Path, **values: object) -> str:
    config = json.loads((directory / "config.json").read_text()) | values
    (to / "config.json").write_text(json.dumps(config))
    (to / "model.safetensors").write_bytes((directory / "model.safetensors").read_bytes())
    return str(to)


@pytest.mark.parametrize(
    "values",
    [{"vq_strides": [8, 4, 2, 1]}, {"attn_window_size": 32}, {"unknown": 1}, {"decoder_dim": "x"}],
)
def test_another_shape_of_snac_is_refused(
    directory: Path, tmp_path: Path, values: dict[str, object]
):
    with pytest.raises(CodecUnusable, match=r"config\.json"):
        SnacDecoder.load(_changed(directory, tmp_path, **values))


def test_weights_of_another_size_are_refused(directory: Path, tmp_path: Path):
    with pytest.raises(CodecUnusable, match="not this SNAC's weights"):
        SnacDecoder.load(_changed(directory, tmp_path, decoder_dim=32))


def test_broken_weights_are_refused(directory: Path, tmp_path: Path):
    codec = _changed(directory, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(CodecUnusable, match="not this SNAC's weights"):
        SnacDecoder.load(codec)


def test_a_directory_without_configuration_is_refused(tmp_path: Path):
    with pytest.raises(CodecUnusable, match=r"config\.json"):
        SnacDecoder.load(str(tmp_path))


def test_a_hub_id_that_is_none_is_refused():
    with pytest.raises(CodecUnusable, match="hub"):
        SnacDecoder.load("no/such/hub/id")


def test_noise_changes_the_samples_and_not_their_number(tmp_path: Path):
    codec = SnacDecoder.load(str(write_snac(tmp_path, noise=True)))
    first, second = _whole(codec), _whole(codec)
    assert first.shape == second.shape
    assert not np.array_equal(first, second)
