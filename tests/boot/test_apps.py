"""Apps on a machine: sockets, readiness, watchdog, jobs, instances, what they were told, new versions."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.build.app_environment import AppEnvironment, make_environment_archive
from builder.build.live import (
    PROGRAM,
    Live,
    Outcome,
    decide_changes,
    decode_outcome,
    describe_live,
    encode_changes,
)
from builder.cli.app import locate_modules, lock_app_environment, make_archive, make_request, require_app
from builder.cli.configs import read_config
from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from builder.definition.load import load
from builder.provisioning.values import read_values
from tests.boot.conftest import REPOSITORY
from tests.support.machines import booted, build
from tests.support.wheels import make_wheel
from vm.machine import Machine

pytestmark = pytest.mark.boot

SOURCE = Path(__file__).parent / "apps"
SWITCH = "/usr/lib/build-os/switch-app"
SECRET = "canary-of-the-shop-51d0"
# What starts beside other tests may take its time.
PATIENCE = "systemd.default_device_timeout_sec=600 systemd.default_timeout_start_sec=600"
CONFIG = """\
variant: buildos
version: 1.0.0
secrets:
  - {name: db, env: DATABASE}
apps:
  - name: shop
    environment: {GREETING: 'hello "there" $HOME \\ %h'}
    settings: |
      [page]
      size = 50
    secrets: {database: db}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The definition, its project and a wheel of that, where a lock may be written beside it."""
    directory = tmp_path_factory.mktemp("apps") / "apps"
    shutil.copytree(SOURCE, directory, ignore=shutil.ignore_patterns("__pycache__"))
    modules = {f"shop/{path.name}": path.read_text() for path in (directory / "project" / "shop").glob("*.py")}
    (directory / "wheels").mkdir()
    make_wheel(directory / "wheels", "numbers-of-shop", "1.0", {"shop_numbers.py": "NUMBER = 1\n"})
    make_wheel(directory / "wheels", files=modules, entry_points="[console_scripts]\nshop-serve = shop.web:main\n")
    return directory


@pytest.fixture(scope="module")
def image(project: Path, store: Store) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")  # what the test has made is all there is
        return build(project / "os.yaml", REPOSITORY / "out" / "boot-tests" / "apps-image", store)


@pytest.fixture(scope="module")
def machine(
    image: Path, store: Store, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Machine]:
    directory = tmp_path_factory.mktemp("apps-config")
    (directory / "machine.yaml").write_text(CONFIG)
    (directory / "db").write_text(SECRET)
    config = directory / "compiled.ign"
    values = read_values([], [], [], [], [f"db={directory / 'db'}"])
    config.write_text(read_config(directory / "machine.yaml", values).text)
    folder = REPOSITORY / "out" / "boot-tests" / "apps"
    with booted(image, folder, store, config=config, memory=1024, boot="kernel", arguments=PATIENCE) as started:
        yield started


def ask(machine: Machine, place: str, path: str = "/") -> dict[str, Any]:
    """An answer of the shop, at a port or a socket of the guest."""
    program = (
        "import socket, sys; place = sys.argv[1]\n"
        "c = socket.socket(socket.AF_UNIX) if place[0] == '/' else socket.socket()\n"
        "c.connect(place if place[0] == '/' else ('localhost', int(place)))\n"
        "c.sendall(f'GET {sys.argv[2]} HTTP/1.0\\r\\n\\r\\n'.encode())\n"
        "print(c.makefile().read().partition('\\n\\n')[2])"
    )
    answer: dict[str, Any] = json.loads(machine.succeed("python3", "-IS", "-c", program, place, path))
    return answer


def test_an_app_answers_on_the_sockets_that_systemd_opened(machine: Machine) -> None:
    unit = machine.wait_unit("shop.service")
    assert unit["Result"] == "success"
    seen = ask(machine, "8080")
    assert seen["version"] == "image"
    assert seen["etc"] is False
    assert seen["uid"] >= 61184  # of DynamicUser=, systemd's range
    assert ask(machine, "/run/shop.sock")["pid"] == seen["pid"]
    assert machine.succeed("cat /var/lib/shop/visits").startswith("x")


def test_it_has_the_machines_own_settings_and_secret(machine: Machine) -> None:
    seen = ask(machine, "8080")
    assert seen["greeting"] == 'hello "there" $HOME \\ %h'
    assert seen["settings"] == {"debug": False, "page": {"size": 50, "title": 'The "Shop"'}}
    assert seen["secret"] == len(SECRET)
    shown = machine.succeed("systemctl show shop.service") + machine.succeed("systemctl cat shop.service")
    assert SECRET not in shown


def test_the_sandbox_is_as_tight_as_is_promised(machine: Machine) -> None:
    for name in ("shop", "ticker", "report", "pool@1"):
        said = machine.succeed(f"systemd-analyze security --no-pager {name}.service").splitlines()[-1]
        score = re.search(r": (\d+\.\d+) ", said)
        assert score is not None, said
        assert float(score[1]) <= 2.0, said


def test_instances_share_a_port_and_are_started_anew_together(machine: Machine) -> None:
    for number in (1, 2):
        machine.wait_unit(f"pool@{number}.service")
    before = machine.succeed("systemctl show --property=MainPID --value pool@1.service pool@2.service").split()
    names: set[str] = set()
    while len(names) < 2:
        names.update(ask(machine, "8081")["argv"])
    assert names == {"--name=pool-1", "--name=pool-2"}
    machine.succeed("systemctl restart pool.target")
    after = machine.succeed("systemctl show --property=MainPID --value pool@1.service pool@2.service").split()
    assert len({*before, *after}) == 4


def test_a_job_runs_when_its_time_has_come(machine: Machine) -> None:
    machine.succeed("sh", "-c", "until test -s /var/lib/report/runs; do sleep 0.5; done")
    machine.succeed("systemctl stop report.timer")
    records = [json.loads(line) for line in machine.journal("APP=report", "--output=json")]
    written = next(record for record in records if record["MESSAGE"] == "the report is written")
    assert written["PRIORITY"] == "4"  # of the <4> that the line began with


def test_an_app_that_hangs_is_started_anew(machine: Machine) -> None:
    machine.wait_unit("ticker.service")
    assert machine.succeed("systemctl show --property=StatusText --value ticker.service") == "ticking"
    machine.succeed("touch /var/lib/ticker/hang")
    show = "systemctl show --property=NRestarts --value ticker.service"
    machine.succeed("sh", "-c", f'until test "$({show})" -ge 1; do sleep 1; done')
    assert any("Watchdog timeout" in line for line in machine.journal("--unit=ticker.service"))
    machine.wait_unit("ticker.service")


def test_an_app_that_dies_answers_again(machine: Machine) -> None:
    before = ask(machine, "8080")["pid"]
    machine.succeed("systemctl kill --signal=KILL shop.service")
    assert ask(machine, "8080")["pid"] != before


def test_a_boot_is_good_when_the_apps_are_well(machine: Machine) -> None:
    machine.succeed("systemctl start boot-complete.target")
    for name in ("shop", "ticker", "pool"):
        assert machine.unit(f"health-{name}.service")["Result"] == "success"
    shown = machine.succeed("systemctl status --no-pager shop.service")
    assert "The Shop's Front" in shown
    assert "(running)" in shown


# --- another version, without a new image ----------------------------------------------------------


def push(machine: Machine, project: Path, image: Path, name: str = "shop") -> tuple[int, str]:
    """What ``build-os app push`` does, without its ssh: status and what was said."""
    resolved, app = require_app(project / "os.yaml", name)
    tools = Tools(read_image(image).tools, QuietConsole())
    environment = lock_app_environment(project / "os.yaml", resolved, app, QuietConsole())
    archive = make_archive(app, tools)
    words = ["push", name, "", locate_modules(app)]
    if environment is not None:
        words += [environment.environment.name, environment.digest]
    words[2] = f"v{hash((archive, *words)):x}"
    done = machine.run(SWITCH, *words, stdin=archive)
    if done.status == 3:
        assert environment is not None
        send_environment(machine, project, environment, tools)
        done = machine.run(SWITCH, *words, stdin=archive)
    return done.status, done.stdout + done.stderr


def send_environment(machine: Machine, project: Path, environment: AppEnvironment, tools: Tools) -> None:
    """The wheels that the machine's image does not have."""
    wheels = make_environment_archive(make_request(project / "os.yaml", QuietConsole()), environment, tools)
    assert machine.run(SWITCH, "environment", environment.digest, stdin=wheels).status == 0


