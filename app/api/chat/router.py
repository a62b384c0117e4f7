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
        begin = chat.stream(caller.org_id, request_id, body)
        stream = await unless_disconnected(request.receive, begin)
        return EventStream(stream.content, stream.headers)
    whole = chat.complete(caller.org_id, request_id, body)
    answer = await unless_disconnected(request.receive, whole)
    content = answer.content.json_bytes()
    return Response(content, headers=answer.headers, media_type="application/json")
