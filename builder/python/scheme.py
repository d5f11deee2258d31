"""Where an environment lies in the image: a virtual environment of its own, or the system's own directories.

Sources: PEP 405 (``pyvenv.cfg``), ``sysconfig`` for the directories of a virtual environment, and Debian's ``site`` for
those of the system: ``/usr/lib/python3.N/dist-packages`` is searched after the packages' own ``dist-packages``.
"""

from __future__ import annotations

from dataclasses import dataclass

PLACE = "/usr/lib/python-environments"
SYSTEM = "system"


@dataclass(frozen=True)
class Scheme:
    """The directories that a wheel's files go to, as paths of the image.

    Attributes:
        version: of the interpreter, like ``3.13``.
        prefix: where the files of a wheel's ``data`` go.
        site: where modules go, ``purelib`` and ``platlib`` alike.
        headers: below it, each distribution has a directory of its own.
        interpreter: what the first line of scripts names.
    """

    name: str
    version: str
    prefix: str
    site: str
    scripts: str
    headers: str
    interpreter: str

    @property
    def is_system(self) -> bool:
        """Whether it is the system's own."""
        return self.name == SYSTEM


def make_scheme(name: str, version: str = "3.13") -> Scheme:
    """The directories of the environment ``name``, for the interpreter of this version."""
    if name == SYSTEM:
        return Scheme(
            name,
            version,
            prefix="/usr",
            site=f"/usr/lib/python{version}/dist-packages",
            scripts="/usr/bin",
            headers=f"/usr/include/python{version}",
            interpreter=f"/usr/bin/python{version}",
        )
    return make_virtual_scheme(f"{PLACE}/{name}", name, version)


def make_virtual_scheme(prefix: str, name: str, version: str) -> Scheme:
    """The directories of a virtual environment at ``prefix``."""
    return Scheme(
        name,
        version,
        prefix=prefix,
        site=f"{prefix}/lib/python{version}/site-packages",
        scripts=f"{prefix}/bin",
        headers=f"{prefix}/include/site/python{version}",
        interpreter=f"{prefix}/bin/python",
    )
