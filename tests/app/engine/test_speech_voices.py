"""Names of voices, and what they mean."""

import pytest

from app.engine.base import PromptRefused
from app.engine.speech_voices import VoiceNames

NAMES = VoiceNames(["tara", "leo"], {"troy": "leo"})


def test_a_voice_goes_by_its_name_and_by_its_alias():
    assert [NAMES.voice(name) for name in ("tara", "leo", "troy")] == ["tara", "leo", "leo"]


def test_all_names_are_told():
    assert NAMES.names == ("tara", "leo", "troy")


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(PromptRefused, match="tara, leo, troy"):
        NAMES.voice("nobody")


def test_an_alias_of_no_voice_is_refused():
    with pytest.raises(ValueError, match=r"speech\.aliases\.troy: there is no voice dan"):
        VoiceNames(["leo"], {"troy": "dan"})


def test_an_alias_that_is_a_voices_name_is_refused():
    with pytest.raises(ValueError, match="there is a voice of this name"):
        VoiceNames(["leo", "dan"], {"leo": "dan"})
