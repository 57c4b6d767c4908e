from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.journal.redaction.forms import Forms

#: Some short, and so many long ones that a set of blocks stands for them.
MANY = [b"abc", b"bcab", *(b"%d-" % number * 20 for number in range(10, 60))]
FEW = [b"abc", b"abcabcabc" * 5, b"cba" * 15]


@pytest.mark.parametrize("forms", [MANY, FEW])
@pytest.mark.parametrize("before", range(0, 40, 3))
def test_each_form_is_found_wherever_it_stands(forms: list[bytes], before: int) -> None:
    sought = Forms(forms)
    for form in forms:
        data = b"." * before + form + b"."
        assert sought.found_in(data)
        assert (before, before + len(form)) in sought.spans(data)
    assert not sought.found_in(b"." * 100 + b"10-" * 11)
    assert sought.spans(b"." * 100 + b"10-" * 11) == []


@pytest.mark.parametrize("forms", [MANY, FEW])
def test_each_beginning_of_a_form_is_known(forms: list[bytes]) -> None:
    sought = Forms(forms)
    for form in forms:
        for size in range(1, len(form)):
            begun = dict(sought.begun(b".." + form[:size]))
            assert begun[2] >= len(form) or size == 0
    assert list(sought.begun(b"...")) == []
    assert list(sought.begun(b"")) == []


@given(st.binary(max_size=200))
def test_a_block_alone_is_no_form(around: bytes) -> None:
    data = around.replace(b"-", b"") + b"10-" * 12 + b"!"
    assert not Forms(MANY[2:]).found_in(data)
    assert Forms(()).found_in(data) is False
    assert not Forms(())
