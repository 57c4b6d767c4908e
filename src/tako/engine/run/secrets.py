"""Which run gets which secrets: what its tako.yml names and the user granted to its repository.

In: the grants of config.yml and `--grant`, the environment tako was started with, a run's repository and
workflow. Out: the values for one segment, which go to its worker through a pipe and nowhere else. A secret
that is not granted or not set is a `SecretMissingError` that says what to do, before its run started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tako.config.grammar import env_name_problem, reference_problem, secret_name_problem
from tako.config.schema import Settings, Workflow, all_steps
from tako.engine.run.spec import RunSpec, Secrets, secrets_of
from tako.errors import InputsInvalidError, UsageError
from tako.repositories.reference import Repository, parse_repository


class SecretMissingError(InputsInvalidError):
    """A secret that a workflow names and that its run cannot have."""


def named_by(workflow: Workflow) -> frozenset[str]:
    """Every secret that the workflow or one of its steps names."""
    steps = all_steps(workflow.steps)
    return frozenset((*workflow.secrets, *(name for step in steps for name in step.secrets)))


def read_grants(settings: Settings, given: Iterable[str]) -> dict[str, frozenset[str]]:
    """The names of secrets, each with the repositories that may have it, by `Repository.key`.

    `given` holds `NAME=owner/name` from the command line; raises `UsageError` for one of another form.
    """
    wanted = [(name, held) for name, repositories in settings.secrets.items() for held in repositories]
    wanted += [_grant(text) for text in given]
    grants: dict[str, frozenset[str]] = dict.fromkeys(settings.secrets, frozenset())
    for name, repository in wanted:
        grants[name] = grants.get(name, frozenset()) | {_key(repository)}
    return grants


def _grant(text: str) -> tuple[str, str]:
    name, equals, repository = text.partition("=")
    problem = env_name_problem(name) or secret_name_problem(name)
    problem = problem or (reference_problem(repository) if equals else "it names no repository")
    if problem:
        message = f"--grant: expected NAME=owner/name, got {text!r}: {problem}"
        raise UsageError(message, hint="the value itself comes from the environment tako is started with")
    return name, repository


def _key(repository: str) -> str:
    return parse_repository(repository).key


class SecretKeeper:
    """The root's: takes the values out of the environment, and gives each run its own."""

    def __init__(
        self, grants: Mapping[str, frozenset[str]], take: Callable[[Iterable[str]], Mapping[str, str]]
    ) -> None:
        """`take` gives the values of the names that are set, and keeps them from everybody else."""
        self._grants = grants
        self._take = take
        self._values: dict[str, str] = dict(take(grants))

    def for_trusted(self, workflow: Workflow) -> Secrets:
        """What the steps in the user's own checkout get: whatever their tako.yml names.

        Raises `SecretMissingError`.
        """
        named = named_by(workflow)
        self._values.update(self._take(named - self._values.keys()))
        return self._chosen(named, "this checkout")

    def for_repository(self, repository: Repository, workflow: Workflow) -> Secrets:
        """What a repository's steps get: what their tako.yml names and the user granted.

        Raises `SecretMissingError`; may be called from any thread.
        """
        named = named_by(workflow)
        refused = sorted(name for name in named if repository.key not in self._grants.get(name, ()))
        if refused:
            options = " ".join(f"--grant {name}={repository.text}" for name in refused)
            message = (
                f"its tako.yml names {_listed(refused)}, not granted to {repository.text}: use {options},"
                " or `secrets:` of config.yml"
            )
            raise SecretMissingError(message)
        return self._chosen(named, repository.text)

    def for_run(self, spec: RunSpec) -> Secrets:
        """What a run gets that was found to have all that it names."""
        if spec.in_place:
            return self.for_trusted(spec.workflow)
        return self.for_repository(parse_repository(spec.repository), spec.workflow)

    def _chosen(self, named: Iterable[str], who: str) -> Secrets:
        missing = sorted(name for name in named if not self._values.get(name, "").strip())
        if missing:
            message = (
                f"{_listed(missing)}, named by the tako.yml of {who}, is empty or not set in the environment"
                f" that tako was started with: export {missing[0]} and start tako again"
            )
            raise SecretMissingError(message)
        return secrets_of({name: self._values[name] for name in named})


def _listed(names: list[str]) -> str:
    return f"the secret {names[0]}" if len(names) == 1 else f"the secrets {', '.join(names)}"
