"""README and schema say what values.yaml and the service's own models say."""

import importlib.util
from types import ModuleType

import pytest

from tests.helm.release import CHART, ROOT


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "helm" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_current(generate: ModuleType) -> None:
    stale = [path.name for path, text in generate.generated().items() if path.read_text() != text]
    assert stale == [], "run `make helm-docs`"


def test_every_value_is_described(generate: ModuleType) -> None:
    rows = list(generate.rows((CHART / "values.yaml").read_text()))
    assert len(rows) > 120
    assert [key for key, _, meaning in rows if not meaning.endswith(".")] == []
