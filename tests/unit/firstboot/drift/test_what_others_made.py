"""``firstboot diff --all``: what is in ``/etc``, and which users there are, by neither image nor config."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from firstboot.apply.root import Root, Seen
from firstboot.drift.both_sides import BOTH_SIDES, hash_path
from tests.unit.firstboot.drift.conftest import Guest

pytestmark = pytest.mark.unit

UPPER = "/run/state/etc/upper"
NEITHER = ["is neither of the image nor of the config"]


def add(guest: Guest, path: str, text: str = "") -> Path:
    """A file of this machine, seen in the overlay and in the directory where it lies."""
    for where in (f"{UPPER}{path.removeprefix('/etc')}", path):
        guest.at(where).parent.mkdir(parents=True, exist_ok=True)
        guest.at(where).write_text(text)
    return guest.at(f"{UPPER}{path.removeprefix('/etc')}")


def list_all(guest: Guest) -> dict[str, list[str]]:
    status, out, _ = guest.call("diff", "--all", "--json")
    changes = json.loads(out)["changes"]
    assert status == (3 if changes else 0)
    return {each["subject"]: each["what"] for each in changes}


def test_what_was_made_since_is_told_and_only_where_it_is_asked_for(made: Guest) -> None:
    assert list_all(made) == {}
    add(made, "/etc/copied")
    add(made, "/etc/systemd/system/multi-user.target.wants/hello.service")
    with made.at("/etc/passwd").open("a") as file:
        file.write("alice:x:1005:1005::/home/alice:/bin/bash\nd:x:990:990::/:/bin/false\n")
    with made.at("/etc/group").open("a") as file:
        file.write("alice:x:1005:\nfriends:x:1006:\n")
    assert list_all(made) == {
        "/etc/copied": NEITHER,
        "/etc/systemd/system/multi-user.target.wants/hello.service": NEITHER,
        "user alice": NEITHER,
        "group friends": NEITHER,
    }
    assert made.changed() == {}


def test_what_a_machine_makes_by_itself_is_not_told(made: Guest) -> None:
    names = ("machine-id", "ssh/ssh_host_ed25519_key", "ssh/ssh_host_ed25519_key.pub", "passwd-", ".updated", "subuid")
    for name in names:
        add(made, f"/etc/{name}", "x")
    add(made, "/etc/systemd/system/multi-user.target.wants/app.service")  # said of the unit
    assert list_all(made) == {}


def test_a_link_that_the_image_has_made_at_each_boot_is_told_where_it_leads_elsewhere(made: Guest) -> None:
    directory = made.at("/usr/lib/tmpfiles.d")
    directory.mkdir(parents=True)
    (directory / "debian.conf").write_text("# links\nL+ /etc/mtab - - - - ../proc/self/mounts\nd /etc/x 0755\n")
    upper = made.at(f"{UPPER}/mtab")
    upper.parent.mkdir(parents=True, exist_ok=True)
    upper.symlink_to("../proc/self/mounts")
    assert list_all(made) == {}
    upper.unlink()
    upper.symlink_to("elsewhere")
    assert list_all(made) == {"/etc/mtab": NEITHER}


def test_what_the_first_boot_made_beside_the_config_is_told_when_it_changes(guest: Guest) -> None:
    add(guest, "/etc/credstore/database", "old")
    add(guest, "/etc/credstore/other", "old")
    assert guest.first_boot("variant: buildos\nversion: 1.0.0\nhostname: web-1\n") == 0
    assert list_all(guest) == {}
    add(guest, "/etc/credstore/database", "new").chmod(0o600)
    guest.at(f"{UPPER}/credstore/other").unlink()
    assert list_all(guest) == {
        "/etc/credstore/database": ["contents", "mode 0644 -> 0600"],
        "/etc/credstore/other": ["is gone"],
    }
    # Applied again, it is still not what the first boot made.
    assert guest.call("apply", "--apply")[0] == 0
    assert "/etc/credstore/other" in list_all(guest)


def test_a_file_of_the_image_that_was_removed_is_told(made: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    path = add(made, "/etc/motd")
    see = Root.see

    def see_whiteout(self: Root, where: str, *, follow: bool = False) -> Seen:
        seen = see(self, where, follow=follow)
        if not where.endswith(path.name):
            return seen
        assert seen.stat is not None
        return seen._replace(stat=os.stat_result((stat.S_IFCHR, *seen.stat[1:]), {"st_rdev": 0}))

    monkeypatch.setattr(Root, "see", see_whiteout)  # only root can make one
    assert list_all(made) == {"/etc/motd": ["is gone, and the image has it"]}


def test_a_record_of_an_older_version_is_read(made: Guest) -> None:
    applied = made.at("/var/lib/firstboot/applied.json")
    data = json.loads(applied.read_text())
    del data["others"], data["accounts"]
    applied.write_text(json.dumps(data))
    assert made.changed() == {}


def test_what_an_update_of_the_image_has_changed_as_well_is_told(made: Guest) -> None:
    own = add(made, "/etc/copied", "mine\n")
    made.at("/usr/lib/os-release").parent.mkdir(parents=True, exist_ok=True)
    made.at("/usr/lib/os-release").write_text("IMAGE_ID=demo\nIMAGE_VERSION=2\n")
    made.at("/etc/os-release").unlink(missing_ok=True)
    note = made.at(BOTH_SIDES)
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"version": "2", "source": "1", "paths": {"/etc/copied": hash_path(own)}}))
    assert made.changed() == {"/etc/copied": ["the image has changed it as well, from version 1 to 2"]}
    own.write_text("merged\n")
    assert made.changed() == {}
