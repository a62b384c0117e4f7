"""Who uses a version, and when nobody does any more."""

from adapters_registry.types import AdapterVersion, Digest
from adapters_registry.uses import Uses

VERSION = AdapterVersion(Digest("a" * 64), "base")
OTHER = AdapterVersion(Digest("b" * 64), "base")


def test_what_nobody_uses_has_no_end():
    uses = Uses()
    with uses.of(OTHER):
        assert uses.end_of(VERSION) is None
    assert uses.end_of(OTHER) is None


async def test_the_end_is_that_of_the_last_user():
    uses = Uses()
    with uses.of(VERSION):
        with uses.of(VERSION):
            end = uses.end_of(VERSION)
            assert end is not None
            assert uses.end_of(VERSION) is end
        assert not end.is_set()
    assert end.is_set()


async def test_a_later_use_has_an_end_of_its_own():
    uses = Uses()
    with uses.of(VERSION):
        earlier = uses.end_of(VERSION)
    with uses.of(VERSION):
        later = uses.end_of(VERSION)
        assert later is not None
        assert later is not earlier
        assert not later.is_set()
