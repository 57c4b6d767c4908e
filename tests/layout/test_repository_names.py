"""One grammar of repositories: what a tako.yml or config.yml may name, everything that runs accepts."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tako.events.matching import ArtifactReference, parse_artifact
from tako.layout.repository_names import reference_problem, repository_problem
from tako.repositories.reference import parse_reference, parse_repository

_PARTS = st.lists(
    st.from_regex(r"[a-zA-Z0-9_.+@%-]{1,8}(:[0-9]{1,2})?", fullmatch=True), min_size=1, max_size=4
)


@given(_PARTS.map("/".join))
@example("@acme/lib")
@example("acme/+lib")
@example("localhost:3000/acme/lib")
def test_a_repository_is_one_to_every_reader_or_to_none(text: str) -> None:
    if repository_problem(text):
        return
    assert parse_repository(text).text == text
    assert parse_artifact(f"{text}:wheel") == ArtifactReference(text, "wheel")
    assert reference_problem(f"{text}:main") == ""
    assert parse_reference(f"{text}:main").text == f"{text}:main"


@pytest.mark.parametrize("branch", ["a b", "../x", "x.lock", "HEAD", "b" * 201])
def test_a_branch_that_a_run_refuses_is_a_mistake_of_config_yml_too(branch: str) -> None:
    assert reference_problem(f"acme/lib:{branch}") != ""
