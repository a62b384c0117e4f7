"""HTTP face of chat completions."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.api.chat.schemas import ChatCompletion, ChatCompletionRequest
from app.dependencies import CallerDep, ChatServiceDep, RequestIdDep
from app.json_body import json_body
from app.transport import EventStream, unless_disconnected

router = APIRouter(prefix="/chat")

Body = Annotated[ChatCompletionRequest, json_body(ChatCompletionRequest)]


@router.post("/completions", responses={200: {"model": ChatCompletion}})
async def create(
    request: Request, caller: CallerDep, chat: ChatServiceDep, request_id: RequestIdDep, body: Body
) -> Response:
    """Answer a conversation, whole or as a stream of chunks."""
    if body.stream:
        frames = chat.stream(caller.org_id, request_id, body)
        return EventStream(await unless_disconnected(request.receive, frames))
    answer = chat.complete(caller.org_id, request_id, body)
    completion = await unless_disconnected(request.receive, answer)
    return Response(completion.json_bytes(), media_type="application/json")
