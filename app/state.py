"""What the lifespan opens and every request can reach; read through `get_state` alone."""

from pathlib import Path
from typing import TypedDict, cast

from starlette.requests import Request

from app.adapters.service import AdapterService
from app.api.batches.service import BatchesService
from app.api.chat.service import ChatService
from app.api.completions.service import CompletionsService
from app.api.embeddings.service import EmbeddingsService
from app.api.files.service import FilesService
from app.api.health.service import HealthService
from app.api.models.service import ModelsService
from app.api.reranking.service import RerankingService
from app.api.responses.service import ResponsesService
from app.api.speech.service import SpeechService
from app.api.transcriptions.service import TranscriptionsService
from app.api.usage.service import UsageService
from app.auth.authenticator import Authenticator
from app.pools.forwarding import Forwarder


class State(TypedDict):
    """Services that live as long as the application."""

    adapters: AdapterService
    authenticator: Authenticator
    batches: BatchesService
    body_limit_bytes: int
    chat: ChatService
    completions: CompletionsService
    embeddings: EmbeddingsService
    files: FilesService
    forwarder: Forwarder | None
    health: HealthService
    models: ModelsService
    reranking: RerankingService
    responses: ResponsesService
    speech: SpeechService
    spool_dir: Path
    transcriptions: TranscriptionsService
    usage: UsageService


def get_state(request: Request) -> State:
    """Return the application's state."""
    return cast(State, request.scope["state"])
