"""Programs in Perl and C that scripts call, and what they keep in files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.debian.scripts.evaluate import evaluate
from builder.debian.scripts.target_system import Installation
from builder.tree.node import make_directory, make_file, make_symlink
from builder.tree.tree import Tree
from tests.support.filters import COMMANDS
from tests.unit.debian.scripts.conftest import Outcome

pytestmark = pytest.mark.unit

XML_CORE = {"/usr/share/xml-core/catalog.header": "<catalog>\n", "/usr/share/xml-core/catalog.footer": "</catalog>\n"}


def test_xml_catalogs_lead_from_the_root_to_a_packages_own(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "update-xmlcatalog --sort --add --type system --id http://x/ --package p --local /usr/share/p.xml\n"
        "update-xmlcatalog --sort --add --type public --id -//X --package p --local /usr/share/p.xml\n"
        "update-xmlcatalog --sort --add --type uri --id http://x/ --package p --root\n",
        {**XML_CORE, "/usr/share/p.xml": ""},
    )
    assert outcome.unmodelled == []
    assert outcome.text("/etc/xml/p.xml") == (
        "<catalog>\n"
        '<delegatePublic publicIdStartString="-//X" catalog="file:///usr/share/p.xml"/>\n'
        '<delegateSystem systemIdStartString="http://x/" catalog="file:///usr/share/p.xml"/>\n'
        "</catalog>\n"
    )
    root = '<delegateURI uriStartString="http://x/" catalog="file:///etc/xml/p.xml"/>\n'
    assert outcome.text("/etc/xml/catalog") == f"<catalog>\n{root}</catalog>\n"
    assert outcome.text("/var/lib/xml-core/catalog") == root.replace('" catalog', '"><catalog').replace("/>", ">")


def test_a_catalog_that_is_not_there_cannot_be_led_to(run: Callable[..., Outcome]) -> None:
    outcome = run("update-xmlcatalog --add --type system --id a --package p --root || touch /failed", XML_CORE)
    assert "/failed" in outcome.tree


def test_the_default_locale_is_a_line_that_keeps_the_others(run: Callable[..., Outcome]) -> None:
    outcome = run("update-locale --no-checks LANG\nupdate-locale LANG=de_DE.UTF-8", {"/etc/locale.conf": "LC_ALL=C\n"})
    assert outcome.text("/etc/locale.conf") == "LC_ALL=C\nLANG=de_DE.UTF-8\n"


def test_a_binary_format_is_registered_as_its_description_says(run: Callable[..., Outcome]) -> None:
    text = "package java\ninterpreter /usr/bin/jexec\nmagic PK\\x03\\x04\n"
    outcome = run("update-binfmts --import jar", {"/usr/share/binfmts/jar": text})
    assert outcome.text("/var/lib/binfmts/jar").split("\n")[:6] == [
        "java", "magic", "0", "PK\\x03\\x04", "", "/usr/bin/jexec",
    ]  # fmt: skip


def test_a_parser_is_registered_with_what_its_module_says_it_can(run: Callable[..., Outcome]) -> None:
    module = (
        "package XML::SAX::Expat;\nsub supported_features {\n    return ($_[0]->SUPER::supported_features,\n"
        "        'http://xml.org/sax/features/external-general-entities',\n    );\n}\n"
    )
    outcome = run(
        "update-perl-sax-parsers --add XML::SAX::Expat --priority 50\nupdate-perl-sax-parsers --update",
        {"/usr/share/perl5/XML/SAX/Expat.pm": module, "/etc/perl/XML/SAX/ParserDetails.ini": "old"},
    )
    assert outcome.unmodelled == []
    assert outcome.text("/etc/perl/XML/SAX/ParserDetails.ini") == (
        "[XML::SAX::Expat]\nhttp://xml.org/sax/features/external-general-entities = 1\n"
        "http://xml.org/sax/features/namespaces = 1\n\n\n"
    )


def test_tags_of_vims_manuals_are_found(run: Callable[..., Outcome]) -> None:
    outcome = run("helpztags /d", {"/d/a.txt": "see *tag-a* and *b\\c*\n not*this*\n", "/d/b.dex": "*anders*\n"})
    assert outcome.text("/d/tags") == "b\\c\ta.txt\t/*b\\\\c*\ntag-a\ta.txt\t/*tag-a*\n"
    assert outcome.text("/d/tags-de") == "anders\tb.dex\t/*anders*\n"


def test_the_papers_size_is_a4_where_nobody_chose_another(run: Callable[..., Outcome]) -> None:
    assert run("paperconf > /out").text("/out") == "a4\n"
    assert run("paperconf > /out", {"/etc/papersize": "# chosen\nLetter\n"}).text("/out") == "letter\n"


def test_a_list_without_wikis_has_none_to_build(run: Callable[..., Outcome]) -> None:
    script = "ikiwiki-mass-rebuild --refresh --wrappers\ntouch /after"
    for files in ({}, {"/etc/ikiwiki/wikilist": "# user setup\n\n"}):
        outcome = run(script, files)
        assert outcome.unmodelled == []
        assert "/after" in outcome.tree
    assert run(script, {"/etc/ikiwiki/wikilist": "ann /home/ann/wiki.setup\n"}).unmodelled != []


def test_an_addition_to_emacs_is_set_up_for_each_emacs(run: Callable[..., Outcome]) -> None:
    files = {
        "/usr/lib/emacsen-common/emacs-package-install": make_file("#!/usr/bin/perl\n", 0o755, origin="package:other"),
        "/usr/lib/emacsen-common/packages/install/mine": make_file(
            "#!/bin/sh\necho $1 >> /flavors\n", 0o755, origin="package:mine"
        ),
        "/var/lib/emacsen-common/state/flavor/installed/emacs": "",
    }
    outcome = run("/usr/lib/emacsen-common/emacs-package-install --postinst mine", files)
    assert outcome.unmodelled == []
    assert outcome.text("/flavors") == "emacs\n"
    assert outcome.text("/var/lib/emacsen-common/state/package/installed/mine") == ""


def test_an_alternative_can_be_used_by_what_comes_after_it(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "set -e\nupdate-alternatives --install /usr/bin/e e /usr/bin/e-real 10\n"
        "update-alternatives --install /usr/bin/editor editor /usr/bin/e 0",
        {"/usr/bin/e-real": ""},
    )
    assert outcome.unmodelled == []
    assert outcome.effects[-1] == "offers the alternative editor (/usr/bin/e, priority 0)"


CHOICE = "Template: mine/which\nType: select\nChoices: ${list}\nDescription: Which?\n"


def test_a_question_with_choices_gets_the_first_when_it_has_no_answer(run: Callable[..., Outcome]) -> None:
    body = (
        ". /usr/share/debconf/confmodule\ndb_subst mine/which list one, two\ndb_input high mine/which || true\n"
        'db_go\ndb_get mine/which\necho "$RET" > /answer\n'
    )
    assert run(body, templates=CHOICE).text("/answer") == "one\n"
    assert run(body, templates=CHOICE, answers={"mine/which": "two"}).text("/answer") == "two\n"
    assert run(body, templates=CHOICE, answers={"mine/which": "three"}).text("/answer") == "one\n"


def test_what_a_config_script_offers_is_known_to_the_postinst() -> None:
    tree = Tree()
    scripts = {
        "config": "#!/bin/sh\n. /usr/share/debconf/confmodule\ndb_subst mine/which list one, two\n",
        "postinst": "#!/bin/sh\n. /usr/share/debconf/confmodule\ndb_metaget mine/which choices\necho $RET > /choices\n",
        "templates": CHOICE,
    }
    evaluate(tree, "mine", scripts, Installation("amd64", {}), COMMANDS)
    assert tree.read_text("/choices") == "one, two\n"


def test_a_directory_of_the_package_is_not_there_before_it_is_unpacked(run: Callable[..., Outcome]) -> None:
    files = {
        "/usr/share/doc/mine": make_directory(origin="package:mine"),
        "/usr/share/doc/mine/a": make_file("", origin="package:mine"),
        "/usr/share/both": make_directory(origin="package:mine"),
        "/usr/share/both/b": make_file("", origin="package:other"),
    }
    outcome = run(
        "test ! -d /usr/share/doc/mine && touch /gone; test -d /usr/share/both && touch /there", files, name="preinst"
    )
    assert "/gone" in outcome.tree
    assert "/there" in outcome.tree


def test_dpkg_says_whose_a_file_is_by_the_path_it_was_packed_with(run: Callable[..., Outcome]) -> None:
    outcome = run(
        "dpkg -S /usr/sbin/halt > /out; dpkg -S /sbin/halt || touch /by-a-link; dpkg -S /no || touch /nobody",
        {"/usr/sbin/halt": make_symlink("../bin/systemctl", origin="package:other")},
    )
    assert outcome.text("/out") == "other: /usr/sbin/halt\n"
    assert "/by-a-link" in outcome.tree
    assert "/nobody" in outcome.tree


def test_find_takes_either_of_two_and_prunes(run: Callable[..., Outcome]) -> None:
    files = {"/d/a.c": "", "/d/b.h": "", "/d/x/c.c": "", "/d/e.txt": ""}
    outcome = run(
        "find /d -name x -prune -o \\( -name '*.c' -o -name '*.h' \\) -print > /out\n"
        "find /d -type f -printf '%f %P\\n' > /named\nfind /d -name a.c -exec test -f {} \\; -delete",
        files,
    )
    assert outcome.unmodelled == []
    assert outcome.text("/out") == "/d/a.c\n/d/b.h\n"
    assert outcome.text("/named") == "a.c a.c\nb.h b.h\ne.txt e.txt\nc.c x/c.c\n"
    assert "/d/a.c" not in outcome.tree
