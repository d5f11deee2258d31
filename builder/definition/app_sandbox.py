"""The sandbox of an app: what a program that serves something, or does a job, has no use for (systemd.exec(5))."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# In the order of the manual. What an app says of network, ports and state is added where its unit is made.
SANDBOX: Mapping[str, str] = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "DevicePolicy": "closed",
    "PrivateUsers": "yes",
    "PrivateIPC": "yes",
    "ProtectHostname": "yes",
    "ProtectClock": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectProc": "invisible",
    "ProcSubset": "pid",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RemoveIPC": "yes",
    "KeyringMode": "private",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service ~@privileged @resources",
    "SystemCallErrorNumber": "EPERM",
    "UMask": "0077",
}
# An exception may also give an app what the sandbox does not name.
GIVEN = ("DeviceAllow", "SupplementaryGroups", "BindReadOnlyPaths", "BindPaths", "LimitNOFILE", "LimitMEMLOCK")


def make_sandbox(
    exceptions: Iterable[tuple[str, str]], *, network: bool, privileged_ports: bool
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What holds, and what is added besides, as settings.

    Args:
        exceptions: settings with their values; one that the sandbox has takes its place.
        network: whether the app has one.
        privileged_ports: whether it may open ports below 1024, which a user namespace of its own would not let it.
    """
    settings = dict(SANDBOX)
    if not network:
        settings["RestrictAddressFamilies"] = "AF_UNIX"
        settings["PrivateNetwork"] = "yes"
    if privileged_ports:
        settings["PrivateUsers"] = "no"
        settings["CapabilityBoundingSet"] = settings["AmbientCapabilities"] = "CAP_NET_BIND_SERVICE"
    added = []
    for name, value in exceptions:
        if name in settings:
            settings[name] = value
        else:
            added.append((name, value))
    # A list that is forbidden is a second assignment: the first says what is allowed (systemd.exec(5)).
    lines: list[tuple[str, str]] = []
    for name, value in settings.items():
        allowed, mark, denied = value.partition(" ~")
        lines.append((name, allowed))
        if mark:
            lines.append((name, f"~{denied}"))
    return lines, added
