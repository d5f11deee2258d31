"""sed and awk, as the programs themselves (GNU sed 4.9, mawk 1.3.4) were seen to answer."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest

from tests.unit.scripts.conftest import Outcome

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
    assert outcome.unaccounted == []
    assert outcome.text("/out") == expected


def test_awk_writes_the_files_that_it_names(run: Callable[..., Outcome]) -> None:
    outcome = run('echo a b | awk \'{print $1 > "/one"; print $2 >> "/two"}\'', {"/one": "old\n", "/two": "old\n"})
    assert outcome.unaccounted == []
    assert (outcome.text("/one"), outcome.text("/two")) == ("a\n", "old\nb\n")


@pytest.mark.parametrize(
    "command",
    ["sed 'w /f'", "sed e", "sed 's/a/b/e'", "sed b:", "sed '{p'", "sed ':a;ba'", "awk '{getline; print}'",
     "awk 'BEGIN {system(\"x\")}'", "awk 'BEGIN {srand(); print rand()}'", "awk '{print'",
     "awk 'BEGIN {while (1) i++}'"],
)  # fmt: skip
def test_what_is_not_understood_is_not_guessed_at(run: Callable[..., Outcome], command: str) -> None:
    outcome = run(f"echo a | {command} > {shlex.quote('/out')}")
    assert [line for line, _ in outcome.unaccounted] == [2]
