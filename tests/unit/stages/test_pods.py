"""Containers as services of systemd: their root, and the two units that are all there is of them."""

from __future__ import annotations

import json

import pytest

from builder.core.errors import InputError
from builder.oci.image import Image, ImageConfig, assemble
from builder.stages.pods import ROOTS, install_pod
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree
from firstboot.config.unit_text import parse_options

pytestmark = pytest.mark.unit


def make_image(
    user: str = "",
    entrypoint: tuple[str, ...] = ("web", "50% $x"),
    stop_signal: str = "",
    working_dir: str = "/",
) -> Image:
    tree = Tree()
    tree.put("/usr/bin/busybox", make_file("#!", 0o755, origin="package:web"))
    tree.put("/usr/bin/web", make_symlink("busybox", origin="package:web"))
    tree.put("/etc/resolv.conf", make_symlink("/run/systemd/resolve/stub-resolv.conf", origin="package:web"))
    config = ImageConfig(
        "amd64",
        "web",
        "1.0.0",
        entrypoint=entrypoint,
        user=user,
        stop_signal=stop_signal,
        working_dir=working_dir,
    )
    return assemble(tree, config)


def install(tree: Tree, image: Image) -> dict[str, list[str]]:
    """The values of the service's settings, by their names."""
    units = install_pod(tree, image, name="web", publish=["8080:80/tcp"], command=[])
    assert sorted(units) == ["container-network-web.service", "web.service"]
    assert "network add web 8080:80/tcp\n" in units["container-network-web.service"]
    found: dict[str, list[str]] = {}
    for _, name, value in parse_options(units["web.service"]):
        found.setdefault(name, []).append(value)
    return found


def test_the_service_has_the_images_files_as_its_root_and_nothing_between() -> None:
    tree = Tree()
    service = install(tree, make_image())
    assert service["RootDirectory"] == [f"{ROOTS}/web"]
    assert service["ExecStart"] == ['/usr/bin/web "50%% $$x"']
    assert service["BindsTo"] == ["container-network-web.service"]
    assert service["User"] == ["0"]
    assert service["Environment"][0].startswith("PATH=")
    assert tree.read(f"{ROOTS}/web/usr/bin/busybox") == b"#!"
    # What systemd mounts over is there, because nobody can make it in a root that is only read.
    for path in ("proc", "sys", "dev", "run", "tmp", "var/tmp", "var/lib/web", "etc/resolv.conf"):
        assert f"{ROOTS}/web/{path}" in tree
    assert tree.read(f"{ROOTS}/web/etc/resolv.conf") == b""


def test_its_network_is_tried_for_as_long_as_it_takes_and_the_service_waits() -> None:
    units = install_pod(Tree(), make_image(), name="web", publish=[], command=[])
    network = {name: value for _, name, value in parse_options(units["container-network-web.service"])}
    assert (network["Restart"], network["RestartMode"]) == ("on-failure", "direct")
    # That of the overlay network is there when etcd has answered, which may be hours after the boot.
    assert network["StartLimitIntervalSec"] == "0"


def test_it_is_stopped_by_the_images_signal_and_is_not_waited_for_longer_than_by_an_engine() -> None:
    service = install(Tree(), make_image())
    assert (service["KillSignal"], service["TimeoutStopSec"]) == (["SIGTERM"], ["10"])
    for said, signal in {"SIGQUIT": "SIGQUIT", "RTMIN+3": "SIGRTMIN+3", "9": "9"}.items():
        assert install(Tree(), make_image(stop_signal=said))["KillSignal"] == [signal]
    with pytest.raises(InputError, match="no signal"):
        install(Tree(), make_image(stop_signal="SIGTERM\nUser=root"))


def test_systemd_is_told_of_a_user_whom_only_the_image_knows() -> None:
    tree = Tree()
    service = install(tree, make_image(user="4242:4243"))
    assert (service["User"], service["Group"]) == (["4242"], ["4243"])
    assert json.loads(tree.read("/usr/lib/userdb/4242.user"))["uid"] == 4242
    assert json.loads(tree.read("/usr/lib/userdb/4243.group"))["gid"] == 4243


@pytest.mark.parametrize("user", ["65536", "1000:65536"])
def test_a_user_whom_the_containers_namespace_does_not_have_is_refused(user: str) -> None:
    with pytest.raises(InputError, match="container web: its user has the number 65536"):
        install(Tree(), make_image(user=user))
    assert install(Tree(), make_image(user="65535:65535"))["User"] == ["65535"]


@pytest.mark.parametrize("said", ["/srv/app", "srv/app", "/srv/../srv/app/"])
def test_it_starts_in_a_directory_that_the_image_lacks(said: str) -> None:
    # Other runtimes make it; nobody can in a root that is only read, and systemd would fail with 200/CHDIR.
    tree = Tree()
    assert install(tree, make_image(working_dir=said))["WorkingDirectory"] == ["/srv/app"]
    assert f"{ROOTS}/web/srv/app" in tree


@pytest.mark.parametrize(("entrypoint", "message"), [(("server",), "no program 'server'"), ((), "nothing that could")])
def test_an_image_that_cannot_be_run_is_refused_when_it_is_built(entrypoint: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        install(Tree(), make_image(entrypoint=entrypoint))
