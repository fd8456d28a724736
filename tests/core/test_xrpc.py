"""Parameters as the network sends them, frames as it reads them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dagcbor import decode_multi
from core.errors import XrpcError
from core.xrpc import Param, decode_params, error_frame, message_frame

DECLARED = (
    Param("uris", array=True, required=True),
    Param("limit", "integer", default=50, minimum=1, maximum=250),
    Param("flag", "boolean", default=False),
    Param("cursor"),
    Param("numbers", "integer", array=True),
)


def decoded(*pairs: tuple[str, str]) -> dict[str, object]:
    return decode_params(DECLARED, [("uris", "a"), *pairs])


def test_p194_absent_parameters_take_their_defaults() -> None:
    assert decoded() == {"uris": ["a"], "limit": 50, "flag": False, "cursor": None, "numbers": []}


def test_p52_p194_repeated_keys_make_arrays_and_commas_are_kept() -> None:
    assert decoded(("uris", "b,c"), ("numbers", "1"), ("numbers", "-2"))["uris"] == ["a", "b,c"]
    assert decoded(("numbers", "1"), ("numbers", "-2"))["numbers"] == [1, -2]


def test_p194_unknown_names_are_ignored_and_empty_values_absent() -> None:
    assert decoded(("x", "1"), ("uris[]", "b"), ("limit", ""), ("cursor", "")) == decoded()


@pytest.mark.parametrize(
    "pair",
    [
        ("limit", "0"),
        ("limit", "251"),
        ("limit", "ten"),
        ("limit", "1.0"),
        ("limit", " 1"),
        ("limit", "+1"),
        ("limit", "١"),
        ("limit", "1\n"),
        ("limit", "9" * 30),
        ("flag", "1"),
        ("flag", "True"),
        ("numbers", "x"),
        ("cursor", "c" * 8193),
    ],
    ids=lambda pair: f"{pair[0]}={pair[1][:12]!r}",
)
def test_p51_p194_ill_typed_values_are_invalid_requests(pair: tuple[str, str]) -> None:
    with pytest.raises(XrpcError) as caught:
        decoded(pair)
    assert (caught.value.name, caught.value.status) == ("InvalidRequest", 400)


def test_p194_a_scalar_given_twice_and_a_missing_one_are_refused() -> None:
    with pytest.raises(XrpcError):
        decoded(("limit", "1"), ("limit", "1"))
    with pytest.raises(XrpcError):
        decode_params(DECLARED, [("uris", "")])


@given(st.lists(st.tuples(st.sampled_from([param.name for param in DECLARED]), st.text(max_size=8))))
def test_p192_any_query_is_decoded_or_refused_by_name(pairs: list[tuple[str, str]]) -> None:
    with suppress(XrpcError):
        params = decode_params(DECLARED, pairs)
        assert set(params) == {param.name for param in DECLARED}
        assert 1 <= params["limit"] <= 250


def test_p64_message_and_error_frames_are_two_items() -> None:
    assert decode_multi(message_frame("#info", {"name": "x"})) == [{"op": 1, "t": "#info"}, {"name": "x"}]
    assert decode_multi(error_frame("FutureCursor")) == [{"op": -1}, {"error": "FutureCursor"}]
    assert decode_multi(error_frame("FutureCursor", "why"))[1] == {"error": "FutureCursor", "message": "why"}
