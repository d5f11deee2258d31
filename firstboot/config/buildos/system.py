"""Small settings of the system: locale, keymap, time servers, kernel; a file to swap to."""

from __future__ import annotations

import re

from firstboot.config.buildos.models import SwapFile
from firstboot.config.buildos.sugar_output import SugarOutput, is_below
from firstboot.config.buildos.unit_writing import format_command_line, format_unit
from firstboot.config.butane.mounts import escape
from firstboot.config.unit_text import quote_word

_LOCALE = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9-]+)?(?:@[A-Za-z0-9]+)?")
_KEYMAP = re.compile(r"[A-Za-z0-9_.-]+")
_SERVER = re.compile(r"[A-Za-z0-9:._-]+(?:%[A-Za-z0-9._-]+)?")
_SYSCTL = re.compile(r"[A-Za-z0-9_*?-]+(?:[./][A-Za-z0-9_*?@-]+)*")
_MODULE = re.compile(r"[A-Za-z0-9_-]+")
SWAP_FILE = "/var/swapfile"
MAKE_SWAP_FILE = "make-swap-file.service"


def configure_system(output: SugarOutput) -> None:
    """Write the files of these settings."""
    for name, pattern, path, key in (
        ("locale", _LOCALE, "/etc/locale.conf", "LANG"),
        ("keymap", _KEYMAP, "/etc/vconsole.conf", "KEYMAP"),
    ):
        text = output.find_text(name)
        if text is not None and not pattern.fullmatch(text):
            output.complain((name,), f"this is not a {name}")
        elif text is not None:
            output.add_file(path, f"{key}={text}\n", (name,))
    servers = _words(output, "ntp_servers", _SERVER, "the name or address of a server")
    if servers:
        text = f"[Time]\nNTP={' '.join(servers)}\n"
        output.add_file("/etc/systemd/timesyncd.conf.d/10-config.conf", text, ("ntp_servers",))
    modules = _words(output, "kernel_modules", _MODULE, "the name of a module")
    if modules:
        output.add_file(
            "/etc/modules-load.d/10-config.conf", "".join(f"{module}\n" for module in modules), ("kernel_modules",)
        )
    _write_sysctl(output)


def _words(output: SugarOutput, name: str, pattern: re.Pattern[str], what: str) -> list[str]:
    words: list[str] = []
    for at, text in output.list_texts(name):
        if pattern.fullmatch(text):
            words.append(text)
        else:
            output.complain(at, f"'{text}' is not {what}")
    return words


def _write_sysctl(output: SugarOutput) -> None:
    lines: list[str] = []
    for name, value in output.list_pairs("sysctl").items():
        if not _SYSCTL.fullmatch(name):
            output.complain(
                ("sysctl", name), f"'{name}' is not a setting of the kernel", "like vm.swappiness", on_key=True
            )
        elif not value.strip() or "\n" in value:
            output.complain(("sysctl", name), "a value of one line is required")
        else:
            lines.append(f"{name} = {value.strip()}\n")
    if lines:
        output.add_file("/etc/sysctl.d/90-config.conf", "".join(lines), ("sysctl",))


def make_swap_file(output: SugarOutput) -> None:
    """A unit that makes the file once, and one that swaps to it."""
    at = ("swap_file",)
    swap = output.find_part(SwapFile, at)
    if swap is None:
        return
    path = swap.path or SWAP_FILE
    if swap.size_mib < 1:
        output.complain((*at, "size_mib"), "a size of 1 MiB or more is required")
        return
    if not output.is_path(path, (*at, "path")):
        return
    if not is_below(path, "/var"):
        output.complain((*at, "path"), f"'{path}' is not below /var", "the rest of the machine is read-only or small")
        return
    name = f"{escape(path)}.swap"
    plain = path.replace("%", "%%")
    text = format_unit(
        f"Make the Swap File {path}",
        before=(name,),
        settings=[
            ("DefaultDependencies", "no"),
            ("RequiresMountsFor", quote_word(path)),
            ("ConditionPathExists", f"!{plain}"),
        ],
        service=[
            ("Type", "oneshot"),
            (
                "ExecStart",
                format_command_line(["/usr/sbin/mkswap", "--file", "--size", f"{swap.size_mib}M", "--", path]),
            ),
        ],
    )
    output.add_unit(MAKE_SWAP_FILE, text, at, enabled=None)
    lines = ["[Unit]", f"Description=Swap File {plain}", f"Requires={MAKE_SWAP_FILE}", f"After={MAKE_SWAP_FILE}"]
    lines += ["", "[Swap]", f"What={plain}", "", "[Install]", "WantedBy=swap.target"]
    output.add_unit(name, "\n".join(lines) + "\n", at)
