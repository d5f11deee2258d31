"""The pages for users work: blocks load, commands parse, paths and links lead somewhere.

Conventions of a page: a block that begins with ``# file: PATH`` is also a file for the other blocks of the page;
```` ```yaml fragment ```` is only read as YAML; ```` ```yaml refused ```` must be refused with the error that the next
```` ```text ```` block shows.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from builder.cli.main import COMMANDS, make_parser
from builder.core import errors
from builder.core.architecture import Arch
from builder.definition.extensions import load_extension
from builder.definition.init import _NAMES, STARTER
from builder.definition.load import load, load_container
from builder.matrix.cells import load_matrix
from firstboot import report
from firstboot.cli import directory as firstboot_commands
from firstboot.cli import drift as drift_command
from firstboot.config.origins import ConfigError
from firstboot.config.text import LocatedError
from firstboot.engine import compile as compiling
from firstboot.engine.compile import compile_all
from firstboot.engine.failure import CORRECT_THE_CONFIG
from firstboot.platforms import Fetched
from vm import pytest_plugin
from vm.testing import denylist

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")
SEPARATORS = {"&&", "||", "|", ";", "&"}
# Hosts of package registries and mirrors. In pieces, so that this file does not name them either.
HOSTS = re.compile(
    "|".join(
        (
            *("py" + r"pi\.", "python" + "hosted", "deb" + r"ian\.(?:org|net)", "npm" + "js", "crates" + r"\.io"),
            *("(?:quay|ghcr|gcr)" + r"\.io", "hub" + r"\.docker", "registry" + r"\.[a-z-]+\."),
        )
    )
)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``line`` is where its fence is, ``file`` the path it stands for, if any."""

    line: int
    language: str
    info: str
    text: str

    @property
    def file(self) -> str | None:
        match = FILE.match(self.text)
        return match[1] if match else None

    @property
    def body(self) -> str:
        return FILE.sub("", self.text, count=1)


@dataclass(frozen=True)
class Page:
    """A page and where it lies."""

    path: Path
    text: str

    @property
    def blocks(self) -> list[Block]:
        found = FENCE.finditer(self.text)
        return [Block(self.text.count("\n", 0, m.start()) + 1, m[1], m[2].strip(), m[3]) for m in found]

    @property
    def prose(self) -> str:
        return FENCE.sub("", self.text)

    @property
    def spans(self) -> list[str]:
        return [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", self.prose)]

    @property
    def files(self) -> dict[str, str]:
        return {block.file: block.body for block in self.blocks if block.file}


def page(name: str) -> Page:
    path = ROOT / name
    return Page(path, path.read_text(encoding="utf-8"))


NAMES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))),
]
PAGES = [page(name) for name in NAMES]
every_page = pytest.mark.parametrize("each", PAGES, ids=NAMES)


# --- blocks ---


class Refused(Exception):
    """A block that does not do what a block of its kind should; the text is the error that its reader would see."""


def execute(block: Block, of: Page, directory: Path) -> None:
    """Do with a YAML or JSON block what it is for. Raises :class:`Refused`."""
    if block.info == "fragment":
        yaml.safe_load(block.text)
    elif Path(block.file or "").name == denylist.FILE:
        denylist.load_denylist(write(directory / denylist.FILE, block.body))
    elif re.search(r"^definitions:", block.body, re.M):
        execute_matrix(block, of, directory)
    elif block.language == "json" or "variant:" in block.body.splitlines()[0]:
        name = "fw_cfg opt/com.coreos/config"
        try:
            loaded = compile_all([Fetched(name, block.body.encode())])
        except (LocatedError, ConfigError) as error:
            raise Refused(str(error)) from None
        if loaded.warnings:
            raise Refused("\n".join(map(str, loaded.warnings)))
    else:
        execute_definition(block, of, directory)


def execute_matrix(block: Block, of: Page, directory: Path) -> None:
    for name, text in {**of.files, "matrix.yaml": block.body}.items():
        write(directory / name, text)
    try:
        load_matrix(Path("matrix.yaml"))
    except errors.BuildError as error:
        raise Refused(str(error)) from None


def execute_definition(block: Block, of: Page, directory: Path) -> None:
    data = yaml.safe_load(block.body)
    path = directory / (block.file or "os.yaml")
    for name, text in {**of.files, str(path.relative_to(directory)): block.body}.items():
        write(directory / name, text)
    make_named_directories([*of.files.values(), block.body], directory)
    if "description" in data and "kind" not in data and block.file:
        path = write(directory / "os.yaml", user_of_feature(Path(block.file).stem, of))
    elif not ("name" in data and ("version" in data or "of" in data)):
        raise Refused(f"line {block.line}: no test knows what this is; a part of something is a 'yaml fragment'")
    # A relative path, so that messages name the file as a reader would see it.
    if warnings := definition_warnings(path.relative_to(directory), data.get("kind", "system")):
        raise Refused("\n".join(warnings))


