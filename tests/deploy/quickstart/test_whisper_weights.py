"""Weights keep every bit under Hugging Face's names, and a model that would differ is refused."""

import numpy as np
import pytest

from deploy.quickstart.ctranslate2_file import Model, NotReadable, read
from deploy.quickstart.whisper_weights import PROJECTION, renamed
from tests.deploy.quickstart.tiny_ctranslate2 import Arrays, tiny_whisper, written

KEYS = slice(4, 8)


def _model(changed: Arrays | None = None, specification: str = "WhisperSpec") -> Model:
    arrays = {**tiny_whisper().arrays, **(changed or {})}
    return read(written(arrays, specification=specification))


def test_weights_are_those_of_transformers_to_the_bit() -> None:
    expected = tiny_whisper().torch.state_dict()
    weights = renamed(_model())

    assert weights.keys() == expected.keys() - {"proj_out.weight"}
    for name, array in weights.items():
        assert np.array_equal(array, expected[name].numpy()), name


def test_an_array_without_a_place_is_refused() -> None:
    with pytest.raises(NotReadable, match="decoder/layer_0/gate/weight"):
        renamed(_model({"decoder/layer_0/gate/weight": np.zeros((2, 2), np.float16)}))


def test_keys_with_a_bias_are_refused() -> None:
    name = "encoder/layer_0/self_attention/linear_0/bias"
    bias = tiny_whisper().arrays[name].copy()
    bias[KEYS] = 1

    with pytest.raises(NotReadable, match="keys"):
        renamed(_model({name: bias}))


def test_another_kind_of_model_is_refused() -> None:
    with pytest.raises(NotReadable, match="TransformerSpec"):
        renamed(_model(specification="TransformerSpec"))


def test_a_projection_of_its_own_is_refused() -> None:
    model = _model()
    model.arrays[PROJECTION] = model.arrays[PROJECTION].copy()

    with pytest.raises(NotReadable, match="projection"):
        renamed(model)


@pytest.mark.parametrize("setting", ["activation", "pre_norm", "scale_embeddings"])
def test_a_model_that_computes_otherwise_is_refused(setting: str) -> None:
    with pytest.raises(NotReadable, match=f"decoder/{setting} is 2"):
        renamed(_model({f"decoder/{setting}": np.array(2, np.int8)}))
