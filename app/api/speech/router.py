"""HTTP face of speech."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.api.speech.schemas import SpeechRequest
from app.audio.formats import FORMATS
from app.dependencies import ContextDep, SpeechServiceDep
from app.json_body import json_body
from app.openapi import binary
from app.transport import ChunkedStream, unless_disconnected

router = APIRouter(prefix="/audio")

Body = Annotated[SpeechRequest, json_body(SpeechRequest)]

MEDIA_TYPES = sorted({kind.media_type for kind in FORMATS.values()})


@router.post(
    "/speech",
    operation_id="createSpeech",
    response_class=Response,
    responses=binary(*MEDIA_TYPES),
)
async def create(
    request: Request, context: ContextDep, speech: SpeechServiceDep, body: Body
) -> Response:
    """Speak a text; the audio is sent as it is made."""
    pieces = await unless_disconnected(request.receive, speech.speak(context, body))
    return ChunkedStream(pieces, media_type=FORMATS[body.format].media_type)
