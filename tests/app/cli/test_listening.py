"""`lora-api serve` takes its port before it loads models: what is wrong with it is told at once."""

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import main
from app.cli.listening import CannotListen, bound
from deploy.quickstart.ports import free_port


def test_a_taken_port_ends_serve_before_models_are_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        f"models: [{{id: absent, task: embedding, source: {tmp_path}, context_window: 64}}]"
    )
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("LORA_API_CATALOG", str(catalog))
        monkeypatch.setenv("LORA_API_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("LORA_API_SERVER__PORT", str(port))

        result = CliRunner().invoke(main, ["serve"])

    assert result.exit_code == 2
    assert f"127.0.0.1 port {port}: Address already in use" in result.output
    assert "LORA_API_SERVER__HOST or __PORT" in result.output
    assert not (tmp_path / "data").exists()


def test_a_bound_port_is_kept_from_others_and_refuses_connections() -> None:
    port = free_port()
    with bound("127.0.0.1", port):
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1 port \d+: Cannot assign"):
        bound("192.0.2.1", free_port())


def test_all_addresses_of_both_families_are_one_setting() -> None:
    with bound("::", free_port()) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass
