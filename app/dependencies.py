"""The annotated parameters that routers use.

All are coroutines, also where nothing is awaited: FastAPI runs a plain function in a thread, which
costs a request more than the function.
"""

from typing import Annotated

from fastapi import Depends, Request

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
from app.auth.authenticator import Caller
from app.inference.context import RequestContext
from app.state import get_state


async def caller(request: Request) -> Caller:
    """Authenticate the request. **Raises:** InvalidApiKey."""
    authorization = request.headers.get("authorization")
    return await get_state(request)["authenticator"].authenticate(authorization)


async def request_id(request: Request) -> str:
    """Return the `req_` id that the observability middleware gave."""
    return str(request.scope["state"]["request_id"])


async def context(
    request: Request,
    caller: Annotated[Caller, Depends(caller)],
    request_id: Annotated[str, Depends(request_id)],
) -> RequestContext:
    """Return what inference needs to know of the request."""
    headers = request.scope["state"]["response_headers"]
    return RequestContext(caller, request_id, headers)


async def adapter_service(request: Request) -> AdapterService:
    """Return the adapters of all organisations."""
    return get_state(request)["adapters"]


async def batches_service(request: Request) -> BatchesService:
    """Return the batches service."""
    return get_state(request)["batches"]


async def chat_service(request: Request) -> ChatService:
    """Return the chat completions service."""
    return get_state(request)["chat"]


async def completions_service(request: Request) -> CompletionsService:
    """Return the legacy completions service."""
    return get_state(request)["completions"]


async def embeddings_service(request: Request) -> EmbeddingsService:
    """Return the embeddings service."""
    return get_state(request)["embeddings"]


async def files_service(request: Request) -> FilesService:
    """Return the files service."""
    return get_state(request)["files"]


async def health_service(request: Request) -> HealthService:
    """Return the health checks and metrics."""
    return get_state(request)["health"]


async def models_service(request: Request) -> ModelsService:
    """Return the models service."""
    return get_state(request)["models"]


async def reranking_service(request: Request) -> RerankingService:
    """Return the reranking service."""
    return get_state(request)["reranking"]


async def responses_service(request: Request) -> ResponsesService:
    """Return the responses service."""
    return get_state(request)["responses"]


async def speech_service(request: Request) -> SpeechService:
    """Return the speech service."""
    return get_state(request)["speech"]


async def transcriptions_service(request: Request) -> TranscriptionsService:
    """Return the transcriptions and translations service."""
    return get_state(request)["transcriptions"]


async def usage_service(request: Request) -> UsageService:
    """Return what has been used."""
    return get_state(request)["usage"]


CallerDep = Annotated[Caller, Depends(caller)]
ContextDep = Annotated[RequestContext, Depends(context)]
RequestIdDep = Annotated[str, Depends(request_id)]
AdapterServiceDep = Annotated[AdapterService, Depends(adapter_service)]
BatchesServiceDep = Annotated[BatchesService, Depends(batches_service)]
ChatServiceDep = Annotated[ChatService, Depends(chat_service)]
CompletionsServiceDep = Annotated[CompletionsService, Depends(completions_service)]
EmbeddingsServiceDep = Annotated[EmbeddingsService, Depends(embeddings_service)]
FilesServiceDep = Annotated[FilesService, Depends(files_service)]
HealthServiceDep = Annotated[HealthService, Depends(health_service)]
ModelsServiceDep = Annotated[ModelsService, Depends(models_service)]
RerankingServiceDep = Annotated[RerankingService, Depends(reranking_service)]
ResponsesServiceDep = Annotated[ResponsesService, Depends(responses_service)]
SpeechServiceDep = Annotated[SpeechService, Depends(speech_service)]
TranscriptionsServiceDep = Annotated[TranscriptionsService, Depends(transcriptions_service)]
UsageServiceDep = Annotated[UsageService, Depends(usage_service)]
