"""Sugar that depends on the whole config, made after it is built: mount units, trees, quadlets, the boot device,
GRUB. Imported only for documents that have any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from firstboot.config.building import Builder
from firstboot.config.butane import Surroundings
from firstboot.config.butane.variants import Edition
from firstboot.config.devices import Filesystem
from firstboot.config.explain import kind_of
from firstboot.config.merge import merge
from firstboot.config.model import Model
from firstboot.config.models import Config, Systemd, Unit
from firstboot.config.origins import Made, Origins
from firstboot.config.shape import Walk
from firstboot.config.text import Located, Path, Problem

M = TypeVar("M", bound=Model)
WITH_MOUNT_UNIT = "with_mount_unit"


class Kitchen:
    """A config that sugar is being made for.

    Attributes:
        config: so far.
        origins: of its parts.
        problems: at paths of the document's clean data, as :attr:`Walk.origins` knows them.
        wrap: puts the compiled config, as plain data, into what the variant wraps it in.
        secrets: names of the secrets whose values have come into the config.
    """

    def __init__(
        self, config: Config, origins: Origins, walk: Walk, edition: Edition, surroundings: Surroundings
    ) -> None:
        self.config = config
        self.origins = origins
        self.problems: list[Problem] = []
        self.wrap: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.secrets: set[str] = set()
        self._walk = walk
        self._edition = edition
        self._surroundings = surroundings

    @property
    def extras(self) -> dict[Path, Any]:
        """The settings that sugar is made of: :attr:`Walk.extras`."""
        return self._walk.extras

    def make(self) -> None:
        """Make all of it, in Butane's order: what comes later may fill in or override what came before."""
        extras = self.extras
        self._mount_units({path: value for path, value in extras.items() if path[-1] == WITH_MOUNT_UNIT})
        if ("storage", "trees") in extras or ("systemd", "quadlets") in extras:
            self._nodes()
        if ("boot_device",) in extras:
            self._boot_device()
        if ("grub",) in extras:
            self._grub()
        if self._edition.sugar:
            from firstboot.config.buildos.making import make  # noqa: PLC0415 - only our own variant has it

            make(self, self._surroundings)
        if ("include",) in extras:
            self._include()
        if self._edition.machine_config:
            self._machine_config()

    def _mount_units(self, wishes: dict[Path, Any]) -> None:
        if not wishes:
            return
        from firstboot.config.butane.lint import check_mount_units  # noqa: PLC0415 - like all of these: if needed
        from firstboot.config.butane.mounts import is_swap, mount_unit  # noqa: PLC0415

        wanted: dict[Path, Filesystem] = {}
        filesystems = self.config.storage.filesystems
        for path, value in sorted(wishes.items()):
            if not isinstance(value, bool):
                self.problems.append(Problem(path, f"expected true or false, found {kind_of(value)}"))
            elif value:
                filesystem = filesystems[int(path[2])]
                # (storage, filesystems, N, subvolumes, N, with_mount_unit) is about a part of it.
                whole = len(path) == 4
                wanted[path[:-1]] = filesystem if whole else filesystem.showing(filesystem.subvolumes[int(path[4])])
        problems = list(check_mount_units(wanted, self._edition))
        self.problems += problems
        if problems:
            return
        encrypted = self.config.storage.luks
        units: list[Unit] = []
        entries: dict[Path, tuple[Located | Made | Origins, Path]] = {(): self.origin(())}
        for path, filesystem in wanted.items():
            entries[("systemd", "units", len(units))] = self.origin((*path, WITH_MOUNT_UNIT))
            units.append(mount_unit(filesystem, encrypted, swap=is_swap(filesystem, self._edition.spec)))
        systemd = Systemd(units=(*units,))
        self.merge_under(Config(systemd=systemd), Origins(entries))

    def _nodes(self) -> None:
        from firstboot.config.butane import models, quadlets, trees  # noqa: PLC0415
        from firstboot.config.butane.nodes import Nodes  # noqa: PLC0415

        nodes = Nodes(self.config, self.origins, self._walk)
        planting = trees.Planting(nodes, self._surroundings.files, self._surroundings.encode)
        for path, tree in self.elements(models.Tree, ("storage", "trees")):
            self.problems += trees.plant(tree, path, planting)
        for path, quadlet in self.elements(models.Quadlet, ("systemd", "quadlets")):
            self.problems += quadlets.install(quadlet, path, planting)
        self.config, self.origins = nodes.finish()

    def _boot_device(self) -> None:
        from firstboot.config.butane import boot_device, models  # noqa: PLC0415

        boot = self._build(models.BootDevice, boot_device.AT)
        problems = list(boot_device.check(boot, self._edition.spec))
        self.problems += problems
        if not any(each.severity == "error" for each in problems):
            self._merge_rendered(boot_device.render(boot))

    def _grub(self) -> None:
        from firstboot.config.butane import grub, models  # noqa: PLC0415

        wanted = self._build(models.Grub, ("grub",))
        problems = list(grub.check(wanted))
        self.problems += problems
        if not problems:
            self._merge_rendered(grub.render(wanted, self._surroundings.encode))

    def _include(self) -> None:
        from firstboot.config.includes import BadFragment, read_fragment, warnings_of  # noqa: PLC0415

        names = self.extras[("include",)]
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            self.problems.append(Problem(("include",), "expected a list of file names"))
            return
        parent, parent_origins = Config(), Origins({(): self.origin(("include",))})
        for index, name in enumerate(names):
            at = ("include", index)
            try:
                fragment, document = read_fragment(name, self._edition.spec, self._surroundings)
            except BadFragment as error:
                self.problems.append(Problem(at, str(error), error.hint))
                continue
            self.problems += [Problem(at, each, None, "warning") for each in warnings_of(document)]
            self.secrets |= document.secrets
            parent, parent_origins = merge(parent, fragment, parent_origins, document.origins)
        self.merge_under(parent, parent_origins)

    def _machine_config(self) -> None:
        from firstboot.config.butane import openshift  # noqa: PLC0415

        metadata = self._build(openshift.Metadata, ("metadata",))
        settings = self._build(openshift.OpenShift, ("openshift",))
        self.problems += openshift.check(metadata, settings, self.config)
        self.config = openshift.adapt(self.config, settings)
        self.wrap = partial(openshift.wrap, metadata, settings)

    # --- parts of the document ---

    def elements(self, model: type[M], path: Path) -> Iterable[tuple[Path, M]]:
        """The elements of an extra list, and where they are."""
        value = self.extras.get(path, [])
        if not isinstance(value, list):
            self.problems.append(Problem(path, f"expected a list, found {kind_of(value)}"))
            return
        for index in range(len(value)):
            here = (*path, index)
            built = self.find(model, here, value[index])
            if built is not None:
                yield here, built

    def _build(self, model: type[M], path: Path) -> M:
        built = self.find(model, path, self.extras.get(path, {}))
        return model() if built is None else built

    def find(self, model: type[M], path: Path, value: Any) -> M | None:
        """One part, or ``None`` if it does not fit; then that has been said."""
        root: Any = {}
        inner = root
        for segment in path[:-1]:
            inner = inner.setdefault(segment, {})
        inner[path[-1]] = value
        builder = Builder(root, self._walk.origins, self._walk.located)
        built = builder.build(model, value, path)
        self.problems += builder.problems
        return None if builder.broken else built

    # --- results ---

    def origin(self, path: Path) -> tuple[Made, Path]:
        """Where something comes from that is made of what stands at a path of the clean data."""
        return Made(self._walk.located), self._walk.where(path)

    def _merge_rendered(self, rendered: tuple[Config, dict[Path, Path]] | None) -> None:
        """Merge the user's config over what sugar stands for; ``rendered`` says where in the sugar its parts are."""
        if rendered is not None:
            parent, sources = rendered
            self.merge_under(parent, Origins({path: self.origin(source) for path, source in sources.items()}))

    def merge_under(self, parent: Config, origins: Origins) -> None:
        """Add what the config does not say itself."""
        self.config, self.origins = merge(parent, self.config, origins, self.origins)
