"""Every answer comes from the adapter that was asked for, whatever runs beside it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.mixed_traffic import Wrong, measure
from tests.fixtures.engines import TinyEngine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


async def test_mixed_traffic_gets_the_answers_of_unmixed(
    tiny_engine: TinyEngine, tmp_path: Path
) -> None:
    wrong = await measure(tiny_engine, tmp_path)
    assert (wrong.base, wrong.adapter) == (0, 0)
    assert wrong.asked > 100


def test_without_the_plugin_base_answers_carry_another_tenants_weights(
    tiny_model: Path, tmp_path: Path
) -> None:
    """When this fails, vLLM has been mended: remove the plugin."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.mixed_traffic", tiny_model, tmp_path],
        env={**os.environ, "VLLM_PLUGINS": "none"},
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )
    assert Wrong(**json.loads(done.stdout.splitlines()[-1])).base > 0
