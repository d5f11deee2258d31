"""Attributes, names, keys and check-ins of every platform that has them, and what becomes of them in the machine."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from firstboot.apply.programs import Programs
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms.shared.metadata import Metadata
from firstboot.sources.metadata import make_environment, read_metadata, run_command

pytestmark = pytest.mark.unit

LINK_LOCAL = "http://169.254.169.254"
KEY, KEY2 = "ssh-ed25519 AAAA me@example.org", "ssh-rsa BBBB you@example.org"


def served(base: str, values: dict[str, str], **headers: str) -> Any:
    """A service with a text at each path, which wants some headers."""

    def handle(request: Any) -> Any:
        if request.method == "PUT":
            return b"token"
        if any(request.header(name.replace("_", "-")) != value for name, value in headers.items()):
            return 403
        path = request.path.removeprefix(base)
        return values[path].encode() if request.path.startswith(base) and path in values else 404

    return handle


EC2 = {"public-keys/": "0=mine\n1=yours", "public-keys/0/openssh-key": KEY, "public-keys/1/openssh-key": KEY2}
AWS = {"hostname": "ip-1", "instance-id": "i-1", "placement/region": "eu-west-1", "local-ipv4": "10.0.0.1", **EC2}
AZURE = {
    "compute": {"name": "vm-1", "vmSize": "B1s", "publicKeys": [{"keyData": f"{KEY}\r\n", "path": "/home/me"}]},
    "network": {"interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4", "publicIpAddress": ""}]}}]},
}
DIGITALOCEAN = {
    "droplet_id": 7,
    "hostname": "droplet",
    "region": "ams3",
    "public_keys": [KEY],
    "interfaces": {
        "public": [{"ipv4": {"ip_address": "192.0.2.1"}, "anchor_ipv4": {"ip_address": "10.1.0.1"}}],
        "private": [{"ipv4": {"ip_address": "10.2.0.1"}}],
    },
}
AKAMAI = {
    "/v1/instance": json.dumps({"id": 1, "label": "linode", "region": "us", "type": "g6", "tags": ["a", "b"]}),
    "/v1/network": json.dumps({"ipv4": {"public": ["192.0.2.1/32"]}, "ipv6": {"slaac": "2001:db8::1/128"}}),
    "/v1/ssh-keys": json.dumps({"users": {"root": [KEY]}}),
}
ORACLE = {"hostname": "oci", "id": "ocid1", "shape": "E4", "metadata": {"ssh_authorized_keys": f"{KEY}\n{KEY2}\n"}}
SCALEWAY = {
    "hostname": "scw",
    "id": "uuid",
    "location": {"zone_id": "par1"},
    "public_ip": {"address": "192.0.2.9"},
    "ssh_public_keys": [{"key": KEY}],
}
GCP = {
    "instance/hostname": "vm.c.project.internal",
    "instance/machine-type": "projects/1/machineTypes/e2",
    "instance/attributes/ssh-keys": f"me:{KEY}\n",
    "project/attributes/ssh-keys": f"you:{KEY2}\n",
}
HETZNER = {
    "hostname": "my-server",
    "instance-id": "42",
    "public-keys": json.dumps([KEY]),
    "private-networks": "- ip: 10.0.0.2\n  alias_ips: []\n- ip: 10.128.0.2\n  alias_ips: []\n",
}
TEXTS = {"hostname": "box", "instance_id": "9", "public_keys": f"{KEY}\n"}

# site, handler, some attributes, name, keys
SERVICES: dict[str, tuple[str, Any, dict[str, str], str, tuple[str, ...]]] = {
    "akamai": (
        LINK_LOCAL,
        served("", AKAMAI, Metadata_Token="token"),
        {"AKAMAI_INSTANCE_LABEL": "linode", "AKAMAI_PUBLIC_IPV4_0": "192.0.2.1/32", "AKAMAI_INSTANCE_TAGS": "a:b"},
        "",
        (KEY,),
    ),
    "aliyun": (
        "http://100.100.100.200",
        served("/latest/meta-data/", {"hostname": "ecs", "zone-id": "z", **EC2}),
        {"ALIYUN_HOSTNAME": "ecs", "ALIYUN_ZONE_ID": "z"},
        "ecs",
        (KEY, KEY2),
    ),
    "aws": (
        LINK_LOCAL,
        served("/2021-01-03/meta-data/", AWS, X_aws_ec2_metadata_token="token"),
        {"AWS_INSTANCE_ID": "i-1", "AWS_REGION": "eu-west-1", "AWS_IPV4_LOCAL": "10.0.0.1"},
        "ip-1",
        (KEY, KEY2),
    ),
    "azure": (
        LINK_LOCAL,
        served("", {"/metadata/instance?api-version=2021-02-01": json.dumps(AZURE)}, Metadata="true"),
        {"AZURE_VMSIZE": "B1s", "AZURE_IPV4_DYNAMIC": "10.0.0.4"},
        "vm-1",
        (KEY,),
    ),
    "digitalocean": (
        LINK_LOCAL,
        served("", {"/metadata/v1.json": json.dumps(DIGITALOCEAN)}),
        {
            "DIGITALOCEAN_HOSTNAME": "droplet",
            "DIGITALOCEAN_IPV4_PUBLIC_0": "192.0.2.1",
            "DIGITALOCEAN_IPV4_ANCHOR_0": "10.1.0.1",
            "DIGITALOCEAN_IPV4_PRIVATE_0": "10.2.0.1",
        },
        "droplet",
        (KEY,),
    ),
    "exoscale": (
        LINK_LOCAL,
        served("/1.0/meta-data/", {"local-hostname": "exo", "vm-id": "1", "public-keys": f"{KEY}\n{KEY2}\n"}),
        {"EXOSCALE_LOCAL_HOSTNAME": "exo", "EXOSCALE_VM_ID": "1"},
        "exo",
        (KEY, KEY2),
    ),
    "gcp": (
        LINK_LOCAL,
        served("/computeMetadata/v1/", GCP, Metadata_Flavor="Google"),
        {"GCP_HOSTNAME": "vm.c.project.internal", "GCP_MACHINE_TYPE": "projects/1/machineTypes/e2"},
        "vm.c.project.internal",
        (KEY, KEY2),
    ),
    "hetzner": (
        LINK_LOCAL,
        served("/hetzner/v1/metadata/", HETZNER),
        {"HETZNER_INSTANCE_ID": "42", "HETZNER_PRIVATE_IPV4_1": "10.128.0.2"},
        "my-server",
        (KEY,),
    ),
    "openstack": (
        LINK_LOCAL,
        served("/latest/meta-data/", AWS),
        {"OPENSTACK_INSTANCE_ID": "i-1", "OPENSTACK_IPV4_LOCAL": "10.0.0.1"},
        "ip-1",
        (KEY, KEY2),
    ),
    "oraclecloud": (
        LINK_LOCAL,
        served("", {"/opc/v2/instance": json.dumps(ORACLE)}, Authorization="Bearer Oracle"),
        {"ORACLECLOUD_INSTANCE_ID": "ocid1", "ORACLECLOUD_INSTANCE_SHAPE": "E4"},
        "oci",
        (KEY, KEY2),
    ),
    "scaleway": (
        "http://169.254.42.42",
        served("", {"/conf?format=json": json.dumps(SCALEWAY)}),
        {"SCALEWAY_ZONE_ID": "par1", "SCALEWAY_IPV4_PUBLIC": "192.0.2.9"},
        "scw",
        (KEY,),
    ),
    "upcloud": (
        LINK_LOCAL,
        served("/metadata/v1/", TEXTS),
        {"UPCLOUD_HOSTNAME": "box", "UPCLOUD_INSTANCE_ID": "9"},
        "box",
        (KEY,),
    ),
    "vultr": (
        LINK_LOCAL,
        served("/v1/", {"hostname": "box", "instanceid": "9", "public-keys": f"{KEY}\n"}),
        {"VULTR_INSTANCE_ID": "9"},
        "box",
        (KEY,),
    ),
}


class Mounting(Programs):
    """``mount`` shows the directory of the test."""

    content: Path

    def run(self, argv: Sequence[str]) -> str:
        if argv[0] == "mount":
            shutil.copytree(self.content, argv[-1], dirs_exist_ok=True)
        elif argv[0] == "umount":
            shutil.rmtree(argv[1])
        return ""

    def run_for_status(self, argv: Sequence[str]) -> tuple[int, str]:
        return 0, ""


class Guest:
    """A machine in a directory, with a user."""

    def __init__(self, root: Path, programs: Any, outside: Any) -> None:
        self.root, self.outside = root, outside
        self.places = Places(root, programs, outside)
        self.said = io.StringIO()
        with (root / "etc/passwd").open("a") as file:
            file.write("core:x:0:0::/home/core:/bin/bash\n")
        (root / "home/core").mkdir(parents=True)

    def drive(self, label: str, files: dict[str, str]) -> None:
        mounting = Mounting()
        mounting.content = self.root.parent / "drive"
        for path, text in files.items():
            (mounting.content / path).parent.mkdir(parents=True, exist_ok=True)
            (mounting.content / path).write_text(text)
        (self.root / "dev").mkdir()
        (self.root / "sys/class/block/sr0").mkdir(parents=True)
        (self.root / "sys/class/block/sr0/size").write_text("1024\n")
        (self.root / "dev/sr0").write_bytes(bytes(0x8000) + b"\1CD001\1\0" + bytes(32) + label.encode().ljust(32))
        self.places = Places(self.root, mounting, self.outside)

    def read(self, platform: str) -> Metadata:
        return read_metadata(platform, self.places, Log(self.said, priorities=False))

    def run(self, *arguments: str) -> int:
        return run_command(["metadata", *arguments], self.places, Log(self.said, priorities=False))


@pytest.fixture
def guest(accounts: Path, programs: Any, outside: Any) -> Guest:
    return Guest(accounts, programs, outside)


@pytest.mark.parametrize("platform", SERVICES)
def test_metadata_comes_from_the_service(guest: Guest, platform: str) -> None:
    site, handler, attributes, hostname, keys = SERVICES[platform]
    guest.outside.serve(site, handler)
    found = guest.read(platform)
    assert {name: found.attributes[name] for name in attributes} == attributes
    assert (found.hostname, found.ssh_keys) == (hostname, keys)
    assert all(name.startswith(platform.upper()) for name in found.attributes)


CONFIG_DRIVE = {
    "openstack/latest/meta_data.json": json.dumps(
        {"uuid": "u-1", "hostname": "drive", "local_hostname": "drive", "public_keys": {"a": KEY}}
    ),
    "ec2/latest/meta-data.json": json.dumps({"instance-id": "i-1", "local-ipv4": "10.0.0.1"}),
}
NOCLOUD = {
    "meta-data": "instance-id: i-2\nlocal-hostname: drive\n",
    "user-data": f"#cloud-config\nhostname: drive\nssh_authorized_keys:\n  - {KEY}\n",
}
CLOUDSTACK = {
    "cloudstack/metadata/local_hostname.txt": "drive",
    "cloudstack/metadata/vm_id.txt": "v-1",
    "cloudstack/metadata/public_keys.txt": f"{KEY}\n",
}


@pytest.mark.parametrize(
    ("platform", "label", "files", "attributes", "keys"),
    [
        ("openstack", "config-2", CONFIG_DRIVE, {"OPENSTACK_INSTANCE_ID": "i-1"}, (KEY,)),
        ("powervs", "config-2", CONFIG_DRIVE, {"POWERVS_INSTANCE_ID": "u-1"}, (KEY,)),
        ("kubevirt", "config-2", CONFIG_DRIVE, {"KUBEVIRT_INSTANCE_ID": "u-1"}, (KEY,)),
        ("kubevirt", "cidata", NOCLOUD, {"KUBEVIRT_INSTANCE_ID": "i-2"}, ()),
        ("ibmcloud", "cidata", NOCLOUD, {"IBMCLOUD_INSTANCE_ID": "i-2"}, ()),
        ("proxmoxve", "cidata", NOCLOUD, {"PROXMOXVE_INSTANCE_ID": "i-2"}, (KEY,)),
        ("cloudstack", "config-2", CLOUDSTACK, {"CLOUDSTACK_VM_ID": "v-1"}, (KEY,)),
    ],
)
def test_metadata_comes_from_a_drive(
    guest: Guest, platform: str, label: str, files: dict[str, str], attributes: dict[str, str], keys: tuple[str, ...]
) -> None:
    guest.drive(label, files)
    found = guest.read(platform)
    assert {name: found.attributes[name] for name in attributes} == attributes
    assert (found.hostname, found.ssh_keys) == ("drive", keys)


def test_cloudstacks_metadata_comes_from_the_dhcp_server(guest: Guest) -> None:
    lease = guest.root / "run/systemd/netif/leases/2"
    lease.parent.mkdir(parents=True)
    lease.write_text("SERVER_ADDRESS=10.1.1.1\n")
    values = {"local-hostname": "vm", "vm-id": "v-1", "public-keys": KEY}
    guest.outside.serve("http://10.1.1.1", served("/latest/meta-data/", values))
    found = guest.read("cloudstack")
    assert (found.attributes["CLOUDSTACK_VM_ID"], found.hostname, found.ssh_keys) == ("v-1", "vm", (KEY,))


PACKET = {
    "hostname": "metal-1",
    "plan": "c3",
    "ssh_keys": [KEY],
    "phone_home_url": "http://home.packet.net/phone-home",
    "network": {
        "addresses": [
            {"address_family": 4, "public": True, "address": "192.0.2.1", "gateway": "192.0.2.254"},
            {"address_family": 4, "public": False, "address": "10.0.0.1", "gateway": "10.0.0.254"},
            {"address_family": 6, "public": True, "address": "2001:db8::1", "gateway": "2001:db8::ff"},
        ]
    },
}


@pytest.fixture
def packet(guest: Guest, authority: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its service, by HTTPS."""
    (tmp_path / "authorities.pem").write_text(authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities.pem"))
    guest.outside.serve("https://metadata.packet.net", served("", {"/metadata": json.dumps(PACKET)}, Accept="*/*"))


@pytest.mark.usefixtures("packet")
def test_packets_metadata(guest: Guest) -> None:
    found = guest.read("packet")
    assert found.attributes == {
        "PACKET_HOSTNAME": "metal-1",
        "PACKET_PLAN": "c3",
        "PACKET_IPV4_PUBLIC_0": "192.0.2.1",
        "PACKET_IPV4_PUBLIC_GATEWAY_0": "192.0.2.254",
        "PACKET_IPV4_PRIVATE_0": "10.0.0.1",
        "PACKET_IPV4_PRIVATE_GATEWAY_0": "10.0.0.254",
        "PACKET_IPV6_PUBLIC_0": "2001:db8::1",
        "PACKET_IPV6_PUBLIC_GATEWAY_0": "2001:db8::ff",
    }
    assert (found.hostname, found.ssh_keys) == ("metal-1", (KEY,))


@pytest.mark.usefixtures("packet")
def test_packet_hears_that_the_machine_is_up(guest: Guest) -> None:
    heard = guest.outside.serve("http://home.packet.net", lambda _: b"")
    assert guest.run("--platform", "packet", "--check-in") == 0
    assert [(each.method, each.path, json.loads(each.body)["state"]) for each in heard] == [
        ("POST", "/events", "succeeded")
    ]


def test_azures_wire_server_hears_that_the_machine_is_up(guest: Guest) -> None:
    state = (
        "<GoalState><Incarnation>3</Incarnation><Container><ContainerId>c-1</ContainerId><RoleInstanceList>"
        "<RoleInstance><InstanceId>i&amp;1</InstanceId></RoleInstance></RoleInstanceList></Container></GoalState>"
    )
    heard = guest.outside.serve(
        "http://168.63.129.16", lambda request: state.encode() if request.method == "GET" else b""
    )
    assert guest.run("--platform", "azure", "--check-in") == 0
    assert [each.path for each in heard] == ["/machine/?comp=goalstate", "/machine/?comp=health"]
    assert all(each.header("x-ms-version") == "2012-11-30" for each in heard)
    body = heard[1].body.decode()
    assert "<GoalStateIncarnation>3<" in body
    assert "<ContainerId>c-1<" in body
    assert "<InstanceId>i&amp;1<" in body
    assert "<State>Ready<" in body


def test_scaleway_hears_that_the_machine_is_up(guest: Guest) -> None:
    heard = guest.outside.serve("http://169.254.42.42", lambda _: b"")
    assert guest.run("--platform", "scaleway", "--check-in") == 0
    assert [(each.method, each.path, each.body) for each in heard] == [
        ("PATCH", "/state", b'{"state_detail":"booted"}')
    ]


def test_attributes_are_for_environment_files(guest: Guest) -> None:
    guest.outside.serve(SERVICES["hetzner"][0], SERVICES["hetzner"][1])
    assert guest.run("--platform", "hetzner", "--attributes") == 0
    path = guest.root / "run/metadata/afterburn"
    assert path.read_text().splitlines() == [
        "AFTERBURN_HETZNER_HOSTNAME=my-server",
        "AFTERBURN_HETZNER_INSTANCE_ID=42",
        "AFTERBURN_HETZNER_PRIVATE_IPV4_0=10.0.0.2",
        "AFTERBURN_HETZNER_PRIVATE_IPV4_1=10.128.0.2",
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", "AFTERBURN_X=plain"),
        ("two words", 'AFTERBURN_X="two words"'),
        ("a\nLD_PRELOAD=/x", 'AFTERBURN_X="a LD_PRELOAD=/x"'),
        ('"; $HOME `id` \\', 'AFTERBURN_X="\\"; \\$HOME \\`id\\` \\\\"'),
    ],
)
def test_a_value_is_one_variable_whatever_is_in_it(value: str, line: str) -> None:
    assert make_environment(Metadata({"X": value})) == f"{line}\n"


