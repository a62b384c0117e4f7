"""The bounded cache with a time to live."""

from app.auth.expiring import ExpiringCache


def test_an_entry_is_found_until_its_time_is_over() -> None:
    cache = ExpiringCache[str](10, 5)
    cache.put("a", "x", 0)
    assert cache.get("a", 4.9) == "x"
    assert cache.get("a", 5) is None


def test_a_cache_of_no_seconds_keeps_nothing_alive() -> None:
    cache = ExpiringCache[str](10, 0)
    cache.put("a", "x", 0)
    assert not cache.has("a", 0)


def test_the_longest_kept_entry_makes_room() -> None:
    cache = ExpiringCache[int](2, 5)
    for number, key in enumerate("aba"):
        cache.put(key, number, 0)
    cache.put("c", 3, 0)
    assert len(cache) == 2
    assert cache.get("a", 1) == 2
    assert cache.get("b", 1) is None
