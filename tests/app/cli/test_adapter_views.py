"""What adapters look like in a terminal of 80 columns, and in a wider one."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.cli.adapter_views import Adapter, print_models, print_status, print_versions

Show = Callable[[Sequence[Adapter]], None]

BASES = ("smollm2-135m-instruct", "meta-llama/Llama-3.1-8B-Instruct")
PINNED_UNTIL = 1_763_848_800
"""2025-11-22 22:00 UTC."""


def version(number: int, name: str = "pirate", base: str = BASES[0], **more: Any) -> dict[str, Any]:
    digest = f"{number:02x}" * 32
    alias = f"ft:{base}:org_01jh6x76wtemjr74t1fh0faj5t/{name}"
    return {
        "id": f"ft_01jh6x76wtemjr74t1fh0faj{number:02d}",
        "name": name,
        "base_model": base,
        "created_at": 1_763_760_000,
        "fine_tuned_model": f"{alias}-{digest[:12]}",
        "status": "ready",
        "source": "upload",
        "alias": alias,
        "active": False,
        "digest": digest,
        "rank": 16,
        "bytes": 9_234_567,
        **more,
    }


def refused(name: str = "broken", **error: str) -> dict[str, Any]:
    return {
        "id": "ft_01jh6x76wtemjr74t1fh0faj99",
        "name": name,
        "base_model": BASES[0],
        "created_at": 1_763_760_000,
        "fine_tuned_model": None,
        "status": "failed",
        "source": "bucket",
        "path": f"adapters/acme/{BASES[0]}/{name}",
        "active": False,
        "error": {"code": "not_finite", "message": "It holds NaN.", **error},
    }


@pytest.fixture(params=["80", "120"])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", request.param)
    return int(request.param)


def test_a_model_id_stands_whole_above_what_it_is(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    long = version(2, "n" * 63, BASES[1], active=True)
    earlier = version(1, "n" * 63, BASES[1], rank=128, bytes=123_456_789)
    print_models([long, earlier, refused()])
    assert capsys.readouterr().out.splitlines() == [
        long["fine_tuned_model"],
        "  ft_01jh6x76wtemjr74t1fh0faj02  active  2025-11-21 21:20 UTC  rank 16  9.23 MB",
        f"  alias {long['alias']}",
        earlier["fine_tuned_model"],
        "  ft_01jh6x76wtemjr74t1fh0faj01  ready   2025-11-21 21:20 UTC  rank 128  123 MB",
        "broken on smollm2-135m-instruct",
        "  ft_01jh6x76wtemjr74t1fh0faj99  failed  2025-11-21 21:20 UTC",
        "  not_finite",
    ]


def test_a_status_shows_all_that_a_version_is_called(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned = version(2, "n" * 63, BASES[1], active=True, pinned_until=PINNED_UNTIL)
    earlier = version(1, "n" * 63, BASES[1], source="bucket")
    print_status([pinned, earlier])
    assert capsys.readouterr().out.splitlines() == [
        pinned["alias"],
        "  ft_01jh6x76wtemjr74t1fh0faj02  active  upload  2025-11-21 21:20 UTC",
        f"    {pinned['fine_tuned_model']}",
        "    pinned until 2025-11-22 22:00 UTC",
        "  ft_01jh6x76wtemjr74t1fh0faj01  ready   bucket  2025-11-21 21:20 UTC",
        f"    {earlier['fine_tuned_model']}",
    ]


def test_a_status_is_by_name_and_the_newest_first(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [version(3, "b"), version(2, "a"), version(1, "b", active=True)]
    print_status(found)
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    newest, other, oldest = found
    assert [line for line in lines if not line.startswith("ft_")] == [
        other["alias"],
        other["fine_tuned_model"],
        newest["alias"],
        newest["fine_tuned_model"],
        oldest["fine_tuned_model"],
    ]


@pytest.mark.parametrize("show", [print_status, print_versions])
def test_a_verdict_stands_with_its_path_rule_and_place_below_the_refused_one(
    columns: int, capsys: pytest.CaptureFixture[str], show: Show
) -> None:
    place = "base_model.model." + "model.layers.11." * 10 + "weight"
    show([refused("pirate", param=place), version(1)])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == version(1)["alias"]
    assert lines[1].startswith("  ft_01jh6x76wtemjr74t1fh0faj99  failed  ")
    assert lines[2:6] == [
        f"    adapters/acme/{BASES[0]}/pirate",
        "    not_finite",
        f"    {place}",
        "    It holds NaN.",
    ]


def test_a_long_message_is_broken_between_words(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    print_status([refused(message="word " * 99)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert " ".join(lines[4:]).split() == ["word"] * 99


def test_versions_stand_under_their_alias_for_each_base_model_by_itself(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [version(3), version(2, base=BASES[1]), version(1)]
    print_versions(found)
    newest, other, oldest = (item["fine_tuned_model"] for item in found)
    facts = "2025-11-21 21:20 UTC  rank 16  9.23 MB"
    assert capsys.readouterr().out.splitlines() == [
        found[1]["alias"],
        f"  {found[1]['id']}  ready   {facts}",
        f"    {other}",
        "",
        found[0]["alias"],
        f"  {found[0]['id']}  ready   {facts}",
        f"    {newest}",
        f"  {found[2]['id']}  ready   {facts}",
        f"    {oldest}",
    ]


def test_a_name_that_was_only_ever_refused_has_no_alias(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    print_versions([refused()])
    assert capsys.readouterr().out.splitlines()[0] == "broken on smollm2-135m-instruct"


def test_names_from_the_bucket_are_shown_as_text(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = refused("[/red]\x1b[2J", param="[bold]\x07", message="[link]")
    for show in (print_models, print_status, print_versions):
        show([adapter])
        output = capsys.readouterr().out
        assert "[/red]\ufffd[2J" in output
        assert "\x1b" not in output
