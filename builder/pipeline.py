"""A build, read aloud: definition, lock, debs, tools, plan, tree, outputs, manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console, human_size
from builder.core.errors import CapabilityError, ConfigError
from builder.core.files import replacing, write_file
from builder.core.locks import file_lock
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock, LockedPackage, LockedRun, LockError
from builder.definition.load import Loaded, load, load_container
from builder.definition.resolved import Resolved, ResolvedContainer
from builder.definition.shipped import shipped_root
from builder.definition.where import pointing_at_names
from builder.locking import (
    changes_in_words,
    decisions_of,
    images_of,
    lock_path,
    make_lock,
    mirrors_of,
    recipe,
    require_current,
)
from builder.outputs.disk import Layout
from builder.outputs.manifest import FILE, Artifact, Manifest, Timings, is_current
from builder.outputs.signing import KeyPair, Signer
from builder.outputs.wanted import Made, Wanted
from builder.stages import stages_for
from builder.stages.containers import image_config, make_container_tree
from builder.stages.packages import decision_of
from builder.stages.plan import (
    Plan,
    damaged_snapshot,
    forget_snapshot,
    load_snapshot,
    make_plan,
    run_plan,
    snapshot_path,
    write_record,
)
from builder.stages.stage import Context, inputs_of, source_hash
from builder.toolstree import open_tools
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from builder.outputs.formats import Identity

# A build needs room for the raw disk's used blocks, the root twice, and the artifacts.
ROOM = 2_000_000_000
# What the store keeps of earlier builds: root images and initrds (up to 250 MB each); snapshots (three files each).
KEPT_OUTPUTS = 8
KEPT_STAGES = 60


@dataclass
class Build:
    """One run of ``build-os build``.

    Attributes:
        out: the directory for artifacts.
        offline: download nothing.
        relock: bring the lock up to date if it is missing or stale, instead of refusing.
        with_tools: what to make of the tools tree before it is used; :mod:`builder.verify` turns its clock.
        seconds, reused, tree: once it is built: how long it took, the stages that did not run, the finished root.
        watch: is shown the tree after each stage that runs, with the stage's name.
        key_pair: signs what firmware starts, if there is one.
        with_tree: have :attr:`tree` also where there is nothing to do.
        no_cache: use nothing of what the store keeps but downloads.
        kept: where packs, stages, outputs, lists of packages and tools are looked for and left: the store, but for a
            build that :attr:`starts_anew`.
    """

    definition: Path
    out: Path
    store: Store
    console: Console
    offline: bool = False
    relock: bool = True
    with_tools: Callable[[Tools], Tools] | None = None
    watch: Callable[[str, Tree], None] | None = None
    key_pair: KeyPair | None = None
    no_cache: bool = False
    with_tree: bool = False
    timings: Timings = field(default_factory=Timings)
    seconds: float = 0.0
    reused: tuple[str, ...] = ()
    tree: Tree | None = None
    kept: Store = field(init=False)

    def __post_init__(self) -> None:
        self.kept = self.store

    @property
    def starts_anew(self) -> str:
        """Why this build uses nothing that was kept, in a few words; empty if it does.

        Whoever can write the store can put anything there under the right name: what a snapshot or an output was made
        of cannot be told by looking at it. A signature says that we know.
        """
        if self.key_pair is not None:
            return "what is signed is made of downloads alone"
        return "nothing that is kept is used" if self.no_cache else ""

    @contextmanager
    def kept_apart(self) -> Iterator[None]:
        """For a build that starts anew: a place of its own for all that it makes on the way, gone afterwards."""
        if not self.starts_anew:
            yield
            return
        with self.scratch() as directory:
            self.kept = self.store.apart(directory / "store")
            try:
                yield
            finally:
                self.kept = self.store

    def run(self) -> Path:
        """Build what is not built yet; returns the path of ``build.json``.

        Raises:
            ConfigError, CapabilityError, ProgramError, SourceError: see :mod:`builder.core.errors`.
        """
        started = time.monotonic()
        loaded = load(self.definition)
        for warning in loaded.warnings:
            self.console.warn(warning)
        with (
            file_lock(self.out / ".lock", self.console, f"building into {self.out}"),
            self.store.in_use(self.console),
            self.kept_apart(),
        ):
            lock = self.require_lock(loaded.resolved)
            plan = self.plan(loaded, lock)
            self.reused = plan.reused
            manifest = self.out / FILE
            if self.is_current(loaded.resolved, lock, plan):
                if self.with_tree:
                    self.tree = load_snapshot(self.kept, plan.key)
                self.console.note(f"nothing to do: {manifest} is up to date")
                return manifest
            # Here and below, not above: a build that has nothing to do is over before these are imported.
            from builder.outputs.image import make_outputs
            from builder.outputs.publish import publish
            from builder.outputs.sbom import image_sbom

            self.sweep_out()
            self.require_sizes(loaded.resolved)
            self.require_room()
            plan = self.plan_of_whole(loaded, lock, plan)
            self.fetch(loaded.resolved, lock)
            tools = self.tools(loaded.resolved, lock)
            signer = self.signer(loaded.resolved, tools)
            with self.scratch() as scratch:
                context = Context(tools, self.kept, self.console, scratch, self.refetcher(loaded.resolved, lock))
                with pointing_at_names(loaded.resolved):
                    self.tree = run_plan(plan, context, self.timings.stages, self.watch)
                lock = self.record_runs(loaded.resolved, lock, context.runs)
                wanted = wanted_of(loaded.resolved)
                made = make_outputs(self.tree, plan.key, wanted, context, self.timings.outputs, signer)
                sbom = image_sbom(loaded.resolved, lock, self.tree, made.root.roothash)
                manifest.unlink(missing_ok=True)
                artifacts = publish(
                    loaded.resolved.outputs,
                    made,
                    sbom,
                    self.out,
                    tools,
                    self.console,
                    identity_of(loaded.resolved, made),
                    self.timings.outputs,
                )
            tools = self.lasting_tools(loaded.resolved, lock, tools)
            self.manifest(loaded.resolved, lock, self.key(loaded.resolved, lock, plan), made, tools, artifacts).write(
                manifest
            )
            write_record(plan, self.record())
            self.kept.prune("outputs", KEPT_OUTPUTS)
            self.kept.prune("stages", KEPT_STAGES)
            self.seconds = time.monotonic() - started
            return manifest

    def run_container(self) -> Path:
        """Build a definition of ``kind: container`` into an OCI archive; returns the path of ``build.json``.

        Raises:
            ConfigError, CapabilityError, ProgramError, SourceError: see :mod:`builder.core.errors`.
        """
        started = time.monotonic()
        if self.key_pair is not None:
            raise ConfigError("a container has nothing that firmware starts", hint="leave the key out")
        loaded = load_container(self.definition)
        for warning in loaded.warnings:
            self.console.warn(warning)
        resolved = loaded.resolved
        with (
            file_lock(self.out / ".lock", self.console, f"building into {self.out}"),
            self.store.in_use(self.console),
            self.kept_apart(),
        ):
            lock = self.require_lock(resolved)
            key = self.container_key(resolved, lock)
            manifest = self.out / FILE
            if not self.starts_anew and is_current(manifest, key):
                self.console.note(f"nothing to do: {manifest} is up to date")
                return manifest
            from builder.outputs.oci import write_archive, write_layout
            from builder.outputs.oci_check import validate_layout
            from builder.outputs.sbom import FORMAT, SUFFIX, container_sbom

            self.sweep_out()
            self.require_room()
            self.fetch(resolved, lock)
            tools = self.tools(resolved, lock)
            with self.scratch() as scratch, self.console.step(f"container {resolved.name}"):
                context = Context(tools, self.kept, self.console, scratch, self.refetcher(resolved, lock))
                tree = make_container_tree(resolved, lock.packages, context, 0)
                lock = self.record_runs(resolved, lock, context.runs)
                key = self.container_key(resolved, lock)
                if self.watch is not None:
                    self.watch("container", tree)
                layout = scratch / "layout"
                image = write_layout(tree, image_config(resolved, 0), layout)
                if problems := validate_layout(layout):
                    raise AssertionError(f"we wrote an image layout that is none: {problems}")
                manifest.unlink(missing_ok=True)
                target = self.out / f"{resolved.name}.oci.tar"
                with replacing(target, durable=True) as file:
                    write_archive(layout, file)
                sbom = self.out / f"{resolved.name}{SUFFIX}"
                write_file(sbom, container_sbom(resolved, lock, tree, image.digest), durable=True)
            Manifest(
                name=resolved.name,
                version=resolved.version,
                arch=resolved.arch,
                features=(),
                definition=str(resolved.path),
                lock_sha256=lock.sha256,
                source_date_epoch=0,
                roothash="",
                command_line="",
                tools=str(self.lasting_tools(resolved, lock, tools).root),
                key=key,
                artifacts={"oci": Artifact.of(target, "oci"), "sbom": Artifact.of(sbom, FORMAT)},
                scripts={name: decision_of(each).answer for name, each in sorted(resolved.scripts.items())},
                timings=self.timings,
            ).write(manifest)
            self.seconds = time.monotonic() - started
            return manifest

    def is_current(self, resolved: Resolved, lock: Lock, plan: Plan) -> bool:
        """Whether the output directory holds exactly what this build would make, and no stage would run.

        After 'cache clear --stages' a build is a cold one, whatever lies in the output directory; so is one that starts
        anew, which has only itself to believe.
        """
        return not any(planned.run for planned in plan.stages) and is_current(
            self.out / FILE, self.key(resolved, lock, plan)
        )

    def require_lock(self, resolved: Resolved | ResolvedContainer) -> Lock:
        """The definition's lock. If it is missing or the definition has changed, it is made or renewed: what the
        definition did not ask for before is resolved, everything else keeps its version.

        Raises:
            ConfigError: it is not as it should be, and we were told not to touch it, or have no network for that.
        """
        path = lock_path(resolved.path)
        with self.timed("lock"):
            old = Lock.load(path) if path.exists() else None
            if old is None and not self.relock:
                raise LockError(f"there is no {path}", hint="'build-os lock' makes it")
            if old is not None:
                try:
                    require_current(old, resolved, str(path))
                except LockError:
                    if not self.relock:
                        raise
                else:
                    return old
            if old is not None and old.recipe_sha256 == recipe(resolved):  # what else there is needs no network
                lock = replace(old, decisions=decisions_of(resolved), images=images_of(resolved))
            elif self.offline:
                raise ConfigError(f"there is no current {path}", hint="run 'build-os lock' with a network once")
            else:
                with self.console.step("lock"):
                    lock = make_lock(resolved, self.kept, self.console, newest=old, update=())
            lock.dump(path)
            self.console.note(f"{'made' if old is None else 'renewed'} {path}: {len(lock.packages)} packages")
            for line in changes_in_words(old, lock):
                self.console.note(f"  {line}")
            return lock

    def record_runs(self, resolved: Resolved | ResolvedContainer, lock: Lock, runs: Sequence[LockedRun]) -> Lock:
        """The lock with what scripts changed that were run just now; written, unless we were told not to touch it.

        Raises:
            LockError: they changed something else than when they were run before.
        """
        found = lock.with_runs(runs)
        if found == lock or not self.relock:
            return lock
        path = lock_path(resolved.path)
        found.dump(path)
        self.console.note(f"{path} records what scripts changed that were run")
        return found

    @staticmethod
    def container_key(resolved: ResolvedContainer, lock: Lock) -> str:
        """The hash of everything that decides a container's archive."""
        parts = [lock.dumps(), list(inputs_of(resolved).items()), source_hash("builder.pipeline")]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def plan(self, loaded: Loaded, lock: Lock) -> Plan:
        """What would run, without running it."""
        return make_plan(stages_for(loaded.resolved, lock), self.kept, self.record(), anew=self.starts_anew)

    def plan_of_whole(self, loaded: Loaded, lock: Lock, plan: Plan) -> Plan:
        """The plan, or another one if the snapshot that it goes on from turns out to be damaged."""
        while (key := damaged_snapshot(plan, self.kept)) is not None:
            self.console.warn(f"{snapshot_path(self.kept, key)} in the store is damaged; running its stages again")
            forget_snapshot(self.kept, key)
            plan = self.plan(loaded, lock)
        self.reused = plan.reused
        return plan

    def record(self) -> Path:
        """Where the store remembers the last build of this definition."""
        name = hashlib.sha256(str(self.definition.absolute()).encode(errors="surrogateescape")).hexdigest()[:32]
        return self.kept.root / "stages" / f"last-{name}.json"

    def key(self, resolved: Resolved, lock: Lock, plan: Plan) -> str:
        """The hash of everything that decides the artifacts."""
        parts = [
            plan.key,
            list(inputs_of(wanted_of(resolved)).items()),
            resolved.outputs,
            source_hash("builder.pipeline"),
            lock.sha256,
            self.signed_by,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def signed_by(self) -> str:
        """The fingerprint of the certificate, if this build signs. RSA signs without chance: it stands for the key."""
        return "" if self.key_pair is None else self.key_pair.fingerprint

    def signer(self, resolved: Resolved, tools: Tools) -> Signer | None:
        """What signs, if this build does.

        Raises:
            ConfigError: key and certificate are no pair, or none that firmware knows.
        """
        if self.key_pair is None:
            return None
        signer = Signer(self.key_pair, tools, resolved.source_date_epoch or 0)
        signer.require_pair()
        return signer

    def require_room(self) -> None:
        """Refuse before the disk is full, not after.

        Raises:
            CapabilityError: the store or the output directory cannot be written, or has less than a build needs.
        """
        for path in (self.store.root, self.out):
            path.mkdir(parents=True, exist_ok=True)
            try:
                tempfile.TemporaryFile(dir=path).close()
            except OSError as error:
                raise CapabilityError(f"cannot write into {path}: {error.strerror}") from error
            free = shutil.disk_usage(path).free
            if free < ROOM:
                raise CapabilityError(
                    f"{path} has {human_size(free)} left; a build needs {human_size(ROOM)}",
                    hint="'build-os cache clear --stages' frees what can be made again",
                )

    def sweep_out(self) -> None:
        """Remove what a killed build left half-made. We hold the directory's lock, so nobody is at work in it."""
        for path in self.out.glob(".new-*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.out.glob(".*." + 16 * "[0-9a-f]"):  # of builder.core.files.replacing
            path.unlink(missing_ok=True)

    @staticmethod
    def require_sizes(resolved: Resolved) -> None:
        """Refuse a disk that one of its formats cannot have, before anything is built.

        Raises:
            ConfigError: says which and why.
        """
        from builder.outputs.formats import size_problem

        problems = [p for o in resolved.outputs if (p := size_problem(o, int(resolved.disk.size))) is not None]
        if problems:
            raise ConfigError(problems[0], details=problems[1:], hint="change disk.size, or take the output out")

    def fetch(self, resolved: Resolved | ResolvedContainer, lock: Lock) -> None:
        """Get every deb into the store."""
        packages = lock.all_packages()
        with self.timed("fetch"):
            if any(not self.store.has_blob(p.sha256, p.size) for p in packages):
                from builder.debian.fetch import fetch_packages  # what downloads is imported by who has to

                with self.console.step("fetch packages"):
                    fetch_packages(
                        packages,
                        lambda: mirrors_of(resolved, lock.releases),
                        self.store,
                        self.console,
                        offline=self.offline,
                    )

    def refetcher(self, resolved: Resolved | ResolvedContainer, lock: Lock) -> Callable[[LockedPackage], None]:
        """How a deb that is damaged in the store is had again."""

        def refetch(package: LockedPackage) -> None:
            from builder.debian.fetch import fetch_packages

            fetch_packages(
                [package], lambda: mirrors_of(resolved, lock.releases), self.store, self.console, offline=self.offline
            )

        return refetch

    def tools(self, resolved: Resolved | ResolvedContainer, lock: Lock) -> Tools:
        """The tools tree that the lock names."""
        with self.timed("tools"):
            tools = open_tools(lock.tools, self.kept, self.console, self.refetcher(resolved, lock))
            return tools if self.with_tools is None else self.with_tools(tools)

    def lasting_tools(self, resolved: Resolved | ResolvedContainer, lock: Lock, used: Tools) -> Tools:
        """The tools for whoever boots what was built: those that were used, or the store's where those go away."""
        if self.kept is self.store:
            return used
        return open_tools(lock.tools, self.store, self.console, self.refetcher(resolved, lock))

    def manifest(
        self,
        resolved: Resolved,
        lock: Lock,
        key: str,
        made: Made,
        tools: Tools,
        artifacts: dict[str, Artifact],
    ) -> Manifest:
        """What ``build.json`` will say."""
        return Manifest(
            name=resolved.name,
            version=resolved.version,
            arch=resolved.arch,
            features=resolved.features,
            definition=str(resolved.path),
            lock_sha256=lock.sha256,
            source_date_epoch=resolved.source_date_epoch or 0,
            roothash=made.root.roothash,
            command_line=made.command_line,
            tools=str(tools.root),
            key=key,
            artifacts=artifacts,
            scripts={name: decision_of(each).answer for name, each in sorted(resolved.scripts.items())},
            timings=self.timings,
            signed_by=self.signed_by,
        )

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Measure a phase that is not a stage."""
        started = time.monotonic()
        yield
        setattr(self.timings, phase, time.monotonic() - started)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory on the store's file system, gone afterwards. Those of killed builds are swept here as well."""
        parent = self.store.root / "scratch"
        parent.mkdir(exist_ok=True)
        sweep(parent)
        with (
            tempfile.TemporaryDirectory(dir=parent, prefix="build-", ignore_cleanup_errors=True) as directory,
            file_lock(Path(directory) / ".alive", self.console, "building"),
        ):
            yield Path(directory)


def sweep(parent: Path) -> None:
    """Remove scratch directories whose build is gone: nobody holds their lock any more."""
    import fcntl

    for directory in parent.glob("build-*"):
        try:
            # Not made here: a directory without it belongs to a build that begins just now.
            with (directory / ".alive").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):
            continue


def identity_of(resolved: Resolved, made: Made) -> Identity:
    """What the artifacts say of themselves."""
    from builder.outputs.formats import Identity

    return Identity(resolved.name, resolved.version, resolved.arch, made.root.roothash, resolved.source_date_epoch or 0)


def wanted_of(resolved: Resolved) -> Wanted:
    """The part of a definition that the outputs depend on."""
    return Wanted(
        name=resolved.name,
        version=resolved.version,
        arch=resolved.arch,
        compression=resolved.root.compression,
        level=resolved.root.level,
        extra_command_line=resolved.command_line,
        modules=resolved.modules,
        credentials=resolved.credentials,
        initrd_overlay=shipped_root() / "overlays" / "initrd",
        layout=Layout(
            disk=int(resolved.disk.size),
            esp=int(resolved.disk.esp),
            slot=int(resolved.disk.slot),
            state_minimum=int(resolved.disk.state_minimum),
        ),
    )
