"""HTTP face of transcriptions and translations."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.transcriptions.formats import Transcription, VerboseTranscription, Written
from app.api.transcriptions.schemas import CreateTranscriptionForm, CreateTranslationForm
from app.dependencies import ContextDep, TranscriptionsServiceDep
from app.openapi import multipart
from app.transport import unless_disconnected
from app.uploads import receive_upload

router = APIRouter()

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Transcription | VerboseTranscription,
        "content": {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "text/vtt")},
    }
}


@router.post(
    "/audio/transcriptions",
    operation_id="createTranscription",
    openapi_extra=multipart(CreateTranscriptionForm),
    responses=ANSWERS,
)
async def create_transcription(
    request: Request, context: ContextDep, transcriptions: TranscriptionsServiceDep
) -> Response:
    """Write down what is said in audio."""
    form, temp_dir = transcriptions.transcription_form, transcriptions.temp_dir
    async with receive_upload(request.stream(), request.headers, form, temp_dir) as upload:
        writing = transcriptions.transcribe(context, upload)
        return _response(await unless_disconnected(request.receive, writing))


@router.post(
    "/audio/translations",
    operation_id="createTranslation",
    openapi_extra=multipart(CreateTranslationForm),
    responses=ANSWERS,
)
async def create_translation(
    request: Request, context: ContextDep, transcriptions: TranscriptionsServiceDep
) -> Response:
    """Write down in English what is said in audio."""
    form, temp_dir = transcriptions.translation_form, transcriptions.temp_dir
    async with receive_upload(request.stream(), request.headers, form, temp_dir) as upload:
        writing = transcriptions.translate(context, upload)
        return _response(await unless_disconnected(request.receive, writing))


def _response(written: Written) -> Response:
    return Response(written.content, media_type=written.media_type)
