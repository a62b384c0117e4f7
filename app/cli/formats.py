"""How the command line writes times and sizes."""

import datetime


def minute(seconds: int) -> str:
    """Write a time in UTC, without saying so."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def moment(seconds: int) -> str:
    """Write a time in UTC, to the minute."""
    return f"{minute(seconds)} UTC"


def size(count: int) -> str:
    """Write a number of bytes in kB, MB or GB, to three digits."""
    number, unit = count / 1e3, "kB"
    for larger in ("MB", "GB"):
        if number >= 999.5:
            number, unit = number / 1e3, larger
    return f"{number:.3g} {unit}"
