"""The Tang server of tests multiplies points as the real one does."""

from __future__ import annotations

import pytest

from vm.fakes.tang import BASE, ORDER, added, is_on_curve, jwk, multiplied, number, text, thumbprint

pytestmark = pytest.mark.unit


def test_the_curve_is_p_521() -> None:
    assert is_on_curve(BASE)
    assert multiplied(ORDER, BASE) is None
    assert added(multiplied(ORDER - 1, BASE), BASE) is None


def test_client_and_server_come_to_the_same_secret() -> None:
    server, client, blind = 0x1234567, 0xABCDEF, 0x5A5A5A
    sent = added(multiplied(client, BASE), multiplied(blind, BASE))
    answered = multiplied(server, sent)
    assert is_on_curve(answered)
    unblinded = added(answered, multiplied(ORDER - blind, multiplied(server, BASE)))
    assert unblinded == multiplied(client, multiplied(server, BASE))


def test_numbers_are_written_and_read() -> None:
    assert number(text((5).to_bytes(66))) == 5
    assert len(str(jwk(BASE)["x"])) == 88
    assert len(thumbprint(jwk(BASE))) == 43
