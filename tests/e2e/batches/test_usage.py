"""The tokens that a batch's results tell of are those that the service and the engine count."""

import asyncio

import httpx
import pytest

from tests.e2e.batches.scene import Scene, chat_lines
from tests.e2e.batches.worker_process import CHAT
from tests.e2e.openmetrics import Reading, read
from tests.fixtures.server import TINY, Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]


def tokens(before: Reading, after: Reading) -> dict[str, float]:
    """Return the tokens that the service and vLLM have counted in the meantime."""

    def since(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    return {
        "prompt": since("lora_api_tokens_total", model=TINY, kind="prompt"),
        "completion": since("lora_api_tokens_total", model=TINY, kind="completion"),
        "vllm prompt": since("vllm:prompt_tokens_total", model_name=TINY),
        "vllm completion": since("vllm:generation_tokens_total", model_name=TINY),
    }


async def ask_once(server: Server) -> None:
    """Have something counted, so that there are counters."""
    headers = {"authorization": f"Bearer {server.key('counted')}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as http:
        await http.post(CHAT, json=chat_lines(1)[0]["body"])


@pytest.mark.parametrize("dialect", ["postgresql"])
async def test_the_tokens_of_a_batch_are_counted_once(scene: Scene, answering: Server) -> None:
    lines = chat_lines(200, max_tokens=4)
    await ask_once(answering)
    before = await asyncio.to_thread(read, answering)
    batch_id = await scene.farm.add(lines)
    async with scene.working({}, {}):
        await scene.ended(batch_id)
    after = await asyncio.to_thread(read, answering)

    await scene.require_all_answered(batch_id, lines)
    output, _ = await scene.farm.results(batch_id)
    usages = [result["response"]["body"]["usage"] for result in output]
    told = {
        kind: sum(usage[f"{kind}_tokens"] for usage in usages) for kind in ("prompt", "completion")
    }
    vllm = {f"vllm {kind}": count for kind, count in told.items()}
    assert tokens(before, after) == {**told, **vllm}
