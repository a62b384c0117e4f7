"""What a text-to-speech model is given of a caller's text, and whether any of it can be spoken."""

import unicodedata

from app.engine.base import PromptRefused, PromptTooLong

JOINERS = frozenset("\u200c\u200d")
"""Parts of words in some scripts, and of emoji; other marks of format are left out."""

SPOKEN = frozenset("LNS")
NAMED = frozenset("#%&@")
"""Categories of characters that have a sound or a name, and punctuation that has one."""


def speakable(text: str, most: int) -> str:
    """Return a text as it is spoken. **Raises:** PromptTooLong, PromptRefused."""
    if len(text) > most:
        raise PromptTooLong("the text is too long")
    spoken = plain(text)
    if not is_spoken(spoken):
        raise PromptRefused("There is nothing in this text that can be spoken.")
    return spoken


def plain(text: str) -> str:
    """Return the text without what is no text: control characters, lone surrogates, directions."""
    return "".join(map(_kept, text)).strip()


def is_spoken(text: str) -> bool:
    """Tell whether a character of the text can be spoken."""
    return any(unicodedata.category(each)[0] in SPOKEN or each in NAMED for each in text)


def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return character if character in JOINERS else ""
    return " " if category[0] == "C" else character
