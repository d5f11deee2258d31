"""Where the instructions of a boot go, as one HTML file; earlier runs are kept beside it and shown below each other.

One processor whose clock counts instructions (QEMU's icount), so that neither the host nor what else it does is in the
numbers: they compare with those of another commit, and with nothing on a clock.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from builder.cli.configs import read_config
from builder.cli.machines import open_host
from builder.core.console import QuietConsole
from builder.core.spans import Span
from builder.report.page import STYLE, make_picture
from builder.report.timeline import draw_timeline
from tests.support.boot_profile import (
    ARGUMENTS,
    EXECUTOR,
    PHASES,
    Profile,
    Run,
    count_before_kernel,
    parse_trace,
    read_trace,
)
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest

REPOSITORY = Path(__file__).parents[2]
DEMO_CONFIG = REPOSITORY / "configs/machines/demo.yaml"
SMALLEST = 0.015  # seconds that a process needs to get a row in the picture
HISTORY = "history.jsonl"


def profile(manifest: Path, config: Path = DEMO_CONFIG, *, memory: int = 2048) -> Profile:
    """Boot it once, by its kernel, with a first-boot config, and read the kernel's trace."""
    host = open_host(manifest, QuietConsole())
    with tempfile.TemporaryDirectory() as directory:
        checked = Path(directory, "config.ign")
        checked.write_text(read_config(config).text, encoding="utf-8")
        folder = MachineFolder(Path(directory, "vm"))
        request = MachineRequest(config=checked, memory=memory, cpus=1, boot="kernel", icount=True, arguments=ARGUMENTS)
        spec = plan_machine(host.image, folder, host.verdict.accel, request)
        with Machine(spec, host.tools, host.make_deadline(600), folder=folder.root, store=host.store) as machine:
            machine.wait_console("login:")
            lines = read_trace(machine)
            return parse_trace(lines, before=count_before_kernel(machine))


def measure(manifest: Path, out: Path) -> None:
    """Boot it, print the phases, note them down in ``out``, and draw the picture there."""
    show(profile(manifest), out)


def show(measured: Profile, out: Path) -> None:
    """The same of a boot that was measured."""
    out.mkdir(parents=True, exist_ok=True)
    row = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "commit": describe_commit(),
        "phases": {name: round(measured.count(name), 3) for name in PHASES},
        "modules": len(measured.modules),
        "requests": len(measured.requests),
    }
    with (out / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    history = [json.loads(line) for line in (out / HISTORY).read_text(encoding="utf-8").splitlines()]
    page = out / "boot.html"
    page.write_text(make_page(measured, history), encoding="utf-8")
    page.with_suffix(".svg").write_text(make_picture(list_spans(measured)), encoding="utf-8")
    print("a boot by instructions, thousand millions (QEMU's icount, 1 processor, without firmware)")
    for name in PHASES:
        print(f"  {name:<34} {measured.count(name):7.2f}")
        for program, seconds in measured.programs.get(name, {}).most_common(8) if name in measured.programs else ():
            print(f"    {program:<32} {seconds:7.2f}")
    print(f"  {'all':<34} {measured.total:7.2f}   modules loaded {row['modules']}, asked for {row['requests']}")
    print(f"  {page}", flush=True)


def describe_commit() -> str:
    """The commit that is measured, and whether something differs from it."""
    words = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def make_page(measured: Profile, history: Iterable[Mapping[str, object]]) -> str:
    """The picture: phases, processes, what each program took, and the runs before."""
    parts = [
        "<h1>A boot, by instructions</h1>",
        f"<p>{measured.total:.2f} thousand million to the login prompt; {len(measured.modules)} kernel modules loaded, "
        f"{len(measured.requests)} asked for by the kernel. A second below is a thousand million instructions, and "
        "what the machine waits for is in the picture's length, not in the numbers.</p>",
        "<h2>When</h2>",
        draw_timeline(list_spans(measured)),
        "<h2>Programs</h2>",
    ]
    for name, *_ in measured.list_phases():
        rows = "".join(
            f'<tr><td>{escape(program)}</td><td class="number">{seconds * 1000:,.0f}</td></tr>'
            for program, seconds in measured.programs[name].most_common(25)
        )
        parts.append(
            f"<h3>{escape(name)}: {measured.count(name):.2f}</h3><table><tr><th>program<th>million{rows}</table>"
        )
    parts.append("<h2>Runs</h2><table><tr><th>date<th>commit" + "".join(f"<th>{escape(name)}" for name in PHASES))
    for row in history:
        phases = row["phases"]
        assert isinstance(phases, dict)
        cells = "".join(f'<td class="number">{phases.get(name, 0):.2f}</td>' for name in PHASES)
        parts.append(f"<tr><td>{escape(str(row['date']))}</td><td>{escape(str(row['commit']))}</td>{cells}</tr>")
    modules = f"<h2>Modules</h2><p>{escape(', '.join(measured.modules))}</p>"
    requests = f"<h2>Asked for</h2><p>{escape(', '.join(measured.requests))}</p>"
    body = "\n".join([*parts, "</table>", modules, requests])
    head = f'<meta charset="utf-8"><title>A boot, by instructions</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def list_spans(measured: Profile) -> list[Span]:
    """Each phase, and in it each process of some size, from its first to its last moment.

    What systemd needs to set a service up, its sandbox for the most part, is said by itself.
    """
    spans = []
    for name, start, end in measured.list_phases():
        spans.append(Span(f"{name}: {measured.count(name):.2f}", (), start, end))
        taken: dict[int, list[Run]] = {}
        for run in measured.runs:
            if start <= run.started < end:
                taken.setdefault(run.pid, []).append(run)
        title = spans[-1].title
        for pid, runs in taken.items():
            total = sum(run.ended - run.started for run in runs)
            setting_up = sum(run.ended - run.started for run in runs if run.program == EXECUTOR)
            if total >= SMALLEST:
                name = f"{runs[-1].program} [{pid}]: {total * 1000:.0f} million"
                name += f", {setting_up * 1000:.0f} set up" if setting_up else ""
                spans.append(Span(name, (title,), runs[0].started, runs[-1].ended))
    return spans
