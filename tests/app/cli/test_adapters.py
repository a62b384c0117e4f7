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

from app.api.fine_tunings.schemas import MAX_PIN_SECONDS
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


def test_only_a_push_that_succeeds_leaves_its_upload(customer: Customer, tmp_path: Path) -> None:
    refused = write_adapter(tmp_path / "refused", rank=4)
    customer.adapters("push", str(refused), "--name", "mine", "--base-model", BASE)
    assert customer.files() == []
    push(customer, tmp_path)
    assert customer.files() == ["mine.zip"]


def test_a_name_that_no_adapter_may_have_is_a_usage_error(
    customer: Customer, tmp_path: Path
) -> None:
    directory = str(write_adapter(tmp_path / "adapter"))
    done = customer.adapters("push", directory, "--name", "A_b", "--base-model", BASE)
    assert done.exit_code == 2
    assert "Invalid value for --name: 'A_b' must be 1 to 63 characters" in done.stderr


@pytest.mark.parametrize("base", ["nope", "ft:base:org_x/mine"])
def test_an_unknown_base_model_is_told_before_anything_is_uploaded(
    customer: Customer, tmp_path: Path, base: str
) -> None:
    directory = str(write_adapter(tmp_path / "adapter"))
    done = customer.adapters("push", directory, "--name", "mine", "--base-model", base)
    assert done.exit_code == 1
    assert done.stderr == f"Error: {base} is no base model of this server; it has:\n{BASE}\n"


@pytest.mark.parametrize(("terminal", "is_shown"), [("1", True), ("0", False)])
def test_how_far_an_upload_is_shows_on_terminals_only(
    customer: Customer, tmp_path: Path, terminal: str, is_shown: bool
) -> None:
    directory = str(write_adapter(tmp_path / "adapter"))
    arguments = ("push", directory, "--name", "mine", "--base-model", BASE)
    done = customer.adapters(*arguments, TTY_COMPATIBLE=terminal)
    assert done.exit_code == 0
    assert ("uploading" in done.stderr) is is_shown
    assert (done.stderr == "") is not is_shown


def test_a_list_holds_each_model_id_whole_on_a_line_of_its_own(
    customer: Customer, tmp_path: Path
) -> None:
    name = "a-name-so-long-that-its-model-id-fits-no-terminal-of-80-columns"
    models = [push(customer, tmp_path, seed, name) for seed in (1, 2)]
    lines = customer.adapters("list").stdout.splitlines()
    assert [line for line in lines if line.startswith("ft:")] == models[::-1]
    ids = [listed(customer)[model]["id"] for model in models[::-1]]
    assert [line.split()[0] for line in lines if line.startswith("  ft_")] == ids
    assert lines[2] == f"  alias {models[1].rpartition('-')[0]}"


def test_a_status_shows_versions_and_why_others_failed(customer: Customer, tmp_path: Path) -> None:
    model = push(customer, tmp_path)
    broken = customer.refused("broken")
    lines = [line.rstrip() for line in customer.adapters("status").stdout.splitlines()]
    assert lines[0] == f"broken on {BASE}"
    assert lines[1].startswith(f"  {broken}  failed  bucket  ")
    assert lines[2:6] == [
        f"    {customer.org_id}/{BASE}/broken",
        "    shape_mismatch",
        "    a.tensor",
        "    It has another shape.",
    ]
    assert lines[6:8] == ["", model.rpartition("-")[0]]
    assert lines[8].startswith(f"  {listed(customer)[model]['id']}  active  upload  ")
    assert lines[9:] == [f"    {model}"]


def test_a_status_for_scripts_is_what_the_server_lists(customer: Customer, tmp_path: Path) -> None:
    push(customer, tmp_path)
    customer.refused("broken")
    broken, mine = json.loads(customer.adapters("status", "--json").stdout)
    assert (mine["status"], mine["active"]) == ("ready", True)
    assert (broken["status"], broken["error"]["code"]) == ("failed", "shape_mismatch")


