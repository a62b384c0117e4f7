"""Which router is served where; nothing else. All of `API` needs a key, `OPEN` does not."""

from app.api.chat.router import router as chat
from app.api.files.router import router as files
from app.api.fine_tunings.router import router as fine_tunings
from app.api.health.router import router as health
from app.api.models.router import router as models

PREFIXES = ("/openai/v1", "/v1")
API = (chat, files, fine_tunings, models)
OPEN = (health,)
