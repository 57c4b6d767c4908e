"""CacheProblem subscribers over the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.config.schema import Subscription
from tako.errors import ConfigError, ReferenceInvalidError, UnexpectedError
from tako.layout.names import encoded
from tako.repositories.discovery import SUBSCRIPTIONS_MAX, Candidate, subscribes
from tako.repositories.reference import parse_repository
from tests.repositories.conftest import CONFIG, OpenCache, OpenedCache
from tests.support.git import Repositories, commit, git, write_files

WORKFLOW = 'version: 0.1.0\nworkflows:\n  test: {steps: [{run: "true"}]}\n'


def _put(open_cache: OpenCache, name: str, text: str, branch: str = "main") -> Path:
    owner, _, last = name.rpartition("/")
    path = open_cache().layout.repos / encoded(owner) / last / branch
    write_files(path, {"tako.yml": text})
    return path


def _found(opened: OpenedCache, source: str = "acme/lib", artifact: str = "default") -> list[Candidate]:
    return list(opened.cache.discover(source, artifact, "built"))


def _names(opened: OpenedCache, source: str = "acme/lib") -> list[str]:
    return [candidate.repository.text for candidate in _found(opened, source)]


def test_subscribers_come_in_order_from_checkouts_and_mirrors(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    opened = open_cache()
    from tako.repositories.reference import parse_reference

    opened.cache.add(parse_reference("acme/b"), str(git_repo("acme/b", {"tako.yml": CONFIG})))
    _put(open_cache, "Acme/C", CONFIG)
    _put(open_cache, "acme/a", CONFIG)
    _put(open_cache, "acme/none", WORKFLOW)
    (opened.layout.repos / "acme" / "empty" / "main").mkdir(parents=True)
    candidates = _found(opened)
    assert [candidate.repository.text for candidate in candidates] == ["acme/a", "acme/b", "Acme/C"]
    assert {candidate.branch for candidate in candidates} == {"main"}
    assert all(candidate.error is None and candidate.config for candidate in candidates)
    assert {candidate.subscription.workflow for candidate in candidates if candidate.subscription} == {"test"}


def test_each_matching_subscription_counts_and_no_other(open_cache: OpenCache) -> None:
    text = WORKFLOW + (
        "subscriptions:\n"
        '  - {artifact: "ACME/Lib:default", events: [other, built], workflow: test}\n'
        '  - {artifact: "acme/lib:default", events: [other], workflow: test}\n'
        '  - {artifact: "acme/lib:wheel", events: [built], workflow: test}\n'
        '  - {artifact: "acme/other:default", events: [built], workflow: test}\n'
        '  - {artifact: "github.com/acme/lib:default", events: [built], workflow: test}\n'
    )
    _put(open_cache, "acme/dep", text)
    keys = [found.subscription.key for found in _found(open_cache()) if found.subscription]
    assert keys == ["subscriptions[0]", "subscriptions[4]"]
    assert len(_found(open_cache(), artifact="wheel")) == 1
    assert len(_found(open_cache(), "gitlab.com/acme/lib")) == 1


def test_subscriptions_count_on_the_default_branch_only(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    from tako.repositories.reference import parse_reference

    source = git_repo("acme/dep", {"tako.yml": WORKFLOW})
    git(source, "checkout", "--quiet", "-b", "feature")
    commit(source, {"tako.yml": CONFIG})
    git(source, "checkout", "--quiet", "main")
    opened = open_cache()
    opened.cache.add(parse_reference("acme/dep"), str(source))
    assert _names(opened) == []
    opened.cache.add(parse_reference("acme/dep:feature"), str(source))
    assert _names(opened) == ["acme/dep"]


def test_a_broken_file_that_names_the_source_is_a_candidate_with_its_error(open_cache: OpenCache) -> None:
    _put(open_cache, "acme/broken", CONFIG.replace("acme/lib", "Acme/LIB") + "  - {artifact: [\n")
    _put(open_cache, "acme/fine", CONFIG)
    broken, fine = _found(open_cache())
    assert isinstance(broken.error, ConfigError)
    assert broken.error.problems[0].file == "acme/broken:main/tako.yml"
    assert (broken.config, broken.subscription, fine.error) == (None, None, None)


def test_a_broken_file_that_does_not_name_the_source_harms_nobody(open_cache: OpenCache) -> None:
    _put(open_cache, "acme/broken", 'subscriptions: [\n"\\x"')
    _put(open_cache, "acme/binary", "\0\xff")
    opened = open_cache()
    assert _names(opened) == []
    assert [note.split(":")[0] for note in opened.notes] == [
        "acme/binary is left out",
        "acme/broken is left out",
    ]


def test_the_caller_may_end_the_search_at_any_repository(open_cache: OpenCache) -> None:
    for number in range(3):
        _put(open_cache, f"acme/other-{number}", CONFIG.replace("acme/lib", "acme/elsewhere"))
    looks: list[int] = []

    def check() -> None:
        looks.append(len(looks))
        if len(looks) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(open_cache().cache.discover("acme/lib", "default", "built", check=check))
    assert looks == [0, 1]


def test_a_name_hidden_by_an_escape_is_found(open_cache: OpenCache) -> None:
    _put(open_cache, "acme/dep", CONFIG.replace("acme/lib", "acme\\x2flib"))
    assert _names(open_cache()) == ["acme/dep"]


def test_a_config_that_is_no_file_is_reported_and_the_others_are_found(open_cache: OpenCache) -> None:
    path = _put(open_cache, "acme/a", CONFIG)
    (path / "tako.yml").unlink()
    os.mkfifo(path / "tako.yml")
    _put(open_cache, "acme/b", CONFIG)
    opened = open_cache()
    assert _names(opened) == ["acme/b"]
    assert "is a FIFO" in opened.notes[0]


def test_directories_outside_the_grammar_are_reported_and_left_alone(open_cache: OpenCache) -> None:
    _put(open_cache, "acme/dep", CONFIG)
    repos = open_cache().layout.repos
    write_files(repos, {"acme/flat/tako.yml": CONFIG, "acme/bad name/main/tako.yml": CONFIG, "a file": ""})
    write_files(
        repos, {"acme/dep/-x/tako.yml": CONFIG, "ACME/Dep/main/tako.yml": CONFIG, ".hidden/a/b/c": ""}
    )
    opened = open_cache()
    assert [known.repository.key for known in opened.cache.known()] == ["acme/dep"]
    assert len(opened.notes) == 4
    assert any("is not used: put it one level deeper" in note for note in opened.notes)
    assert any("is the same repository and branch" in note for note in opened.notes)


def test_a_checkout_may_be_a_link_to_where_the_user_keeps_it(open_cache: OpenCache, tmp_path: Path) -> None:
    write_files(tmp_path / "mine", {"tako.yml": CONFIG})
    place = open_cache().layout.repos / "acme" / "dep"
    place.mkdir(parents=True)
    (place / "main").symlink_to(tmp_path / "mine")
    assert _names(open_cache()) == ["acme/dep"]


def test_a_source_that_is_no_repository_is_refused(open_cache: OpenCache) -> None:
    with pytest.raises(ReferenceInvalidError):
        _found(open_cache(), "nothing")


def test_a_subscription_to_no_repository_matches_nothing() -> None:
    source = parse_repository("acme/lib")
    assert not subscribes(Subscription("lib:default", ("built",), "w"), source, "default", "built")
    assert subscribes(Subscription("acme/lib:default", ("built",), "w"), source, "default", "built")


def test_a_bug_that_one_file_brings_out_is_that_repositorys_failure(
    open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tako.config.loader import load_config

    def broken(data: bytes, file: str) -> object:
        if "/odd" in file:
            message = "what nobody foresaw"
            raise RuntimeError(message)
        return load_config(data, file)

    monkeypatch.setattr("tako.repositories.discovery.load_config", broken)
    _put(open_cache, "acme/fine", CONFIG)
    _put(open_cache, "acme/odd", CONFIG)
    _put(open_cache, "acme/odd-too", CONFIG.replace("acme/lib", "acme\\x2flib"))
    opened = open_cache()
    fine, odd = _found(opened)
    assert (fine.error, odd.repository.text) == (None, "acme/odd")
    assert isinstance(odd.error, UnexpectedError)
    assert "RuntimeError: what nobody foresaw" in odd.error.message
    assert opened.notes[0].startswith("acme/odd-too is left out: a bug in tako")


def test_a_repository_that_fails_for_an_unforeseen_reason_is_reported_and_left_out(
    open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(open_cache, "acme/fine", CONFIG)
    opened = open_cache()

    def broken(_known: object) -> bytes:
        message = "what nobody foresaw"
        raise RuntimeError(message)

    monkeypatch.setattr(opened.cache, "default_config_bytes", broken)
    assert _names(opened) == []
    assert "what nobody foresaw" in opened.notes[0]


@pytest.mark.parametrize(("number", "failed"), [(SUBSCRIPTIONS_MAX, False), (SUBSCRIPTIONS_MAX + 1, True)])
def test_one_repository_cannot_use_up_the_children_of_a_tree(
    open_cache: OpenCache, number: int, failed: bool
) -> None:
    one = '  - {artifact: "acme/lib:default", events: [built], workflow: test}\n'
    _put(open_cache, "acme/many", WORKFLOW + "subscriptions:\n" + one * number)
    found = _found(open_cache())
    assert len(found) == (1 if failed else number)
    assert ("at most 100 may" in str(found[0].error)) is failed
