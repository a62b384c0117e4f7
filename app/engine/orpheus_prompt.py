"""From a text to an Orpheus-style prompt, by the names that the model's tokenizer has for tokens.

A caller's text is text to the last character: what reads like a control token is encoded as the
letters it is written with.

**Source:** the published description of canopylabs/orpheus-3b-0.1-ft: start of human, the text
`voice: …`, end of text, end of human, start of the model's turn, start of speech.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.engine.base import PromptRefused
from app.engine.orpheus_tokens import PLACES, AudioTokens

CUSTOM = "<custom_token_{}>"
START_OF_SPEECH, END_OF_SPEECH = 1, 2
START_OF_HUMAN, END_OF_HUMAN = 3, 4
START_OF_MODEL, END_OF_MODEL = 5, 6
FIRST_AUDIO = 10
END_OF_TEXT = "<|eot_id|>"

CUTS = 16
"""How often a text is cut where it reads like a control token; each time halves what does."""


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """What stands round the text of a prompt, and what ends the answer."""

    before: Sequence[int]
    after: Sequence[int]
    ends: Sequence[int]


class PromptWriter:
    """Writes prompts for one model; of a Hugging Face tokenizer only. May be used by threads."""

    def __init__(self, tokenizer: Any) -> None:
        # A copy, since others change what is the state of the tokenizer.
        tokenizer = copy.deepcopy(tokenizer)
        self._encoder = tokenizer.backend_tokenizer
        self._encoder.no_truncation()
        self._encoder.no_padding()
        self._ids = tokenizer.get_vocab()
        self._controls = _controls(tokenizer)
        self.tokens = self._prompt_tokens(tokenizer.bos_token_id)

    def audio(self, codebook_size: int) -> AudioTokens:
        """Return the ids of audio tokens. Raises ValueError, where they are not in one row."""
        first = self._id(CUSTOM.format(FIRST_AUDIO))
        most = PLACES * codebook_size - 1
        if self._id(CUSTOM.format(FIRST_AUDIO + most)) != first + most:
            raise ValueError("its tokenizer's audio tokens are not in one row")
        return AudioTokens(first, codebook_size)

    def write(self, voice: str, text: str) -> list[int]:
        """Return the prompt's token ids. Blocks. **Raises:** PromptRefused."""
        return [*self.tokens.before, *self._encoded(f"{voice}: {text}"), *self.tokens.after]

    def _prompt_tokens(self, begin: int | None) -> PromptTokens:
        def custom(number: int) -> int:
            return self._id(CUSTOM.format(number))

        turns = [custom(number) for number in (END_OF_HUMAN, START_OF_MODEL, START_OF_SPEECH)]
        return PromptTokens(
            before=[custom(START_OF_HUMAN), *([] if begin is None else [begin])],
            after=[self._id(END_OF_TEXT), *turns],
            ends=[custom(END_OF_SPEECH), custom(END_OF_MODEL)],
        )

    def _id(self, token: str) -> int:
        if (id := self._ids.get(token)) is None:
            raise ValueError(f"its tokenizer has no token {token}, which Orpheus' models have")
        return int(id)

    def _encoded(self, text: str) -> list[int]:
        pieces = [text]
        for _ in range(CUTS):
            encoded = [self._encoder.encode(each, add_special_tokens=False) for each in pieces]
            if not any(self._controls.intersection(each.ids) for each in encoded):
                return [id for each in encoded for id in each.ids]
            pieces = [
                part
                for piece, each in zip(pieces, encoded, strict=True)
                for part in self._cut(piece, each)
            ]
        raise PromptRefused("The text holds a control token that this model cannot take.")

    def _cut(self, text: str, encoded: Any) -> Iterator[str]:
        """Cut a text in the middle of everything that was taken for a control token."""
        position = 0
        for id, (start, stop) in zip(encoded.ids, encoded.offsets, strict=True):
            if id in self._controls:
                yield text[position : (start + stop) // 2]
                position = (start + stop) // 2
        yield text[position:]


def _controls(tokenizer: Any) -> frozenset[int]:
    prefix, _ = CUSTOM.split("{}")
    custom = (id for token, id in tokenizer.get_vocab().items() if token.startswith(prefix))
    return frozenset([*tokenizer.added_tokens_decoder, *custom])
