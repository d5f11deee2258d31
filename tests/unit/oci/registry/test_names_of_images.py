"""What an image's name means is what Docker and podman make of it (firstboot.config.oci.reference)."""

from __future__ import annotations

import pytest

from builder.core.errors import InputError
from builder.oci.registry.reference import Reference, parse_reference

pytestmark = pytest.mark.unit

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:13", "docker.io/library/debian:13"),
        ("grafana/grafana", "docker.io/grafana/grafana:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/debian:13", "docker.io/library/debian:13"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("ghcr.io/team/app:1.0", "ghcr.io/team/app:1.0"),
        ("[::1]:5000/app:v1", "[::1]:5000/app:v1"),
        ("Host/app", "Host/app:latest"),
        ("a.b/c__d/e-f--g.h:T_1", "a.b/c__d/e-f--g.h:T_1"),
        (f"debian@sha256:{HEX}", f"docker.io/library/debian@sha256:{HEX}"),
        (f"debian:13@sha256:{HEX}", f"docker.io/library/debian:13@sha256:{HEX}"),
        (f"q.io/a@sha512:{HEX}{HEX}", f"q.io/a@sha512:{HEX}{HEX}"),
    ],
)
def test_a_name_is_read_as_docker_and_podman_do(text: str, meant: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == meant
    assert parse_reference(meant) == reference


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("https://ghcr.io/app", "has no 'https://' before it"),
        ("docker://debian", "has no 'docker://' before it"),
        ("Debian", "has capitals"),
        ("ghcr.io/Team/app", "has capitals"),
        ("debian:", "':' is no tag"),
        ("debian:.x", "':.x' is no tag"),
        ("debian:" + "x" * 129, "is no tag"),
        ("debian@sha256:abc", "'@sha256:abc' is no digest"),
        (f"debian@sha256:{HEX.upper()}", "is no digest"),
        (f"debian@md5:{HEX}", "is no digest"),
        ("a//b", "'a//b' is no repository"),
        ("a/b/", "'a/b/' is no repository"),
        ("-a", "'-a' is no repository"),
        ("a..b", "'a..b' is no repository"),
        ("a___b", "'a___b' is no repository"),
        ("host.example/", "the name of the repository is missing"),
        ("host_x.example/a", "'host_x.example' is no host"),
        ("host:99999/a", "the port of 'host:99999' is none"),
        ("host:0/a", "the port of 'host:0' is none"),
        ("a b", "'a b' is no repository"),
        ("../../etc/passwd", "'..' is no host"),
        ("a/../b", "'a/../b' is no repository"),
        ("a\x1b[2jb", r"'a\?\[2jb' is no repository"),
        (HEX, "the ID of an image"),
        ("x/" * 130 + "y", "at most 255 characters"),
    ],
)
def test_what_names_no_image_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_reference(text)


def test_a_digest_wins_over_a_tag_and_a_pin_drops_it() -> None:
    reference = parse_reference(f"debian:13@sha256:{HEX}")
    assert reference.target == f"sha256:{HEX}"
    assert parse_reference("debian:13").pin(f"sha256:{HEX}") == Reference(
        "docker.io", "library/debian", None, f"sha256:{HEX}"
    )
    assert parse_reference("debian").server == "registry-1.docker.io"
