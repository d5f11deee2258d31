"""Images of the OS in the stores of Docker and containerd: no layer is copied, and former ones are taken out."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from firstboot.images import OfferedImage, OfferedLayer, read_offers
from firstboot.images.__main__ import main
from firstboot.images.chain import list_chain_ids
from firstboot.images.containerd import find_directory, offer_to_containerd
from firstboot.images.docker import offer_to_docker, shorten_name
from firstboot.images.network import make_plugin_config, parse_port, read_network

pytestmark = pytest.mark.unit

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
OVERLAYS = Path(__file__).parents[4] / "overlays"
MANIFEST = b'{"mediaType":"application/vnd.oci.image.manifest.v1+json"}'


def make_offer(name: str = "localhost/web:1", *diff_ids: str, id: str = "c" * 64) -> OfferedImage:
    layers = tuple(OfferedLayer(each, 5, f"/usr/layers/{each[7:10]}/diff") for each in diff_ids or (A, B))
    return OfferedImage(("docker", "containerd"), (name,), "sha256:" + "d" * 64, id, MANIFEST, b"{}", layers)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = {
        "runtimes": ["cri"],
        "names": ["localhost/web:1"],
        "digest": B,
        "id": "c" * 64,
        "manifest": base64.b64encode(MANIFEST).decode(),
        "config": base64.b64encode(b"{}").decode(),
        "layers": [{"diff_id": A, "size": 5, "path": "/usr/x"}],
    }
    (tmp_path / "web.json").write_text(json.dumps(record))
    offer = OfferedImage(("cri",), ("localhost/web:1",), B, "c" * 64, MANIFEST, b"{}", (OfferedLayer(A, 5, "/usr/x"),))
    assert read_offers({"cri", "containerd"}, tmp_path) == [offer]
    assert read_offers({"docker"}, tmp_path) == []


def test_a_layer_is_named_for_all_below_it() -> None:
    assert list_chain_ids([A, B]) == [A, "sha256:" + hashlib.sha256(f"{A} {B}".encode()).hexdigest()]


# --- Docker


def test_docker_finds_layers_by_links_and_reads_nothing_else(tmp_path: Path) -> None:
    offer_to_docker([make_offer()], tmp_path)
    offer_to_docker([make_offer()], tmp_path)
    lower, upper = list_chain_ids([A, B])
    layerdb = tmp_path / "image/overlay2/layerdb/sha256"
    caches = [(layerdb / chain[7:] / "cache-id").read_text() for chain in (lower, upper)]
    assert (layerdb / upper[7:] / "parent").read_text() == lower
    assert not (layerdb / lower[7:] / "parent").exists()
    assert str((tmp_path / "overlay2" / caches[1] / "diff").readlink()) == "/usr/layers/bbb/diff"
    below = (tmp_path / "overlay2" / caches[1] / "lower").read_text()
    assert str((tmp_path / "overlay2" / below).readlink()) == f"../{caches[0]}/diff"
    assert (tmp_path / "image/overlay2/imagedb/content/sha256" / ("c" * 64)).read_bytes() == b"{}"
    names = json.loads((tmp_path / "image/overlay2/repositories.json").read_text())["Repositories"]
    assert names["localhost/web"]["localhost/web:1"] == "sha256:" + "c" * 64


def test_docker_keeps_what_was_pulled_and_loses_what_the_os_no_longer_has(tmp_path: Path) -> None:
    offer_to_docker([make_offer()], tmp_path)
    path = tmp_path / "image/overlay2/repositories.json"
    names = json.loads(path.read_text())
    names["Repositories"]["pulled"] = {"pulled:1": "sha256:" + "e" * 64}
    path.write_text(json.dumps(names))
    offer_to_docker([make_offer("localhost/web:2", A, id="f" * 64)], tmp_path)
    kept = json.loads(path.read_text())["Repositories"]
    assert kept["pulled"] == {"pulled:1": "sha256:" + "e" * 64}
    assert "localhost/web:1" not in kept["localhost/web"]
    assert [each.name for each in (tmp_path / "image/overlay2/layerdb/sha256").iterdir()] == [A[7:]]
    assert [each.name for each in (tmp_path / "image/overlay2/imagedb/content/sha256").iterdir()] == ["f" * 64]
    assert len([*(tmp_path / "overlay2/l").iterdir()]) == 1


def test_docker_calls_the_images_of_its_own_registry_by_short_names() -> None:
    assert shorten_name("docker.io/library/nginx:1") == "nginx:1"
    assert shorten_name("docker.io/me/app:1") == "me/app:1"
    assert shorten_name("localhost/web:1") == "localhost/web:1"


# --- containerd


class Ctr:
    """Answers as ctr does, and notes what it was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[str, ...]] = []
        self.archives: list[bytes] = []
        self.images: set[str] = set()

    def __call__(self, arguments: Sequence[str], data: bytes) -> str:
        self.asked.append(tuple(arguments))
        if data:
            self.archives.append(data)
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                index = archive.extractfile("index.json")
                assert index is not None
                manifests = json.load(index)["manifests"]
            self.images |= {each["annotations"]["io.containerd.image.name"] for each in manifests}
        if arguments[2:4] == ["images", "list"]:
            return "".join(f"{name}\n" for name in sorted(self.images))
        if "prepare" in arguments:
            number = sum("prepare" in each for each in self.asked)
            directory = self.root / f"snapshots/{number}/fs"
            directory.mkdir(parents=True)
            return f"mount -t bind {directory} / -o rw,rbind\n"
        return "KEY PARENT KIND\n"


