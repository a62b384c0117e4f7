"""The chat service on scripted inference."""

from app.api.chat.service import ChatService
from tests.app.inference.stubs import InferenceRig, StubImages


class Rig(InferenceRig):
    """A chat service with everything round it scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.service = ChatService(self.inference, StubImages())
