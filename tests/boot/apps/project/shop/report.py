"""A job: writes one line each time."""

import os
import pathlib

with pathlib.Path(os.environ["STATE_DIRECTORY"], "runs").open("a") as file:
    file.write("ran\n")
print("<4>the report is written")
