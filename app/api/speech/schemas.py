"""Wire types of speech: the closed request. The answer is audio.

**Source:** GroqCloud OpenAPI v2.1, `CreateSpeechRequest`, with the default format of Groq's
documentation; `pcm`, `opus`, `aac` and the rate of `pcm` are OpenAI's
(openai.types.audio.speech_create_params, 3.54).
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from app.audio.encoding import SPEEDS
from app.wire import Closed, ModelId, only

MAX_VOICE_CHARACTERS = 256
DEFAULT_RATE = 48_000
PCM_RATE = 24_000
"""Headerless samples do not say their rate, and OpenAI's clients take them to have this one."""

Format = Literal["flac", "mp3", "mulaw", "ogg", "wav", "pcm", "opus", "aac"]
SampleRate = Literal[8000, 16000, 22050, 24000, 32000, 44100, 48000]
Speed = Annotated[float, Field(ge=SPEEDS[0], le=SPEEDS[1])]


class SpeechRequest(Closed):
    """The body of POST /audio/speech. The model says how long an input may be."""

    model: ModelId
    input: Annotated[str, Field(min_length=1)]
    voice: Annotated[str, Field(min_length=1, max_length=MAX_VOICE_CHARACTERS)]
    response_format: Annotated[Format | None, Field(description="`wav` unless it is given.")] = None
    sample_rate: Annotated[
        SampleRate | None,
        Field(description="In Hz; 48000 unless it is given, but 24000 for `pcm`."),
    ] = None
    speed: Annotated[Speed | None, Field(description="Pitch stays as it is.")] = None
    stream_format: Annotated[Any, only("audio", otherwise="can only be `audio`")] = None

    @property
    def format(self) -> Format:
        """What is written."""
        return self.response_format or "wav"

    @property
    def rate(self) -> int:
        """The sample rate of the answer, in Hz."""
        return self.sample_rate or (PCM_RATE if self.format == "pcm" else DEFAULT_RATE)
