"""Settings of the fetching of callers' URLs."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from app.settings.group import Group

FetchHost = Annotated[
    str,
    StringConstraints(pattern=r"^(\*|([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?)$"),
]


class FetchSettings(Group):
    schemes: tuple[Literal["https", "http"], ...] = Field(
        ("https",), description="URL schemes that callers' URLs may have."
    )
    allowed_hosts: tuple[FetchHost, ...] = Field(
        ("*",),
        description="Hosts that callers' URLs may name: `*` is every public host; a host listed by "
        "`name` or `name:port` may have a private address too. Empty: no URL is fetched.",
    )
    connect_seconds: float = Field(
        5.0, gt=0, description="How long a fetch waits for a connection."
    )
    total_seconds: float = Field(
        15.0, gt=0, description="How long a fetch may take in all, with its redirects."
    )
    image_bytes: int = Field(20 << 20, ge=1, description="Largest image fetched, in bytes.")
    image_data_bytes: int = Field(
        4 << 20, ge=1, description="Largest image in a `data:` URL, in bytes when decoded."
    )
    image_pixels: int = Field(33_000_000, ge=1, description="Largest image, in pixels.")
    images_per_request: int = Field(5, ge=0, description="Images that one request may hold.")
    images_bytes: int = Field(
        32 << 20, ge=1, description="Bytes that all images of one request may have."
    )
    intake_bytes: int = Field(
        256 << 20,
        ge=1,
        description="Bytes that the images of all requests may have while they are fetched and "
        "checked; an organisation gets a quarter, or one request's most. What finds no room in "
        "`total_seconds` gets a 503.",
    )

    @model_validator(mode="after")
    def largest_request_fits(self) -> Self:
        if self.intake_bytes < self.images_bytes:
            raise ValueError("set LORA_API_FETCH__INTAKE_BYTES to IMAGES_BYTES or more")
        return self
