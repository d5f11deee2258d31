"""What bash has and POSIX has not: arrays, and more ways to expand. Bash 5.2 itself was seen to answer like this."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.debian.scripts.conftest import Outcome

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('a=(one "two words"); a+=(four); echo "${#a[@]}:${a[1]}:${a[-1]}"', "3:two words:four"),
        ('a=(x "y z"); for e in "${a[@]}"; do printf "<%s>" "$e"; done', "<x><y z>"),
        ('a=(x "y z"); for e in ${a[@]}; do printf "<%s>" "$e"; done', "<x><y><z>"),
        ('b[2]=x; b[0]=y; echo "${!b[@]}=${b[*]}"', "0 2=y x"),
        ('a=(p q r); unset "a[1]"; i=2; echo "${#a[@]} ${a[i]} ${a[$i]} ${!a[@]}"', "2 r r 0 2"),
        ('declare -A m=([k]=v [o]="w x"); m[n]=1; echo "${m[k]},${m[o]},${#m[@]}"', "v,w x,3"),
        ('e=(); for z in "${e[@]}"; do echo no; done; echo "${#e[@]}${e[@]:-none}"', "0none"),
        ('a=($(echo p q)); echo "${a[1]}$a"', "qp"),
        ('f() { local -a l=(1 2); local a=(in); echo "${#l[@]}${a[*]}"; }; a=(out er); f; echo "${a[*]}${#l[@]}"',
         "2in\nout er0"),
        ('s=hello/world; echo "${s/o/0} ${s//o/0} ${s/#hello/bye} ${s/%d/t} ${s/l}"',
         "hell0/world hell0/w0rld bye/world hello/worlt helo/world"),
        ('s=hello; echo "${s:0:2} ${s:3} ${s: -2} ${s^} ${s^^}"', "he lo lo Hello HELLO"),
        ('a=(a.c b.c); echo "${a[@]%.c} ${a[@]/#/-}"', "a b -a.c -b.c"),
        ('for ((i=0; i<3; i++)); do printf "$i,"; done; echo "$i"', "0,1,2,3"),
        ('for (( i = 5, j = 0 ; i > j ; j += 2 )) do [ $j = 2 ] && continue; printf "$j "; done; echo "$i$j"',
         "0 4 56"),
        ('for ((;;)); do n=x$n; [ $n = xxx ] && break; done; echo "$n"', "xxx"),
        ('set -e; a=(p q); for ((i=0; i<${#a[@]}; i=(i+1))); do printf "${a[i]}"; done; echo', "pq"),
        ('for ((i=0; i<2; i++))\ndo for ((j=0; j<2; j++)); do [ $j = 1 ] && continue 2; printf "$i$j,"; done; done',
         "00,10,"),
        ('n=s; s=x; echo "${!n}"; s+=y; cat <<< "$s"', "x\nxy"),
    ],
)  # fmt: skip
def test_a_script_for_bash_is_evaluated_as_bash_does(run: Callable[..., Outcome], body: str, expected: str) -> None:
    outcome = run(f"{{\n{body}\n}} > /out", shell="bash")
    assert outcome.unmodelled == []
    assert outcome.text("/out").rstrip("\n") == expected


def test_a_loop_that_lasts_as_long_as_the_machine_says_is_not_modelled(run: Callable[..., Outcome]) -> None:
    outcome = run('for ((i=0; i<$(nproc); i++)); do echo "$i" > /out; done', shell="bash")
    assert {line for line, _ in outcome.unmodelled} == {2}
    assert "/out" not in outcome.tree


def test_a_loop_of_two_expressions_cannot_be_read(run: Callable[..., Outcome]) -> None:
    outcome = run("for ((i=0; i<2)); do echo; done", shell="bash")
    assert outcome.unmodelled == [(2, "'for ((' needs three expressions")]


def test_an_array_that_depends_on_the_machine_is_not_written(run: Callable[..., Outcome]) -> None:
    outcome = run('a=($(date)); echo "${a[0]}" > /out', shell="bash")
    assert len(outcome.unmodelled) == 1
    assert "/out" not in outcome.tree


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        ("! $nothing && -e /etc/passwd", True),
        ("$nothing", False),
        ("$two == 'a b'", True),
        ("$two == a*", True),
        ('$two == "a*"', False),
        ("$two == $star", True),
        ('$two == "$star"', False),
        ("$two != *c*", True),
        ("/etc/pass* == '/etc/pass*'", True),
        (r"$two == a\ *", True),
        ("-z $nothing || $two", True),
    ],
)
def test_words_of_a_condition_are_neither_split_nor_paths(run: Callable[..., Outcome], test: str, holds: bool) -> None:
    outcome = run(f"two='a b'\nstar='a*'\nif [[ {test} ]]; then touch /yes; fi", shell="bash")
    assert outcome.unmodelled == []
    assert (outcome.tree.get("/yes") is not None) is holds
