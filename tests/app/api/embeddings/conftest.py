"""The embeddings resource in an application of its own, on a scripted engine."""

import pytest
from starlette.types import ASGIApp

from app.api.embeddings import router as embeddings
from tests.app.api.application import application
from tests.app.api.embeddings.stubs import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    return application(embeddings.router, embeddings=rig.service)
