"""What adapters look like in a terminal of 80 columns, and in a wider one."""

from typing import Any

import pytest

from app.cli.adapter_tables import moment, print_models, print_status, print_versions

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
    long = version(1, "n" * 63, BASES[1], active=True)
    print_models([long, refused()])
    assert capsys.readouterr().out.splitlines() == [
        long["fine_tuned_model"],
        "  ft_01jh6x76wtemjr74t1fh0faj01  active  2025-11-21  rank 16  9.2 MB",
        "broken on smollm2-135m-instruct",
        "  ft_01jh6x76wtemjr74t1fh0faj99  failed  2025-11-21  not_finite",
    ]


def test_a_status_of_long_names_fits_the_terminal_and_cuts_no_version(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    adapters = [version(n, "n" * 63, BASES[1], pinned_until=PINNED_UNTIL) for n in range(3)]
    print_status(adapters)
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= columns
    assert all(adapter["digest"][:12] in output for adapter in adapters)
    assert output.count("Nov 22 22:00") == 3


def test_a_status_is_by_name_and_the_newest_first(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    print_status([version(3, "b"), version(2, "a"), version(1, "b", active=True)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(row[0], row[2][:2], row[3]) for row in rows] == [
        ("a", "02", "ready"),
        ("b", "03", "ready"),
        ("b", "01", "active"),
    ]


def test_a_verdict_stands_below_the_table_with_its_place(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "base_model.model.model.layers.11.self_attn.q_proj.lora_B.weight"
    print_status([refused(param=place)])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[-3:] == [
        "broken on smollm2-135m-instruct: not_finite",
        f"  {place}",
        "  It holds NaN.",
    ]


def test_versions_stand_under_their_alias_one_table_a_base_model(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [version(3, pinned_until=PINNED_UNTIL), version(2, base=BASES[1]), version(1)]
    print_versions(found)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("ft:")] == [
        found[1]["alias"],
        found[0]["alias"],
    ]
    ids = [line.split()[0] for line in lines if line.startswith("ft_")]
    assert ids == [found[1]["id"], found[0]["id"], found[2]["id"]]
    rows = [line for line in lines if line.startswith("ft_")]
    assert all(row.endswith("2025-11-21") for row in rows)
    assert "Nov 22 22:00" in rows[1]


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


def test_a_moment_is_in_utc() -> None:
    assert moment(PINNED_UNTIL) == "2025-11-22 22:00 UTC"
