"""The Tang server of tests multiplies points as the real one does."""

from __future__ import annotations

import pytest

from vm.fakes.tang import (
    BASE,
    ORDER,
    add_points,
    compute_thumbprint,
    decode_number,
    encode_text,
    is_on_curve,
    make_jwk,
    multiply_point,
)

pytestmark = pytest.mark.unit


def test_the_curve_is_p_521() -> None:
    assert is_on_curve(BASE)
    assert multiply_point(ORDER, BASE) is None
    assert add_points(multiply_point(ORDER - 1, BASE), BASE) is None


def test_client_and_server_come_to_the_same_secret() -> None:
    server, client, blind = 0x1234567, 0xABCDEF, 0x5A5A5A
    sent = add_points(multiply_point(client, BASE), multiply_point(blind, BASE))
    answered = multiply_point(server, sent)
    assert is_on_curve(answered)
    unblinded = add_points(answered, multiply_point(ORDER - blind, multiply_point(server, BASE)))
    assert unblinded == multiply_point(client, multiply_point(server, BASE))


def test_numbers_are_written_and_read() -> None:
    assert decode_number(encode_text((5).to_bytes(66))) == 5
    assert len(str(make_jwk(BASE)["x"])) == 88
    assert len(compute_thumbprint(make_jwk(BASE))) == 43
