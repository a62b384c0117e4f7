"""`lora-api adapters` against a real HTTP server, as its users call it."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app.cli import main
from app.cli.adapters import duration, zip_adapter
from tests.adapters_registry.adapters import lora_tensors, write_adapter
from tests.app.adapters.world import BASE
from tests.app.cli.conftest import Customer


def push(customer: Customer, room: Path, seed: int = 0, name: str = "mine") -> str:
    """Push the adapter of a seed; return its model id."""
    directory = write_adapter(room / f"adapter-{seed}", lora_tensors(seed=seed))
    done = customer.adapters("push", str(directory), "--name", name, "--base-model", BASE)
    assert done.exit_code == 0, done.output
    model: str = done.stdout.strip()
    return model


def listed(customer: Customer) -> dict[str, dict[str, Any]]:
    """Return what is registered, by model id."""
    items = json.loads(customer.adapters("list", "--json").stdout)
    return {item["fine_tuned_model"]: item for item in items}


def test_a_pushed_directory_is_registered_under_the_printed_model_id(
    customer: Customer, tmp_path: Path
) -> None:
    model = push(customer, tmp_path)
    assert model.startswith(f"ft:{BASE}:{customer.org_id}/mine-")
    assert list(listed(customer)) == [model]


def test_a_zip_is_pushed_as_it_is(customer: Customer, tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "adapter")
    archive = tmp_path / "adapter.zip"
    with archive.open("wb") as file:
        zip_adapter(directory, file)
    done = customer.adapters("push", str(archive), "--name", "zipped", "--base-model", BASE)
    assert done.exit_code == 0
    assert done.stdout.strip() in listed(customer)


def test_a_refused_push_shows_message_code_and_param(customer: Customer, tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "adapter", rank=4)
    done = customer.adapters("push", str(directory), "--name", "mine", "--base-model", BASE)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "code: rank_unsupported\nparam: r\n" in done.stderr


def test_a_list_holds_each_model_id_whole_on_a_line_of_its_own(
    customer: Customer, tmp_path: Path
) -> None:
    name = "a-name-so-long-that-its-model-id-fits-no-terminal-of-80-columns"
    models = [push(customer, tmp_path, seed, name) for seed in (1, 2)]
    lines = customer.adapters("list").stdout.splitlines()
    assert lines[::2] == models[::-1]
    ids = [listed(customer)[model]["id"] for model in models[::-1]]
    assert [line.split()[0] for line in lines[1::2]] == ids


def test_a_status_shows_versions_and_why_others_failed(customer: Customer, tmp_path: Path) -> None:
    model = push(customer, tmp_path)
    customer.refused("broken")
    output = customer.adapters("status").stdout
    assert re.search(rf"mine +{BASE} +{model[-12:]} +active", output)
    assert re.search(rf"broken +{BASE} +failed", output)
    assert f"broken on {BASE}: shape_mismatch\n  a.tensor\n  It has another shape." in output
    assert max(map(len, output.splitlines())) <= 80


def test_a_status_for_scripts_is_what_the_server_lists(customer: Customer, tmp_path: Path) -> None:
    push(customer, tmp_path)
    customer.refused("broken")
    broken, mine = json.loads(customer.adapters("status", "--json").stdout)
    assert (mine["status"], mine["active"]) == ("ready", True)
    assert (broken["status"], broken["error"]["code"]) == ("failed", "shape_mismatch")


def test_versions_are_those_of_one_name(customer: Customer, tmp_path: Path) -> None:
    models = [push(customer, tmp_path, seed) for seed in (1, 2)]
    push(customer, tmp_path, 3, name="other")
    alias, *table = customer.adapters("versions", "mine").stdout.splitlines()
    assert alias == models[0].rpartition("-")[0]
    assert [models.index(found) for line in table if (found := model_in(line, models))] == [1, 0]
    assert "other" not in str(table)


def model_in(line: str, models: list[str]) -> str | None:
    return next((model for model in models if model[-12:] in line), None)


def test_a_name_without_versions_is_said_so(customer: Customer) -> None:
    done = customer.adapters("versions", "mine", "--base-model", BASE)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No adapters.\n")
    assert customer.adapters("versions", "mine", "--json").stdout == "[]\n"


def test_activating_takes_either_id(customer: Customer, tmp_path: Path) -> None:
    first, second = (push(customer, tmp_path, seed) for seed in (1, 2))
    alias = first.rpartition("-")[0]
    done = customer.adapters("activate", first)
    assert done.stdout == f"{alias} stands for {first}\n"
    assert listed(customer)[first]["active"]
    customer.adapters("activate", listed(customer)[second]["id"])
    assert listed(customer)[second]["active"]


def test_warming_tells_where_the_weights_were(customer: Customer, tmp_path: Path) -> None:
    done = customer.adapters("warm", push(customer, tmp_path))
    assert re.fullmatch(r"found in the engine, loaded after \d+\.\d ms\n", done.stdout)


def test_a_pin_lasts_as_long_as_told_and_can_be_ended(customer: Customer, tmp_path: Path) -> None:
    model = push(customer, tmp_path)
    done = customer.adapters("pin", model, "--for", "2h")
    assert re.fullmatch(r"pinned until \d{4}-\d\d-\d\d \d\d:\d\d UTC\n", done.stdout)
    item = listed(customer)[model]
    assert 7100 < item["pinned_until"] - item["created_at"] < 7300
    assert customer.adapters("unpin", model).stdout == f"unpinned {model}\n"
    assert "pinned_until" not in listed(customer)[model]


def test_a_deleted_version_is_listed_no_more(customer: Customer, tmp_path: Path) -> None:
    model = push(customer, tmp_path)
    assert customer.adapters("delete", model).stdout == f"deleted {model}\n"
    assert listed(customer) == {}


def test_an_alias_is_told_to_be_no_version(customer: Customer, tmp_path: Path) -> None:
    model = push(customer, tmp_path)
    done = customer.adapters("delete", model.rpartition("-")[0])
    assert done.exit_code == 1
    assert "model id of no version" in done.stderr
    assert list(listed(customer)) == [model]


def test_an_unknown_id_shows_the_server_s_words(customer: Customer) -> None:
    done = customer.adapters("warm", "../models")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: No such fine_tuning object: ../models\n")


def test_only_the_two_files_are_packed(tmp_path: Path) -> None:
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md", "optimizer.pt"):
        (tmp_path / name).write_text(name)
    archive = io.BytesIO()

    zip_adapter(tmp_path, archive)

    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == ["adapter_model.safetensors", "adapter_config.json"]


def test_a_directory_without_an_adapter_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=r"adapter_model\.safetensors"):
        zip_adapter(tmp_path, io.BytesIO())


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "1w", "1h30m", "1 h", "1٣h"])
def test_any_other_duration_is_a_usage_error(text: str) -> None:
    arguments = ["adapters", "pin", "ft_x", "--api-key", "gsk_x", f"--for={text}"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "is no duration" in done.stderr
