"""Client frameworks that are built on the official SDKs, in an environment of their own.

`make frameworks` installs it. A script in `frameworks/` plays the user and prints what it saw.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.server import SMOLLM2, Server

SCRIPTS = Path(__file__).parent / "frameworks"
PYTHON = Path(__file__).parents[2] / ".venv" / "frameworks" / "bin" / "python"
RUN_SECONDS = 120
OFFLINE = {
    "DO_NOT_TRACK": "1",
    "LANGSMITH_TRACING": "false",
    "LOGFIRE_IGNORE_NO_CONFIG": "1",
    "NO_PROXY": "*",
    "PYTHONWARNINGS": "ignore",
}

pytestmark = pytest.mark.engine


def seen_by(script: str, server: Server, model: str = SMOLLM2) -> Any:
    """Run a script against the server as a new organisation and return what it reports."""
    connection = {
        "LORA_API_URL": server.url,
        "LORA_API_KEY": server.key(script.replace("_", "-")),
        "LORA_API_MODEL": model,
    }
    done = subprocess.run(
        [PYTHON, SCRIPTS / f"{script}.py"],
        env={"PATH": os.defpath, **OFFLINE, **connection},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def langchain(server: Server) -> Any:
    return seen_by("langchain_chat", server)


@pytest.mark.parametrize("integration", ["openai", "groq"])
def test_langchain_streams_what_it_answers_at_once(langchain: Any, integration: str) -> None:
    whole, streamed = langchain[integration]["whole"], langchain[integration]["streamed"]

    assert whole["text"]
    assert streamed["text"] == whole["text"]
    assert streamed["chunks"] > 2


@pytest.mark.parametrize("integration", ["openai", "groq"])
def test_langchain_sees_usage_finish_reason_and_model(langchain: Any, integration: str) -> None:
    whole, streamed = langchain[integration]["whole"], langchain[integration]["streamed"]

    assert whole["model"] == SMOLLM2
    assert whole["finish"] in {"stop", "length"}
    assert 0 < whole["usage"]["output_tokens"] <= 12
    assert streamed["usage"]["total_tokens"] > 0


def test_langchain_gets_the_same_answer_by_either_integration(langchain: Any) -> None:
    assert langchain["openai"]["whole"]["text"] == langchain["groq"]["whole"]["text"]


def test_llama_index_streams_what_it_answers_at_once(server: Server) -> None:
    seen = seen_by("llama_index_chat", server)

    assert seen["whole"]["text"]
    assert seen["streamed"]["joined"] == seen["streamed"]["text"] == seen["whole"]["text"]
    assert seen["streamed"]["usage"] == seen["whole"]["usage"] > 0


def test_pydantic_ai_streams_what_it_answers_at_once(server: Server) -> None:
    seen = seen_by("pydantic_ai_chat", server)

    assert seen["whole"]["text"]
    assert seen["streamed"]["text"] == seen["whole"]["text"]
    assert 0 < seen["whole"]["usage"] <= 12
