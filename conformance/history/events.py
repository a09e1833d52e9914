"""Histories on disk: one JSON object a line; README.md beside this file lists them."""

import json
import time


class Recorder:
    """Writes one process's history; a line is with the operating system before the call returns."""

    def __init__(self, path):
        # Unbuffered, and each line in one write: threads share it, and kill -9 loses none.
        self.file = open(path, "ab", buffering=0)  # noqa: SIM115

    def write(self, kind, **fields):
        line = json.dumps({"type": kind, "time": time.monotonic_ns(), **fields}, separators=(",", ":"))
        self.file.write(line.encode() + b"\n")


def read(paths):
    """The events of all files, those of one file in their order. A last line that was cut off by
    the death of its writer was never acted on, and is left out."""
    decode = json.JSONDecoder().decode
    for path in paths:
        with open(path) as file:
            for line in file:
                if line.endswith("\n"):
                    yield decode(line)
