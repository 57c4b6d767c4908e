from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from tako.config.schema import Settings, Step, Workflow
from tako.engine.run.secrets import SecretKeeper, SecretMissingError, named_by, read_grants
from tako.engine.run.spec import Secrets
from tako.errors import InputsInvalidError, UsageError
from tako.repositories.reference import parse_repository

PUBLISH = Step(id="publish", run="true", secrets=("NPM_TOKEN",))
WORKFLOW = Workflow(
    name="release",
    secrets=("KEY",),
    steps=(
        PUBLISH,
        Step(id="build", run="true", on_failure=(Step(id="tell", run="true", secrets=("HOOK",)),)),
    ),
)
ONLY_PUBLISH = Workflow(name="release", steps=(PUBLISH,))


class _Environment:
    """An environment that variables are taken out of."""

    def __init__(self, **variables: str) -> None:
        self.left = dict(variables)

    def take(self, names: Iterable[str]) -> Mapping[str, str]:
        return {name: self.left.pop(name) for name in names if name in self.left}


def _keeper(grants: Mapping[str, Iterable[str]], **variables: str) -> SecretKeeper:
    return SecretKeeper(
        {name: frozenset(keys) for name, keys in grants.items()}, _Environment(**variables).take
    )


def _values(secrets: Secrets) -> dict[str, str]:
    return secrets.of(Workflow(name="w", secrets=tuple(secrets.names)), Step(id="s"))


def test_a_workflow_names_the_secrets_of_all_its_steps() -> None:
    assert named_by(WORKFLOW) == {"KEY", "NPM_TOKEN", "HOOK"}
    assert named_by(Workflow(name="none")) == frozenset()


def test_grants_come_from_the_settings_and_the_command_line() -> None:
    settings = Settings(secrets={"A": ("Acme/Web", "example.org/x/y"), "NOBODY": ()})
    assert read_grants(settings, ["A=acme/app", "B=Example.org/Acme/App"]) == {
        "A": {"acme/web", "example.org/x/y", "acme/app"},
        "B": {"example.org/acme/app"},
        "NOBODY": frozenset(),
    }


@pytest.mark.parametrize(
    "text", ["", "A", "A=", "=a/b", "A=b", "A=a/b:main", "A-B=a/b", "HOME=a/b", "A=/a/b"]
)
def test_a_grant_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--grant: expected NAME=owner/name, got"):
        read_grants(Settings(), [text])


def test_a_repository_gets_what_it_names_and_was_granted_and_no_more() -> None:
    keeper = _keeper({"NPM_TOKEN": ["acme/app"], "KEY": ["acme/app"]}, NPM_TOKEN="n", KEY="k")  # noqa: S106
    assert _values(keeper.given(ONLY_PUBLISH, parse_repository("Acme/App"))) == {"NPM_TOKEN": "n"}


@pytest.mark.parametrize("other", ["acme/web", "example.org/acme/app", "acme/app/sub"])
def test_a_grant_is_for_one_repository_of_one_host(other: str) -> None:
    keeper = _keeper({"NPM_TOKEN": ["acme/app"]}, NPM_TOKEN="n")  # noqa: S106
    with pytest.raises(SecretMissingError, match=f"--grant NPM_TOKEN={other}, or `secrets:`"):
        keeper.given(ONLY_PUBLISH, parse_repository(other))


def test_everything_that_is_not_granted_is_told_at_once_and_not_whether_it_is_set() -> None:
    keeper = _keeper({"KEY": ["acme/app"]}, NPM_TOKEN="n")  # noqa: S106
    with pytest.raises(SecretMissingError) as caught:
        keeper.given(WORKFLOW, parse_repository("acme/app"))
    assert caught.value.message == (
        "its tako.yml names the secrets HOOK, NPM_TOKEN, not granted to acme/app:"
        " use --grant HOOK=acme/app --grant NPM_TOKEN=acme/app, or `secrets:` of config.yml"
    )
    assert isinstance(caught.value, InputsInvalidError)


@pytest.mark.parametrize("variables", [{}, {"NPM_TOKEN": ""}, {"NPM_TOKEN": " \n"}])
def test_a_secret_without_value_is_told_as_such(variables: dict[str, str]) -> None:
    keeper = _keeper({"NPM_TOKEN": ["acme/app"]}, **variables)
    told = r"the secret NPM_TOKEN, named .* is empty or not set"
    with pytest.raises(SecretMissingError, match=told):
        keeper.given(ONLY_PUBLISH, parse_repository("acme/app"))
    with pytest.raises(SecretMissingError, match=told):
        keeper.given(ONLY_PUBLISH)


def test_the_users_own_checkout_needs_no_grant() -> None:
    assert _values(_keeper({}, NPM_TOKEN="n").given(ONLY_PUBLISH)) == {"NPM_TOKEN": "n"}  # noqa: S106


def test_what_may_be_a_secret_is_taken_out_of_the_environment_and_found_again_each_time() -> None:
    environment = _Environment(NPM_TOKEN="n", KEY="k", HOOK="h", OTHER="o")  # noqa: S106
    keeper = SecretKeeper({"KEY": frozenset()}, environment.take)
    assert environment.left.keys() == {"NPM_TOKEN", "HOOK", "OTHER"}
    for _ in range(2):
        assert keeper.given(WORKFLOW).names == {"NPM_TOKEN", "KEY", "HOOK"}
    assert environment.left == {"OTHER": "o"}


def test_a_run_without_secrets_has_none() -> None:
    keeper = _keeper({"A": ["acme/app"]}, A="a")
    assert keeper.given(Workflow(name="w"), parse_repository("acme/app")) == Secrets()
