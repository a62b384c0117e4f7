"""Installs one lock into the interpreter that runs it, and shows the end of pip's log if it fails.

Every file is checked against the lock's SHA-256.
"""

import sys
from pathlib import Path

from deploy.quickstart.install import TAIL_LINES, install


def main() -> int:
    """Install the lock named on the command line; return the exit status."""
    log = Path(sys.prefix) / "install.log"
    if status := install([Path(sys.argv[1])], log):
        print("\n".join(log.read_text().splitlines()[-TAIL_LINES:]), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
