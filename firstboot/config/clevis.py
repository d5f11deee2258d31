"""What a config wants of servers (Tang), or of several of servers and TPM (SSS), for an encrypted device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from firstboot.config.devices import Luks, Tang
from firstboot.config.models import Resource
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.tpm import find_tpm

THRESHOLD = "sss"


class Binding(NamedTuple):
    """How clevis is to bind a device (clevis(1)).

    Attributes:
        pin: ``tang``, ``sss``, or another.
        config: of the pin, as JSON has it; advertisements of servers that have to be asked are not in it.
        network: whether opening the device needs the network.
    """

    pin: str
    config: dict[str, Any]
    network: bool

    @property
    def pins(self) -> set[str]:
        """The pins that it needs, those inside a threshold included."""
        return {self.pin, *_pins_inside(self.config if self.pin == THRESHOLD else {})}


def find_binding(luks: Luks) -> Binding | None:
    """What the config wants of clevis; ``None`` if it wants nothing, or what the TPM does without clevis.

    Raises:
        ValueError: the config of a custom pin is none; the text says why.
    """
    clevis = luks.clevis
    if clevis.custom.pin == "tpm2" or find_tpm(luks) is not None:
        return None
    if clevis.custom.pin:
        return Binding(clevis.custom.pin, _read(clevis.custom.config or ""), bool(clevis.custom.needs_network))
    servers = [_tang(server) for server in clevis.tang]
    count, threshold = len(servers) + bool(clevis.tpm2), clevis.threshold
    if not count and threshold is None:
        return None
    if threshold is None:
        threshold = 1
    if not 1 <= threshold <= count:
        raise ValueError(f"{threshold} of {count} cannot answer")
    if len(servers) == 1 and not clevis.tpm2:
        return Binding("tang", servers[0], network=True)
    pins = {"tang": servers, **({"tpm2": {}} if clevis.tpm2 else {})}
    return Binding(THRESHOLD, {"t": threshold, "pins": pins}, network=True)


def locate_advertisement(tang: Tang) -> Resource:
    """Where a server says what it is."""
    return Resource(source=f"{tang.url.rstrip('/')}/adv/{tang.thumbprint or ''}")


def add_advertisements(binding: Binding, said: Mapping[str, object]) -> Binding:
    """The binding with what servers have said of themselves, by their URLs."""
    if not said:
        return binding
    if binding.pin == "tang":
        return binding._replace(config=_told(binding.config, said))
    pins = binding.config["pins"]
    told = [_told(server, said) for server in pins["tang"]]
    return binding._replace(config={**binding.config, "pins": {**pins, "tang": told}})


def _told(server: dict[str, Any], said: Mapping[str, object]) -> dict[str, Any]:
    return {**server, "adv": said[server["url"]]} if server["url"] in said else server


def _tang(tang: Tang) -> dict[str, Any]:
    words: dict[str, Any] = {"url": tang.url, "thp": tang.thumbprint or ""}
    if tang.advertisement:
        words["adv"] = _read(tang.advertisement)
    return words


def _read(text: str) -> dict[str, Any]:
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("it is no JSON object")
    return data


def _pins_inside(config: dict[str, Any]) -> Iterator[str]:
    pins = config.get("pins")
    for name, inner in pins.items() if isinstance(pins, dict) else ():
        yield name
        for pin in inner if isinstance(inner, list) else [inner]:
            if name == THRESHOLD and isinstance(pin, dict):
                yield from _pins_inside(pin)
