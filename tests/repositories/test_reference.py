"""Names of repositories and what is guessed from URLs."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tako.errors import ReferenceInvalidError
from tako.layout.repository_names import branch_problem
from tako.repositories.reference import (
    Reference,
    Repository,
    parse_reference,
    parse_repository,
    repository_from_url,
)


@pytest.mark.parametrize(
    ("text", "host", "owner", "name", "branch"),
    [
        ("acme/lib", "", "acme", "lib", None),
        ("acme/lib:main", "", "acme", "lib", "main"),
        ("acme/lib:feature/x", "", "acme", "lib", "feature/x"),
        ("acme/group/lib", "", "acme/group", "lib", None),
        ("github.com/acme/lib", "github.com", "acme", "lib", None),
        ("github.com/acme/group/sub/lib:v1.x", "github.com", "acme/group/sub", "lib", "v1.x"),
        ("localhost:3000/acme/lib:main", "localhost:3000", "acme", "lib", "main"),
        # With only two parts a dot belongs to the owner.
        ("my.org/lib", "", "my.org", "lib", None),
        ("Acme/Lib.js", "", "Acme", "Lib.js", None),
    ],
)
def test_a_reference_is_read_into_its_parts(
    text: str, host: str, owner: str, name: str, branch: str | None
) -> None:
    assert parse_reference(text) == Reference(Repository(host, owner, name), branch)
    assert parse_reference(text).text == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("lib", "an owner and a name are needed"),
        ("/etc/passwd", "absolute"),
        ("~/lib", "starts with '~'"),
        ("-o/lib", "starts with '-'"),
        ("acme/-lib", "starts with '-'"),
        ("acme/~lib", "starts with '~'"),
        ("../lib", "it leads out with '..'"),
        ("acme/..", "it leads out with '..'"),
        ("acme/./lib", "'.' is not a name"),
        ("acme//lib", "empty part"),
        ("acme/", "empty part"),
        ("acme/li\0b", "control character"),
        ("acme/lib\n", "control character"),
        ("acme/li b", "holds more than"),
        ("acme/l\\ib", "holds more than"),
        ("acme/läb", "holds more than"),
        ("acme/a%2Fb", "holds more than"),
        ("acme/lib.git", "'.git'"),
        ("a:b/lib", "holds more than"),
        ("bad_host.x/acme/lib", "is not a host"),
        ("..a/acme/lib", "is not a host"),
        ("host:port/acme/lib", "is not a host"),
        ("a/" + "b" * 101, "longer than 100"),
        ("a/" + "b" * 300, "longer than 200"),
        ("/".join(["a" * 40] * 5), "longer than 200"),
        ("/".join(["a"] * 100), "too long"),
        ("acme/lib:", "it is empty"),
        ("acme/lib:a..b", "'..'"),
        ("acme/lib:-x", "git does not allow it"),
        ("acme/lib:@", "git does not allow it"),
        ("acme/lib:HEAD", "git does not allow it"),
        ("acme/lib:a b", "space or control"),
        ("acme/lib:a:b", "':'"),
        ("acme/lib:a~1", "'~'"),
        ("acme/lib:a^", "'^'"),
        ("acme/lib:a?", "'?'"),
        ("acme/lib:a*", "'*'"),
        ("acme/lib:a[", "'['"),
        ("acme/lib:a\\b", "holds '\\\\'"),
        ("acme/lib:a@{b", "'@{'"),
        ("acme/lib:a.", "git does not allow it"),
        ("acme/lib:a/.b", "starts with '.'"),
        ("acme/lib:a.lock/b", "ends with '.lock'"),
        ("acme/lib:a//b", "empty part"),
        ("acme/lib:/a", "empty part"),
        ("acme/lib:a/", "empty part"),
        ("acme/lib:" + "ä" * 100, "too long"),
    ],
)
def test_a_name_outside_the_grammar_is_refused_with_the_rule(text: str, why: str) -> None:
    with pytest.raises(ReferenceInvalidError) as caught:
        parse_reference(text)
    assert why in caught.value.message.replace('"', "'")
    assert len(caught.value.message) < 400


def test_an_overlong_branch_is_refused() -> None:
    with pytest.raises(ReferenceInvalidError, match="longer"):
        parse_reference("a/b:" + "c" * 197)


def test_case_does_not_count_and_a_missing_host_matches_any() -> None:
    plain, hosted = parse_repository("Acme/Lib"), parse_repository("github.com/acme/LIB")
    assert plain.key == "acme/lib"
    assert plain.matches(hosted)
    assert hosted.matches(plain)
    assert not hosted.matches(parse_repository("gitlab.com/acme/lib"))
    assert not plain.matches(parse_repository("acme/other"))


def test_directory_parts_are_lower_case_and_single() -> None:
    repository = parse_repository("GitHub.com/Acme/Group/Lib")
    assert (repository.owner_part, repository.name_part) == ("github.com%2Facme%2Fgroup", "lib")
    assert parse_repository("acme/.hidden").name_part == "%2Ehidden"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/my-org/go-lib.git", "my-org/go-lib"),
        ("https://token:x@github.com/my-org/go-lib", "my-org/go-lib"),
        ("https://gitlab.com/a/b/c.git/", "a/b/c"),
        ("git@github.com:my-org/go-lib.git", "my-org/go-lib"),
        ("github.com:my-org/go-lib", "my-org/go-lib"),
        ("ssh://git@host:2222/my-org/go-lib.git", "my-org/go-lib"),
        ("file:///srv/git/my-org/go-lib.git", "my-org/go-lib"),
        ("/srv/git/my-org/go-lib", "my-org/go-lib"),
        ("../my-org/go-lib", "my-org/go-lib"),
        ("https://host/a.b/group/name", "a.b/group/name"),
        ("file:///srv/my%20dir/lib", None),
        ("https://github.com/only", None),
        ("https://[broken/a/b", None),
        ("", None),
    ],
)
def test_the_guess_from_a_url_is_owner_and_name_without_the_host(url: str, expected: str | None) -> None:
    guess = repository_from_url(url)
    assert (guess.text if guess else None) == expected


_BRANCH_TEXT = st.text(alphabet="ab.-/@{}~^:?*[\\ \x7fé_lock", min_size=1, max_size=12)


@settings(max_examples=60)
@given(st.one_of(_BRANCH_TEXT, st.sampled_from(["HEAD", "@", "a.lock", "refs/heads/x", "a@{b", "x/.y"])))
def test_git_agrees_on_every_branch_that_is_taken(branch: str) -> None:
    said = subprocess.run(["git", "check-ref-format", f"refs/heads/{branch}"], check=False)
    # As a whole name git takes these three for something else (git-check-ref-format(1), --branch).
    special = branch.startswith("-") or branch in {"@", "HEAD"}
    assert (branch_problem(branch) == "") == (said.returncode == 0 and not special)


@given(st.text(max_size=60))
def test_any_text_is_either_read_or_refused_cleanly(text: str) -> None:
    try:
        reference = parse_reference(text)
    except ReferenceInvalidError:
        return
    assert reference.text == text
    assert "/" not in reference.repository.owner_part + reference.repository.name_part
