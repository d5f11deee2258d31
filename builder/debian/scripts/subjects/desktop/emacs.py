"""emacsen-common's programs, in Perl: they remember which packages add to Emacs, and call the packages' own scripts for
each Emacs that is installed. Those scripts are evaluated like any other.

Source: ``/usr/lib/emacsen-common/{emacs-package-install,emacs-install,lib.pl}`` of emacsen-common 3.0.
"""

from __future__ import annotations

from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.target_system import NotModelled
from builder.tree.node import make_file

RECORDS = "/usr/lib/emacsen-common/packages"
PACKAGES = "/var/lib/emacsen-common/state/package/installed"
FLAVORS = "/var/lib/emacsen-common/state/flavor/installed"


def emacs_package_install(shell: Shell, arguments: list[str]) -> Status:
    """``emacs-package-install --preinst|--postinst PACKAGE``."""
    context, package = _context(arguments)
    if context == "preinst":
        shell.system.remove(f"{PACKAGES}/{package}")
        return 0
    _touch(shell, f"{PACKAGES}/{package}")
    return _install(shell, [package], _listed(shell, FLAVORS))


def emacs_install(shell: Shell, arguments: list[str]) -> Status:
    """``emacs-install [--preinst|--postinst] FLAVOR``."""
    context, flavor = _context(arguments)
    if context == "preinst":
        shell.system.remove(f"{FLAVORS}/{flavor}")
        return 0
    _touch(shell, f"{FLAVORS}/{flavor}")
    there, ready = _listed(shell, f"{RECORDS}/compat"), _listed(shell, PACKAGES)
    packages = [name for name in _listed(shell, f"{RECORDS}/install") if name not in there or name in ready]
    return _install(shell, packages, [flavor])


def _context(arguments: list[str]) -> tuple[str, str]:
    if len(arguments) == 1:
        return "postinst", arguments[0]
    if len(arguments) == 2 and arguments[0] in ("--preinst", "--postinst"):
        return arguments[0][2:], arguments[1]
    raise NotModelled("an Emacs package without its name")


def _listed(shell: Shell, directory: str) -> list[str]:
    return [name for name in shell.system.list_children(directory) if not name.endswith("~")]


def _touch(shell: Shell, path: str) -> None:
    if shell.system.get(path) is None:
        shell.system.put(path, make_file("", origin=shell.system.origin))


def _install(shell: Shell, packages: list[str], flavors: list[str]) -> Status:
    for package in packages:
        script = f"{RECORDS}/install/{package}"
        if shell.system.read(script) is None:
            continue
        for flavor in flavors:
            if shell.call([script, flavor]) != 0:
                return 2
    return 0


COMMANDS = make_models({"emacs-package-install": emacs_package_install, "emacs-install": emacs_install})
