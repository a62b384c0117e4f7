"""Transcriptions and translations without HTTP: from an uploaded form to an answer's bytes."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from app.api.transcriptions.formats import Answer, Written
from app.api.transcriptions.intake import AudioIntake, check_filename
from app.api.transcriptions.schemas import (
    LISTS,
    AudioForm,
    TranscriptionForm,
    TranslationForm,
    read,
)
from app.errors import ApiError, invalid_request, shortened
from app.inference.context import RequestContext
from app.inference.serving import Inference
from app.inference.transcript import Transcript
from app.inference.transcription import Dictation, Transcribing
from app.settings import LimitSettings
from app.uploads import UploadedFile, UploadForm

LISTED_CHARACTERS = 1_024
"""Most of the names of languages that an error lists."""

NOBODY_KNOWS = "unknown"
"""The language of a recording in which nobody speaks."""


class TranscriptionsService:
    """Writes down what is said in audio.

    The two forms say what an upload may hold, `temp_dir` is where it is kept meanwhile.
    """

    def __init__(
        self, inference: Inference, intake: AudioIntake, temp_dir: Path, limits: LimitSettings
    ) -> None:
        self._inference = inference
        self._intake = intake
        self.temp_dir = temp_dir
        self.transcription_form = _upload_form(TranscriptionForm, limits)
        self.translation_form = _upload_form(TranslationForm, limits)

    async def transcribe(self, context: RequestContext, upload: UploadedFile) -> Written:
        """Write down what is said. Cancelling aborts it in the engine. **Raises:** ApiError."""
        form = read(TranscriptionForm, upload)
        async with self._inference.open(Transcribing, context, form.model) as served:
            _check_language(form.language, served.languages)
            if form.wants_words and not served.aligns_words:
                raise _unsupported(form.model, "word timestamps")
            how = Dictation(
                language=form.language,
                context=form.prompt,
                temperature=form.temperature,
                wants_words=form.wants_words,
            )
            transcript = await self._transcript(served, context, upload, how)
            language = _name(transcript.language, served.languages)
        return await _written(Answer(context.id, "transcribe", form, language, transcript))

    async def translate(self, context: RequestContext, upload: UploadedFile) -> Written:
        """Write down in English what is said, else as `transcribe`. **Raises:** ApiError."""
        form = read(TranslationForm, upload)
        async with self._inference.open(Transcribing, context, form.model) as served:
            if not served.translates:
                raise _unsupported(form.model, "translation")
            how = Dictation("translate", context=form.prompt, temperature=form.temperature)
            transcript = await self._transcript(served, context, upload, how)
        return await _written(Answer(context.id, "translate", form, "english", transcript))

    async def _transcript(
        self, served: Transcribing, context: RequestContext, upload: UploadedFile, how: Dictation
    ) -> Transcript:
        await served.check_context(how.context)
        async with self._intake.samples(upload, context.caller.org_id) as audio:
            return await served.transcribe(audio, how)


async def _written(answer: Answer) -> Written:
    """Write an answer off the loop: an hour of speech takes tens of milliseconds."""
    return await asyncio.to_thread(answer.written)


def _upload_form(form: type[AudioForm], limits: LimitSettings) -> UploadForm:
    lists = LISTS if form is TranscriptionForm else frozenset()
    return UploadForm(
        limits.audio_bytes,
        frozenset(form.model_fields) - lists,
        lists=lists,
        instead="url",
        check_filename=check_filename,
    )


def _check_language(language: str | None, languages: Mapping[str, str]) -> None:
    if language is not None and language not in languages:
        codes = shortened(", ".join(sorted(languages)), LISTED_CHARACTERS)
        message = f"'language' : `{shortened(language)}` is not one of this model's [{codes}]"
        raise invalid_request(message, param="language")


def _name(language: str | None, languages: Mapping[str, str]) -> str:
    if language is None:
        return NOBODY_KNOWS
    return languages.get(language, language).lower()


def _unsupported(model: str, what: str) -> ApiError:
    message = f"The model `{shortened(model, 256)}` does not support {what}."
    return invalid_request(message, param="model")
