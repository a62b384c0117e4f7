"""The catalogs that are shipped can be loaded as they stand."""

from pathlib import Path

from app.catalog import load_catalog
from deploy.quickstart.paths import CATALOG
from deploy.quickstart.smollm2 import NAME


def test_the_demo_catalog_serves_the_prepared_model(smollm2: Path) -> None:
    (model,) = load_catalog(CATALOG).models

    assert model.id == NAME
    assert model.source == str(smollm2)


def test_the_demo_catalog_takes_every_rank_that_groq_takes(smollm2: Path) -> None:
    (model,) = load_catalog(CATALOG).models

    assert model.lora is not None
    assert model.lora.ranks == (8, 16, 32, 64)


def test_the_demo_catalog_serves_tools(smollm2: Path) -> None:
    (model,) = load_catalog(CATALOG).models

    assert model.chat.tool_parser == "hermes"
    assert model.chat.template is not None
    assert "<tool_call>" in model.chat.template.read_text()


def test_the_groqcloud_catalog_names_hub_models_that_take_adapters() -> None:
    models = load_catalog(CATALOG.with_name("groqcloud.yaml")).models

    assert [model.id for model in models] == ["llama-3.1-8b-instant"]
    for model in models:
        assert model.task == "chat"
        assert model.lora is not None
        assert not Path(model.source).is_absolute()