def make_named_directories(texts: list[str], directory: Path) -> None:
    """Overlays and units that a page names without showing them."""
    for part, content in (("overlays", "etc/example"), ("units", "example.service")):
        for text in texts:
            for each in (yaml.safe_load(text) or {}).get(part, []) if re.search(rf"^{part}:", text, re.M) else []:
                if not (ROOT / part / each).exists() and not (directory / part / each).exists():
                    write(directory / part / each / content, "[Unit]\nDescription=An example\n")


def user_of_feature(feature: str, of: Page) -> str:
    """A definition that uses a feature: the page's own, if it has one."""
    for block in of.blocks:
        if block.language == "yaml" and re.search(rf"^features: .*\b{feature}\b", block.body, re.M):
            return block.body
    return f"name: user\nversion: '1'\nfeatures: [{feature}]\n"


def definition_warnings(path: Path, kind: str) -> list[str]:
    """What a definition is warned of, or refused for later: by a build, or by the machine."""
    try:
        if kind == "container":
            return [*load_container(path, arch=Arch.AMD64, shipped=ROOT).warnings]
        if kind == "extension":
            return [*load_extension(path, arch=Arch.AMD64, shipped=ROOT).warnings]
        loaded = load(path, arch=Arch.AMD64, shipped=ROOT)
        resolved = loaded.resolved
        if resolved.firstboot is not None:
            compiling.load(resolved.firstboot.read_text(encoding="utf-8"), resolved.firstboot.name)
    except (errors.BuildError, LocatedError) as error:
        raise Refused(str(error)) from None
    return [*loaded.warnings]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


BLOCKS = [(of, block) for of in PAGES for block in of.blocks]
DATA = [(of, block) for of, block in BLOCKS if block.language in ("yaml", "json") and block.info != "refused"]
REFUSED = [(of, block) for of, block in BLOCKS if block.info == "refused"]


def _name(value: object) -> str | None:
    return value.path.name if isinstance(value, Page) else f"line{value.line}" if isinstance(value, Block) else None


