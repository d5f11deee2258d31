"""Maintainer scripts as data: parsed, and evaluated over a tree without being executed.

:mod:`~builder.debian.scripts.parser` makes commands of a text, :mod:`~builder.debian.scripts.shell` walks them,
:mod:`~builder.debian.scripts.commands` says what each program does, and :mod:`~builder.debian.scripts.evaluate` is the
entry: a package's scripts in, their effects and the lines that nobody speaks for out.
"""
