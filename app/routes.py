"""Which router is served where; nothing else. All of `API` needs a key, `OPEN` does not."""

from fastapi import APIRouter

from app.api.batches.router import router as batches
from app.api.chat.router import router as chat
from app.api.completions.router import router as completions
from app.api.embeddings.router import router as embeddings
from app.api.files.router import router as files
from app.api.fine_tunings.router import router as fine_tunings
from app.api.health.router import router as health
from app.api.models.router import router as models
from app.api.reranking.router import router as reranking
from app.api.responses.router import router as responses
from app.api.speech.router import router as speech
from app.api.transcriptions.router import router as transcriptions
from app.api.usage.router import router as usage

PREFIXES = ("/openai/v1", "/v1")
API = (
    batches,
    chat,
    completions,
    embeddings,
    files,
    fine_tunings,
    models,
    reranking,
    responses,
    speech,
    transcriptions,
    usage,
)
OPEN = (health,)


def prefix_in_document(router: APIRouter) -> str:
    """Return the prefix at which Groq serves the router; the other one is an alias."""
    return "/v1" if router is fine_tunings else "/openai/v1"
