"""A TPM 2.0 for a machine: swtpm(8), on a socket that QEMU inherits, for as long as QEMU runs."""

from __future__ import annotations

from pathlib import Path


def make_swtpm_argv(state: Path, fd: int) -> list[str]:
    """The command line; it ends when the other end of the socket is closed.

    Args:
        state: a directory that keeps what the TPM remembers.
        fd: a connected Unix socket, which the program inherits.
    """
    return [
        "swtpm",
        "socket",
        "--tpm2",
        "--tpmstate",
        f"dir={state}",
        "--ctrl",
        f"type=unixio,clientfd={fd}",
        # The kernel's filter would have to know what the tools tree's own C library calls.
        "--seccomp",
        "action=none",
    ]
