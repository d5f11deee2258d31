"""From an artifact to a running machine: start it, watch it, talk to it, and always clean up after it.

Knows images only through ``build.json`` (:mod:`builder.core.image`). Usable from the command line, from pytest
(:mod:`vm.pytest_plugin`) and from other programs; nothing here prints.
"""
