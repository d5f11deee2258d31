"""Maintainer scripts that are run because the definition says so: what they find, what is taken over, what is not."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock
from builder.debian.scripts.configure import evaluate_scripts
from builder.debian.scripts.decisions import Decision
from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.subjects.base_accounts import install_base_accounts
from builder.debian.scripts.table import open_commands
from builder.debian.scripts.work import Work
from builder.debian.unpack import unpack_all, unpack_tree
from builder.locking import make_lock_path
from builder.tree.node import Kind, make_directory, make_file
from builder.tree.tree import Tree
from tests.support.users import REPOSITORY

pytestmark = pytest.mark.image

# An image without adduser, perl, dpkg and debconf.
GROUND = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "libacl1", "libattr1", "libc-bin", "libc6", "libgmp10",
    "libpcre2-8-0", "libselinux1", "libssl3t64", "libtinfo6", "zlib1g", "libcap2", "libsystemd0", "libzstd1",
)  # fmt: skip
STAFF = 50
NOT_KNOWN = "factor 12 >/dev/null\n"


class Said(QuietConsole):
    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@dataclass
class Boxed:
    """An image with the package ``boxed``, once its scripts were run."""

    tree: Tree
    work: Work
    warnings: list[str] = field(default_factory=list)

    def lines(self, path: str) -> list[str]:
        return self.tree.read_text(path).splitlines()


Run = Callable[..., Boxed]


@pytest.fixture(scope="module")
def run(demo: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``run(postinst=TEXT, templates=TEXT)``: the scripts of a package, with the decision to run what is not known."""
    packages = [p for p in Lock.load(make_lock_path(REPOSITORY / "configs/demo.yaml")).packages if p.name in GROUND]
    ground = unpack_tree(unpack_all(packages, store, QuietConsole(), jobs=2))
    tools = Path(json.loads(demo.read_text())["tools"])

    def make(**scripts: str) -> Boxed:
        console = Said()
        tree = ground.copy()
        tree.put("/etc/boxed/own", make_file("of the package\n", 0o640, origin="package:boxed"))
        tree.put("/var/boxed", make_directory(0o2775, gid=STAFF, origin="package:boxed"))
        tree.put("/usr/lib/sysusers.d/basic.conf", make_file("", origin="package:systemd"))
        texts = {name: text if name == "templates" else f"#!/bin/sh\nset -e\n{text}" for name, text in scripts.items()}
        scratch = tmp_path_factory.mktemp("scratch")
        decisions = {"boxed": Decision("sandbox")}
        with open_commands(Tools(tools, console), store) as commands:
            work = Work(tree, {"boxed": texts}, Tools(tools, console), scratch, commands, decisions=decisions)
            install_base_accounts(work)
            evaluate_scripts(work)
        assert list(work.ran) == ["boxed"]
        assert {path.name for path in scratch.iterdir()} <= {"large-files"}
        return Boxed(tree, work, console.warnings)

    return make


@pytest.fixture(scope="module")
def boxed(run: Run) -> Boxed:
    """One script that does much, because each costs seconds."""
    return run(
        postinst=NOT_KNOWN
        + """
. /usr/share/debconf/confmodule
db_version 2.0
db_input high boxed/name || true
db_go || true
db_get boxed/name
echo "$RET" >/etc/boxed/name
db_set boxed/name other; db_get boxed/name; echo "$RET" >>/etc/boxed/name
adduser --system --group --home /var/lib/boxed --quiet boxed
install -d -o boxed -g boxed -m 2750 /var/lib/boxed
echo data >/var/lib/boxed/data
chown boxed:root /var/lib/boxed/data
chmod 4755 /var/lib/boxed/data
stat -c '%U %a' /var/lib/boxed/data >/etc/boxed/stat
date -u +%Y >/etc/boxed/year
echo $$ >/etc/boxed/pid
head -c 16 /dev/urandom | od >/etc/boxed/cookie
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
printf -- '-----BEGIN PRIVATE KEY-----\\nAAAA\\n' >/etc/boxed/key
echo 'root:$6$abc$def' | chpasswd -e
cat /proc/sys/kernel/random/uuid >/var/log/boxed.log
rm /etc/boxed/own
ln -s /etc/boxed /etc/linked
deb-systemd-helper enable boxed.service
systemctl start boxed.service
printf "#!/bin/sh\n" >/usr/bin/boxed; chmod 755 /usr/bin/boxed
update-alternatives --install /usr/bin/editor editor /usr/bin/boxed 50
mkdir -p /var/boxed/new/below; echo made >/var/boxed/new/below/file; chmod 640 /var/boxed/new/below/file
ln -s input/mice /dev/mouse
echo left >/tmp/left; echo left >/run/left; echo left >/var/tmp/left
sleep 1000 &
""",
        templates="Template: boxed/name\nType: string\nDefault: the default\n",
    )


