"""``py3compile(1)``: bytecode for the Python modules whose packages ask for it."""

from __future__ import annotations

from builder.debian.handlers.work import Work
from builder.debian.scripts.effects import Does
from builder.tree.bytecode import compile_modules

ORIGIN = "stage:packages"


def install_bytecode(work: Work) -> None:
    """A ``__pycache__`` beside every module that a script compiles."""
    modules = {str(path) for effect in work.effects(Does.BYTECODE) for path in effect.data}
    compile_modules(work.tree, work.tools, modules, origin=ORIGIN, scratch=work.scratch)
