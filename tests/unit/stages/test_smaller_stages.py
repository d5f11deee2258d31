"""Identity, accounts, first boot, packages: one promise each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.debian.lock import LockedPackage
from builder.debian.scripts import handlers
from builder.debian.scripts.configure import evaluate_scripts
from builder.debian.scripts.decisions import Decision, DeclaredEffect
from builder.debian.scripts.effects import Effect
from builder.debian.scripts.work import Work
from builder.stages import firstboot as firstboot_module
from builder.stages.accounts import Accounts
from builder.stages.container_images import make_image_config
from builder.stages.firstboot import FirstBoot
from builder.stages.identity import OF_ONE_MACHINE, Identity
from builder.stages.packages import configure, make_decision, make_work
from builder.stages.stage import Context
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree
from tests.support.filters import COMMANDS

pytestmark = pytest.mark.unit

DEBIAN = """\
PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
VERSION_CODENAME=trixie
NAME="Debian GNU/Linux"
VERSION_ID="13"
ID=debian
IMAGE_ID=old
"""


# --- identity --------------------------------------------------------------------------------------


@pytest.fixture
def identity() -> Identity:
    return Identity("demo", "1.2.0", "amd64", ("base", "ssh"), (("bash", "5.2-1", "bash 5.2-1"),))


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    tree.put("/usr/lib/os-release", make_file(DEBIAN, 0o644, origin="package:base-files"))
    tree.put("/etc/os-release", make_symlink("../usr/lib/os-release", origin="package:base-files"))
    return tree


@pytest.mark.parametrize("asked", [None, (), ("*",)])
def test_all_credentials_or_none_need_no_list(
    asked: tuple[str, ...] | None, identity: Identity, tree: Tree, context: Context
) -> None:
    assert "/usr/lib/build-os/credentials" not in replace(identity, credentials=asked).apply(tree, context)


def test_the_image_lists_the_credentials_that_it_takes(identity: Identity, tree: Tree, context: Context) -> None:
    tree = replace(identity, credentials=("web.token", "app.*")).apply(tree, context)
    assert tree.read_text("/usr/lib/build-os/credentials") == "web.token\napp.*\n"


def test_os_release_names_the_image_and_keeps_what_it_is_made_of(
    identity: Identity, tree: Tree, context: Context
) -> None:
    tree = identity.apply(tree, context)
    assert tree.read_text("/etc/os-release") == (
        'PRETTY_NAME="demo 1.2.0 (Debian GNU/Linux)"\n'
        "VERSION_CODENAME=trixie\n"
        'NAME="Debian GNU/Linux"\n'
        'VERSION_ID="13"\n'
        "ID=debian\n"
        "IMAGE_ID=demo\n"
        "IMAGE_VERSION=1.2.0\n"
        "DEFAULT_HOSTNAME=demo\n"
    )
    assert tree.require("/usr/lib/os-release").origin == "package:base-files"
    assert tree.require("/etc/os-release", follow=False).target == "../usr/lib/os-release"


def test_nothing_of_one_machine_is_in_the_image(identity: Identity, tree: Tree, context: Context) -> None:
    for path in OF_ONE_MACHINE:
        tree.put(path, make_file("secret", 0o600, origin="package:a"))
    tree.put("/etc/ssh/sshd_config", make_file("x", origin="package:a"))
    tree.put("/etc/machine-id", make_file("0123456789abcdef0123456789abcdef\n", origin="package:a"))
    tree = identity.apply(tree, context)
    assert [path for path, _ in tree.walk("/etc/ssh")] == ["/etc/ssh", "/etc/ssh/sshd_config"]
    assert "/etc/hostname" not in tree
    assert "/var/lib/systemd/random-seed" not in tree
    assert tree.read_text("/etc/machine-id") == "uninitialized\n"
    assert tree.require("/etc/machine-id").mode == 0o444
    assert not any(node.content.read() == b"secret" for _, node in tree.walk())


@pytest.mark.parametrize("target", ["/usr/share/zoneinfo/Etc/UTC", "../usr/share/zoneinfo/UTC"])
def test_the_time_zone_that_every_machine_has_without_a_link_leaves_its_place_to_a_config(
    identity: Identity, tree: Tree, context: Context, target: str
) -> None:
    tree.put("/etc/localtime", make_symlink(target, origin="package:tzdata"))
    assert "/etc/localtime" not in identity.apply(tree, context)


def test_a_time_zone_that_the_definition_chose_stays(identity: Identity, tree: Tree, context: Context) -> None:
    tree.put("/etc/localtime", make_symlink("/usr/share/zoneinfo/Europe/Berlin", origin="overlay:mine"))
    tree = identity.apply(tree, context)
    assert tree.require("/etc/localtime", follow=False).target == "/usr/share/zoneinfo/Europe/Berlin"


def test_the_image_knows_what_is_in_it(identity: Identity, tree: Tree, context: Context) -> None:
    tree = identity.apply(tree, context)
    assert json.loads(tree.read_text("/usr/lib/build-os/image.json")) == {
        "name": "demo",
        "version": "1.2.0",
        "arch": "amd64",
        "features": ["base", "ssh"],
        "packages": [{"name": "bash", "version": "5.2-1", "source": "bash 5.2-1"}],
    }


# --- accounts --------------------------------------------------------------------------------------


@pytest.fixture
def no_sysusers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.debian.scripts.subjects.base_accounts.install_system_accounts", lambda work: None)


@pytest.mark.usefixtures("no_sysusers")
def test_an_account_with_a_password_is_refused(context: Context) -> None:
    tree = Tree()
    shadow = "root:$y$j9T$abc:1::::::\ndaemon:*:1::::::\ncore::1::::::\nsync:!:1::::::\nx:!*:1::::::\n\nodd\n"
    tree.put("/etc/shadow", make_file(shadow, origin="overlay:mine"))
    with pytest.raises(InputError, match="these accounts have a password in the image: root, core") as caught:
        Accounts().apply(tree, context)
    assert "$y$" not in str(caught.value)
    assert "first-boot config" in str(caught.value)


@pytest.mark.usefixtures("no_sysusers")
def test_accounts_that_nobody_can_log_in_to_are_fine(context: Context) -> None:
    tree = Tree()
    assert Accounts().apply(tree.copy(), context) == tree
    tree.put("/etc/shadow", make_file("root:*::0:99999:7:::\ndaemon:!::0:99999:7:::\n", origin="stage:packages"))
    assert Accounts().apply(tree.copy(), context) == tree


def test_accounts_that_overlays_declare_are_made(context: Context) -> None:
    tree = Tree()
    tree.put("/etc/passwd", make_file("root:x:0:0::/root:/bin/sh\n", origin="stage:packages"))
    tree.put("/etc/group", make_file("root:x:0:\n", origin="stage:packages"))
    tree.put("/etc/shadow", make_file("root:*::0:99999:7:::\n", 0o640, gid=42, origin="stage:packages"))
    tree.put("/usr/lib/sysusers.d/web.conf", make_file("u web -\n", origin="overlay:web"))

    def sysusers(root: str) -> str:
        where = Path(root.removeprefix("--root="))
        assert (where / "usr/lib/sysusers.d/web.conf").read_text() == "u web -\n"
        with (where / "etc/passwd").open("a") as passwd:
            passwd.write("web:x:999:999::/:/usr/sbin/nologin\n")
        with (where / "etc/shadow").open("a") as shadow:
            shadow.write("web:!*:0::::::\n")  # as systemd 257 writes it on the day 0
        return ""

    context.tools.programs["systemd-sysusers"] = sysusers
    tree = Accounts().apply(tree, context)
    assert "web:x:999" in tree.read_text("/etc/passwd")
    # With a 0 in the third field nobody could log in before the password was changed, by no key.
    assert tree.read_text("/etc/shadow") == "root:*::0:99999:7:::\nweb:!*:::::::\n"
    assert (tree.require("/etc/shadow").mode, tree.require("/etc/shadow").gid) == (0o640, 42)


# --- first boot ------------------------------------------------------------------------------------


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []
    monkeypatch.setattr(firstboot_module, "compile_below", lambda tree, tools, roots, **_: seen.append(roots))
    return seen


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "firstboot"
    (package / "apply" / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "apply/run.py", "apply/__pycache__/run.cpython-311.pyc", "notes.txt"):
        (package / name).write_text(name)
    (package / "apply/run.py").chmod(0o755)
    return package


def test_the_provisioner_is_shipped_as_source_and_compiled(
    package: Path, compiled: list[object], context: Context
) -> None:
    tree = FirstBoot(package, None).apply(Tree(), context)
    base = "/usr/lib/python3/dist-packages/firstboot"
    assert [path.removeprefix(base) for path, _ in tree.walk(base)] == ["", "/__init__.py", "/apply", "/apply/run.py"]
    assert tree.require(f"{base}/apply/run.py").mode == 0o644
    assert compiled == [[base]]
    assert "/usr/lib/firstboot/base.d" in tree
    assert tree.list_children("/usr/lib/firstboot/base.d") == []


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("name", "kept"), [("base.yaml", "10-image.yaml"), ("base.ign", "10-image.ign"), ("base.txt", "10-image.yaml")]
)
def test_the_base_config_is_baked_in_where_only_root_reads_it(
    package: Path, tmp_path: Path, context: Context, name: str, kept: str
) -> None:
    (tmp_path / name).write_text("variant: fcos\n")
    tree = FirstBoot(package, tmp_path / name).apply(Tree(), context)
    assert tree.list_children("/usr/lib/firstboot/base.d") == [kept]
    assert tree.require(f"/usr/lib/firstboot/base.d/{kept}").mode == 0o600
    assert tree.read(f"/usr/lib/firstboot/base.d/{kept}") == b"variant: fcos\n"


# --- packages --------------------------------------------------------------------------------------


class FakePack:
    """A pack that is only its scripts."""

    def __init__(self, name: str, **scripts: str) -> None:
        self.name, self.scripts = name, scripts
        self.control: dict[str, str] = {}
        self.package = LockedPackage(name, "1", "amd64", "0" * 64, 1, "pool/x.deb", f"{name} 1", "trixie")

    def find_script(self, name: str) -> str | None:
        return self.scripts.get(name)


ODD, PLAIN = "#!/bin/sh\nmkfifo /dev/odd\n", "#!/bin/sh\nset -e\n"


def configured(context: Context, decisions: dict[str, Decision]) -> Tree:
    packs = [FakePack("odd", postinst=ODD), FakePack("plain", postinst=PLAIN)]
    work = make_work(Tree(), packs, context, COMMANDS, decisions, {})
    configure(work, context.console, steps=QuietConsole())
    return work.tree


@pytest.fixture
def only_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "HANDLERS", (("evaluate", evaluate_scripts),))
    monkeypatch.setattr(handlers, "INDEXES", ())


@pytest.mark.usefixtures("only_scripts")
def test_a_script_that_does_what_is_not_modelled_ends_the_build_with_what_can_be_decided(context: Context) -> None:
    with pytest.raises(InputError) as caught:
        configured(context, {})
    text = str(caught.value)
    assert "scripts of odd do" in text
    assert "odd 1, postinst:" in text
    assert "2: mkfifo /dev/odd" in text
    assert "mkfifo is not known to build-os" in text
    for decision in ("ignore:", "effects:", "scripts: {odd: sandbox}", "build-os scripts odd"):
        assert decision in text


@pytest.mark.usefixtures("only_scripts")
def test_a_decision_with_a_reason_or_declared_effects_lets_it_through(context: Context) -> None:
    configured(context, {"odd": Decision("ignore", "no pipe is needed")})
    effects = (
        DeclaredEffect("directory", "/var/lib/odd", mode=0o2750),
        DeclaredEffect("file", "/etc/odd/odd.conf", text="a\n", mode=0o600),
        DeclaredEffect("link", "/etc/odd/link", target="odd.conf"),
        DeclaredEffect("user", "odd", home="/var/lib/odd"),
        DeclaredEffect("change", "/var/lib/odd", owner="odd:odd"),
    )
    tree = configured(context, {"odd": Decision("effects", effects=effects)})
    assert tree.require("/var/lib/odd").mode == 0o2750
    assert tree.require("/etc/odd/odd.conf").mode == 0o600
    assert tree.require("/etc/odd/link", follow=False).target == "odd.conf"
    row = tree.read_text("/etc/passwd").split(":")
    assert (row[0], row[5]) == ("odd", "/var/lib/odd")
    assert tree.require("/var/lib/odd").uid == int(row[2]) >= 100
    assert context.console.said == []


@pytest.mark.usefixtures("only_scripts")
@pytest.mark.parametrize(
    "effect",
    [
        DeclaredEffect("change", "/none", mode=0o700),
        DeclaredEffect("directory", "/a", owner="nobody-there"),
        DeclaredEffect("file", "/proc/x"),
    ],
)
def test_a_declared_effect_that_cannot_be_is_an_error(context: Context, effect: DeclaredEffect) -> None:
    with pytest.raises(InputError, match="cannot be made"):
        configured(context, {"odd": Decision("effects", effects=(effect,))})


@pytest.mark.usefixtures("only_scripts")
def test_decisions_that_decide_nothing_are_warned_about(context: Context) -> None:
    configured(context, {name: Decision("ignore", "why") for name in ("odd", "plain", "gone")})
    assert context.console.said == [
        "warning: scripts: gone: no such package in it",
        "warning: scripts: plain: the package's scripts do nothing that build-os does not model; the decision can go",
    ]


@pytest.mark.usefixtures("only_scripts")
@pytest.mark.parametrize(
    ("decisions", "ran"),
    [
        ({"default": Decision("sandbox")}, ["odd"]),
        ({"odd": Decision("sandbox")}, ["odd"]),
        ({"default": Decision("sandbox"), "odd": Decision("ignore", "why")}, []),
    ],
)
def test_by_default_every_script_that_is_not_understood_and_no_other_one_is_run(
    context: Context, monkeypatch: pytest.MonkeyPatch, decisions: dict[str, Decision], ran: list[str]
) -> None:
    seen: list[str] = []

    def run(work: Work, installation: object, package: str, *_: object) -> tuple[Effect, ...]:
        seen.append(package)
        return ()

    monkeypatch.setattr("builder.debian.scripts.configure.run_script", run)
    configured(context, decisions)
    assert seen == ran
    assert context.console.said == []


def test_what_stands_for_all_packages_can_only_be_that_they_are_run() -> None:
    from pydantic import TypeAdapter, ValidationError

    from builder.definition.scripts import ScriptDecisions

    adapter = TypeAdapter(ScriptDecisions)
    assert adapter.validate_python({"default": "sandbox"}) == {"default": "sandbox"}
    with pytest.raises(ValidationError, match="'default' stands for all packages"):
        adapter.validate_python({"default": {"ignore": "I do not care"}})


def test_a_definition_says_it_in_its_own_words() -> None:
    from pydantic import TypeAdapter

    from builder.definition.scripts import ScriptDecision

    def decided(value: object) -> Decision:
        import json

        return make_decision(TypeAdapter(ScriptDecision).validate_json(json.dumps(value)))

    assert decided("sandbox") == Decision("sandbox")
    assert decided({"ignore": "why not"}) == Decision("ignore", "why not")
    assert decided({"effects": [{"directory": "/a", "mode": 448, "owner": "a:b"}, {"user": "a"}]}) == Decision(
        "effects", effects=(DeclaredEffect("directory", "/a", "a:b", 448), DeclaredEffect("user", "a"))
    )


# --- containers ------------------------------------------------------------------------------------


def test_a_container_definition_becomes_its_oci_config(tmp_path: Path) -> None:
    from builder.core.architecture import Arch
    from builder.definition.resolved import ResolvedContainer

    container = ResolvedContainer(
        path=tmp_path / "web.yaml",
        name="web",
        version="2",
        arch=Arch.ARM64,
        suite="trixie",
        packages=(),
        exclude=(),
        essential=False,
        overlays=(),
        variables={},
        entrypoint=("/usr/bin/web",),
        command=("--quiet",),
        environment={"A": "1"},
        user="33:33",
        ports=("8080",),
        labels={"a": "b"},
        working_dir="/srv",
    )
    config = make_image_config(container, 7)
    assert (config.architecture, config.name, config.version, config.created) == ("arm64", "web", "2", 7)
    assert (config.entrypoint, config.command) == (("/usr/bin/web",), ("--quiet",))
    assert (config.environment, config.user, config.ports) == ({"A": "1"}, "33:33", ("8080",))
    assert (config.labels, config.working_dir) == ({"a": "b"}, "/srv")