def test_a_pushed_version_takes_the_place_of_the_images(machine: Machine, project: Path, image: Path) -> None:
    web = project / "project" / "shop" / "web.py"
    text = web.read_text()
    web.write_text(text.replace('VERSION = "image"', 'VERSION = "pushed"'))
    assert push(machine, project, image)[0] == 0
    assert ask(machine, "8080")["version"] == "pushed"
    assert "90-pushed.conf" in machine.succeed("systemctl status --no-pager shop.service")

    # One that does not start: the version before runs again, at once, although systemd holds the socket that is asked.
    web.write_text(text.replace("def main():", "import not_there\n\n\ndef main():"))
    started = time.monotonic()
    status, said = push(machine, project, image)
    print(f"\na version that does not start is taken back in {time.monotonic() - started:.1f} s")
    assert status == 1
    assert "No module named 'not_there'" in said
    assert "the main process has ended" in said
    assert "the version before again" in said
    assert ask(machine, "8080")["version"] == "pushed"

    machine.succeed("/usr/lib/build-os/switch-app revert shop")
    assert ask(machine, "8080")["version"] == "image"
    assert machine.succeed("ls -A /var/lib/app-versions/shop") == ".lock"
    status, said = push(machine, project, image)
    assert status == 1
    assert "the image's own version again" in said
    assert ask(machine, "8080")["version"] == "image"
    web.write_text(text)


