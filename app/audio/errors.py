"""How audio is refused.

AudioError
├── AudioUnreadable  no audio that is accepted, or damaged beyond use
├── AudioTooLong     more than `limit_seconds`
├── AudioTooShort    less than `limit_seconds`
└── DecoderFailed    the decoder did not do its work; nothing is known of the file
"""


class AudioError(Exception):
    """Base of the errors of audio; the class docstring is the default message."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class AudioUnreadable(AudioError):
    """The file is not audio in a format that is accepted."""


class AudioTooLong(AudioError):
    """The audio is longer than is accepted."""

    def __init__(self, limit_seconds: float) -> None:
        super().__init__(f"The audio is longer than {limit_seconds:g} seconds.")
        self.limit_seconds = limit_seconds


class AudioTooShort(AudioError):
    """The audio is shorter than is accepted."""

    def __init__(self, limit_seconds: float) -> None:
        super().__init__(f"The audio is shorter than {limit_seconds:g} seconds.")
        self.limit_seconds = limit_seconds


class DecoderFailed(AudioError):
    """The audio could not be decoded at present."""
