"""What a machine's state partition says about its next boot: begin from nothing, go on as it is, or stop."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firstboot.apply.root import Root
from firstboot.drift import reset
from firstboot.log import Log
from firstboot.places import FIRST_BOOT
from firstboot.prepare import prepare, read_attempt
from tests.support.guest import Guest

pytestmark = pytest.mark.unit

CONFIG = "variant: buildos\nversion: 1.0.0\nhostname: kept\n"


class Partition(Guest):
    """A machine whose state partition is looked at before each first boot, as its initrd does."""

    @property
    def state(self) -> Path:
        return self.root / "run/state"

    def prepare(self) -> str:
        """``first boot``, ``later boot``, or what the console says when the machine stops."""
        decision = self.root / "run/build-os/first-boot"
        decision.unlink(missing_ok=True)
        (self.root / "dev/console").write_text("")
        if prepare(self.places, Log(io.StringIO())) != 0:
            assert not decision.exists()
            return self.console()
        return "first boot" if decision.exists() else "later boot"

    def use(self) -> None:
        """A first boot to its end, and a machine that was used."""
        assert self.prepare() == "first boot"
        self.give(CONFIG)
        assert self.boot() == 0
        (self.state / "etc/upper/hostname").write_text("kept\n")
        (self.state / "var/lib").mkdir(parents=True)
        (self.state / "var/lib/data").write_text("precious")

    def files(self) -> dict[str, bytes]:
        files = [path for path in self.state.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.state)): path.read_bytes() for path in files}


@pytest.fixture
def partition(accounts: Path, programs: Any) -> Partition:
    guest = Partition(accounts, programs)
    (guest.state / "lost+found").mkdir()
    return guest


def test_an_empty_partition_is_begun_on(partition: Partition) -> None:
    assert partition.prepare() == "first boot"
    assert sorted(path.name for path in partition.state.iterdir()) == ["etc", "firstboot", "lost+found", "var"]
    assert [path.name for path in (partition.state / "firstboot").iterdir()] == ["attempt"]
    assert oct(partition.state.stat().st_mode)[-3:] == "700"


def test_a_partition_whose_power_went_before_the_mark_was_made_is_empty_too(partition: Partition) -> None:
    (partition.state / "firstboot").mkdir()
    assert partition.prepare() == "first boot"


def test_an_attempt_that_was_cut_short_is_begun_anew_from_nothing(partition: Partition) -> None:
    partition.prepare()
    with Root(partition.root) as root:
        before = read_attempt(root)
    (partition.state / "etc/upper/machine-id").write_text("0123\n")
    (partition.state / "var/half").mkdir()
    (partition.state / "firstboot/fetched").mkdir()
    assert partition.prepare() == "first boot"
    assert list(partition.files()) == ["firstboot/attempt"]
    with Root(partition.root) as root:
        assert read_attempt(root) == before != ""


def test_a_machine_that_was_made_is_left_as_it_is(partition: Partition) -> None:
    partition.use()
    before = partition.files()
    assert partition.prepare() == "later boot"
    assert partition.files() == before
    assert json.loads(before["firstboot/complete"])["config_sha256"]


def test_what_a_power_cut_after_the_mark_left_out_is_made_up_for(partition: Partition) -> None:
    partition.use()
    before = partition.files()
    (partition.state / "provisioned").unlink()
    assert partition.prepare() == "later boot"
    assert partition.files() == before


@pytest.mark.parametrize("lost", ["firstboot/complete", "firstboot/*", "firstboot", "firstboot+provisioned"])
def test_a_lost_mark_is_no_reason_to_begin_again(partition: Partition, lost: str) -> None:
    partition.use()
    for name in lost.split("+"):
        for path in partition.state.glob(name):
            if path.is_dir():
                for each in path.iterdir():
                    each.unlink()
                path.rmdir()
            else:
                path.unlink()
    before = partition.files()
    said = partition.prepare()
    assert "firstboot/complete" in said
    assert "put an empty file firstboot/factory-reset on it" in said
    assert partition.files() == before
    assert partition.events()[-1]["result"] == "failed"
    # What it says to do, works: to go on with what is there, ...
    (partition.state / "firstboot").mkdir(exist_ok=True)
    (partition.state / "firstboot/complete").touch()
    assert partition.prepare() == "later boot"
    assert partition.files()["var/lib/data"] == b"precious"
    # ... or to begin anew.
    (partition.state / "firstboot/complete").unlink()
    (partition.state / "firstboot/factory-reset").touch()
    assert partition.prepare() == "first boot"
    assert list(partition.files()) == ["firstboot/attempt"]


def test_an_old_copy_of_the_directory_is_no_reason_to_begin_again(partition: Partition) -> None:
    """A disk that loses writes: the mark is what it was during the first boot."""
    partition.use()
    (partition.state / "firstboot/complete").rename(partition.state / "firstboot/attempt")
    before = partition.files()
    assert "firstboot/complete is gone" in partition.prepare()
    assert partition.files() == before


@pytest.mark.parametrize("lost", ["var", "etc/upper"])
def test_a_machine_without_its_data_does_not_start_as_if_it_never_had_any(partition: Partition, lost: str) -> None:
    partition.use()
    (partition.state / lost).rename(partition.state / "lost+found/#12")
    assert f"{lost} is gone from its state partition" in partition.prepare()
    assert (partition.state / "lost+found/#12").exists()
    assert not (partition.state / lost).exists()


def use_with_its_own_var(partition: Partition) -> Path:
    """A first boot whose config has a ``/var`` of its own; returns the unit that mounts it."""
    assert partition.prepare() == "first boot"
    unit = partition.state / "etc/upper/systemd/system/var.mount"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Mount]\n")
    partition.give(CONFIG)
    assert partition.boot() == 0
    return unit


def test_a_machine_with_its_own_var_has_no_other_one(partition: Partition) -> None:
    use_with_its_own_var(partition)
    assert not (partition.state / "var").exists()
    assert partition.prepare() == "later boot"
    assert not (partition.state / "var").exists()


@pytest.mark.parametrize("lose", [Path.unlink, lambda unit: unit.write_text("")])
def test_a_machine_that_has_lost_the_unit_of_its_var_stops(partition: Partition, lose: Callable[[Path], Any]) -> None:
    """Otherwise the initrd would mount the state's /var, where nothing of it is."""
    lose(use_with_its_own_var(partition))
    assert "var is gone from its state partition" in partition.prepare()
    assert not (partition.state / "var").exists()


