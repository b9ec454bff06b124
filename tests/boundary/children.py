"""Processes for the supervisor's tests: `children.py <folder> <kind>`. It must not outlive a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(folder: Path, kind: str) -> None:
    """Note our pid in `folder`; a `parent` has two children that ignore SIGTERM, as a busy worker may."""
    (folder / f"{kind}-{os.getpid()}").touch()
    if kind == "parent":
        for _ in range(2):
            subprocess.Popen([sys.executable, __file__, str(folder), "stubborn"])
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "failing":
        sys.exit(3)
    time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
