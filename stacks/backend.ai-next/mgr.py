"""Runs several commands of `backend.ai mgr` in one Python process: COMMAND... [-- COMMAND...]...

A process of its own for each would spend nearly all of its time, some seconds, on imports.
"""

import sys

from ai.backend.manager.cli.__main__ import main

command: list[str] = []
for word in [*sys.argv[1:], "--"]:
    if word != "--":
        command.append(word)
    elif command:
        main(command, prog_name="backend.ai mgr", standalone_mode=False)
        command = []
