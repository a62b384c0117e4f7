"""What the tokens of one Whisper model mean: control tokens, languages, stamps of time, and text.

Text of callers never becomes a control token: it is encoded by the model's merges alone, without
any of the tokens that were added to them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

SECONDS_PER_STAMP = 0.02

# A first stamp later than this is not believed. Source: whisper.decoding.DecodingOptions.
FIRST_STAMP_SECONDS = 1.0

# Whisper's vocabularies with languages begin here; those of English-only models are smaller.
MULTILINGUAL_VOCABULARY = 51_865

# Older vocabularies name the token by the caption track that it was learnt from.
NOBODY_SPEAKS = ("<|nospeech|>", "<|nocaptions|>")


@dataclass(frozen=True, slots=True)
class WhisperTokens:
    """Ids of one model. `languages` is code -> id, and empty for a model that knows English only.

    `suppressed` are tokens that are no speech, such as brackets and notes.
    """

    end: int
    start: int
    context: int
    transcribe: int
    translate: int
    no_speech: int
    no_stamps: int
    last_first_stamp: int
    languages: Mapping[str, int]
    suppressed: Sequence[int]

    @property
    def first_stamp(self) -> int:
        return self.no_stamps + 1

    @property
    def names(self) -> dict[str, str]:
        """Return ISO-639-1 code -> English name of every language, in lower case."""
        if not self.languages:
            return {"en": LANGUAGES["en"]}
        return {code: LANGUAGES.get(code, code) for code in self.languages}

    def opening(self, language: str, task: str) -> tuple[int, ...]:
        """Return what an answer begins with; an English-only model is told nothing."""
        if not self.languages:
            return ()
        return self.languages[language], self.translate if task == "translate" else self.transcribe

    def is_stamp(self, token: int) -> bool:
        return token >= self.first_stamp

    def seconds(self, stamp: int) -> float:
        return (stamp - self.first_stamp) * SECONDS_PER_STAMP


class WhisperText:
    """Turns text into tokens and back. Safe to use from several threads."""

    def __init__(self, tokenizer: Any) -> None:
        whole: Tokenizer = tokenizer.backend_tokenizer
        plain = Tokenizer(whole.model)
        plain.normalizer = whole.normalizer
        plain.pre_tokenizer = whole.pre_tokenizer
        plain.decoder = whole.decoder
        self._plain = plain

    def encode(self, text: str) -> list[int]:
        """Return the tokens of text, whatever it holds."""
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def encode_context(self, text: str) -> list[int]:
        """Return the tokens of what was said before, which goes on with a space."""
        words = text.strip()
        return self.encode(f" {words}") if words else []

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of text tokens; half characters are replaced."""
        text: str = self._plain.decode(list(tokens), skip_special_tokens=False)
        return text


def whisper_tokens(tokenizer: Any, generation: Mapping[str, Any], vocabulary: int) -> WhisperTokens:
    """Find the ids of a model by its tokenizer and its generation config.

    **Raises:** ValueError, where the tokenizer is not that of a Whisper model.
    """
    ids: dict[str, int] = tokenizer.get_vocab()
    no_stamps = _id(ids, "<|notimestamps|>")
    is_multilingual = generation.get("is_multilingual", vocabulary >= MULTILINGUAL_VOCABULARY)
    most = round(FIRST_STAMP_SECONDS / SECONDS_PER_STAMP)
    initial = generation.get("max_initial_timestamp_index") or most
    return WhisperTokens(
        end=_id(ids, "<|endoftext|>"),
        start=_id(ids, "<|startoftranscript|>"),
        context=_id(ids, "<|startofprev|>"),
        transcribe=_id(ids, "<|transcribe|>"),
        translate=_id(ids, "<|translate|>"),
        no_speech=_id(ids, *NOBODY_SPEAKS),
        no_stamps=no_stamps,
        last_first_stamp=no_stamps + 1 + initial,
        languages=_languages(ids) if is_multilingual else {},
        suppressed=tuple(generation.get("suppress_tokens") or ()),
    )


def _languages(ids: Mapping[str, int]) -> dict[str, int]:
    """Return the languages, in the model's order: they stand between the start and the tasks."""
    begin, end = _id(ids, "<|startoftranscript|>"), _id(ids, "<|translate|>")
    found = ((id, token[2:-2]) for token, id in ids.items() if begin < id < end)
    return {code: id for id, code in sorted(found)}


def _id(ids: Mapping[str, int], *names: str) -> int:
    for name in names:
        if name in ids:
            return ids[name]
    raise ValueError(f"the tokenizer has no token {names[0]}")
