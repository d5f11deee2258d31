"""``updates:`` as the user writes it: what machines of this image do about new versions of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.definition.scalars import RelativePath, Size, UnitName, make_text_type
from firstboot.config import update_words as words
from firstboot.config.located import Problem

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

UPDATES = "updates"  # the feature
BOOT_MINUTES = 10
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_hour_check, _hour_schema = make_text_type(words.HOUR_PATTERN, words.HOUR_WORDS)
Hour = Annotated[str, _hour_check, _hour_schema]

_channel_check, _channel_schema = make_text_type(words.CHANNEL_PATTERN, words.CHANNEL_WORDS)
ChannelName = Annotated[str, _channel_check, _channel_schema]

_zone_check, _zone_schema = make_text_type(words.ZONE_PATTERN, words.ZONE_WORDS)
TimeZone = Annotated[str, _zone_check, _zone_schema]


class Window(BaseModel):
    """When machines may reboot by themselves."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)

    days: tuple[Day, ...] = Field(DAYS, min_length=1, description="On which days. Default: all.")
    begin: Hour = Field(description='From when on, like `"02:00"`.')
    end: Hour = Field(description="Until when; before `begin`, it is that of the next day.")
    timezone: TimeZone = Field("UTC", description="Whose clock that is, like `Europe/Berlin`.")


_group_check, _group_schema = make_text_type(words.GROUP_PATTERN, words.GROUP_WORDS)
GroupName = Annotated[str, _group_check, _group_schema]


class FleetLock(BaseModel):
    """Whom a machine asks before it reboots by itself."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)

    url: str = Field(description="Where a server of the protocol FleetLock is: `http://` or `https://`.")
    group: GroupName = Field(words.GROUP, description="The group of machines that share a number of locks.")


class Updates(BaseModel):
    """What machines of this image do about new versions. It wants the feature `updates`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)

    tries: int = Field(
        3, ge=1, le=9, description="How often a new version is started before the one before it gets its turn."
    )
    boot_minutes: int = Field(
        BOOT_MINUTES,
        ge=1,
        le=1440,
        description="A new version that is not well after so many minutes is started again, or given up.",
    )
    url: str | None = Field(
        None,
        description="Where versions are published: `http://` or `https://`, the directory with `metadata`; or "
        "`oci://HOST/NAME`, a repository of a registry.",
    )
    root: RelativePath | None = Field(
        None,
        description="The file `root.json` of that repository, relative to this one: who may publish. It wants `url`.",
    )
    channel: ChannelName = Field(words.CHANNEL, description="Which of the versions published there are taken.")
    rate: Size | None = Field(None, description="How much a download may take in a second, like `2M`. Default: any.")
    window: Window | None = Field(None, description="When a machine may reboot by itself. Default: always.")
    fleet_lock: FleetLock | None = Field(
        None,
        description="A lock that machines share: it is asked for before one reboots by itself. Default: none.",
    )
    health: tuple[UnitName, ...] = Field(
        (),
        description="Units that must be active before a new version counts as good, besides `multi-user.target`, "
        "the health of apps, and a machine's own `health_checks`.",
    )
    migrations: tuple[UnitName, ...] = Field(
        (),
        description="Services that change the form of what is in `/var`, in this order: once for each version, before "
        "the apps. A version whose services fail is not well.",
    )


def check_updates(updates: Updates | None, features: tuple[str, ...], directory: Path) -> Iterator[Problem]:
    """Whether the image has what takes updates, and knows whom to trust.

    Args:
        directory: where the definition lies.
    """
    if updates is None:
        return
    if UPDATES not in features:
        message = "nothing in this image takes updates"
        yield Problem(("updates",), message, f"add '{UPDATES}' to features", on_key=True)
    if updates.fleet_lock is not None and not words.is_server(updates.fleet_lock.url):
        yield Problem(("updates", "fleet_lock", "url"), words.URL_WORDS)
    if updates.url is not None:
        if not words.is_place(updates.url):
            yield Problem(("updates", "url"), words.PLACE_WORDS)
        if updates.root is None:
            message = "nothing says who may publish there"
            yield Problem(("updates", "url"), message, "set root to the root.json that 'build-os publish' made")
    elif updates.root is not None:
        yield Problem(("updates", "root"), "nothing is published anywhere", "set url as well")
    if updates.root is not None:
        yield from _check_root(directory / updates.root)
    for key in ("migrations", "health"):
        for index, unit in enumerate(names := getattr(updates, key)):
            if names.index(unit) != index:
                yield Problem(("updates", key, index), f"'{unit}' is there twice")
    for index, unit in enumerate(updates.migrations):
        if not unit.endswith(".service") or "@" in unit:
            message = f"'{unit}' is not the name of a service"
            yield Problem(("updates", "migrations", index), message, "like shop-migrate.service")
    if updates.window is not None and updates.window.begin == updates.window.end:
        yield Problem(("updates", "window", "end"), "a window that ends when it begins is never open")


def _check_root(path: Path) -> Iterator[Problem]:
    """Whether a file can be a root of trust (TUF 1.0, 4.3); whether it is one, python-tuf says on the machine."""
    where = ("updates", "root")
    if not path.is_file():
        yield Problem(where, f"there is no file {path.name} there", "'build-os publish' makes it")
        return
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["signed"]["_type"]
    except (ValueError, KeyError, TypeError):
        kind = None
    if kind != "root":
        yield Problem(where, f"{path.name} is no root metadata of TUF", "it is metadata/1.root.json of the repository")
