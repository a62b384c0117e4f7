"""Settings refuse what they do not know, and never repeat a value: it may be a secret."""

import json

import pytest
from pydantic import ValidationError

from app.settings import PoolSettings, Settings


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("LORA_API_CATALOGUE", "LORA_API_CATALOGUE"),
        ("LORA_API_SERVR__PORT", "LORA_API_SERVR__PORT"),
        ("LORA_API_SERVER__PORTT", "server.portt"),
        ("LORA_API_SERVER__PORT", "server.port"),
        ("LORA_API_STORE__KIND", "store.kind"),
    ],
)
def test_an_unknown_or_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, named: str
) -> None:
    monkeypatch.setenv(variable, "eight thousand")

    with pytest.raises(ValidationError) as caught:
        Settings()

    assert named in str(caught.value)


def test_a_refused_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_API_AUTH__SECRET", "tooshortsecret")

    with pytest.raises(ValidationError) as caught:
        Settings()

    assert "32 or more" in str(caught.value)
    assert "tooshortsecret" not in str(caught.value)


def test_an_s3_store_needs_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_API_STORE__KIND", "s3")

    with pytest.raises(ValidationError, match="LORA_API_STORE__BUCKET"):
        Settings()


def test_the_budget_of_images_must_take_a_whole_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_API_FETCH__IMAGES_BYTES", "1001")
    monkeypatch.setenv("LORA_API_FETCH__INTAKE_BYTES", "1000")

    with pytest.raises(ValidationError, match="set LORA_API_FETCH__INTAKE_BYTES"):
        Settings()


def test_the_clients_own_variables_may_stand_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_API_KEY", "gsk_x")
    monkeypatch.setenv("LORA_API_BASE_URL", "http://127.0.0.1:8000")

    assert Settings().server.port == 8000


@pytest.mark.parametrize(
    "url", ["memcached://host:1", "redis://", "hunter2", "redis://user:hunter2@host:port"]
)
def test_a_limit_storage_that_cannot_be_used_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LORA_API_RATE_LIMITS__STORAGE_URL", url)

    with pytest.raises(ValidationError, match="set LORA_API_RATE_LIMITS__STORAGE_URL") as caught:
        Settings()

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
def test_redis_and_valkey_are_limit_storages(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("LORA_API_RATE_LIMITS__STORAGE_URL", f"{scheme}://user:hunter2@host:6379/0")

    settings = Settings()

    assert settings.rate_limits.storage_url is not None
    assert "hunter2" not in repr(settings)


def set_pools(monkeypatch: pytest.MonkeyPatch, pools: object) -> None:
    monkeypatch.setenv("LORA_API_POOLS", pools if isinstance(pools, str) else json.dumps(pools))


def test_there_are_no_other_pools_unless_they_are_named() -> None:
    assert Settings().pools == ()


def test_other_pools_are_written_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = ["http://chat.svc:8000", "https://[::1]:8443/", "http://a_b-c.d"]
    set_pools(monkeypatch, [{"url": url, "models": [f"org/m-{len(url)}"]} for url in urls[:2]])
    assert [pool.url for pool in Settings().pools] == [urls[0], urls[1].rstrip("/")]
    set_pools(monkeypatch, [{"url": urls[2], "models": ["a", "b"]}])
    assert Settings().pools == (PoolSettings(url=urls[2], models=("a", "b")),)


@pytest.mark.parametrize(
    "url",
    [
        "chat:8000",
        "ftp://chat",
        "http://",
        "http://chat:0",
        "http://chat:65536",
        "http://chat:80:80",
        "http://chat/v1",
        "http://chat?x",
        "http://chat#x",
        "http://user:hunter2@chat",
        "http://hunter2 chat",
        "http://chät",
        "http://chat\n",
    ],
)
def test_a_pools_url_is_a_place_and_no_more(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    set_pools(monkeypatch, [{"url": url, "models": ["m"]}])
    with pytest.raises(ValidationError, match="must be like http://host:port") as caught:
        Settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        ("hunter2", r'set it to JSON: \[{"url"'),
        ("{}", "valid tuple"),
        ([{"url": "http://a", "models": []}], "at least 1 item"),
        ([{"url": "http://a", "models": ["a b"]}], "should match pattern"),
        ([{"url": "http://a", "models": ["m"], "weight": 1}], "not permitted"),
        ([{"url": "http://a"}], "Field required"),
        ([{"url": "http://a", "models": ["m", "m"]}], "the model m is listed twice"),
        (
            [{"url": "http://a", "models": ["m"]}, {"url": "http://b", "models": ["n", "m"]}],
            "the model m is listed twice",
        ),
    ],
)
def test_pools_that_cannot_be_used_are_refused(
    monkeypatch: pytest.MonkeyPatch, pools: object, said: str
) -> None:
    set_pools(monkeypatch, pools)
    with pytest.raises(ValidationError, match=said) as caught:
        Settings()
    assert "hunter2" not in str(caught.value)