@pytest.mark.parametrize(("of", "block"), DATA, ids=_name)
def test_every_example_works(of: Page, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert block.info in ("", "fragment")
    execute(block, of, tmp_path)


@pytest.mark.parametrize(("of", "block"), REFUSED, ids=_name)
def test_a_wrong_example_is_refused_with_the_text_on_the_page(
    of: Page, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = next(each for each in of.blocks if each.line > block.line and each.language == "text").text
    with pytest.raises(Refused) as caught:
        execute(block, of, tmp_path)
    text = str(caught.value)
    if "first boot failed" in shown:
        assert report.render_screen(text.strip(), CORRECT_THE_CONFIG) == shown
    else:
        assert text.strip() == shown.strip()


def test_there_are_examples_of_all_kinds() -> None:
    assert REFUSED != []
    assert {block.language for _, block in DATA} == {"yaml", "json"}
    for name in ("README.md", "docs/firstboot.md", "docs/outputs.md", "docs/definition.md"):
        assert any(of.path == ROOT / name for of, _ in DATA), name


@pytest.mark.parametrize(("of", "block"), [each for each in BLOCKS if each[1].language == "python"], ids=_name)
def test_python_examples_compile(of: Page, block: Block) -> None:
    compile(block.text, f"{of.path.name}:{block.line}", "exec")


# --- commands ---


def command_lines(of: Page) -> Iterator[str]:
    """Every line that a reader would type, from shell blocks and from inline code."""
    for block in of.blocks:
        lines = block.text.replace("\\\n", " ").splitlines()
        if block.language == "sh":
            yield from lines
        elif block.language == "console":
            yield from (line.removeprefix("$ ") for line in lines if line.startswith("$ "))
    for span in of.spans:
        if re.match(r"(?:\.venv/bin/)?(?:build-os|make|pytest|firstboot|python3 -m firstboot) ", span):
            yield span


def command_complaints(line: str) -> list[str]:
    """What is wrong with the commands of ours in a shell line."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    words: list[list[str]] = [[]]
    for word in reader:
        if word in SEPARATORS:
            words.append([])
        else:
            words[-1].append(word)
    return [complaint for each in words if each for complaint in _complaints(each)]


def _complaints(words: list[str]) -> Iterator[str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    words = words[: next((i for i, word in enumerate(words) if word in (">", "<", ">>")), len(words))]
    program = words[0].removeprefix(".venv/bin/") if words else ""
    if program == "build-os" and not (len(words) == 2 and words[1] in COMMANDS):  # a command's name alone is no line
        yield from _parse(make_parser().parse_args, words[1:])
    elif program == "firstboot":
        yield from _parse(drift_command._parser().parse_args, words[1:])
    elif words[:3] == ["python3", "-m", "firstboot"]:
        yield from _parse(firstboot_commands._parser().parse_args, words[3:])
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        yield from (f"make has no target {word}" for word in words[1:] if "=" not in word and word not in targets)
    elif program == "pytest":
        known = inspect.getsource(pytest_plugin)
        yield from (f"pytest has no {word}" for word in words if word.startswith("--") and f'"{word}"' not in known)


def _parse(parser: Callable[[list[str]], object], arguments: list[str]) -> Iterator[str]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser(arguments)
    except SystemExit as end:
        if end.code != 0:
            yield said.getvalue().strip().splitlines()[-1]


@every_page
def test_every_command_exists_with_its_options(each: Page) -> None:
    assert [(line, wrong) for line in command_lines(each) if (wrong := command_complaints(line))] == []


# --- links, paths, hosts ---


def anchors(text: str) -> set[str]:
    """Of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def link_complaints(of: Page) -> list[str]:
    complaints = []
    for target in re.findall(r"\]\(([^)\s]+)\)", of.prose):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        path = of.path.parent / name if name else of.path
        is_page = path.is_file() and path.suffix == ".md"
        text = of.text if path == of.path else path.read_text(encoding="utf-8") if is_page else ""
        if not path.exists() or (anchor and anchor not in anchors(text)):
            complaints.append(target)
    return complaints


def path_complaints(of: Page) -> list[str]:
    """Paths in backticks that are nowhere.

    Parts in capitals are the reader's to fill in; what is below ``out/`` and ``.venv/`` is made.
    """
    starter = {str(path.relative_to(STARTER)) for path in STARTER.rglob("*")}
    starter |= set(_NAMES.values())
    complaints = []
    for span in of.spans:
        looks_like_one = re.fullmatch(
            r"[\w.-]+/(?:[\w.@-]+/)*(?:[\w.@-]+\.(?:py|yaml|json|toml|md|txt|conf|service))?", span
        )
        if not looks_like_one or span.startswith(("out/", ".venv/")):
            continue
        if any(part.partition(".")[0].isupper() and part != "README.md" for part in span.split("/")):
            continue
        there = (ROOT / span).exists() or (of.path.parent / span).exists() or span.rstrip("/") in starter
        if not there and not any(name.startswith(span) for name in of.files):
            complaints.append(span)
    return complaints


@every_page
def test_every_link_leads_somewhere(each: Page) -> None:
    assert link_complaints(each) == []


@every_page
def test_every_path_exists(each: Page) -> None:
    assert path_complaints(each) == []


@every_page
def test_no_registry_or_mirror_is_named(each: Page) -> None:
    assert HOSTS.findall(each.text) == []


# --- these tests can fail ---

WRONG = Page(
    ROOT / "docs" / "wrong.md",
    "[a](nowhere.md) [b](definition.md#no-such-heading) [c](#wrong) `tests/unit/nowhere.py` `builder/nowhere/`\n"
    "```sh\nbuild-os build --no-such-option\nmake no-such-target && build-os no-such-command # a comment\n"
    "FOO=1 .venv/bin/build-os plan | head -1\npytest --no-such-option\npython3 -m firstboot plan x.yaml\n```\n"
    "```console\n$ build-os run -p\nbuild-os: this is output\n```\n",
)


def test_a_wrong_command_is_noticed() -> None:
    wrong = [line for line in command_lines(WRONG) if command_complaints(line)]
    assert [line.split()[1] for line in wrong] == ["build", "no-such-target", "--no-such-option", "-m", "run"]
    assert len(command_complaints(wrong[1])) == 2


def test_a_wrong_link_and_a_wrong_path_are_noticed() -> None:
    assert link_complaints(WRONG) == ["nowhere.md", "definition.md#no-such-heading", "#wrong"]
    assert path_complaints(WRONG) == ["tests/unit/nowhere.py", "builder/nowhere/"]


def test_a_named_host_is_noticed() -> None:
    for pieces in (
        ("files.python", "hosted.org"),
        ("deb.deb", "ian.org"),
        ("registry", ".npm", "js.org"),
        ("quay", ".io"),
    ):
        assert HOSTS.search("".join(pieces)), pieces


@pytest.mark.parametrize(
    "text",
    [
        "name: x\nversion: '1'\npackges: [htop]\n",
        "name: x\nversion: '1'\nfeatures: [nothing-like-it]\n",
        "name: x\nversion: '1'\noutputs: [exoscale]\n",
        "kind: container\nname: x\nversion: '1'\n",
        "variant: buildos\nversion: 1.0.0\nhostnam: x\n",
        "variant: fcos\nversion: 1.5.0\nunknown: setting\n",
        "packages: [htop]\n",
    ],
)
def test_a_wrong_example_is_noticed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused):
        execute(Block(1, "yaml", "", text), WRONG, tmp_path)