def test_keys_go_to_a_user_and_go_away_again(guest: Guest) -> None:
    values = {"public_keys": f"{KEY}\n# a comment\n{KEY2}\n"}
    guest.outside.serve(LINK_LOCAL, served("/metadata/v1/", values))
    assert guest.run("--platform", "upcloud", "--ssh-keys", "core") == 0
    path = guest.root / "home/core/.ssh/authorized_keys.d/afterburn"
    assert path.read_text() == f"{KEY}\n{KEY2}\n"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent, path.parent.parent)] == [
        0o600,
        0o700,
        0o700,
    ]
    values["public_keys"] = f"{KEY2}\n"
    assert guest.run("--platform", "upcloud", "--ssh-keys", "core") == 0
    assert path.read_text() == f"{KEY2}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_keys_do_not_go_where_the_users_own_link_leads(guest: Guest) -> None:
    guest.outside.serve(LINK_LOCAL, served("/metadata/v1/", {"public_keys": KEY}))
    others = guest.root / "etc/update-motd.d"
    others.mkdir(parents=True)
    ssh = guest.root / "home/core/.ssh"
    ssh.mkdir(parents=True)
    (ssh / "authorized_keys.d").symlink_to("/etc/update-motd.d")
    for path in (guest.root / "home/core", ssh, ssh / "authorized_keys.d"):
        os.chown(path, 1000, 1000, follow_symlinks=False)
    assert guest.run("--platform", "upcloud", "--ssh-keys", "core") == 1
    assert "'/home/core/.ssh/authorized_keys.d' is a link that user 1000 can change" in guest.said.getvalue()
    assert not any(others.iterdir())


