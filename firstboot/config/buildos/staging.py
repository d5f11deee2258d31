"""``secrets``: files that only root can read, with values that are known when the config is compiled; units that
write the file for those that a platform hands over at every boot.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from firstboot.config.buildos.models import Secret
from firstboot.config.buildos.secrets import MODE, OTHERS, SOURCES, NoSecret, require_value
from firstboot.config.buildos.sugar_output import SugarOutput
from firstboot.config.buildos.unit_writing import format_unit
from firstboot.config.lazy import import_lazily
from firstboot.config.models import Owner
from firstboot.config.text import Path
from firstboot.config.unit_text import quote_word

if TYPE_CHECKING:
    from firstboot.config import explain
else:
    explain = import_lazily("firstboot.config.explain")

CREDSTORE = "/etc/credstore"  # systemd.exec(5), LoadCredential=
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def add_secrets(output: SugarOutput) -> None:
    """Have every secret where it is wanted."""
    for at, secret in output.list_parts(Secret, "secrets"):
        if _check(secret, at, output):
            output.secrets[secret.name] = secret
            _stage(secret, at, output)


def _check(secret: Secret, at: Path, output: SugarOutput) -> bool:
    if not _NAME.fullmatch(secret.name):
        output.complain((*at, "name"), f"'{secret.name}' cannot be the name of a secret", "letters, digits, - _ and .")
        return False
    if secret.name in output.secrets:
        output.complain((*at, "name"), f"there is a secret '{secret.name}' already")
        return False
    given = [name for name in SOURCES if getattr(secret, name) is not None]
    if len(given) > 1:
        output.complain((*at, given[-1]), f"give only one of {', '.join(given)}", on_key=True)
        return False
    if secret.credential is not None and not _NAME.fullmatch(secret.credential):
        output.complain((*at, "credential"), f"'{secret.credential}' cannot be the name of a credential")
        return False
    if secret.mode is not None and (not 0 <= secret.mode <= 0o777 or secret.mode & OTHERS):
        output.complain((*at, "mode"), "everybody could read this secret", "0600, or 0640 for a group")
        return False
    return secret.path is None or output.is_path(secret.path, (*at, "path"))


def _stage(secret: Secret, at: Path, output: SugarOutput) -> None:
    if secret.credential is not None:
        if secret.path is not None:
            output.add_unit(f"secret-{secret.name}.service", _writing_unit(secret, secret.path), at)
        return
    try:
        value = require_value(secret.collect_values(), output.surroundings)
    except NoSecret as error:
        output.complain((*at, error.key), str(error), error.hint)
        return
    output.stored.add(secret.name)
    if secret.path is None:
        output.add_directory(CREDSTORE, at, mode=0o700)
    mode = MODE if secret.mode is None else secret.mode
    path = secret.path or f"{CREDSTORE}/{secret.name}"
    output.add_file(path, value, at, mode=mode, user=secret.user, group=secret.group)


def _writing_unit(secret: Secret, path: str) -> str:
    """It runs before all ordinary services, so none of them finds the file missing."""
    mode = MODE if secret.mode is None else secret.mode
    owner = [f"--owner={_owner(secret.user)}", f"--group={_owner(secret.group)}"]
    command = [
        "/usr/bin/install",
        "-D",
        f"--mode=0{mode:o}",
        *owner,
        "--",
        f"%d/{secret.name}",
        path.replace("%", "%%"),
    ]
    return format_unit(
        f"Secret {secret.name} from the Platform",
        before=("sysinit.target", "shutdown.target"),
        after=("local-fs.target",),
        settings=[("DefaultDependencies", "no"), ("Conflicts", "shutdown.target")],
        service=[
            ("Type", "oneshot"),
            ("RemainAfterExit", "yes"),
            ("LoadCredential", f"{secret.name}:{secret.credential}"),
            ("ExecStart", " ".join(quote_word(word, specifiers=True) for word in command)),
        ],
        wanted_by="sysinit.target",
    )


def _owner(owner: Owner) -> str:
    return str(owner.id) if owner.id is not None else owner.name or "0"


def load_credentials(names: tuple[str, ...], at: Path, output: SugarOutput) -> list[tuple[str, str]]:
    """``LoadCredential=`` for a service that wants secrets; complains about those that there are not."""
    credentials: list[tuple[str, str]] = []
    for index, name in enumerate(names):
        secret = output.secrets.get(name)
        if secret is None:
            hint = explain.find_suggestion(name, output.secrets) or "declare it under secrets:"
            output.complain((*at, index), f"there is no secret '{name}'", hint)
        elif secret.credential is not None:
            credentials.append(("LoadCredential", f"{name}:{secret.credential}"))
        else:
            path = secret.path or posixpath.join(CREDSTORE, name)
            credentials.append(("LoadCredential", f"{name}:{path.replace('%', '%%')}"))
    return credentials
