"""What a build of the image is handed: the files that `.dockerignore` lets through."""

import fnmatch
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def rules() -> list[tuple[re.Pattern[str], bool]]:
    """Return the rules of `.dockerignore`, in order, each with whether it lets files through."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    return [(_pattern(line.removeprefix("!")), line.startswith("!")) for line in patterns]


def is_sent(path: str) -> bool:
    """Tell whether a file goes to the builder: the last rule that names it or a parent decides."""
    parts = path.split("/")
    names = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    decisions = [lets for rule, lets in rules() if any(map(rule.fullmatch, names))]
    return decisions[-1] if decisions else True


def copy_context(destination: Path) -> None:
    """Copy what git knows, or could know, and `.dockerignore` lets through."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(is_sent, filter(None, names.split("\0"))):
        if (ROOT / name).is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, destination / name)


def _pattern(glob: str) -> re.Pattern[str]:
    # `*` stays inside one directory and `**/` is any number of them, none included.
    parts = [_part(part) for part in glob.split("/")]
    return re.compile("".join(parts).removesuffix("/"))


def _part(part: str) -> str:
    if part == "**":
        return "(?:[^/]+/)*"
    inside = fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")
    return inside.replace(".*", "[^/]*") + "/"
