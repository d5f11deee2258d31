"""``health_checks``: services that must succeed before ``boot-complete.target`` (systemd.special(7)).

What counts boots, and takes the system before it back if one never was complete, waits for that target.
"""

from __future__ import annotations

import re

from firstboot.config.buildos.common import check_name, check_units
from firstboot.config.buildos.services import HealthCheck
from firstboot.config.buildos.sugar_output import SugarOutput
from firstboot.config.buildos.unit_writing import format_command_line, format_unit, is_unit
from firstboot.config.text import Path

TARGET = "boot-complete.target"
TIMEOUT = 60
WAYS = ("unit", "command", "url", "port")
_URL = re.compile(r"https?://[^\s\"'\\]+")
_AGAIN = """\
import http.client, socket, sys, time, urllib.request
end = time.monotonic() + float(sys.argv[1])
while True:
    try:
        {attempt}
        break
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() > end:
            sys.exit(sys.argv[2] + ": " + str(error))
        time.sleep(1)
"""
_URL_ATTEMPT = "urllib.request.urlopen(sys.argv[2], timeout=10).close()"
_PORT_ATTEMPT = "socket.create_connection(('localhost', int(sys.argv[2])), 10).close()"


def make_health_checks(output: SugarOutput) -> None:
    """A service for each."""
    for at, check in output.list_parts(HealthCheck, "health_checks"):
        before = output.complaints
        _check(check, at, output)
        if output.complaints == before:
            output.add_unit(f"health-{check.name}.service", _unit(check), at)


def _check(check: HealthCheck, at: Path, output: SugarOutput) -> None:
    check_name(check.name, at, output)
    check_units(check.after, (*at, "after"), output)
    ways = [name for name in WAYS if getattr(check, name) not in (None, ())]
    if len(ways) != 1:
        output.complain(at, f"give one of {', '.join(WAYS)}" if not ways else f"give only one of {', '.join(ways)}")
    if check.unit is not None and not is_unit(check.unit):
        output.complain((*at, "unit"), f"'{check.unit}' is not the name of a unit", "like app.service")
    if check.command and not check.command[0].startswith("/"):
        output.complain((*at, "command", 0), f"'{check.command[0]}' is not the path of a program", "like /usr/bin/curl")
    if check.url is not None and not _URL.fullmatch(check.url):
        output.complain((*at, "url"), f"'{check.url}' is not a URL", "like http://localhost:8080/health")
    if check.port is not None and not 0 < check.port < 65536:
        output.complain((*at, "port"), f"{check.port} is not between 1 and 65535")
    if check.timeout is not None and not 0 < check.timeout <= 86400:
        output.complain((*at, "timeout"), "between 1 second and a day")


def _unit(check: HealthCheck) -> str:
    timeout = TIMEOUT if check.timeout is None else check.timeout
    after = [*check.after, *([check.unit] if check.unit is not None else [])]
    online = ["network-online.target"] if check.url is not None else []
    return format_unit(
        f"Health Check {check.name}",
        before=(TARGET,),
        after=(*after, *online),
        wants=online,
        service=[
            ("Type", "oneshot"),
            ("RemainAfterExit", "yes"),
            # What tries again itself says why it has failed; it gets the time for a last attempt.
            ("TimeoutStartSec", f"{timeout + (15 if check.url is not None or check.port is not None else 0)}s"),
            ("ExecStart", format_command_line(_command(check, timeout))),
        ],
        required_by=TARGET,
    )


def _command(check: HealthCheck, timeout: int) -> list[str]:
    if check.url is not None:
        return ["/usr/bin/python3", "-I", "-c", _AGAIN.format(attempt=_URL_ATTEMPT), str(timeout), check.url]
    if check.port is not None:
        return ["/usr/bin/python3", "-I", "-c", _AGAIN.format(attempt=_PORT_ATTEMPT), str(timeout), str(check.port)]
    command = check.command or ("/usr/bin/systemctl", "is-active", "--quiet", check.unit or "")
    return ["/bin/sh", "-c", 'until "$@"; do sleep 1; done', "sh", *command]
