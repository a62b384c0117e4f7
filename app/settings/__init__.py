"""Every setting of the service; the only reader of the environment.

Variables are `LORA_API_` + the field's name, nested with `__` (`LORA_API_SERVER__PORT`).
"""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.settings.adapters import AdapterSettings, SyncSettings
from app.settings.backends import DatabaseSettings, FileSettings, StoreSettings, UsageSettings
from app.settings.batches import BatchSettings
from app.settings.engines import EngineSettings
from app.settings.fetch import FetchSettings
from app.settings.pools import Pools, PoolSettings
from app.settings.requests import AdmissionSettings, LimitSettings, RateLimitSettings
from app.settings.server import AuthSettings, MetricsSettings, ServerSettings

__all__ = [
    "CLIENT_VARIABLES",
    "PREFIX",
    "AdapterSettings",
    "AdmissionSettings",
    "AuthSettings",
    "BatchSettings",
    "DatabaseSettings",
    "EngineSettings",
    "FetchSettings",
    "FileSettings",
    "LimitSettings",
    "MetricsSettings",
    "PoolSettings",
    "RateLimitSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "SyncSettings",
    "UsageSettings",
]

PREFIX = "LORA_API_"
CLIENT_VARIABLES = frozenset({"LORA_API_BASE_URL", "LORA_API_KEY"})
"""Read by `lora-api adapters` and `lora-api batches`, which may run beside a server."""


class Settings(BaseSettings):
    """The whole configuration; invalid values stop the start with the setting's name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    catalog: Path = Field(
        Path("catalog.yaml"), description="YAML file that lists the served models."
    )
    plans: Path | None = Field(
        None, description="YAML file of the plans with rate limits. Unset: nothing is limited."
    )
    data_dir: Path = Field(
        Path(".data"), description="Local directory: embedded database and store, adapter cache."
    )
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    database: DatabaseSettings = DatabaseSettings()
    store: StoreSettings = StoreSettings()
    adapters: AdapterSettings = AdapterSettings()
    sync: SyncSettings = SyncSettings()
    limits: LimitSettings = LimitSettings()
    files: FileSettings = FileSettings()
    batches: BatchSettings = BatchSettings()
    admission: AdmissionSettings = AdmissionSettings()
    fetch: FetchSettings = FetchSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    usage: UsageSettings = UsageSettings()
    metrics: MetricsSettings = MetricsSettings()
    engines: EngineSettings = EngineSettings()
    pools: Pools = Field(
        (),
        description="Other pools of this deployment, as JSON: "
        '`[{"url": "http://host:port", "models": ["base-model-id"]}]`. Requests for their models '
        "are passed on to them; all share database, store, secret and limits.",
    )
    log_format: Literal["json", "console"] = Field("json", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )

    @model_validator(mode="after")
    def variables_are_known(self) -> Self:
        known = {f"{PREFIX}{name}".upper() for name in type(self).model_fields}
        for variable in map(str.upper, os.environ):
            top = variable.split("__", 1)[0]
            if variable.startswith(PREFIX) and top not in known | CLIENT_VARIABLES:
                raise ValueError(f"{variable} is no setting: see `lora-api settings`")
        return self
