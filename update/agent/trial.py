"""A version on trial: whether it has proven itself, and what became of one that has not.

systemd-boot counts in the name of a kernel image how often it is started. systemd-bless-boot(8) takes the counter away
once ``boot-complete.target`` is reached. If that target fails, or is not reached in time, the machine starts again.
"""

from __future__ import annotations

import json

from update.agent import esp as esps
from update.agent.etc import describe_drift, note_drift
from update.agent.host import Host
from update.agent.identity import Identity, read_identity
from update.agent.state import Event, Failure, Pending, State, read_state, write_file, write_state
from update.errors import UpdateError

RESULT = "/run/update/result.json"
TARGET = "boot-complete.target"
OWN_UNIT = "update-give-up.service"  # in which this is asked: it is starting, too
_MAX_REASON = 600


def begin(host: Host) -> str:
    """At every boot: note the trial that this one is, or what became of the version that was to be started.

    Returns:
        A line for the console, or an empty text.

    Raises:
        UpdateError
    """
    state, identity = read_state(host), read_identity(host)
    pending = state.pending
    if pending is None:
        return ""
    if pending.version == identity.version:
        if not host.is_counted():
            # The power went after the counter was taken away and before that was noted.
            return _note_good(host, state, identity)
        boot = host.read_boot_id()
        if boot not in pending.boots:
            write_state(host, state._replace(pending=pending._replace(boots=(*pending.boots, boot), reason="")))
        _write_result(host, identity, "trial")
        return f"version {identity.version} is on trial (start {len({*pending.boots, boot})})"
    return _note_failed(host, state, identity)


def bless(host: Host) -> str:
    """``boot-complete.target`` is reached: the version that runs is good.

    Returns:
        A line for the console.

    Raises:
        UpdateError: the kernel image cannot be renamed; the machine is on trial still.
    """
    identity, state = read_identity(host), read_state(host)
    if identity.version in state.failed:
        # systemd-bless-boot would find its kernel image by the name of one that is bad, and start it again.
        return f"version {identity.version} has been given up: {state.failed[identity.version].reason}"
    with esps.mount_esp(host) as esp:
        host.run(["systemd-bless-boot", f"--path={esp}", "good"])
        esps.sync(esp)
    line = _note_good(host, read_state(host), identity)
    try:
        drift = note_drift(host, identity.version)
    except UpdateError as error:
        # The version is good all the same.
        return f"{line}; what it changes in /etc cannot be compared: {error}"
    return f"{line}; {describe_drift(drift)}" if drift else line


def give_up(host: Host) -> str:
    """``boot-complete.target`` was not reached: remember why, and start again if this is a trial.

    Returns:
        A line for the console; empty where nothing is tried.

    Raises:
        UpdateError
    """
    state, identity = read_state(host), read_identity(host)
    pending = state.pending
    if pending is None or pending.version != identity.version or not host.is_counted():
        return ""
    reason = explain(host)
    boots = tuple(dict.fromkeys((*pending.boots, host.read_boot_id())))
    write_state(host, state._replace(pending=pending._replace(boots=boots, reason=reason)))
    _restart(host)
    return f"version {identity.version} is not well, and the machine starts again: {reason}"


def explain(host: Host) -> str:
    """Why ``boot-complete.target`` is not reached: units that have failed, with what they said last, and what waits."""
    failed = [line.split()[0] for line in _ask(host, "list-units", "--failed").splitlines() if line.strip()]
    reasons = []
    for unit in failed:
        said = _run(host, ["journalctl", "-b", "-o", "cat", "-n", "20", "-u", unit, "--no-pager"]).splitlines()
        own = [
            line for line in said if line.strip() and not line.startswith((f"{unit}:", "Failed to start", "Starting"))
        ]
        reasons.append(f"{unit} failed" + (f" ({own[-1].strip()})" if own else ""))
    if not reasons:
        jobs = [line.split() for line in _ask(host, "list-jobs").splitlines()]
        running = [words[1] for words in jobs if len(words) >= 4 and words[3] == "running"]
        waiting = [unit for unit in running if unit != OWN_UNIT]
        reasons = [f"{TARGET} was not reached in time; still starting: {' '.join(waiting) or 'nothing'}"]
    return "; ".join(reasons)[:_MAX_REASON]


def _ask(host: Host, *words: str) -> str:
    return _run(host, ["systemctl", *words, "--plain", "--no-legend", "--no-pager"])


def _run(host: Host, argv: list[str]) -> str:
    """What a program says; nothing where it fails: a reason that is not known keeps no machine from starting again."""
    try:
        return host.run(argv, timeout=20)
    except UpdateError:
        return ""


def _restart(host: Host) -> None:
    try:
        host.run(["systemctl", "reboot", "--no-block"], timeout=20)
    except UpdateError:
        # emergency.target does not let others in.
        host.run(["systemctl", "reboot", "--force"], timeout=60)


def _note_good(host: Host, state: State, identity: Identity) -> str:
    pending, now = state.pending, int(host.now())
    if pending is not None and pending.version == identity.version:
        event = Event(now, "good", identity.version, pending.source)
        write_state(host, state._replace(pending=None).add_event(event))
    _write_result(host, identity, "good")
    return f"version {identity.version} has proven itself"


def _note_failed(host: Host, state: State, identity: Identity) -> str:
    """Another version runs than the one that was to be started."""
    pending, now = state.pending, int(host.now())
    assert pending is not None
    with esps.mount_esp(host) as esp:
        image = esps.find_image(esp, identity.name, pending.version)
        is_cut = esps.has_cut_image(esp, identity.name, pending.version)
    if image is None and (is_cut or not pending.boots):
        # The power went before its kernel image was there, or when the counter was taken away: it is taken once more.
        write_state(host, state._replace(pending=None))
        return f"version {pending.version} was not written to its end"
    if image is not None and image.left != 0:
        # systemd-boot still prefers it: somebody has chosen the other one.
        _write_result(host, identity, "written", pending.version)
        return f"version {pending.version} is written, and has not been given up: the next boot starts it"
    reason = pending.reason or _explain_silence(host, pending, image)
    event = Event(now, "failed", pending.version, pending.source, reason)
    state = state._replace(pending=None).add_failure(pending.version, Failure(reason, now)).add_event(event)
    write_state(host, state)
    _write_result(host, identity, "failed", pending.version, reason)
    return f"version {pending.version} has failed, and version {identity.version} runs: {reason}"


def _explain_silence(host: Host, pending: Pending, image: esps.KernelImage | None) -> str:
    """Why a version that has not said so itself does not run."""
    if image is None:
        return "its kernel image is gone from the EFI system partition"
    tried = f"{image.done} start{'s' * (image.done != 1)}"
    if not pending.boots:
        return (
            f"after {tried} it had not come as far as its own log: "
            "its kernel or root is damaged, or it panicked, hung or lost power early"
        )
    lines = _run(host, ["journalctl", "-b", pending.boots[-1], "-o", "cat", "-n", "1", "--no-pager"]).strip()
    last = f"; the last line of its log: {lines}" if lines else ""
    return f"after {tried} it had not become well: it panicked, hung or lost power{last}"[:_MAX_REASON]


def _write_result(host: Host, identity: Identity, outcome: str, version: str = "", reason: str = "") -> None:
    """For programs on the machine: what this boot has to do with updates."""
    result = {"outcome": outcome, "running": identity.version, "version": version or identity.version, "reason": reason}
    path = host.locate(RESULT)
    write_file(path, (json.dumps(result) + "\n").encode())
    path.parent.chmod(0o755)
    path.chmod(0o644)