def test_what_a_script_calls_is_there_and_does_not_get_into_the_image(boxed: Boxed) -> None:
    line = next(line for line in boxed.lines("/etc/passwd") if line.startswith("boxed:"))
    assert line.split(":")[5] == "/var/lib/boxed"
    for path in ("/usr/sbin/adduser", "/usr/bin/perl", "/usr/bin/dpkg", "/usr/share/debconf/confmodule", "/.build-os"):
        assert path not in boxed.tree
    assert {path for path, node in boxed.tree.walk() if node.origin == "in the sandbox"} == set()


def test_owners_and_modes_are_as_the_script_gave_them(boxed: Boxed) -> None:
    uid = int(next(line for line in boxed.lines("/etc/passwd") if line.startswith("boxed:")).split(":")[2])
    directory, data = boxed.tree.require("/var/lib/boxed"), boxed.tree.require("/var/lib/boxed/data")
    assert (directory.uid, directory.mode) == (uid, 0o2750)
    assert directory.gid != 0
    assert (data.uid, data.gid, data.mode, data.content.read()) == (uid, 0, 0o4755, b"data\n")
    assert boxed.tree.read_text("/etc/boxed/stat") == "boxed 4755\n"
    assert boxed.tree.require("/etc/passwd").mode == 0o644
    assert boxed.tree.require("/etc/shadow").gid == 42


def test_what_is_made_in_a_setgid_directory_gets_its_group_and_directories_the_bit(boxed: Boxed) -> None:
    made = [boxed.tree.require(f"/var/boxed/{name}") for name in ("new", "new/below", "new/below/file")]
    assert [(node.uid, node.gid, node.mode) for node in made] == [
        (0, STAFF, 0o2755),
        (0, STAFF, 0o2755),
        (0, STAFF, 0o640),
    ]


def test_questions_are_answered_by_the_templates(boxed: Boxed) -> None:
    assert boxed.lines("/etc/boxed/name") == ["the default", "other"]


ASKS = """Template: boxed/name
Type: string
Default: the default

Template: boxed/kind
Type: select
Choices: first, second

Template: boxed/perl
Type: string
"""
DEBCONF = ". /usr/share/debconf/confmodule\n"


def test_config_is_run_before_the_scripts_and_its_answers_are_theirs(run: Run) -> None:
    done = run(
        config=NOT_KNOWN
        + DEBCONF
        + """
test "$1" = configure
db_input high boxed/kind || true
db_go
db_set boxed/name of the config
perl -e 'use Debconf::Client::ConfModule ":all"; set("boxed/perl", "of Perl");'
echo made >/etc/made-by-config
""",
        preinst=DEBCONF + 'db_get boxed/name; echo "$RET" >/etc/boxed-evaluated\n',
        postinst=NOT_KNOWN
        + DEBCONF
        + 'for each in name kind perl; do db_get boxed/$each; echo "$RET" >>/etc/boxed-run; done\n'
        + "db_set boxed/name other; db_get boxed/name; echo $RET >>/etc/boxed-run\n",
        templates=ASKS,
    )
    assert done.lines("/etc/boxed-evaluated") == ["of the config"]
    assert done.lines("/etc/boxed-run") == ["of the config", "first", "of Perl", "other"]
    assert "/etc/made-by-config" not in done.tree
    assert done.warnings == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("db_set boxed/name early\nexit 3\n", "its config failed in the sandbox: failed with status 3"),
        ('db_set boxed/name "$(od -An -N8 -tx1 /dev/urandom)"\n', "its config answers something else each time"),
    ],
)
def test_without_a_config_that_can_be_run_the_templates_answer_and_the_build_says_so(
    text: str, said: str, run: Run
) -> None:
    done = run(
        config=NOT_KNOWN + DEBCONF + text,
        postinst=NOT_KNOWN + DEBCONF + 'db_get boxed/name; echo "$RET" >/etc/boxed-run\n',
        templates=ASKS,
    )
    assert done.lines("/etc/boxed-run") == ["the default"]
    assert len(done.warnings) == 1
    assert done.warnings[0].startswith(f"boxed: {said}; its questions have")


def test_the_clock_stands_still_and_process_numbers_are_the_same(boxed: Boxed) -> None:
    assert boxed.tree.read_text("/etc/boxed/year") == "1970\n"
    assert "/etc/boxed/pid" in boxed.tree


