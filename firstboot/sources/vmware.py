"""VMware: variables of the virtual machine, or properties of the appliance it was deployed from."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched, SourceError
from firstboot.sources.guestinfo import GuestInfo
from firstboot.sources.ovf_environment import properties_of, without
from firstboot.sources.service import from_base64, gunzipped

DATA, ENCODING = "ignition.config.data", "ignition.config.data.encoding"
OVF = "ovfenv"
_BASE64 = ("base64", "b64")
_GZIP = ("gzip", "gz")
_NOTHING = ("e30K", "base64")  # "{}": a variable cannot be deleted


def fetch(places: Places, log: Log) -> Fetched | None:
    """The value of ``guestinfo.ignition.config.data``, else of the OVF property of that name."""
    del log
    info = GuestInfo(places)
    value = info.find(DATA)
    if value:
        return decoded(f"guestinfo.{DATA}", value, info.find(ENCODING) or "")
    environment = info.find(OVF)
    found = properties_of(environment) if environment else {}
    value = found.get(f"guestinfo.{DATA}")
    if not value:
        return None
    return decoded(f"OVF property guestinfo.{DATA}", value, found.get(f"guestinfo.{ENCODING}", ""))


def decoded(name: str, value: str, encoding: str) -> Fetched:
    """The config as it was before it was encoded.

    Raises:
        SourceError: the encoding is unknown, or the value is not so encoded.
    """
    found = Fetched(name, value.encode("utf-8"))
    if not encoding:
        return found
    compression, plus, base = encoding.partition("+")
    if encoding in _BASE64 or (plus and compression in _GZIP and base in _BASE64):
        plain = from_base64(found)
        assert plain is not None
        return gunzipped(plain) if plus else plain
    if encoding in _GZIP:  # bytes that came through text
        return gunzipped(Fetched(name, value.encode("latin-1", "replace")))
    raise SourceError(f"{name} has the encoding '{encoding}', which is not known", "known: base64, gzip+base64")


def delete(places: Places, log: Log) -> None:
    """Take the config away: everybody in the machine who may open a vsock could read it."""
    del log
    info = GuestInfo(places)
    if info.find(DATA):
        data, encoding = _NOTHING
        info.set(DATA, data)
        info.set(ENCODING, encoding)
    environment = info.find(OVF)
    keys = (f"guestinfo.{DATA}", f"guestinfo.{ENCODING}")
    if environment and any(properties_of(environment).get(key) for key in keys):
        info.set(OVF, without(environment, keys))
