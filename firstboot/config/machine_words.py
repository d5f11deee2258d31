"""What of ``/etc`` is whose, whoever asks: the report of drift, or the agent of updates."""

ETC_UPPER = "/run/state/etc/upper"
"""What a machine has in the place of what the image has in ``/etc``: the upper directory of an overlay."""

# What no person decides: who the machine is, and what programs keep for themselves there.
OF_THE_MACHINE = (
    "/etc/machine-id",
    "/etc/.updated",
    "/etc/.pwd.lock",
    "/etc/adjtime",
    "/etc/ssh/ssh_host_*",
    # Accounts are compared by name.
    *(f"/etc/{name}{suffix}" for name in ("passwd", "group", "shadow", "gshadow") for suffix in ("", "-")),
    *(f"/etc/{name}{suffix}" for name in ("subuid", "subgid") for suffix in ("", "-")),
)
