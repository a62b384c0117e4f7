"""The official Node SDKs do the main job, so that non-Python clients are known to work."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.server import SMOLLM2, Server

NODE = Path(__file__).parent / "node"
INSTALL_SECONDS = 240
RUN_SECONDS = 240

pytestmark = pytest.mark.engine


@pytest.fixture(scope="session")
def node_clients() -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js is not installed")
    if not (NODE / "node_modules" / "openai").is_dir():
        subprocess.run(["npm", "ci", "--silent"], cwd=NODE, check=True, timeout=INSTALL_SECONDS)
    return NODE


def test_node_sdks_upload_register_and_call_an_adapter(
    server: Server, node_clients: Path, pirate_zip: Path
) -> None:
    arguments = [server.url, server.key("node"), str(pirate_zip), SMOLLM2]
    done = subprocess.run(
        ["node", "main_job.mjs", *arguments],
        cwd=node_clients,
        check=True,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )

    seen = json.loads(done.stdout)
    assert seen["files"] == [seen["file"]]
    assert seen["gone"] == 404
    for answers in seen["answers"].values():
        assert answers["adapter"] == answers["streamed"]
        assert answers["adapter"] != answers["base"]
        assert answers["retrieved"] == seen["model"]
    assert seen["answers"]["groq"] == seen["answers"]["openai"]