def test_a_machine_that_cannot_see_the_unit_of_its_var_stops(
    partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_with_its_own_var(partition)
    stat = os.stat

    def fail(path: Any, **options: Any) -> os.stat_result:
        if path == "var.mount":
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG), path)
        return stat(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fail)
        said = partition.prepare()
    assert "EBADMSG" in said
    assert "Start the machine again" in said


@pytest.mark.parametrize("lost", [*("attempt", "complete", "factory-reset", "provisioned"), "firstboot", "state"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EBADMSG, errno.ESTALE, errno.EUCLEAN])
def test_what_cannot_be_read_is_not_taken_for_absent(
    partition: Partition, monkeypatch: pytest.MonkeyPatch, lost: str, code: int
) -> None:
    partition.use()
    before = partition.files()

    def failing(real: Any) -> Any:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if path == lost:
                raise OSError(code, os.strerror(code), path)
            return real(path, *arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing(os.open))
        patch.setattr(os, "stat", failing(os.stat))
        said = partition.prepare()
    assert errno.errorcode[code] in said
    assert "Start the machine again" in said
    assert partition.files() == before


def test_nothing_but_a_request_an_attempt_or_emptiness_ends_in_a_first_boot(accounts: Path, programs: Any) -> None:
    """Every combination of what may be there."""
    guest = Partition(accounts, programs)
    things = ["firstboot/attempt", "firstboot/complete", "firstboot/factory-reset", "provisioned", "var/x", "other"]
    for number, chosen in enumerate(itertools.product((False, True), repeat=len(things))):
        there = {name for name, is_there in zip(things, chosen, strict=True) if is_there}
        state = guest.root / "run/state"
        state.rename(guest.root / f"run/state-{number}")
        state.mkdir()
        for name in there:
            (state / name).parent.mkdir(exist_ok=True)
            (state / name).touch()
        may_be_emptied = "firstboot/factory-reset" in there or (
            "firstboot/complete" not in there
            and "provisioned" not in there
            and ("firstboot/attempt" in there or not there)
        )
        assert (guest.prepare() == "first boot") == may_be_emptied, there
        assert (set(guest.files()) >= there - {"firstboot/factory-reset"}) or may_be_emptied, there


@pytest.mark.parametrize("moment", range(40))
def test_a_factory_reset_that_is_cut_short_at_any_moment_is_still_one(
    partition: Partition, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    class PowerCut(BaseException):
        pass

    partition.use()
    with Root(partition.root) as root:
        reset.request(root)
    left = [moment]

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise PowerCut
            left[0] -= 1
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("rename", "unlink", "mkdir", "rmdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            partition.prepare()
        except PowerCut:
            assert left[0] == 0
    assert partition.prepare() == "first boot"
    assert list(partition.files()) == ["firstboot/attempt"]


def test_no_unit_takes_what_cannot_be_read_for_absent() -> None:
    """A negated condition of systemd is true for any error: on the state partition it may only start the decision."""
    repository = Path(__file__).parents[3]
    found = {}
    for path in (*(repository / "overlays").rglob("*"), *(repository / "units").rglob("*")):
        if path.is_file() and path.suffix in (".service", ".mount", ".path", ".socket", ".timer", ".conf"):
            lines = path.read_text(errors="replace").splitlines()
            negated = [line for line in lines if re.match(r"(Condition|Assert)\w+=\|?!/(run/state|sysroot/var)", line)]
            if negated:
                found[path.name] = negated
    assert found.keys() == {"firstboot-prepare.service"}
    assert all("=|!" in line for line in found["firstboot-prepare.service"])


@pytest.mark.parametrize("unit", ["firstboot.service", "usr-lib-modules.mount"])
def test_units_of_a_first_boot_go_by_the_decision(unit: str) -> None:
    text = (Path(__file__).parents[3] / f"overlays/initrd/usr/lib/systemd/system/{unit}").read_text()
    assert f"ConditionPathExists={FIRST_BOOT}\n" in text
    for key in ("Requires", "After"):
        assert re.search(rf"^{key}=.*\bfirstboot-prepare\.service\b", text, re.MULTILINE)
