"""Templates: what they see, and that they see nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.errors import InputError
from builder.definition.template import Values, find_templates, render_file, render_text
from firstboot.config.located import LocatedError

pytestmark = pytest.mark.unit

VALUES = Values("demo", "1.0.0", "amd64", "trixie", ("base", "ssh"), {"port": 8080, "tls": True, "title": "Hi"})


def fill(text: str) -> str:
    return render_text(text, "app.conf.j2", VALUES)


def refusal(text: str) -> str:
    with pytest.raises(LocatedError) as caught:
        fill(text)
    return str(caught.value)


def test_a_template_sees_the_definition() -> None:
    assert fill("{{ name }} {{ version }} {{ arch }} {{ suite }}") == "demo 1.0.0 amd64 trixie"
    assert fill("{% if 'ssh' in features %}yes{% endif %}") == "yes"
    assert fill("{{ variables.port + 1 }} {{ variables.tls }} {{ variables['title'] }}") == "8081 True Hi"


def test_the_last_line_keeps_its_end() -> None:
    assert fill("a\n") == "a\n"
    assert fill("a") == "a"


def test_nothing_is_escaped_for_html() -> None:
    assert render_text("{{ variables.a }}", "x.j2", Values("n", "1", "amd64", "s", (), {"a": "<&>'"})) == "<&>'"


def test_an_optional_variable_can_be_asked_for() -> None:
    assert fill("{% if variables.more is defined %}no{% else %}none{% endif %}") == "none"
    assert fill("{{ variables.more | default('none') }}") == "none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n  {{ nme }}", "app.conf.j2:2:6: 'nme' is not defined"),
        ("{{ variables.prot }}", "did you mean 'port'?"),
        ("{% for x in variables.list %}{% endfor %}", "'list' is not defined"),
        ("{{ variables['prot'] }}", "did you mean 'port'?"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ name.__class__ }}", "unsafe"),
        ("{{ name.format.__globals__ }}", "unsafe"),
        ("{{ ''.__class__.__base__.__subclasses__() }}", "unsafe"),
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{{ lipsum() }}", "'lipsum' is not defined"),
        ("{{ [1, 2] | random }}", "No filter named 'random'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ name.nothing }}", "'nothing' is not defined"),
        ("\n\n{% if %}", "app.conf.j2:3:1"),
    ],
)
def test_what_a_template_cannot_do_is_said_at_its_line(text: str, message: str) -> None:
    assert message in refusal(text)


def test_a_file_is_filled_in_or_its_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("motd.j2")
    path.write_text("Welcome to {{ name }}\n")
    assert render_file(path, VALUES) == "Welcome to demo\n"
    path.write_text("{{ nam }}\n")
    with pytest.raises(InputError, match=r"motd.j2:1:4: 'nam' is not defined"):
        render_file(path, VALUES)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        render_file(path, VALUES)


def test_only_files_are_templates(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "b.j2").write_text("")
    (tmp_path / "a.j2").write_text("")
    (tmp_path / "dir.j2").mkdir()
    (tmp_path / "link.j2").symlink_to("a.j2")
    (tmp_path / "plain").write_text("{{ not_one }}")
    assert list(find_templates(tmp_path)) == [tmp_path / "a.j2", tmp_path / "etc" / "b.j2"]
