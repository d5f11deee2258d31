"""sed and awk, as the programs themselves (GNU sed 4.9, mawk 1.3.4) were seen to answer."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest

from builder.tree.node import make_file, make_symlink
from tests.unit.debian.scripts.conftest import Outcome

pytestmark = pytest.mark.unit

NUMBERS = "one\ntwo\nthree\nfour\nfive\nsix\n"
WORDS = "a b c\n1 2 3\nfoo:bar:baz\n\nx=1 # c\n"
STATUS = "Package: a\nStatus: install ok installed\nDepends: b, erlang-base\n\nPackage: c\nStatus: x\n"
SED = [
    ("sed ':a;N;$!ba;s/\\n/,/g'", NUMBERS, "one,two,three,four,five,six\n"),
    ("sed 'N;P;D'", NUMBERS, NUMBERS),
    ("sed '1!G;h;$!d'", "a\nb\nc\n", "c\nb\na\n"),
    ("sed '$!{h;d};x;G'", NUMBERS, "five\nsix\n"),
    ("sed -n '$='", NUMBERS, "6\n"),
    ("sed '0,/o/s/o/X/'", NUMBERS, "Xne\ntwo\nthree\nfour\nfive\nsix\n"),
    ("sed '0,/^[# ]* *$/ s/^[# ]* *$//'", "# a\n#\n\nb\n", "# a\n\n\nb\n"),
    ("sed '/two/,/four/d'", NUMBERS, "one\nfive\nsix\n"),
    ("sed '2,+1d;1~5s/$/!/'", NUMBERS, "one!\nfour\nfive\nsix!\n"),
    ("sed 's/x/y/;t;s/^/- /'", "x\nz\n", "y\n- z\n"),
    ("sed '/b/b end;s/^/> /;:end'", "a\nb\n", "> a\nb\n"),
    ("sed '2i\\\nINS' | sed '$a APP'", "a\nb\n", "a\nINS\nb\nAPP\n"),
    ("sed '2,3c CHG'", NUMBERS, "one\nCHG\nfour\nfive\nsix\n"),
    ("sed 's/.*/\\U&/;s/O/\\l&/'", "one\n", "oNE\n"),
    ("sed 's/b*/x/g'", "abc\n", "xaxcx\n"),
    ("sed 's|[^|]*|X|;s/[/]/_/'", "a|b/c\n", "X|b_c\n"),
    ("sed 's/a/b/;p'", "a", "b\nb"),
    ("sed -z 's/\\n/,/g'", "a\nb\n", "a,b,"),
    ("sed -E -e 's/(.)(.)/\\2\\1/' -e y/abc/xyz/", "abc\n", "yxz\n"),
    ("sed 'n;d'", NUMBERS, "one\nthree\nfive\n"),
    ("sed 2q", NUMBERS, "one\ntwo\n"),
]
AWK = [
    ("awk '{n += $1} END {print n}'", "1\n2\n3.5\n", "6.5\n"),
    ("awk -F: '$3 > 1 {print $1, $NF}'", "root:x:0:sh\nbin:x:2:no\n", "bin no\n"),
    ("awk '!seen[$0]++'", "a\nb\na\n", "a\nb\n"),
    ('awk \'{gsub(/o/, "0"); sub("f", "<&>"); print}\'', "foo\n", "<f>00\n"),
    ('awk \'{split($0, p, ":"); print p[3] "-" p[1]}\'', "a:b:c\n", "c-a\n"),
    ("awk '{printf \"%s|%3d|%-3s|%%\\n\", $1, $2, $3}'", "a 2 c\n", "a|  2|c  |%\n"),
    ("awk '/two/,/four/'", NUMBERS, "two\nthree\nfour\n"),
    ("awk 'function f(a, b) {return a * b} {print f(NR, 2)}'", "x\ny\n", "2\n4\n"),
    ('awk \'BEGIN {RS = ""} {print NR "=" $2}\'', STATUS, "1=a\n2=c\n"),
    ("awk '{NF = 2; print; $1 = \"X\"; print}' OFS=-", "a b c\n", "a-b\nX-b\n"),
    ("awk '{if (match($0, /[0-9]+/)) print RSTART, RLENGTH; else print \"none\"}'", WORDS[:8], "none\n1 1\n"),
    ("awk -v x=3 'BEGIN {while (i < 2) {i++; print i + x}}'", "", "4\n5\n"),
    ('awk \'BEGIN {print 1 == 1.0, "a" < "b", 10 < 9, "10" < "9", 7 % 3, 2 ^ 3, 1 / 4}\'', "", "1 1 0 1 1 8 0.25\n"),
    ('awk \'{print ($1 == "1") ? "yes" : "no"}\'', "1\n2\n", "yes\nno\n"),
    ("awk 'NR == 1 {next} {print toupper(substr($0, 2)); exit}'", "a\nbcd\ne\n", "CD\n"),
    ("awk '{print $1 > \"/by-awk\"} END {print NR}'", "a\nb\n", "2\n"),
    ('awk \'/^LANG=/ {gsub("\\"", ""); sub("LANG=", ""); l=$0;} END {print l}\'', 'LANG="x"\n', "x\n"),
    (
        "awk '{if ($1 ~ /^Package:/) {p=$2;i=0} else if ($0 ~ /^Status:.* installed$/) {i=1}"
        " else if ((i==1) && ($0 ~ /^Depends:.* erlang/)) {print p}}'",
        STATUS,
        "a\n",
    ),
]


@pytest.mark.parametrize(("command", "text", "expected"), [*SED, *AWK], ids=lambda value: value[:60])
def test_a_filter_writes_what_the_program_writes(
    run: Callable[..., Outcome], command: str, text: str, expected: str
) -> None:
    outcome = run(f"cat /in | {command} > /out", {"/in": text})
    assert outcome.unmodelled == []
    assert outcome.text("/out") == expected


def test_awk_writes_the_files_that_it_names(run: Callable[..., Outcome]) -> None:
    outcome = run('echo a b | awk \'{print $1 > "/one"; print $2 >> "/two"}\'', {"/one": "old\n", "/two": "old\n"})
    assert outcome.unmodelled == []
    assert (outcome.text("/one"), outcome.text("/two")) == ("a\n", "old\nb\n")


@pytest.mark.parametrize(
    "command",
    ["sed 'w /gone/f'", "sed e", "sed 's/a/b/e'", "sed b:", "sed '{p'", "sed ':a;ba'", "sort -R", "md5sum -c",
     "awk '{while (getline line < (\"/etc/\" $1)) print line}'", "awk '{\"id\" | getline x; print x}'",
     "awk '{print | \"sort\"}'", "awk '{print > (\"/gone/\" $1)}'", "awk 'BEGIN {system(\"x\")}'",
     "awk 'BEGIN {srand(); print rand()}'", "awk '{print'",
     "awk 'BEGIN {while (1) i++}'"],
)  # fmt: skip
def test_what_is_not_understood_is_not_guessed_at(run: Callable[..., Outcome], command: str) -> None:
    outcome = run(f"echo a | {command} > {shlex.quote('/out')}")
    assert [line for line, _ in outcome.unmodelled] == [2]


FILES = [
    ("sed -i.bak s/a/b/ /f", {"/f": "a\n"}, {"/f": "b\n", "/f.bak": "a\n"}),
    ("cd /etc; sed -i -e s/a/b/ -e '$r more' f", {"/etc/f": "a\n", "/etc/more": "c\n"}, {"/etc/f": "b\nc\n"}),
    ("echo a | sed 's/a/b/w /etc/new' > /out", {"/etc/x": ""}, {"/etc/new": "b\n", "/out": "b\n"}),
    ("sed -f /p /f > /out", {"/p": "s/a/b/\nr /more\n", "/f": "a\n", "/more": "c\n"}, {"/out": "b\nc\n"}),
    ("grep -rh one /etc/d | sort > /out", {"/etc/d/a": "one\n", "/etc/d/e/b": "a one\n"}, {"/out": "a one\none\n"}),
    ("grep -f /p /f > /out", {"/p": "b\n", "/f": "a\nb\n"}, {"/out": "b\n"}),
    ("sort -o /f /f", {"/f": "b\na\n"}, {"/f": "a\nb\n"}),
    ("echo b | awk 'NR == FNR {n[$1] = $2; next} {print n[$1]}' /f - > /out", {"/f": "a 1\nb 2\n"}, {"/out": "2\n"}),
    ("awk '{print; print \"said\" > \"/dev/stderr\"}' /f > /out", {"/f": "a\n"}, {"/out": "a\n"}),
    ("awk '/x/' /f > /out; sed -n '$p' /f >> /out", {"/f": "x system(y)\nr /tmp\n"}, {"/out": "x system(y)\nr /tmp\n"}),
    ("echo x | grep -c x - /dev/null > /out", {}, {"/out": "(standard input):1\n/dev/null:0\n"}),
    ("sed 's/$/!/' /gone /f > /out || echo $? >> /out", {"/f": "a\n"}, {"/out": "a!\n2\n"}),
    ("diff -u --label a --label b /a /b | tail -n +3 > /out", {"/a": "1\n", "/b": "2\n"},
     {"/out": "@@ -1 +1 @@\n-1\n+2\n"}),
]  # fmt: skip


@pytest.mark.parametrize(("script", "files", "expected"), FILES, ids=lambda value: str(value)[:50])
def test_a_filter_reads_and_writes_the_files_of_the_image(
    run: Callable[..., Outcome], script: str, files: dict[str, str], expected: dict[str, str]
) -> None:
    outcome = run(script, files)
    assert outcome.unmodelled == []
    assert {path: outcome.text(path) for path in expected} == expected


def test_a_link_is_replaced_by_the_file_that_it_led_to_as_sed_does_it(run: Callable[..., Outcome]) -> None:
    link = make_symlink("../f", origin="package:other")
    outcome = run("sed -i s/a/b/ /etc/link", {"/f": make_file("a\n", 0o640, origin="package:other"), "/etc/link": link})
    assert outcome.unmodelled == []
    assert (outcome.text("/f"), outcome.text("/etc/link")) == ("a\n", "b\n")
    assert outcome.tree.require("/etc/link", follow=False).mode == 0o640


@pytest.mark.parametrize(
    "script", ["grep -q x /proc/cpuinfo", "hostname | grep -q a", "cmp -s /f /proc/version", "grep -q $(hostname) /f"]
)
def test_what_is_not_known_stays_so(run: Callable[..., Outcome], script: str) -> None:
    outcome = run(f"if {script}; then touch /x; fi", {"/f": "a\n"})
    assert [reason for _, reason in outcome.unmodelled] == [
        "what happens here depends on something that only a running machine knows"
    ]


@pytest.mark.parametrize("script", ["hostname | grep -q a /f", "hostname | sed s/a/b/ /f"])
def test_what_a_filter_does_not_read_makes_no_difference(run: Callable[..., Outcome], script: str) -> None:
    assert run(f"if {script} > /out; then touch /x; fi", {"/f": "a\n"}).unmodelled == []
