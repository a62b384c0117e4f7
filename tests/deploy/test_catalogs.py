"""The catalogs that are shipped can be loaded as they stand."""

from pathlib import Path

from app.catalog import ModelSpec, load_catalog
from deploy.quickstart import minilm, other_tasks, whisper
from deploy.quickstart.models import prepare_all
from deploy.quickstart.paths import CATALOG, MODELS
from deploy.quickstart.smollm2 import NAME


def _demo() -> dict[str, ModelSpec]:
    prepare_all(MODELS)
    return {model.id: model for model in load_catalog(CATALOG).models}


def test_the_demo_catalog_serves_the_prepared_models() -> None:
    models = _demo()

    assert {id: model.task for id, model in models.items()} == {
        NAME: "chat",
        minilm.NAME: "embedding",
        whisper.NAME: "transcription",
        other_tasks.SPEECH_MODEL: "speech",
    }
    assert all(Path(model.source).parent == MODELS for model in models.values())


def test_the_demo_catalog_takes_every_rank_that_groq_takes() -> None:
    lora = _demo()[NAME].lora

    assert lora is not None
    assert lora.ranks == (8, 16, 32, 64)


def test_the_demo_catalog_serves_tools() -> None:
    chat = _demo()[NAME].chat

    assert chat.tool_parser == "hermes"
    assert chat.template is not None
    assert "<tool_call>" in chat.template.read_text()


def test_the_groqcloud_catalog_names_hub_models_of_every_task() -> None:
    models = load_catalog(CATALOG.with_name("groqcloud.yaml")).models

    assert [model.task for model in models] == [
        "chat",
        "embedding",
        "reranking",
        "transcription",
        "speech",
    ]
    assert [model.id for model in models if not model.optional] == ["llama-3.1-8b-instant"]
    assert [model.id for model in models if model.lora is not None] == [
        "llama-3.1-8b-instant",
        "canopylabs/orpheus-v1-english",
    ]
    assert not any(Path(model.source).is_absolute() for model in models)
    assert sum(model.vllm["gpu_memory_utilization"] for model in models) <= 0.92
