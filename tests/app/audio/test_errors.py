import pytest

from app.audio.errors import (
    AudioError,
    AudioTooLong,
    AudioTooShort,
    AudioUnreadable,
    DecoderFailed,
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AudioUnreadable(), "The file is not audio in a format that is accepted."),
        (AudioTooLong(3600), "The audio is longer than 3600 seconds."),
        (AudioTooShort(0.01), "The audio is shorter than 0.01 seconds."),
        (DecoderFailed(), "The audio could not be decoded at present."),
    ],
)
def test_an_error_says_what_is_wrong(error: AudioError, message: str) -> None:
    assert str(error) == message
