"""The instructions of `deploy/Dockerfile`, with continued lines joined and comments left out."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def instructions(word: str) -> list[str]:
    """Return what follows `word` in each of its instructions, in order."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [
        " ".join(line.split()).removeprefix(f"{word} ")
        for line in joined
        if line.startswith(f"{word} ")
    ]


def environment() -> dict[str, str]:
    """Return every variable that an ENV instruction sets."""
    pairs = [pair for line in instructions("ENV") for pair in line.split(" ")]
    return dict(pair.split("=", 1) for pair in pairs)
