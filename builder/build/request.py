"""What a caller asks of a build, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console
from builder.core.store import Store
from builder.definition.variation import Variation

if TYPE_CHECKING:
    from builder.core.tools import Tools
    from builder.outputs.signing import KeyPair
    from builder.tree.tree import Tree


@dataclass(frozen=True)
class BuildRequest:
    """One run of ``build-os build``.

    Attributes:
        out: the directory for artifacts.
        offline: download nothing.
        relock: bring the lock up to date if it is missing or stale, instead of refusing.
        key_pair: signs what firmware starts, if there is one.
        no_cache: use nothing of what the store keeps but downloads.
        release: others are to rely on what comes of it: refuse development keys.
        with_tree: have :attr:`BuildResult.tree` also where there is nothing to do.
        adapt_tools: what to make of the tools tree before it is used; :mod:`builder.verify` turns its clock.
        watch: is shown the tree after each stage that runs, with the stage's name.
        variation: what is built otherwise than the definition of a system says.
    """

    definition: Path
    out: Path
    store: Store
    console: Console
    offline: bool = False
    relock: bool = True
    key_pair: KeyPair | None = None
    no_cache: bool = False
    release: bool = False
    with_tree: bool = False
    adapt_tools: Callable[[Tools], Tools] | None = None
    watch: Callable[[str, Tree], None] | None = None
    variation: Variation = field(default_factory=Variation)

    @property
    def recorded_as(self) -> Path:
        """The name under which the store remembers what was built last: each variation has one of its own."""
        words = str(self.variation)
        return self.definition.with_name(f"{self.definition.name} {words}") if words else self.definition

    @property
    def reason_to_start_anew(self) -> str:
        """Why this build uses nothing that was kept, in a few words; empty if it does.

        Whoever can write the store can put anything there under the right name: what a snapshot or an output was made
        of cannot be told by looking at it. A signature says that we know.
        """
        if self.key_pair is not None:
            return "what is signed is made of downloads alone"
        return "nothing that is kept is used" if self.no_cache else ""

    @property
    def signed_by(self) -> str:
        """The fingerprint of the certificate, if this build signs. RSA signs without chance: it stands for the key."""
        return "" if self.key_pair is None else self.key_pair.fingerprint


@dataclass(frozen=True)
class BuildResult:
    """What a build made.

    Attributes:
        manifest: the path of ``build.json``.
        seconds: how long it took; 0 if there was nothing to do.
        reused: the stages that did not run.
        tree: the finished root, if stages ran or it was asked for.
        answer: what a build says that finds nothing to do after this one, as (kind, text); empty where that is not
            known.
    """

    manifest: Path
    seconds: float = 0.0
    reused: tuple[str, ...] = ()
    tree: Tree | None = None
    answer: tuple[tuple[str, str], ...] = ()
