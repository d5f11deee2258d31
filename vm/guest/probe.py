"""The test probe: what runs **in the guest**, on the guest's own Python, and does what the host asks.

Delivered by system credentials (:mod:`vm.guest.credentials`), so nothing is added to the image under test. Standard
library only, and little of it at start: each import costs the boot that is being measured. Speaks JSON objects, one a
line, over the virtio-serial port ``org.buildos.probe.0``; see :data:`OPERATIONS` for what it can be asked.
"""

import binascii
import json
import os
import time

TYPE_CHECKING = False  # without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

PORT = "org.buildos.probe.0"
SYSFS = "/sys/class/virtio-ports"
LIMIT = 4 << 20  # bytes of a file or of a program's output that are sent back
SHOW = 300  # seconds; systemd answers late in one of several emulated machines


def find_port(name: str, sysfs: str = SYSFS) -> "str | None":
    """The device of a virtio-serial port, without waiting for udev to link it."""
    for device in sorted(os.listdir(sysfs)) if os.path.isdir(sysfs) else []:  # noqa: PTH112, PTH208 - start-up time
        with open(f"{sysfs}/{device}/name", encoding="utf-8") as file:  # noqa: PTH123
            if file.read().strip() == name:
                return f"/dev/{device}"
    return None


def run(argv: "list[str]", timeout: float, stdin: str = "") -> "dict[str, object]":
    """Run a program; its output goes to memory files, so that a daemon it leaves behind cannot hold us up."""
    import subprocess  # noqa: PLC0415 - not needed to say hello

    with (
        os.fdopen(os.memfd_create("stdin"), "w+b") as given,
        os.fdopen(os.memfd_create("out"), "w+b") as out,
        os.fdopen(os.memfd_create("err"), "w+b") as err,
    ):
        given.write(binascii.a2b_base64(stdin))
        given.seek(0)
        try:
            done = subprocess.run(argv, stdin=given, stdout=out, stderr=err, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return {"status": None, "stdout": keep_tail(out), "stderr": keep_tail(err)}
        return {"status": done.returncode, "stdout": keep_tail(out), "stderr": keep_tail(err)}


def keep_tail(file: "object") -> str:
    """The last part of what was written to a memory file, in base64."""
    descriptor = file.fileno()  # type: ignore[attr-defined]
    size = os.fstat(descriptor).st_size
    return encode(os.pread(descriptor, LIMIT, max(0, size - LIMIT)))


def show_unit(name: str, properties: "list[str] | None" = None) -> "dict[str, object]":
    """``systemctl show`` as a dict, of the manager when no unit is named; asking for few properties is faster."""
    chosen = [f"--property={','.join(properties)}"] if properties else []
    result = run(["/usr/bin/systemctl", "show", "--no-pager", *chosen, *(["--", name] if name else [])], SHOW)
    if result["status"] is None:
        raise OSError(f"systemctl show gave no answer within {SHOW} s")
    if result["status"] != 0:
        raise OSError(binascii.a2b_base64(str(result["stderr"])).decode(errors="replace").strip())
    text = binascii.a2b_base64(str(result["stdout"])).decode(errors="replace")
    return {"properties": dict(line.split("=", 1) for line in text.splitlines() if "=" in line)}


def read(path: str) -> "dict[str, object]":
    """A file's content."""
    data = b""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        # In small pieces: /proc/sys refuses to be read by megabytes.
        while len(data) <= LIMIT and (piece := file.read(1 << 16)):
            data += piece
    if len(data) > LIMIT:
        raise OSError(f"{path} is larger than {LIMIT} bytes")
    return {"data": encode(data)}


def write(path: str, data: str, mode: int = 0o644) -> "dict[str, object]":
    """Write a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(binascii.a2b_base64(data))
        os.fchmod(file.fileno(), mode)
    return {}


def leave(how: str) -> "dict[str, object]":
    """Begin to power off or reboot, and return at once."""
    return run(["/usr/bin/systemctl", "--no-block", how], 60)


def crash() -> "dict[str, object]":
    """Make the kernel panic (Documentation/admin-guide/sysrq.rst)."""
    for path, text in (("/proc/sys/kernel/sysrq", "1"), ("/proc/sysrq-trigger", "c")):
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)
    return {}


OPERATIONS: "dict[str, Callable[..., dict[str, object]]]" = {
    "ping": dict,
    "run": run,
    "unit": show_unit,
    "read": read,
    "write": write,
    "poweroff": lambda: leave("poweroff"),
    "reboot": lambda: leave("reboot"),
    "crash": crash,
}


def encode(data: bytes) -> str:
    """Base64 in one line."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def make_greeting() -> "dict[str, object]":
    """The first thing we say: which boot this is, and what its clock says (the host knows the same moment's time)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
        return {"hello": 1, "boot_id": file.read().strip(), "monotonic": time.monotonic()}


def handle(line: bytes) -> "dict[str, object]":
    """Answer one request; whatever is wrong with it becomes an answer too."""
    number = None
    try:
        request = json.loads(line)
        number = request.pop("id")
        operation = OPERATIONS[request.pop("op")]
        return {"id": number, "ok": operation(**request)}
    except Exception as error:
        return {"id": number, "error": f"{type(error).__name__}: {error}"}


def serve(descriptor: int) -> None:
    """Answer until the port is gone."""
    # A probe that was killed may have left half a line in the port; what follows it would be lost with it.
    os.write(descriptor, b"\n")
    send(descriptor, make_greeting())
    pending = b""
    while True:
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:  # nobody listens on the host at the moment
            time.sleep(0.2)
            continue
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                send(descriptor, handle(line))


def send(descriptor: int, message: "dict[str, object]") -> None:
    """Write one line, all of it."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]


def main() -> None:
    """Find the port (it may take a moment to appear) and serve it."""
    for _ in range(300):
        if (device := find_port(PORT)) is not None:
            serve(os.open(device, os.O_RDWR | os.O_CLOEXEC))
        time.sleep(0.2)
    raise SystemExit(f"no virtio-serial port {PORT}")


if __name__ == "__main__":
    main()
