"""The settings of ``updates``.

Annotations are not deferred, as in :mod:`firstboot.config.models`.
"""

from firstboot.config.buildos.model import OwnModel


class UpdateWindow(OwnModel):
    """When the machine may reboot by itself.

    Attributes:
        days: ``mon`` to ``sun``; all if not given.
        begin: from when on, like ``"02:00"``.
        end: until when; before ``begin``, it is that of the next day.
        timezone: whose clock that is, like ``Europe/Berlin``; ``UTC`` if not given.
    """

    days: tuple[str, ...] = ()
    begin: str = ""
    end: str = ""
    timezone: str | None = None


class FleetLock(OwnModel):
    """Whom the machine asks before it reboots by itself.

    Attributes:
        url: of a server that speaks FleetLock; the image's if not given.
        group: of machines that share a number of locks.
    """

    url: str | None = None
    group: str | None = None


class Updates(OwnModel):
    """What the machine does about new versions of its image. What is not given is as the image says.

    Attributes:
        enabled: whether it takes versions by itself.
        url: where they are published. The image says who may publish there.
        channel: which of them it takes.
        pin: the only version that it takes.
        rate: how much a download may take in a second, like ``2M``.
        window: when it may reboot by itself.
        fleet_lock: whom it asks before it does.
    """

    enabled: bool | None = None
    url: str | None = None
    channel: str | None = None
    pin: str | None = None
    rate: str | None = None
    window: UpdateWindow | None = None
    fleet_lock: FleetLock | None = None
