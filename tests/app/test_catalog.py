"""The catalog refuses what it cannot serve, naming the file and the key."""

from pathlib import Path

import pytest
import yaml

from app.catalog import Catalog, CatalogError, ModelSpec, load_catalog

MODEL = {
    "id": "tiny",
    "task": "chat",
    "source": "./weights",
    "context_window": 512,
    "max_completion_tokens": 256,
}


def write(directory: Path, *models: object) -> Path:
    (directory / "weights").mkdir(exist_ok=True)
    path = directory / "catalog.yaml"
    path.write_text(yaml.safe_dump({"models": list(models)}))
    return path


def test_a_local_source_is_found_beside_the_catalog(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, MODEL))

    assert catalog.models[0].source == str(tmp_path / "weights")


def test_a_hub_source_is_left_alone(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, {**MODEL, "source": "org/model"}))

    assert catalog.models[0].source == "org/model"


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({**MODEL, "colour": "red"}, "models.0.colour"),
        ({**MODEL, "task": "poetry"}, "models.0.task"),
        ({**MODEL, "source": "./absent"}, "models.tiny.source"),
        ({**MODEL, "context_window": 0}, "models.0.context_window"),
        ({**MODEL, "lora": {"max_loras": 4, "max_cpu_loras": 2}}, "max_cpu_loras"),
        ({**MODEL, "lora": {"ranks": [128]}}, "max_lora_rank"),
        ({**MODEL, "vllm": {"max_loras": 4}}, "max_loras"),
        ({**MODEL, "id": "ft:mine"}, "models.0.id"),
        ({key: MODEL[key] for key in MODEL if key != "id"}, "models.0.id"),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, model: object, named: str) -> None:
    path = write(tmp_path, model)

    with pytest.raises(CatalogError) as caught:
        load_catalog(path)

    assert str(path) in str(caught.value)
    assert named in str(caught.value)


def test_two_models_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="two models share the id tiny"):
        load_catalog(write(tmp_path, MODEL, MODEL))


def test_several_models_of_one_task_are_fine(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, MODEL, {**MODEL, "id": "other"}))

    assert [model.id for model in catalog.models] == ["tiny", "other"]


@pytest.mark.parametrize("text", ["", "[]", "models: []", "models: {", "other: 1"])
def test_a_file_that_is_no_catalog_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(text)

    with pytest.raises(CatalogError, match=r"catalog\.yaml"):
        load_catalog(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        load_catalog(tmp_path / "absent.yaml")


def test_foreign_names_are_those_of_the_other_models_alone() -> None:
    catalog = Catalog(
        models=tuple(
            ModelSpec(id=id, task="chat", source=source, context_window=1, max_completion_tokens=1)
            for id, source in [
                ("small", "lab/small"),
                ("small-fast", "lab/small"),
                ("large", "lab/large"),
                ("local", "/models/large"),
            ]
        )
    )

    assert catalog.foreign_names("small") == {"small-fast", "large", "lab/large", "local"}
    assert catalog.foreign_names("large") == {"small", "lab/small", "small-fast", "local"}
