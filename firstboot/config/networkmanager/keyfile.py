"""Reading a keyfile: sections of settings, each with its line, and which of them somebody has used."""

from __future__ import annotations

from firstboot.config.named_tuple import NamedTuple

# What is about NetworkManager itself, or a default of networkd's as well.
_WITHOUT_MEANING = frozenset(
    (
        *("connection.id", "connection.uuid", "connection.permissions", "connection.timestamp", "connection.stable-id"),
        *("connection.autoconnect-priority", "connection.autoconnect-retries", "connection.multi-connect"),
        *("connection.wait-device-timeout", "connection.autoconnect-slaves", "connection.autoconnect-ports"),
        *("connection.slave-type", "connection.port-type", "connection.lldp", "ipv4.may-fail", "ipv6.may-fail"),
        *(
            "ipv4.dhcp-timeout",
            "ipv6.dhcp-timeout",
            "ipv6.addr-gen-mode",
            "vlan.flags",
            "ipv4.dhcp-vendor-class-identifier",
        ),
        *("ethernet.auto-negotiate", "ethernet.mac-address-blacklist", "ethernet.mac-address-denylist"),
    )
)
# The other name of a section, and of settings in it.
_SECTIONS = {"802-3-ethernet": "ethernet"}
_TYPES = {"802-3-ethernet": "ethernet"}


class Remark(NamedTuple):
    """Something that has no effect.

    Attributes:
        file: the path of the keyfile.
        line: in it, from 1; 0 for all of it.
        message: what and why.
    """

    file: str
    line: int
    message: str


class Keyfile:
    """One connection.

    Attributes:
        path: of the keyfile.
        remarks: what of it has no effect.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.remarks: list[Remark] = []
        self._values: dict[str, tuple[str, int]] = {}
        self._used: set[str] = set()
        section = ""
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.strip()
            if not line or line.startswith(("#", ";")):
                continue
            if line.startswith("[") and line.endswith("]"):
                section = _SECTIONS.get(line[1:-1], line[1:-1])
                continue
            name, equals, value = line.partition("=")
            if not equals or not section:
                self.add_remark(number, f"'{name.strip()[:40]}' is no setting")
                continue
            self._values[f"{section}.{name.strip()}"] = (value.strip(), number)

    @property
    def stem(self) -> str:
        """A name for what is made of it."""
        name = self.path.rpartition("/")[2].removesuffix(".nmconnection")
        return "".join(char if char.isascii() and (char.isalnum() or char in "-_.@") else "-" for char in name)

    @property
    def type(self) -> str:
        """``ethernet``, ``bond``, ``vlan`` ..."""
        value = self.get("connection.type")
        return _TYPES.get(value, value)

    @property
    def interface(self) -> str:
        """The interface it is for, or makes; empty if it is found otherwise."""
        name = self.get("connection.interface-name") or (self.get("vlan.interface-name") if self.type == "vlan" else "")
        return name if all(char.isprintable() and char not in " \t/*?[]!" for char in name) else ""

    def get(self, name: str) -> str:
        """A setting; empty if there is none."""
        self._used.add(name)
        return self._values.get(name, ("", 0))[0]

    def get_line(self, name: str) -> int:
        """Where a setting is."""
        return self._values.get(name, ("", 0))[1]

    def list_numbered(self, prefix: str) -> list[tuple[str, str]]:
        """``address1``, ``address2`` ... and the names they have, in order."""
        names = [name for name in self._values if name.startswith(prefix) and name.removeprefix(prefix).isdecimal()]
        return [(name, self.get(name)) for name in sorted(names, key=lambda name: int(name.removeprefix(prefix)))]

    def list(self, name: str) -> list[str]:
        """The elements of a list."""
        return [item.strip() for item in self.get(name).replace(",", ";").split(";") if item.strip()]

    def is_true(self, name: str) -> bool | None:
        """A switch; ``None`` if it is not given."""
        value = self.get(name).lower()
        return None if not value else value in ("true", "yes", "1", "on")

    def add_remark(self, line: int, message: str) -> None:
        """Say that something has no effect."""
        self.remarks.append(Remark(self.path, line, message))

    def add_remarks_on_the_rest(self) -> None:
        """Say it of all settings that nobody asked for."""
        for name, (value, line) in self._values.items():
            section = name.partition(".")[0]
            if name in self._used or name in _WITHOUT_MEANING or not value or section in ("user", "proxy"):
                continue
            self.add_remark(line, f"{name} has no equal in systemd-networkd")
