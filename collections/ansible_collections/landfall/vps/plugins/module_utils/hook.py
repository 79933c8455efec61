"""Runs one command of the inventory's, here: on the controller, or sent to the VPS as a program. Knows nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Any, Dict, List, Mapping

KEPT = 200  # lines
GRACE = 5.0  # seconds
LATE = 124
NOT_FOUND = 127


def run(argv: List[str], environment: Mapping[str, str], timeout: float, folder: str = "/") -> Dict[str, Any]:
    """Run ``argv`` with ``environment`` beside this process' own: ``{status, lines}``, the last of what it said.

    A command that takes longer than ``timeout`` seconds is ended with all that it started: its status is 124.
    """
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
            env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return {"status": NOT_FOUND, "lines": ["{0}: {1}".format(argv[0], error.strerror)]}
    late = False
    try:
        said, _nothing = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        late = True
        said = _end(process)
    finally:
        if process.poll() is None:
            _end(process)
    lines = said.decode("utf-8", "replace").splitlines()[-KEPT:]
    return {"status": LATE if late else process.returncode, "lines": lines}


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """End a process and all that it started; returns what it had said."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            return process.communicate(timeout=GRACE)[0]
        except subprocess.TimeoutExpired:
            continue
    return b""
