"""Run by units: ``docker`` and ``containerd`` are offered the images; ``network`` is that of a container."""

from __future__ import annotations

import subprocess
import sys

from firstboot.images import read_offers
from firstboot.images.containerd import offer_to_containerd
from firstboot.images.docker import offer_to_docker
from firstboot.images.network import add_network, remove_network


def main(arguments: list[str]) -> int:
    """Do what is asked; says why it cannot."""
    try:
        match arguments:
            case ["docker"]:
                offer_to_docker(read_offers({"docker"}))
            case ["containerd"]:
                offer_to_containerd(read_offers({"containerd", "cri"}))
            case ["network", "add", name, *published]:
                add_network(name, published)
            case ["network", "remove", name]:
                remove_network(name)
            case _:
                print("usage: docker | containerd | network add NAME [PORT...] | network remove NAME", file=sys.stderr)
                return 2
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"container images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