def test_containerd_is_handed_manifest_and_configuration_alone(tmp_path: Path) -> None:
    ctr = Ctr(tmp_path)
    offer_to_containerd([make_offer()], ctr, tmp_path)
    with tarfile.open(fileobj=io.BytesIO(ctr.archives[0])) as archive:
        assert sorted(archive.getnames()) == sorted(
            ["oci-layout", "index.json", f"blobs/sha256/{'d' * 64}", f"blobs/sha256/{'c' * 64}"]
        )
    assert [str((tmp_path / f"snapshots/{n}/fs").readlink()) for n in (1, 2)] == [
        "/usr/layers/aaa/diff",
        "/usr/layers/bbb/diff",
    ]
    commits = [each[-2] for each in ctr.asked if "commit" in each]
    assert commits == list_chain_ids([A, B])
    # The image keeps its snapshots; nothing else does.
    order = [each[2:4] for each in ctr.asked]
    assert order.index(("content", "label")) > order.index(("images", "import"))


def test_containerd_is_asked_once_and_told_what_the_os_no_longer_has(tmp_path: Path) -> None:
    ctr = Ctr(tmp_path)
    offer_to_containerd([make_offer()], ctr, tmp_path)
    ctr.asked.clear()
    offer_to_containerd([make_offer()], ctr, tmp_path)
    assert ctr.asked == [("--namespace", "build-os", "images", "list", "--quiet")]
    ctr.asked.clear()
    offer_to_containerd([], ctr, tmp_path)
    assert ctr.asked == [("--namespace", "build-os", "images", "remove", "localhost/web:1")]


def test_an_image_that_was_removed_from_containerd_comes_back(tmp_path: Path) -> None:
    ctr = Ctr(tmp_path)
    offer_to_containerd([make_offer()], ctr, tmp_path)
    # 'crictl rmi --prune', or the kubelet when its disk is full.
    ctr.images.clear()
    offer_to_containerd([make_offer()], ctr, tmp_path)
    assert ctr.images == {"localhost/web:1"}


def test_the_directory_of_a_snapshot_is_in_the_mount_command() -> None:
    one = "mount -t bind /var/lib/c/snapshots/1/fs / -o rw,rbind"
    two = (
        "mount -t overlay overlay / -o index=off,workdir=/v/snapshots/2/work,"
        "upperdir=/v/snapshots/2/fs,lowerdir=/v/snapshots/1/fs"
    )
    assert [str(find_directory(each)) for each in (one, two)] == ["/var/lib/c/snapshots/1/fs", "/v/snapshots/2/fs"]
    with pytest.raises(ValueError, match="names no snapshot"):
        find_directory("mount -t btrfs")


# --- networks


def test_a_published_port_is_told_to_plugins_that_take_it() -> None:
    assert parse_port("8080:80/tcp") == {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    assert parse_port("[::1]:53:53/udp") == {"hostIP": "::1", "hostPort": 53, "containerPort": 53, "protocol": "udp"}
    network = {"name": "n", "cniVersion": "1.0.0"}
    ports = [parse_port("8080:80/tcp")]
    plain = make_plugin_config(network, {"type": "bridge"}, ports, None)
    assert plain == {"type": "bridge", "name": "n", "cniVersion": "1.0.0"}
    mapped = make_plugin_config(
        network, {"type": "portmap", "capabilities": {"portMappings": True}}, ports, {"ips": []}
    )
    assert mapped["runtimeConfig"] == {"portMappings": ports}
    assert mapped["prevResult"] == {"ips": []}
    assert "capabilities" not in mapped


def test_the_first_network_of_the_directory_is_taken_and_the_images_own_before_it(tmp_path: Path) -> None:
    (tmp_path / "20-later.conflist").write_text('{"name": "later", "plugins": []}')
    (tmp_path / "10-first.conf").write_text('{"name": "first", "type": "bridge"}')
    assert read_network(tmp_path)["plugins"] == [{"name": "first", "type": "bridge"}]
    # An add-on of Kubernetes writes 10-calico.conflist, which wants to know the pod.
    for overlay, name in (("cni-bridge", "build-os"), ("overlay-network", "overlay")):
        for file in (OVERLAYS / overlay / "etc/cni/net.d").iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        assert read_network(tmp_path)["name"] == name
    with pytest.raises(OSError, match="has no network"):
        read_network(tmp_path / "none")


def test_the_program_says_what_it_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["podman"]) == 2
    assert "network add NAME" in capsys.readouterr().err
