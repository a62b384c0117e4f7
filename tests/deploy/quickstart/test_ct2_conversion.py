"""A converted directory computes what the model it was made of computes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from deploy.quickstart.ct2_conversion import convert
from deploy.quickstart.ctranslate2_file import NotReadable
from tests.deploy.quickstart.tiny_ctranslate2 import kept, tiny_whisper, tokenizer, written


def _convert(content: bytes, directory: Path) -> Path:
    """Convert a `model.bin` that comes in two parts."""
    middle = len(content) // 2
    first, second = directory / "model.bin.part1", directory / "model.bin.part2"
    first.write_bytes(content[:middle])
    second.write_bytes(content[middle:])
    beside, tokens = directory / "config.json", directory / "tokenizer.json"
    beside.write_text(json.dumps(kept()))
    tokens.write_text(json.dumps(tokenizer()))
    destination = directory / "converted"
    destination.mkdir()
    convert([first, second], beside, tokens, destination)
    return destination


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _convert(written(tiny_whisper().arrays), tmp_path_factory.mktemp("tiny"))


def _logits(model: Any) -> torch.Tensor:
    features = torch.linspace(-1, 1, 80 * 3000).reshape(1, 80, 3000)
    with torch.inference_mode():
        return model.float()(features, decoder_input_ids=torch.tensor([[3, 4, 0]])).logits


def test_the_converted_model_computes_the_same_logits(converted: Path) -> None:
    model = WhisperForConditionalGeneration.from_pretrained(converted)

    assert model.dtype == torch.float16
    assert torch.equal(_logits(model), _logits(tiny_whisper().torch))


def test_special_ids_are_those_of_the_tokenizer(converted: Path) -> None:
    config = GenerationConfig.from_pretrained(converted)

    assert config.lang_to_id == {"<|en|>": 4, "<|de|>": 5}
    assert config.task_to_id == {"transcribe": 7, "translate": 6}
    assert config.no_timestamps_token_id == 9
    assert config.decoder_start_token_id == 3
    assert config.alignment_heads == [[0, 1]]
    assert (config.suppress_tokens, config.begin_suppress_tokens) == ([1, 3], [0, 2])


def test_features_are_those_of_whisper(converted: Path) -> None:
    extractor = WhisperFeatureExtractor.from_pretrained(converted)

    assert extractor.to_dict() == WhisperFeatureExtractor().to_dict()


def test_timestamps_follow_the_last_special_token(converted: Path) -> None:
    tokens = json.loads((converted / "tokenizer.json").read_text())["added_tokens"]

    assert (tokens[8]["id"], tokens[8]["content"]) == (10, "<|0.00|>")
    assert (tokens[-1]["id"], tokens[-1]["content"]) == (1510, "<|30.00|>")
    assert not any(token["special"] for token in tokens[8:])


def test_nothing_is_written_where_the_parts_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(NotReadable):
        _convert(written(tiny_whisper().arrays)[:-1], tmp_path)
    assert list((tmp_path / "converted").iterdir()) == []
