"""HTTP face of chat completions."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.api.chat.completion import ChatCompletion
from app.api.chat.schemas import ChatCompletionRequest
from app.dependencies import ChatServiceDep, ContextDep
from app.json_body import json_body
from app.openapi import or_stream
from app.transport import EventStream, unless_disconnected

router = APIRouter(prefix="/chat")

Body = Annotated[ChatCompletionRequest, json_body(ChatCompletionRequest)]


@router.post(
    "/completions", operation_id="createChatCompletion", responses=or_stream(ChatCompletion)
)
async def create(
    request: Request, context: ContextDep, chat: ChatServiceDep, body: Body
) -> Response:
    """Answer a conversation, whole or as a stream of chunks."""
    if body.stream:
        begin = chat.stream(context, body)
        return EventStream(await unless_disconnected(request.receive, begin))
    answer = await unless_disconnected(request.receive, chat.complete(context, body))
    return Response(answer.json_bytes(), media_type="application/json")
