"""The annotated parameters that routers use."""

from typing import Annotated

from fastapi import Depends, Request

from app.adapters.service import AdapterService
from app.api.chat.service import ChatService
from app.api.files.service import FilesService
from app.api.health.service import HealthService
from app.api.models.service import ModelsService
from app.auth.authenticator import Caller
from app.state import get_state


async def caller(request: Request) -> Caller:
    """Authenticate the request. **Raises:** InvalidApiKey."""
    authorization = request.headers.get("authorization")
    return await get_state(request)["authenticator"].authenticate(authorization)


def request_id(request: Request) -> str:
    """Return the `req_` id that the observability middleware gave."""
    return str(request.scope["state"]["request_id"])


def adapter_service(request: Request) -> AdapterService:
    """Return the adapters of all organisations."""
    return get_state(request)["adapters"]


def chat_service(request: Request) -> ChatService:
    """Return the chat completions service."""
    return get_state(request)["chat"]


def files_service(request: Request) -> FilesService:
    """Return the files service."""
    return get_state(request)["files"]


def health_service(request: Request) -> HealthService:
    """Return the health checks and metrics."""
    return get_state(request)["health"]


def models_service(request: Request) -> ModelsService:
    """Return the models service."""
    return get_state(request)["models"]


CallerDep = Annotated[Caller, Depends(caller)]
RequestIdDep = Annotated[str, Depends(request_id)]
AdapterServiceDep = Annotated[AdapterService, Depends(adapter_service)]
ChatServiceDep = Annotated[ChatService, Depends(chat_service)]
FilesServiceDep = Annotated[FilesService, Depends(files_service)]
HealthServiceDep = Annotated[HealthService, Depends(health_service)]
ModelsServiceDep = Annotated[ModelsService, Depends(models_service)]
