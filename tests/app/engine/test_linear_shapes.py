"""Which layers of the tiny Llama, and of encoders, an adapter may change."""

from pathlib import Path

import pytest
from transformers import BertConfig, ModernBertConfig, RobertaConfig

from app.engine.linear_shapes import linear_shapes
from app.tasks import Task
from tests.fixtures.tiny_llama import HIDDEN, KEY_VALUE, LAYERS

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def test_every_projection_of_every_layer_is_there_with_its_shape(tiny_model: Path):
    shapes = linear_shapes(str(tiny_model))
    assert shapes["model.layers.0.self_attn.q_proj"] == (HIDDEN, HIDDEN)
    assert shapes["model.layers.1.self_attn.v_proj"] == (HIDDEN, KEY_VALUE)
    assert shapes["model.layers.1.mlp.down_proj"] == (192, HIDDEN)
    assert len(shapes) == 7 * LAYERS


def test_the_output_head_is_left_out(tiny_model: Path):
    assert not any("lm_head" in name for name in linear_shapes(str(tiny_model)))


def test_no_weights_are_needed(tiny_model: Path, tmp_path: Path):
    (tmp_path / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    assert linear_shapes(str(tmp_path)) == linear_shapes(str(tiny_model))


@pytest.mark.parametrize("task", ["embedding", "reranking"])
def test_a_decoders_names_do_not_depend_on_its_task(tiny_model: Path, task: Task):
    assert linear_shapes(str(tiny_model), task=task) == linear_shapes(str(tiny_model))


def test_an_encoder_that_embeds_is_named_as_the_bare_model_without_its_pooler(tmp_path: Path):
    BertConfig(**SMALL, intermediate_size=96).save_pretrained(tmp_path)
    shapes = linear_shapes(str(tmp_path), task="embedding")
    assert shapes["encoder.layer.0.attention.self.query"] == (64, 64)
    assert shapes["encoder.layer.1.output.dense"] == (96, 64)
    assert len(shapes) == 6 * 2


def test_an_encoder_that_reranks_is_named_as_the_classifier_without_its_head(tmp_path: Path):
    RobertaConfig(**SMALL, intermediate_size=96).save_pretrained(tmp_path)
    shapes = linear_shapes(str(tmp_path), task="reranking")
    assert shapes["roberta.encoder.layer.0.intermediate.dense"] == (64, 96)
    assert len(shapes) == 6 * 2


def test_an_encoder_with_joined_projections_has_them_as_one(tmp_path: Path):
    ModernBertConfig(**SMALL, intermediate_size=96).save_pretrained(tmp_path)
    assert linear_shapes(str(tmp_path), task="embedding")["layers.0.attn.Wqkv"] == (64, 192)
