"""Configs carried out on a directory, compared with what the real Ignition made of it."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firstboot.__main__ import main

pytestmark = pytest.mark.conformance

Row = dict[str, Any]

# The original's container mode refuses these; here passwd is carried out, and the others are not there yet.
NOT_FOR_DIRECTORIES = {"unsupported.passwd": "passwd, which only the original's container mode refuses"}

DECIDED = {
    "partial-failure": "nothing is written when something cannot be",
    "path.link-chain": "links that lead to links are followed inside the root",
}


def make_tree(root: Path, tree: dict[str, dict[str, Any]]) -> None:
    for name, node in tree.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = node.get("type", "file")
        if kind == "dir":
            path.mkdir(exist_ok=True)
        elif kind == "link":
            path.symlink_to(node["target"])
        elif kind == "fifo":
            os.mkfifo(path, 0o644)
        else:
            path.write_text(node["content"])
        if kind in ("file", "dir"):
            path.chmod(node.get("mode", 0o755 if kind == "dir" else 0o644))
        if os.geteuid() == 0:
            os.chown(path, node.get("uid", 0), node.get("gid", 0), follow_symlinks=False)


def seen_tree(root: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory) / name
            there = path.lstat()
            entry: dict[str, Any] = {"uid": there.st_uid, "gid": there.st_gid}
            if stat.S_ISLNK(there.st_mode):
                entry |= {"type": "link", "target": str(path.readlink())}
            else:
                entry["mode"] = f"{stat.S_IMODE(there.st_mode):04o}"
                if stat.S_ISDIR(there.st_mode):
                    entry["type"] = "dir"
                elif stat.S_ISREG(there.st_mode):
                    entry |= {"type": "file", "nlink": there.st_nlink}
                    data = path.read_bytes()
                    try:
                        entry["content"] = data.decode()
                        if "\0" in entry["content"]:
                            raise ValueError
                    except ValueError:
                        entry.pop("content", None)
                        entry["content_base64"] = base64.b64encode(data).decode()
                else:
                    entry["type"] = "other"
            found["/" + str(path.relative_to(root))] = entry
    return found


def without_owners(tree: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {path: {k: v for k, v in entry.items() if k not in ("uid", "gid")} for path, entry in tree.items()}


def test_a_directory_becomes_what_the_real_ignition_makes_of_it(
    vectors: Callable[[str], list[Row]],
    score: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def judge(row: Row) -> str | None:
        root = tmp_path / row["id"]
        root.mkdir(mode=0o755)
        make_tree(root, row["initial_tree"])
        config = tmp_path / f"{row['id']}.ign"
        config.write_text(row["config"])
        status = main(["apply", "--root", str(root), str(config)])
        said = capfd.readouterr().err
        if bool(status) != bool(row["exit_code"]):
            return f"exit code {row['exit_code']}, ours: {status} {said}"
        ours, theirs = seen_tree(root), row["tree"]
        if os.geteuid() != 0:  # an ordinary user cannot give files away
            ours, theirs = without_owners(ours), without_owners(theirs)
        return None if ours == theirs else f"{theirs}\n  ours: {ours}"

    monkeypatch.setattr(os, "sync", lambda: None)
    # A row names a server that is not there: how long it is asked is for other tests to say.
    monkeypatch.setattr("firstboot.fetch.fetcher.TOTAL_SECONDS", 1)
    score(
        "authored-apply.jsonl",
        vectors("authored-apply.jsonl"),
        judge,
        out_of_slice=lambda row: NOT_FOR_DIRECTORIES.get(row["rule"]),
        decided=lambda row: DECIDED.get(row["rule"]),
    )
