"""The responses service on scripted inference."""

from app.api.responses.service import ResponsesService
from tests.app.inference.stubs import InferenceRig, StubImages


class Rig(InferenceRig):
    """A responses service with everything round it scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.service = ResponsesService(self.inference, StubImages())