def test_a_pushed_version_brings_its_own_wheels(
    machine: Machine, project: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert ask(machine, "8082") == {"number": 1, "text": "image"}
    make_wheel(project / "wheels", "numbers-of-shop", "2.0", {"shop_numbers.py": "NUMBER = 2\n"})
    definition = project / "os.yaml"
    definition.write_text(definition.read_text().replace("numbers-of-shop==1.0", "numbers-of-shop==2.0"))
    status, said = push(machine, project, image, "counter")
    assert status == 0, said
    assert ask(machine, "8082") == {"number": 2, "text": "image"}
    assert len(machine.succeed("ls /var/lib/app-versions/.environments").split()) == 1

    # Only a module has changed: the wheels are there already.
    module = project / "counter" / "counter.py"
    module.write_text(module.read_text().replace('TEXT = "image"', 'TEXT = "pushed"'))
    assert push(machine, project, image, "counter")[0] == 0
    assert ask(machine, "8082") == {"number": 2, "text": "pushed"}

    # Wheels with which it does not become ready: it has those of the version before again.
    make_wheel(project / "wheels", "numbers-of-shop", "3.0", {"shop_numbers.py": "raise SystemExit(7)\n"})
    definition.write_text(definition.read_text().replace("numbers-of-shop==2.0", "numbers-of-shop==3.0"))
    status, said = push(machine, project, image, "counter")
    assert status == 1
    assert "the version before again" in said
    assert ask(machine, "8082") == {"number": 2, "text": "pushed"}
    machine.succeed(f"{SWITCH} revert counter")
    assert ask(machine, "8082") == {"number": 1, "text": "image"}


def test_an_image_for_qemu_alone_has_the_drivers_of_its_devices_and_no_others(machine: Machine) -> None:
    assert machine.succeed("modprobe --show-depends virtio_net").startswith("insmod /")
    for module in ("hv_vmbus", "xen-blkfront", "ena"):
        assert machine.run("modprobe", "--show-depends", module).status != 0
    loaded = set(machine.succeed("cut -d' ' -f1 /proc/modules").split())
    assert {"virtio_blk", "virtio_net", "dm_verity", "overlay"} <= loaded | {
        name.rpartition("/")[2].removesuffix(".ko").replace("-", "_")
        for name in machine.succeed("/bin/sh", "-c", "cat /lib/modules/*/modules.builtin").split()
    }


def live_of(project: Path) -> Live:
    return describe_live(load(project / "os.yaml").resolved)


def bring_along(machine: Machine, before: Live, now: Live) -> Outcome:
    """What 'build-os dev' does, by the probe's way in."""
    data = encode_changes(decide_changes(before, now))
    return decode_outcome(machine.succeed("python3", "-IS", "-c", PROGRAM.read_text(), stdin=data))


def test_a_machine_that_runs_is_given_units_and_files_of_etc(machine: Machine, project: Path) -> None:
    mine = project / "units" / "mine"
    definition = project / "os.yaml"
    before, text = live_of(project), definition.read_text()
    mine.mkdir(parents=True)
    (mine / "mine.service").write_text(
        "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    )
    etc = project / "overlays" / "mine" / "etc"
    etc.mkdir(parents=True)
    (etc / "mine.conf").write_text("one\n")
    definition.write_text(text + "\noverlays: [mine]\nunits: [mine]\npresets: {enable: [mine.service]}\n")
    try:
        first = live_of(project)
        assert bring_along(machine, before, first) == Outcome()
        assert machine.succeed("cat /etc/mine.conf") == "one"
        assert machine.succeed("systemctl is-active mine.service") == "active"
        assert machine.succeed("systemctl is-enabled mine.service") == "enabled"

        # A drop-in for a unit of the image, and another text for one that was put here: both start again.
        (mine / "ticker.service.d").mkdir()
        (mine / "ticker.service.d" / "10-mine.conf").write_text("[Service]\nEnvironment=MINE=yes\n")
        (mine / "mine.service").write_text((mine / "mine.service").read_text().replace("infinity", "1d"))
        (etc / "mine.conf").write_text("two\n")
        machine.succeed("python3", "-IS", "-c", "open('/etc/mine.conf', 'w').write('the machine\\n')")
        second = live_of(project)
        assert bring_along(machine, first, second) == Outcome(kept=("/etc/mine.conf",))
        assert "MINE=yes" in machine.succeed("systemctl show --property=Environment ticker.service")
        assert "/usr/bin/sleep 1d" in machine.succeed("systemctl show --property=ExecStart mine.service")
        assert machine.succeed("systemctl is-active mine.service") == "active"
        assert machine.succeed("cat /etc/mine.conf") == "the machine"

        # And away again: nothing of it starts at the next boot.
        machine.succeed("python3", "-IS", "-c", "open('/etc/mine.conf', 'w').write('two\\n')")
        definition.write_text(text)
        assert bring_along(machine, second, before) == Outcome()
        assert machine.run("systemctl", "is-active", "mine.service").stdout.strip() == "inactive"
        assert machine.run("test", "-e", "/etc/mine.conf").status == 1
        assert machine.run("test", "-e", "/etc/systemd/system/multi-user.target.wants/mine.service").status == 1
    finally:
        definition.write_text(text)
