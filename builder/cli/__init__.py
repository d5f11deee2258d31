"""The command line: arguments become typed values, errors become exit codes. The only place that exits.

One file a command; each has ``add`` (its arguments and help) and ``run`` (what it does). What a command needs is
imported when it runs, so that ``build-os --help`` and an up-to-date build answer at once.
"""

from builder.cli.main import main

__all__ = ["main"]
