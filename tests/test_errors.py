"""Errors that get the name of a field from the code that knows it."""

import pytest

from sagan_jax import errors


class _SpecialError(errors.UserError):
    pass


def test_the_field_stands_before_the_message() -> None:
    with pytest.raises(errors.UserError) as caught, errors.naming("data.path"):
        raise errors.UserError("'here' is empty; add images.")
    assert str(caught.value) == "data.path: 'here' is empty; add images."


def test_a_message_that_starts_with_the_value_follows_an_equals_sign() -> None:
    with pytest.raises(errors.UserError) as caught, errors.naming("data.path", "here"):
        raise errors.UserError("'here' is empty; add images.")
    assert str(caught.value) == "data.path='here' is empty; add images."


def test_a_message_about_another_value_follows_a_colon() -> None:
    with pytest.raises(errors.UserError) as caught, errors.naming("data.path", "here"):
        raise errors.UserError("'here/a.png' is empty; remove it.")
    assert str(caught.value) == "data.path: 'here/a.png' is empty; remove it."


def test_a_remedy_is_added_before_the_full_stop() -> None:
    error = _SpecialError("it is empty; remove it.")
    error.add_remedy(", or set --fill")
    assert str(error) == "it is empty; remove it, or set --fill."


def test_the_type_is_kept() -> None:
    with pytest.raises(_SpecialError, match=r"^OUT: full"), errors.naming("OUT"):
        raise _SpecialError("full")


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(KeyError, match=r"^'a'$"), errors.naming("data.path"):
        raise KeyError("a")
