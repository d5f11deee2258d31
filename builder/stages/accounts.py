"""Users and groups that overlays declare in ``sysusers.d(5)``, and the rule that nobody can log in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from builder.core.errors import InputError
from builder.stages.stage import Context
from builder.tree.tree import Tree
from firstboot.config.account_files import parse_rows

LOCKED = ("*", "!", "!*", "!!")


@dataclass(frozen=True)
class Accounts:
    """Run ``systemd-sysusers`` again over what overlays added, then check every password field."""

    name: ClassVar[str] = "accounts"
    checkpoint: ClassVar[bool] = False

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree with all declared accounts.

        Raises:
            InputError: an account has a password: every machine of this image would share it.
        """
        # Here, because a build that has nothing to do needs no models of scripts.
        from builder.debian.scripts.subjects.base_accounts import install_system_accounts  # noqa: PLC0415
        from builder.debian.scripts.work import Work  # noqa: PLC0415

        install_system_accounts(Work(tree, {}, context.tools, context.scratch))
        if "/etc/shadow" in tree:
            rows = parse_rows(tree.read_text("/etc/shadow"))
            open_accounts = [row[0] for row in rows if len(row) > 1 and row[1] not in LOCKED]
            if open_accounts:
                raise InputError(
                    f"these accounts have a password in the image: {', '.join(open_accounts)}",
                    hint="give users a key or a password hash in the first-boot config, for one machine at a time",
                )
        return tree