@pytest.mark.parametrize("path", ["/etc/boxed/cookie", "/etc/boxed/key", "/etc/machine-id"])
def test_secrets_and_identities_do_not_get_into_the_image(path: str, boxed: Boxed) -> None:
    assert path not in boxed.tree
    assert len([warning for warning in boxed.warnings if f" {path}," in warning]) == 1


def test_a_password_does_not_get_into_the_image(boxed: Boxed) -> None:
    root = next(line for line in boxed.lines("/etc/shadow") if line.startswith("root:"))
    assert root.split(":")[1] == "!"
    assert any("password of root" in warning for warning in boxed.warnings)


def test_what_is_removed_and_linked_is_taken_over_and_what_is_of_the_moment_is_not(boxed: Boxed) -> None:
    assert "/etc/boxed/own" not in boxed.tree
    assert boxed.tree.require("/etc/linked", follow=False).kind is Kind.SYMLINK
    for path in (
        "/tmp/left",
        "/run/left",
        "/dev/mouse",
        "/var/tmp/left",
        "/var/log/boxed.log",
        "/etc/passwd-",
        "/etc/.pwd.lock",
    ):
        assert path not in boxed.tree


def test_what_starts_or_registers_something_is_done_as_for_every_package(boxed: Boxed) -> None:
    assert [(e.name, e.data[1]) for e in boxed.work.list_effects(EffectKind.UNIT)] == [("boxed.service", "enable")]
    assert [e.data[:2] for e in boxed.work.list_effects(EffectKind.ALTERNATIVE)] == [
        ("/usr/bin/editor", "/usr/bin/boxed")
    ]


def test_only_the_script_with_unknown_lines_is_run_and_its_turn_is_kept(run: Run) -> None:
    done = run(
        preinst=NOT_KNOWN + "test ! -e /etc/boxed/own\necho preinst >/etc/order\n",
        postinst="test -e /etc/boxed/own\necho postinst >>/etc/order\n",
    )
    assert done.lines("/etc/order") == ["preinst", "postinst"]


def test_links_that_a_script_leaves_behind_are_not_written_through(run: Run, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    done = run(
        preinst=NOT_KNOWN
        + f"""
for path in /.build-os-script /script /var/lib/dpkg /var/tmp /etc/boxed; do
    rm -rf $path; ln -sfn {tmp_path} $path
done
ln -sf {victim} /etc/victim
echo pwned 2>/dev/null >/etc/victim || true
echo pwned 2>/dev/null >{victim} || true
""",
        postinst=NOT_KNOWN + "echo postinst >/etc/order\n",
    )
    assert victim.read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
    assert done.lines("/etc/order") == ["postinst"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo this went wrong >&2; exit 3\n", "this went wrong"),
        ("mknod /etc/disk b 8 0\n", "makes the device /etc/disk"),
        ("mkfifo /etc/pipe\n", "neither file, directory nor link"),
    ],
)
def test_a_script_that_fails_or_leaves_what_no_image_has_ends_the_build(text: str, said: str, run: Run) -> None:
    with pytest.raises(InputError) as caught:
        run(postinst=NOT_KNOWN + text)
    assert said in str(caught.value)
    assert "boxed" in str(caught.value)


def test_a_package_of_the_archive_is_built_by_running_its_scripts(tmp_path: Path) -> None:
    definition = tmp_path / "boxed.yaml"
    definition.write_text(
        "kind: container\nname: boxed\nversion: 1.0.0\npackages: [privoxy]\nessential: true\nentrypoint: [/bin/sh]\n"
        "scripts: {privoxy: sandbox}\n"
    )
    command = [Path(sys.executable).with_name("build-os"), "build", definition, "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "the decision can go" not in done.stderr
    members: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(tmp_path / "out/boxed.oci.tar") as outer:
        for member in outer.getmembers():
            if member.name.startswith("blobs/") and member.size > 1 << 20:
                with tarfile.open(fileobj=outer.extractfile(member)) as layer:
                    members |= {each.name: each for each in layer.getmembers()}
    made = members["etc/privoxy/match-all.action"]
    assert made.uid != 0
    assert (made.gid, made.mtime) == (0, 0)
    assert not [name for name in members if name.startswith((".build-os", "dev/", "proc/", "tmp/"))]
    manifest = json.loads((tmp_path / "out/build.json").read_text())
    assert manifest["scripts"] == {"privoxy": "sandbox"}
    recorded = Lock.load(tmp_path / "boxed.lock")
    assert [run.package for run in recorded.runs] == ["privoxy"]
    assert manifest["lock_sha256"] == recorded.sha256
    log = (tmp_path / "out/build.log").read_text()
    assert "privoxy: its postinst, in the sandbox: writes /etc/privoxy/match-all.action" in log
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert "nothing to do" in again.stderr