def test_versions_are_those_of_one_name(customer: Customer, tmp_path: Path) -> None:
    models = [push(customer, tmp_path, seed) for seed in (1, 2)]
    push(customer, tmp_path, 3, name="other")
    alias, *lines = customer.adapters("versions", "mine").stdout.splitlines()
    assert alias == models[0].rpartition("-")[0]
    assert [line.strip() for line in lines[1::2]] == models[::-1]
    ids = [listed(customer)[model]["id"] for model in models[::-1]]
    assert [line.split()[0] for line in lines[::2]] == ids


def test_a_name_that_nobody_has_is_said_so(customer: Customer) -> None:
    done = customer.adapters("versions", "nobody")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: No adapter is called 'nobody'.\n"
    done = customer.adapters("versions", "nobody", "--base-model", BASE)
    assert done.stderr == f"Error: No adapter on {BASE} is called 'nobody'.\n"
    done = customer.adapters("versions", "nobody", "--json")
    assert (done.exit_code, done.stdout) == (0, "[]\n")


def test_an_organisation_without_adapters_is_told_so(customer: Customer) -> None:
    for command in ("list", "status"):
        done = customer.adapters(command)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No adapters.\n")


def test_activating_takes_either_id(customer: Customer, tmp_path: Path) -> None:
    first, second = (push(customer, tmp_path, seed) for seed in (1, 2))
    alias = first.rpartition("-")[0]
    done = customer.adapters("activate", first)
    assert done.stdout == f"{alias} stands for {first}\n"
    assert listed(customer)[first]["active"]
    customer.adapters("activate", listed(customer)[second]["id"])
    assert listed(customer)[second]["active"]


def test_warming_tells_where_the_weights_were(customer: Customer, tmp_path: Path) -> None:
    model = push(customer, tmp_path)
    for seed in range(1, 5):
        push(customer, tmp_path, seed)
    done = customer.adapters("warm", model)
    assert re.fullmatch(r"found in the disk, loaded after \d+\.\d ms\n", done.stdout)
    assert customer.adapters("warm", model).stdout == "already in the engine\n"


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


@pytest.mark.parametrize("action", ["activate", "warm", "pin", "unpin", "delete"])
def test_an_alias_is_told_to_be_one_and_its_versions_are_named(
    customer: Customer, tmp_path: Path, action: str
) -> None:
    models = [push(customer, tmp_path, seed) for seed in (1, 2)]
    before = listed(customer)
    alias = models[0].rpartition("-")[0]
    done = customer.adapters(action, alias)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"Error: {alias} is an alias; name one of its versions:",
        models[1],
        f"  {before[models[1]]['id']}",
        models[0],
        f"  {before[models[0]]['id']}",
    ]
    assert listed(customer) == before


@pytest.mark.parametrize("id", ["../models", "mine", "ft:base:org_x/mine"])
def test_what_is_no_id_of_a_version_is_told_so(customer: Customer, id: str) -> None:
    done = customer.adapters("warm", id)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: No version has the id {id}; ")


def test_an_unknown_id_shows_the_server_s_words(customer: Customer) -> None:
    done = customer.adapters("warm", "ft_x")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: No such fine_tuning object: ft_x\n")


def test_nothing_can_be_done_with_a_refused_one(customer: Customer) -> None:
    id = customer.refused("broken")
    for action in ("activate", "warm", "pin", "delete"):
        done = customer.adapters(action, id)
        assert done.exit_code == 1
        assert "code: adapter_refused\n" in done.stderr


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


@pytest.mark.parametrize(
    "text", ["", "1", "h", "-1h", "1.5h", "1w", "1h30m", "1 h", "1٣h", "0s", "8d"]
)
def test_any_other_duration_is_a_usage_error(text: str) -> None:
    arguments = ["adapters", "pin", "ft_x", "--api-key", "gsk_x", f"--for={text}"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "Invalid value for --for: " in done.stderr
    assert "7d" in done.stderr


def test_a_pin_may_last_for_a_week() -> None:
    assert duration("7d") == MAX_PIN_SECONDS
