"""Settings of the process that serves, and of who may ask it."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from app.settings.group import Group


class ServerSettings(Group):
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes any free.")
    drain_seconds: float = Field(
        30.0, ge=0, description="How long running requests may go on after SIGTERM."
    )
    notice_seconds: float = Field(
        0.0,
        ge=0,
        description="How long requests are taken in before that, with `/health/ready` failing.",
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        description="How long an idle connection stays open: longer than clients and balancers "
        "keep theirs, or they send requests into connections that are being closed.",
    )


class AuthSettings(Group):
    secret: SecretStr | None = Field(
        None,
        description="Pepper of API-key hashes and prefix-cache salts, 32 characters or more, the "
        "same for every replica. Unset: made once and kept in the data directory.",
    )
    cache_seconds: float = Field(
        10.0, ge=0, description="How long a checked key is trusted before it is looked up again."
    )

    @model_validator(mode="after")
    def secret_is_long(self) -> Self:
        if self.secret is not None and len(self.secret.get_secret_value()) < 32:
            raise ValueError("set LORA_API_AUTH__SECRET to 32 or more random characters")
        return self


class MetricsSettings(Group):
    organizations: int = Field(
        100,
        ge=0,
        description="Organisations that `/metrics` of a process names, of those in use; all others "
        "are `other` together.",
    )
    adapters: int = Field(
        100,
        ge=0,
        description="Adapter versions that `/metrics` of a process names, of those in use; all "
        "others are `other` together.",
    )
