"""Which layers of the tiny Llama an adapter may change."""

from pathlib import Path

from app.engine.linear_shapes import linear_shapes
from tests.fixtures.tiny_llama import HIDDEN, KEY_VALUE, LAYERS


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
