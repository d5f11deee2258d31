"""What a definition may decide about maintainer scripts that build-os does not understand by itself."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from builder.definition.scalars import AbsolutePath, NotAccepted, PackageName

Kind = Literal["directory", "file", "link", "change", "user", "group"]
_ACCOUNT = r"[a-z_][a-z0-9_.-]{0,31}"
AccountName = Annotated[str, StringConstraints(pattern=f"^{_ACCOUNT}$")]
Owner = Annotated[str, StringConstraints(pattern=f"^{_ACCOUNT}(:{_ACCOUNT})?$")]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)


class ScriptEffect(_Model):
    """One thing that a script does: exactly one of `directory`, `file`, `link`, `change`, `user` and `group`."""

    directory: AbsolutePath | None = Field(None, description="A directory that is made.")
    file: AbsolutePath | None = Field(None, description="A file that is written, with `text`.")
    link: AbsolutePath | None = Field(None, description="A symbolic link that is made, to `target`.")
    change: AbsolutePath | None = Field(None, description="Something that is there and gets a `mode` or an `owner`.")
    user: AccountName | None = Field(None, description="A system user that is created, with a group of its name.")
    group: AccountName | None = Field(None, description="A system group that is created.")
    text: str = Field("", description="What is in the file.")
    target: str = Field("", description="Where the link points.")
    mode: int | None = Field(None, ge=0, le=0o7777, description="Permissions, like `0750`.")
    owner: Owner | None = Field(None, description="`USER` or `USER:GROUP`. Default: root.")
    home: AbsolutePath = Field("/nonexistent", description="The user's home directory; it is not made.")
    shell: AbsolutePath = Field("/usr/sbin/nologin", description="The user's login shell.")

    @property
    def kind(self) -> Kind:
        """Which of them it is."""
        return next(name for name in get_args(Kind) if getattr(self, name) is not None)


def _one_each(effects: tuple[ScriptEffect, ...]) -> tuple[ScriptEffect, ...]:
    for effect in effects:
        named = [name for name in get_args(Kind) if getattr(effect, name) is not None]
        if len(named) != 1:
            raise NotAccepted(
                f"an effect is one of {', '.join(get_args(Kind))}", "several effects are several list elements"
            )
        if effect.link is not None and not effect.target:
            raise NotAccepted("a link needs a target")
    return effects


class ScriptIgnored(_Model):
    """The lines that build-os does not model do not matter in this image."""

    ignore: Annotated[str, StringConstraints(min_length=3)] = Field(description="Why.")


class ScriptDeclared(_Model):
    """What the lines do that build-os does not model."""

    effects: Annotated[tuple[ScriptEffect, ...], AfterValidator(_one_each)] = Field(
        min_length=1, description="What they do, in order."
    )


ScriptDecision = Literal["sandbox"] | ScriptIgnored | ScriptDeclared
DEFAULT = "default"


def _default_runs(decided: dict[str, ScriptDecision]) -> dict[str, ScriptDecision]:
    if decided.get(DEFAULT, "sandbox") != "sandbox":
        raise NotAccepted(
            f"'{DEFAULT}' stands for all packages that are not named, and can only be 'sandbox'",
            "what does not matter, and what a script does, is said of one package",
        )
    return decided


ScriptDecisions = Annotated[dict[PackageName, ScriptDecision], AfterValidator(_default_runs)]
QUESTION = re.compile(r"[a-z0-9][a-z0-9+.-]*/\S+")


def _question(text: str) -> str:
    if not QUESTION.fullmatch(text):
        raise NotAccepted("a question is written PACKAGE/NAME, as debconf-show(1) does")
    return text


Question = Annotated[str, AfterValidator(_question)]
