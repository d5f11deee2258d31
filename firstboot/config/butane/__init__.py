"""Butane YAML: every variant and version, compiled to its version of Ignition.

The settings are Ignition's in snake case, which are the attribute names of the models. What differs is here: which
version means which (:mod:`.variants`), YAML's looser scalars (:mod:`.scalars`), sugar, and what Butane says about
configs beyond Ignition's rules (:mod:`.lint`). Sugar that stands for contents is made while the document is read
(:mod:`.contents`); the rest afterwards (:mod:`.desugar`), because it depends on the whole config.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from firstboot.config.butane import contents
from firstboot.config.butane.encoding import Encoder, encode_plainly
from firstboot.config.butane.files import ON_THE_MACHINE, LocalFiles
from firstboot.config.butane.scalars import decode
from firstboot.config.butane.variants import Edition
from firstboot.config.fields import Field
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.shape import Dialect, Sugar, SugarUse
from firstboot.config.text import Located, Path

MODELS = "firstboot.config.butane.models"
OPENSHIFT_MODELS = "firstboot.config.butane.openshift"


class Surroundings(NamedTuple):
    """What compiling a document needs besides its text.

    Attributes:
        files: where its local files are.
        encode: how contents are put into a URL.
        including: the fragments that are being read, each included by the one before.
        values: of variables, by name, as text.
        secrets: values of secrets, by name.
        environment: where secrets that name an environment variable look.
    """

    files: LocalFiles = ON_THE_MACHINE
    encode: Encoder = encode_plainly
    including: tuple[str, ...] = ()
    values: Mapping[str, str] = MappingProxyType({})
    secrets: Mapping[str, bytes] = MappingProxyType({})
    environment: Mapping[str, str] = MappingProxyType({})


MACHINE = Surroundings()


def make_dialect(located: Located, edition: Edition, surroundings: Surroundings) -> Dialect:
    """How a Butane document is read."""

    def scalar(field: Field, value: Any, path: Path) -> Any:
        return decode(field, value, path, located)

    return Dialect(
        edition.spec,
        "name",
        scalar=scalar,
        merge_keys=True,
        sugar=make_sugar(edition.spec, surroundings),
        extra=list_extra_settings(edition),
    )


def make_sugar(spec: tuple[int, int], surroundings: Surroundings) -> dict[str, dict[str, Sugar]]:
    """Sugar that is made while a document is read, as far as a spec version has it."""
    files, encode = surroundings.files, surroundings.encode
    table: dict[str, dict[str, tuple[tuple[int, int], Sugar]]] = {
        "Resource": {
            "inline": ((3, 0), contents.make_inline_sugar(encode)),
            "local": ((3, 1), contents.make_local_sugar(files, encode)),
        },
        "User": {"ssh_authorized_keys_local": ((3, 4), contents.make_keys_local_sugar(files))},
        "Unit": {"contents_local": ((3, 4), contents.make_contents_local_sugar(files))},
        "Dropin": {"contents_local": ((3, 4), contents.make_contents_local_sugar(files))},
        "Config": {"variant": ((3, 0), ignore_setting), "version": ((3, 0), ignore_setting)},
    }
    return {
        model: {name: make for name, (since, make) in sugar.items() if since <= spec} for model, sugar in table.items()
    }


def ignore_setting(use: SugarUse) -> None:
    """Dealt with elsewhere."""


def list_extra_settings(edition: Edition) -> dict[str, dict[str, Field]]:
    """Settings that are dealt with after the walk."""
    table = {
        "Storage": {"trees": Field("trees", "trees", "models", f"{MODELS}:Tree", (3, 1))},
        "Filesystem": {"with_mount_unit": Field("with_mount_unit", "with_mount_unit", "scalar", bool, (3, 1))},
        "Systemd": {"quadlets": Field("quadlets", "quadlets", "models", f"{MODELS}:Quadlet", (3, 7))},
        "Config": {},
    }
    if edition.boot_device:
        table["Config"] = {
            "boot_device": Field("boot_device", "boot_device", "model", f"{MODELS}:BootDevice", (3, 2)),
            "grub": Field("grub", "grub", "model", f"{MODELS}:Grub", (3, 4)),
        }
    if edition.machine_config:
        table["Config"] |= {
            "metadata": Field("metadata", "metadata", "model", f"{OPENSHIFT_MODELS}:Metadata", (3, 0)),
            "openshift": Field("openshift", "openshift", "model", f"{OPENSHIFT_MODELS}:OpenShift", (3, 0)),
        }
    return table
