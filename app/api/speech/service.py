"""Speech without HTTP: from a checked request to the bytes of an audio file, as they are made."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.api.speech.schemas import SpeechRequest
from app.audio.encoding import AudioEncoder
from app.errors import ApiError
from app.inference.context import RequestContext
from app.inference.serving import Inference
from app.inference.speech import Speaking
from app.sse import log_failed, started


class SpeechService:
    """Speaks texts."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def speak(
        self, context: RequestContext, request: SpeechRequest
    ) -> AsyncGenerator[bytes, None]:
        """Speak, and return pieces of the file once the first one is there.

        The caller must close what it gets; that aborts what still runs in the engine. Pieces that
        end with an ApiError, which is logged here, are no whole file.
        **Raises:** ApiError, for all that goes wrong before the first piece.
        """
        return await started(self._pieces(context, request))

    async def _pieces(
        self, context: RequestContext, request: SpeechRequest
    ) -> AsyncGenerator[bytes, None]:
        """Yield nothing first, once the first piece is there."""
        async with (
            self._inference.open(Speaking, context, request.model) as served,
            aclosing(_encoded(served, request)) as pieces,
        ):
            first = await anext(pieces)
            yield b""
            yield first
            try:
                async for piece in pieces:
                    yield piece
            except ApiError as error:
                log_failed(context.id, error)
                raise


async def _encoded(served: Speaking, request: SpeechRequest) -> AsyncGenerator[bytes, None]:
    """Yield what bytes there are after each sound; encoding is done off the loop."""
    prompt = await served.prepare(request.input, request.voice)
    async with aclosing(served.speak(prompt)) as sounds:
        encoder = await asyncio.to_thread(_encoder, served, request)
        async for sound in sounds:
            if piece := await asyncio.to_thread(encoder.encode, sound.samples):
                yield piece
    yield await asyncio.to_thread(encoder.finish)


def _encoder(served: Speaking, request: SpeechRequest) -> AudioEncoder:
    return AudioEncoder(
        request.format,
        source_rate=served.sample_rate,
        target_rate=request.rate,
        speed=1.0 if request.speed is None else request.speed,
    )
