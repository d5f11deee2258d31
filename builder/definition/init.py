"""What ``build-os init`` puts into a directory: a small OS that builds, boots and is tested.

The files are in ``starter/`` as they are written, with ``@NAME@`` and ``@KEYS@`` to be replaced. A directory in
``templates/`` is another OS to start from; what all have in common it takes from there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from builder.core.errors import InputError
from builder.core.files import write_file
from builder.definition.findings import shorten_path
from builder.definition.python_project import PORT, PythonProject
from builder.definition.scalars import NotAccepted, require_image_name

STARTER = Path(__file__).parent / "starter"
TEMPLATES = Path(__file__).parent / "templates"
DEFAULT = "default"
PYTHON_APP = "python-app"
SHARED = ("gitignore", "machines/first.yaml")
# Under their own names these would be obeyed by this repository, or taken for a part of it.
_NAMES = {"gitignore": ".gitignore", "tests/test_boot.txt": "tests/test_boot.py"}
_KEY = re.compile(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" [A-Za-z0-9+/]+=*(?: [^\x00-\x1f\x7f]*)?"
)


def write_starter_files(
    directory: Path,
    name: str,
    *,
    template: str = DEFAULT,
    home: Path | None = None,
    project: PythonProject | None = None,
) -> list[Path]:
    """Write the starter files into ``directory``, which is made if it is missing.

    Args:
        directory: where to.
        name: the image's name.
        template: one of :func:`list_templates`.
        home: whose ``.ssh/*.pub`` may log in to the example machine; default: the caller's.
        project: what the template ``python-app`` is filled with.

    Returns:
        the files written, in the order a newcomer would read them.

    Raises:
        InputError: the name or the template is not one, a file exists already, or the directory cannot be written.
    """
    try:
        require_image_name(name)
    except NotAccepted as error:
        raise InputError(f"'{name}' cannot be the name: {error}") from None
    replacements = {"@NAME@": name, "@KEYS@": _keys_text(find_public_keys(home or Path.home()))}
    if (template == PYTHON_APP) != (project is not None):
        raise InputError(f"the template {PYTHON_APP}, and no other, is made of a project", hint="name it by --project")
    if project is not None:
        replacements |= _describe_project(project)
    planned = {
        directory / _NAMES.get(where, where): _filled(path, replacements)
        for where, path in _find_files(template).items()
    }
    existing = [shorten_path(path) for path in planned if path.exists() or path.is_symlink()]
    if existing:
        raise InputError(
            "there are files already that would be overwritten",
            details=existing,
            hint="start in an empty directory, or move them away",
        )
    for path, text in planned.items():
        try:
            write_file(path, text, durable=True)
        except OSError as error:
            raise InputError(f"{shorten_path(path)} cannot be written: {error.strerror}") from None
    return list(planned)


def find_public_keys(home: Path) -> list[str]:
    """The user's public SSH keys, each a line as in authorized_keys(5). Certificates are left out."""
    keys: dict[str, None] = {}
    for path in sorted((home / ".ssh").glob("*.pub")):
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if _KEY.fullmatch(text):
            keys[text] = None
    return list(keys)


def list_templates() -> list[str]:
    """The names of what one can start from."""
    return [DEFAULT, *sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir())]


def _find_files(template: str) -> dict[str, Path]:
    """The files of a template by where they go, the definition first.

    Raises:
        InputError: there is no such template.
    """
    if template not in list_templates():
        raise InputError(f"there is no template '{template}'", hint=f"they are {', '.join(list_templates())}")
    root = STARTER if template == DEFAULT else TEMPLATES / template
    files = {name: STARTER / name for name in SHARED}
    files |= {
        str(path.relative_to(root)): path
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return dict(sorted(files.items(), key=lambda row: (row[0] != "os.yaml", row[0])))


def _describe_project(project: PythonProject) -> dict[str, str]:
    """What the template says of the project."""
    answers = f'    vm.wait_http({PORT}, "/")\n' if project.is_web else ""
    return {
        "@APP@": project.name,
        "@PYTHON@\n": "".join(f"    {line}\n" for line in project.python),
        "@START@\n": "".join(f"    {line}\n" for line in project.app),
        "@ANSWERS@\n": answers,
    }


def _filled(path: Path, replacements: dict[str, str]) -> str:
    text = path.read_text(encoding="utf-8")
    for mark, value in replacements.items():
        text = text.replace(mark, value)
    return text


def _keys_text(keys: list[str]) -> str:
    """A YAML list; JSON's strings are YAML's."""
    if not keys:
        return ' []  # none was found in ~/.ssh; put yours here: ["ssh-ed25519 AAAA..."]'
    return "".join(f"\n        - {json.dumps(key, ensure_ascii=False)}" for key in keys)
