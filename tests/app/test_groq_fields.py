"""How answers name the tier that served a request."""

from typing import get_args

import pytest

from app.groq_fields import told
from app.inference.tiers import Tier
from tests.contract.groq_schema import violations

CHAT = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": []}


@pytest.mark.parametrize("tier", get_args(Tier))
def test_every_tier_is_told_in_a_word_of_groqs(tier: Tier) -> None:
    assert violations("CreateChatCompletionResponse", {**CHAT, "service_tier": told(tier)}) == []


def test_a_batch_is_none_of_the_tiers_that_can_be_asked_for() -> None:
    assert told("batch") is None
    assert told("flex") == "flex"
