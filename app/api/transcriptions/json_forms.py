"""The two forms as JSON objects, for lines of batches: no file can be sent there, only its URL.

The fields have the form's names and JSON's types: a number, an array. Types alone are checked here;
then the values are written as the form that they stand for, whose bounds and rules hold. The answer
is JSON as well: a text, or subtitles in `srt` or `vtt`, stand in the same object as the answer of
`json`, `{"text": …, "x_groq": …}`.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any

from app.api.transcriptions.formats import JSON, RequestMark, Transcription, Written
from app.uploads import UploadedFile, UploadForm, receive_upload
from app.wire import Closed, only


class AudioJson(Closed):
    """What both forms hold."""

    model: str
    url: str
    file: Annotated[Any, only(otherwise="cannot be sent here: give `url`")] = None
    prompt: str | None = None
    response_format: str | None = None
    temperature: float | None = None
    language: str | None = None
    stream: Annotated[Any, only(False)] = None

    def received(
        self, form: UploadForm, directory: Path
    ) -> AbstractAsyncContextManager[UploadedFile]:
        """Receive the object as an upload of the form, until the block ends. **Raises:** ApiError.

        Only the form's bounds are checked here, not yet its values.
        """
        boundary = secrets.token_hex(16)
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        return receive_upload(self._written(boundary), headers, form, directory)

    async def _written(self, boundary: str) -> AsyncIterator[bytes]:
        for name, value in self._parts():
            head = f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n'
            yield b"".join((head.encode(), value.encode(), b"\r\n"))
        yield f"--{boundary}--\r\n".encode()

    def _parts(self) -> Iterator[tuple[str, str]]:
        for name, value in self.model_dump(exclude_none=True, exclude={"stream"}).items():
            for each in value if isinstance(value, list) else [value]:
                yield name, str(each)


class TranscriptionJson(AudioJson):
    """The form of a transcription."""

    timestamp_granularities: list[str] | None = None


class TranslationJson(AudioJson):
    """The form of a translation."""


def as_json(written: Written, request_id: str) -> bytes:
    """Return an answer of any format as JSON."""
    if written.media_type == JSON:
        return written.content
    text = written.content.decode()
    answer = Transcription(text=text, x_groq=RequestMark(id=request_id))
    return answer.model_dump_json().encode()