def test_keys_for_nobody_are_an_error(guest: Guest) -> None:
    guest.outside.serve(LINK_LOCAL, served("/metadata/v1/", TEXTS))
    assert guest.run("--platform", "upcloud", "--ssh-keys", "nobody-here") == 1
    assert "there is no user 'nobody-here'" in guest.said.getvalue()


@pytest.mark.parametrize(
    ("given", "own", "named"),
    [
        ("box", None, ["box"]),
        ("box.example.org", "\n", ["box.example.org"]),
        ("box", "mine\n", []),
        ("", None, []),
        ("not a name", None, []),
        ("-x", None, []),
        (f"box.{'a' * 60}.example.org", None, ["box"]),
    ],
)
def test_the_platforms_name_is_used_where_the_config_has_none(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, given: str, own: str | None, named: list[str]
) -> None:
    names: list[str] = []
    monkeypatch.setattr(socket, "sethostname", names.append)
    if own is not None:
        (guest.root / "etc/hostname").write_text(own)
    guest.outside.serve(LINK_LOCAL, served("/metadata/v1/", {"hostname": given}))
    assert guest.run("--platform", "upcloud", "--hostname") == 0
    assert names == named


@pytest.mark.parametrize("platform", ["azure", "digitalocean", "oraclecloud", "scaleway"])
@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"\xff\xfe", b""])
def test_an_answer_that_is_no_document_is_an_error(guest: Guest, platform: str, answer: bytes) -> None:
    guest.outside.serve(SERVICES[platform][0], lambda _: answer)
    assert guest.run("--platform", platform, "--attributes") == 1
    assert "JSON" in guest.said.getvalue()
    assert not (guest.root / "run/metadata").exists()


@pytest.mark.parametrize("platform", ["azure", "digitalocean", "oraclecloud", "scaleway"])
def test_a_document_of_another_shape_gives_what_it_has(guest: Guest, platform: str) -> None:
    odd = {"interfaces": 7, "compute": [], "metadata": "x", "ssh_public_keys": {"a": 1}, "hostname": {"a": "b"}}
    guest.outside.serve(SERVICES[platform][0], lambda _: json.dumps(odd).encode())
    found = guest.read(platform)
    assert make_environment(found) == ""
    assert (found.hostname, found.ssh_keys) == ("", ())


def test_a_service_that_refuses_is_an_error(guest: Guest) -> None:
    guest.outside.serve(LINK_LOCAL, lambda _: 403)
    assert guest.run("--platform", "hetzner", "--attributes") == 1
    assert "403" in guest.said.getvalue()


@pytest.mark.parametrize("platform", ["metal", "qemu", "vmware"])
def test_a_platform_without_metadata_has_nothing_to_do(guest: Guest, platform: str) -> None:
    assert guest.run("--platform", platform, "--attributes", "--check-in") == 0
    assert "nothing to do" in guest.said.getvalue()
