"""The trained demo adapters, kept per recipe: the first call trains, later ones return at once."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE
from deploy.quickstart.paths import ROOT
from deploy.quickstart.recipe import cache_name
from deploy.quickstart.styles import Style


def trained(style: Style, base: Path, cache: Path) -> Path:
    """Return the directory with the adapter's two files, training it first where it is missing.

    Training runs as a child process for about 25 s. **Raises:** subprocess.CalledProcessError.
    """
    directory = cache / cache_name(style)
    if not directory.is_dir():
        module = "deploy.quickstart.train"
        command = [sys.executable, "-m", module, style.name, str(base), str(directory)]
        subprocess.run(command, cwd=ROOT, check=True)
    return directory


def zipped(directory: Path) -> Path:
    """Write the two files, and nothing else, into a ZIP beside the directory.

    **Source:** Groq's documentation of LoRA uploads.
    """
    archive = directory.with_suffix(".zip")
    with ZipFile(archive, "w", ZIP_DEFLATED) as bundle:
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            bundle.write(directory / name, name)
    return archive
