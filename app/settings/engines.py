"""Settings of the supervision of engines."""

from pydantic import Field

from app.settings.group import Group


class EngineSettings(Group):
    restart_pause_seconds: float = Field(
        1.0,
        gt=0,
        description="How long after its second death in a row an engine is started again, after "
        "the first at once; each further death doubles it.",
    )
    restart_longest_pause_seconds: float = Field(
        60.0, gt=0, description="The longest of these pauses."
    )
    deaths_in_a_row: int = Field(
        5,
        ge=1,
        description="After so many deaths of an engine in a row, failed starts among them, the "
        "process ends with status 4; an optional model is started for ever.",
    )
    stable_seconds: float = Field(
        300.0, gt=0, description="An engine that ran so long is sound: its next death is a first."
    )
