"""all-MiniLM-L6-v2 is copied whole, with what sentence-transformers reads beside the weights."""

from pathlib import Path

from safetensors import safe_open

from deploy.quickstart.minilm import FILES, NAME, prepare


def test_the_prepared_model_has_every_packaged_file(tmp_path: Path) -> None:
    directory = prepare(tmp_path)

    assert directory == tmp_path / NAME
    found = {str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()}
    assert found == set(FILES)


def test_the_weights_give_384_dimensions(minilm: Path) -> None:
    with safe_open(minilm / "model.safetensors", framework="np") as weights:
        assert weights.get_slice("embeddings.word_embeddings.weight").get_shape() == [30522, 384]
