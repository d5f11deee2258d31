"""Maintainer scripts as data: parsed, and evaluated over a tree without being executed.

:mod:`~builder.debian.scripts.language` parses a text and walks its commands,
:mod:`~builder.debian.scripts.subjects` says what each command does, :mod:`~builder.debian.scripts.table` puts those
together, and :mod:`~builder.debian.scripts.evaluate` is the entry: a package's scripts in, their effects and the lines
that are not understood out. What they leave to programs is done once for all packages, by the steps of
:mod:`~builder.debian.scripts.handlers`; :mod:`~builder.debian.scripts.sandbox` runs scripts where a definition says so.
"""
