"""Where the demo keeps what it makes; all of it is ignored by git and safe to delete."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MODELS = ROOT / ".cache" / "models"
ADAPTERS = ROOT / ".cache" / "adapters"
CATALOG = ROOT / "deploy" / "catalogs" / "demo.yaml"
DATA = ROOT / ".data" / "demo"
SPEECH = ROOT / ".data" / "demo-speech.wav"
SERVER_LOG = ROOT / ".data" / "demo-server.log"
