"""What a config wants of Tang servers and of several keys together, and what comes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firstboot.apply.disks.clevis import add_command, make_token
from firstboot.apply.disks.luks import format_crypttab_options
from firstboot.apply.disks.plan import plan_devices
from firstboot.apply.programs import Programs
from firstboot.config.clevis import Binding, add_advertisements, find_binding, locate_advertisement
from firstboot.config.devices import Clevis, ClevisCustom, Luks, Tang
from firstboot.config.text import LocatedError, Problem
from firstboot.engine.compile import load
from firstboot.engine.resources import list_keys

pytestmark = pytest.mark.unit

ONE = Tang(url="http://one", thumbprint="a")
TWO = Tang(url="http://two/", thumbprint="b", advertisement='{"payload": "x"}')
HEAD = "variant: buildos\nversion: 1.0.0\n"
SERVERS = "storage: {luks: [{name: x, device: /dev/x, clevis: {tang: [{url: 'http://one', thumbprint: a}]}}]}\n"


def bound(**clevis: Any) -> Binding | None:
    return find_binding(Luks(name="x", clevis=Clevis(**clevis)))


def test_what_the_tpm_does_is_nothing_for_clevis() -> None:
    assert bound() is None
    assert bound(tpm2=True) is None
    assert bound(tpm2=True, threshold=1) is None
    assert bound(custom=ClevisCustom(pin="tpm2", config="{}")) is None


def test_one_server_is_a_pin_of_its_own_and_several_are_a_threshold() -> None:
    assert bound(tang=(ONE,)) == Binding("tang", {"url": "http://one", "thp": "a"}, network=True)
    several = bound(tang=(ONE, TWO), threshold=2)
    assert several is not None
    told = {"url": "http://two/", "thp": "b", "adv": {"payload": "x"}}
    assert several.config == {"t": 2, "pins": {"tang": [{"url": "http://one", "thp": "a"}, told]}}
    with_tpm = bound(tang=(ONE,), tpm2=True)
    assert with_tpm is not None
    assert (with_tpm.pin, with_tpm.config["t"], with_tpm.pins) == ("sss", 1, {"sss", "tang", "tpm2"})


def test_a_pin_of_another_kind_is_passed_on() -> None:
    inside = {"t": 1, "pins": {"sss": [{"pins": {"tang": []}}]}}
    custom = ClevisCustom(pin="sss", config=json.dumps(inside), needs_network=True)
    pin = bound(custom=custom)
    assert pin is not None
    assert (pin.pins, pin.network) == ({"sss", "tang"}, True)
    other = bound(custom=ClevisCustom(pin="pkcs11", config="{}"))
    assert other == Binding("pkcs11", {}, network=False)


def test_a_device_that_needs_a_server_waits_for_the_network() -> None:
    assert format_crypttab_options(Luks(name="x", clevis=Clevis(tang=(ONE,)))) == "luks,_netdev"
    assert format_crypttab_options(Luks(name="x", clevis=Clevis(tpm2=True, tang=(ONE,)))) == "luks,_netdev"


@pytest.mark.parametrize(
    ("clevis", "complaint"),
    [
        ("{tang: [{url: 'http://one', thumbprint: a}], threshold: 2}", "2 of 1 cannot answer"),
        ("{tang: [{url: 'http://one', thumbprint: a}], threshold: 0}", "0 of 1 cannot answer"),
        ("{tpm2: true, threshold: 2}", "2 of 1 cannot answer"),
        ("{threshold: 1}", "1 of 0 cannot answer"),
        ("{custom: {pin: sss, config: '[]'}}", "it is no JSON object"),
    ],
)
def test_what_could_never_be_opened_is_refused(clevis: str, complaint: str) -> None:
    with pytest.raises(LocatedError, match=complaint):
        load(f"{HEAD}storage: {{luks: [{{name: x, device: /dev/x, clevis: {clevis}}}]}}\n", "m.yaml")


def test_servers_are_asked_before_a_disk_is_touched() -> None:
    assert locate_advertisement(TWO).source == "http://two/adv/b"
    config = load(HEAD + SERVERS, "m.yaml").config
    assert [(path, each.source) for path, each in list_keys(config)] == [
        (("storage", "luks", 0, "clevis", "tang", 0), "http://one/adv/a")
    ]
    binding = bound(tang=(ONE, TWO), threshold=2)
    assert binding is not None
    told = add_advertisements(binding, {"http://one": {"payload": "y"}})
    assert [each["adv"] for each in told.config["pins"]["tang"]] == [{"payload": "y"}, {"payload": "x"}]
    alone = bound(tang=(ONE,))
    assert alone is not None
    assert add_advertisements(alone, {"http://one": {}}).config == {"url": "http://one", "thp": "a", "adv": {}}


def test_an_image_without_clevis_says_which_feature_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Programs, "find", lambda _self, name: None if name.startswith("clevis") else name)
    problems = [
        each for each in plan_devices(load(HEAD + SERVERS, "m.yaml").config, Programs()) if isinstance(each, Problem)
    ]
    assert [each.message for each in problems] == [
        "needs the program clevis, which is not in the image",
        "needs the program clevis-encrypt-tang, which is not in the image",
    ]
    assert "the feature 'clevis'" in str(problems[0].hint)


def test_a_header_says_what_clevis_reads() -> None:
    assert json.dumps(make_token({"tag": "x"})) == '{"type": "clevis", "keyslots": ["1"], "jwe": {"tag": "x"}}'
    words = add_command("/dev/x", "/run/old", "/run/new")
    assert words[:2] == ["cryptsetup", "luksAddKey"]
    assert words[words.index("--key-slot") + 1] == "1"
    assert words[-2:] == ["/dev/x", "/run/new"]
