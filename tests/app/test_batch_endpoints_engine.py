"""Lines of a batch on real engines: what they are answered is what HTTP answers."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from app.api.chat.service import ChatService
from app.api.completions.service import CompletionsService
from app.api.embeddings.service import EmbeddingsService
from app.api.responses.service import ResponsesService
from app.catalog import Catalog, ModelSpec
from app.engine.base import Engine
from app.engine.factory import start_engines
from app.inference.serving import Inference
from tests.app.batch_world import BODIES, CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, World
from tests.app.inference.stubs import BASE, StubImages, Surroundings
from tests.fixtures.engines import TinyEngine, import_vllm

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

GREEDY = {"temperature": 0}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def minilm_engine(minilm: Path) -> AsyncIterator[Engine]:
    import_vllm()
    vllm = {"dtype": "float32", "enforce_eager": True}
    spec = ModelSpec(id=BASE, task="embedding", source=str(minilm), vllm=vllm)
    engines = await start_engines(Catalog(models=(spec,)))
    try:
        yield engines.running[BASE]
    finally:
        await engines.close()


async def both(world: World, url: str, body: dict[str, Any]) -> tuple[Any, Any]:
    response = await world.over_http(url, body)
    assert response.status_code == 200, response.text
    return json.loads(await world.line(url, body)), response.json()


@pytest.fixture
def world(tmp_path: Path, tiny_engine: TinyEngine) -> World:
    inference = _inference(tiny_engine.engine)
    return World(
        tmp_path,
        chat=ChatService(inference, StubImages()),
        completions=CompletionsService(inference),
        responses=ResponsesService(inference, StubImages()),
    )


@pytest.mark.parametrize(
    ("url", "fields", "answer"),
    [
        (CHAT, {"max_completion_tokens": 8, "logprobs": True}, "choices"),
        (COMPLETIONS, {"max_tokens": 8, "echo": True}, "choices"),
        (RESPONSES, {"max_output_tokens": 8}, "output"),
    ],
)
async def test_a_line_is_generated_as_over_http(
    world: World, url: str, fields: dict[str, Any], answer: str
) -> None:
    line, http = await both(world, url, {**BODIES[url], **GREEDY, **fields})
    assert _without_ids(line[answer]) == _without_ids(http[answer])
    assert line["usage"]["total_tokens"] == http["usage"]["total_tokens"] > 8


async def test_a_line_is_embedded_as_over_http(tmp_path: Path, minilm_engine: Engine) -> None:
    world = World(tmp_path, embeddings=EmbeddingsService(_inference(minilm_engine)))
    line, http = await both(world, EMBEDDINGS, {"model": BASE, "input": ["one", "another"]})
    vectors = np.array([[each["embedding"] for each in told["data"]] for told in (line, http)])
    assert vectors.shape == (2, 2, 384)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def _inference(engine: Engine) -> Inference:
    surroundings = Surroundings(engine)
    surroundings.limits.tiers.add("batch")
    return surroundings.inference


def _without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in item.items() if key != "id"} for item in items]
