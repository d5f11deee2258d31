"""``python -m builder`` is ``build-os``."""

from builder.cli import main

main()
