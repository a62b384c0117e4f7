"""The seven endpoints on scripted engines, asked by lines of a batch and over HTTP alike."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from starlette.types import ASGIApp

from app.api.chat import router as chat
from app.api.completions import router as completions
from app.api.embeddings import router as embeddings
from app.api.reranking import router as reranking
from app.api.responses import router as responses
from app.api.transcriptions import router as transcriptions
from app.auth.authenticator import Caller
from app.batch_endpoints import make_endpoints
from app.errors import ApiError
from app.ids import new_id
from app.inference.context import RequestContext
from app.json_document import decode
from tests.app.api.application import application
from tests.app.api.chat.stubs import Rig as ChatRig
from tests.app.api.completions.stubs import Rig as CompletionsRig
from tests.app.api.embeddings.stubs import Rig as EmbeddingsRig
from tests.app.api.reranking.stubs import Rig as RerankingRig
from tests.app.api.responses.stubs import Rig as ResponsesRig
from tests.app.api.transcriptions.stubs import Rig as TranscriptionsRig
from tests.app.inference.stubs import BASE, ORG, Surroundings

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"
RERANKING = "/v1/reranking"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"

AUDIO = "https://x.example/a.wav"

BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": BASE, "messages": [{"role": "user", "content": "hi"}], "seed": 1},
    COMPLETIONS: {"model": BASE, "prompt": "Once", "seed": 1},
    EMBEDDINGS: {"model": BASE, "input": ["a", "bb"]},
    RESPONSES: {"model": BASE, "input": "hi"},
    RERANKING: {"model": BASE, "query": "Which?", "docs": ["one", "two"]},
    TRANSCRIPTIONS: {"model": BASE, "url": AUDIO},
    TRANSLATIONS: {"model": BASE, "url": AUDIO},
}
"""A good body of each endpoint."""

_OF_ONE_REQUEST = re.compile(
    r'(?<=")(chatcmpl|cmpl|resp|msg|rs|fc|req)[-_][0-9a-z-]+(?=")|(?<="created":)\d+'
    r'|(?<="created_at":)\d+|(?<="service_tier":)[^,}]+'
)


class World:
    """Endpoints, and an application with the same services; some may be given."""

    def __init__(self, directory: Path, **services: object) -> None:
        self.chat, self.completions, self.responses = ChatRig(), CompletionsRig(), ResponsesRig()
        self.embeddings, self.reranking = EmbeddingsRig(), RerankingRig()
        self.audio = TranscriptionsRig(directory)
        self.audio.fetcher.contents[AUDIO] = b"12"
        self.rigs: dict[str, Surroundings] = {
            **{CHAT: self.chat, COMPLETIONS: self.completions, RESPONSES: self.responses},
            **{EMBEDDINGS: self.embeddings, RERANKING: self.reranking},
            **{TRANSCRIPTIONS: self.audio, TRANSLATIONS: self.audio},
        }
        for rig in self.rigs.values():
            rig.limits.tiers.add("batch")
        self._services = {
            "chat": self.chat.service,
            "completions": self.completions.service,
            "embeddings": self.embeddings.service,
            "reranking": self.reranking.service,
            "responses": self.responses.service,
            "transcriptions": self.audio.service,
            **services,
        }
        self.endpoints = make_endpoints(**self._services)  # type: ignore[arg-type]

    async def line(self, url: str, body: dict[str, Any]) -> bytes:
        """Ask as a line does, whose JSON has been read."""
        context = RequestContext(Caller(ORG, "key_1"), new_id("req"), is_batch=True)
        written = json.dumps(body).encode()
        return await self.endpoints[url](context, decode(written), length=len(written))

    async def refusal(self, url: str, body: dict[str, Any]) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await self.line(url, body)
        return caught.value

    def app(self) -> ASGIApp:
        router = APIRouter()
        for module in (chat, completions, embeddings, reranking, responses, transcriptions):
            router.include_router(module.router)
        return application(router, **self._services)

    async def over_http(self, url: str, body: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            if url in (TRANSCRIPTIONS, TRANSLATIONS):
                return await client.post(f"/openai{url}", files=_form(body))
            return await client.post(f"/openai{url}", json=body)


def plain(answer: bytes) -> str:
    """Return an answer without what is of one request only: ids, times, the tier."""
    return _OF_ONE_REQUEST.sub("*", answer.decode())


def _form(body: dict[str, Any]) -> list[tuple[str, tuple[None, str]]]:
    """Write a body as form parts, an array as one part a value."""
    values = ((name, value) for name, value in body.items())
    return [
        (name, (None, str(each)))
        for name, value in values
        for each in (value if isinstance(value, list) else [value])
    ]
