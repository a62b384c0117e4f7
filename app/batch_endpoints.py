"""What a line of a batch may ask: each endpoint's service, called as its route would call it.

A body is checked by the model that checks it over HTTP, and its answer is what HTTP would answer,
whole and as JSON. Refused is what makes no sense in a batch: a stream, and a service tier.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from app.api.chat.schemas import ChatCompletionRequest
from app.api.chat.service import ChatService
from app.api.completions.schemas import CompletionRequest
from app.api.completions.service import CompletionsService
from app.api.embeddings.schemas import CreateEmbeddingRequest
from app.api.embeddings.service import EmbeddingsService
from app.api.reranking.schemas import RerankingRequest
from app.api.reranking.service import RerankingService
from app.api.responses.schemas import ResponseRequest
from app.api.responses.service import ResponsesService
from app.api.transcriptions.json_forms import TranscriptionJson, TranslationJson, as_json
from app.api.transcriptions.service import TranscriptionsService
from app.batches.types import Endpoint, Endpoints
from app.errors import ApiError, invalid_request, model_not_found
from app.failures import EXPECTED, said
from app.inference.context import RequestContext
from app.json_document import MAX_BYTES_IN_LOOP, checked
from app.pools.directory import ServedElsewhere

M = TypeVar("M", bound=BaseModel)

Answering = Callable[[RequestContext, M], Awaitable[bytes]]


class _Answer(Protocol):
    def json_bytes(self) -> bytes: ...


def make_endpoints(
    *,
    chat: ChatService,
    completions: CompletionsService,
    embeddings: EmbeddingsService,
    reranking: RerankingService,
    responses: ResponsesService,
    transcriptions: TranscriptionsService,
) -> Endpoints:
    """Make what lines may ask, by url. Their bodies have been read by app.json_document."""
    return {
        "/v1/chat/completions": _endpoint(ChatCompletionRequest, _written(chat.complete)),
        "/v1/completions": _endpoint(CompletionRequest, _written(completions.complete)),
        "/v1/embeddings": _endpoint(CreateEmbeddingRequest, _embedding(embeddings)),
        "/v1/responses": _endpoint(ResponseRequest, _written(responses.complete)),
        "/v1/reranking": _endpoint(RerankingRequest, _written(reranking.rank)),
        "/v1/audio/transcriptions": _endpoint(TranscriptionJson, _transcribing(transcriptions)),
        "/v1/audio/translations": _endpoint(TranslationJson, _translating(transcriptions)),
    }


def _endpoint(model: type[M], answer: Answering[M]) -> Endpoint:
    async def ask(context: RequestContext, body: Mapping[str, Any], *, length: int) -> bytes:
        with _in_words():
            if length > MAX_BYTES_IN_LOOP:
                request = await asyncio.to_thread(_checked, model, dict(body))
            else:
                request = _checked(model, dict(body))
            return await answer(context, request)

    return ask


@contextmanager
def _in_words() -> Iterator[None]:
    """Turn what is expected to go wrong into ApiErrors; the caller knows what to do with others."""
    try:
        yield
    except ApiError:
        raise
    except ServedElsewhere as elsewhere:
        # Its chunk was cut where that pool was not known yet, and goes to whoever comes first.
        raise model_not_found(elsewhere.model) from elsewhere
    except EXPECTED as error:
        raise said(error) from error


def _checked(model: type[M], body: dict[str, Any]) -> M:
    if "service_tier" in body:
        raise invalid_request("property 'service_tier' is unsupported", param="service_tier")
    if "stream" in model.model_fields:
        _refuse_stream(body)
    return checked(model, body)


def _refuse_stream(body: Mapping[str, Any]) -> None:
    no_ops = {"stream": (None, False), "stream_options": (None,)}
    for field, values in no_ops.items():
        if body.get(field) not in values:
            raise invalid_request(f"`{field}` is not supported in a batch", param=field)


def _written(ask: Callable[[RequestContext, M], Awaitable[_Answer]]) -> Answering[M]:
    async def answer(context: RequestContext, request: M) -> bytes:
        return (await ask(context, request)).json_bytes()

    return answer


def _embedding(embeddings: EmbeddingsService) -> Answering[CreateEmbeddingRequest]:
    async def answer(context: RequestContext, request: CreateEmbeddingRequest) -> bytes:
        written = bytearray()
        for piece in (await embeddings.create(context, request)).pieces():
            written += piece
            # Others get their turn: a large answer takes seconds to write.
            await asyncio.sleep(0)
        return bytes(written)

    return answer


def _transcribing(transcriptions: TranscriptionsService) -> Answering[TranscriptionJson]:
    async def answer(context: RequestContext, request: TranscriptionJson) -> bytes:
        form, temp_dir = transcriptions.transcription_form, transcriptions.temp_dir
        async with request.received(form, temp_dir) as upload:
            return as_json(await transcriptions.transcribe(context, upload), context.id)

    return answer


def _translating(transcriptions: TranscriptionsService) -> Answering[TranslationJson]:
    async def answer(context: RequestContext, request: TranslationJson) -> bytes:
        form, temp_dir = transcriptions.translation_form, transcriptions.temp_dir
        async with request.received(form, temp_dir) as upload:
            return as_json(await transcriptions.translate(context, upload), context.id)

    return answer
