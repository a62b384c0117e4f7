"""The names that callers may use for a model's voices, and which voice each of them means."""

from collections.abc import Mapping, Sequence

from app.engine.base import PromptRefused


class VoiceNames:
    """The voices of one model, by their own names and by their aliases.

    Raises ValueError, where an alias means no voice or is the name of one.
    """

    def __init__(self, voices: Sequence[str], aliases: Mapping[str, str]) -> None:
        for alias, voice in aliases.items():
            if voice not in voices:
                raise ValueError(f"speech.aliases.{alias}: there is no voice {voice}")
            if alias in voices:
                raise ValueError(f"speech.aliases.{alias}: there is a voice of this name")
        self._voices = {**{voice: voice for voice in voices}, **aliases}

    @property
    def names(self) -> Sequence[str]:
        """Every name, aliases last."""
        return tuple(self._voices)

    def voice(self, name: str) -> str:
        """Return the voice that a name means. **Raises:** PromptRefused."""
        if name not in self._voices:
            names = ", ".join(self._voices)
            raise PromptRefused(f"This model does not have this voice. Its voices are: {names}.")
        return self._voices[name]
