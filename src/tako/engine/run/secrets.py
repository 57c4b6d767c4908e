"""Which run gets which secrets: what its tako.yml names and the user granted to its repository.

In: the grants of config.yml and `--grant`, the environment tako was started with, a run's repository and
workflow. Out: the values for one segment, which go to its worker through a pipe and nowhere else. A secret
that is not granted or not set is a `SecretMissingError` that says what to do, before its run started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tako.config.grammar import env_name_problem, secret_name_problem
from tako.config.schema import Settings, Workflow, all_steps
from tako.engine.run.spec import RunSpec, Secrets, secrets_of
from tako.errors import InputsInvalidError, UsageError
from tako.layout.repository_names import repository_problem
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
    problem = problem or (repository_problem(repository) if equals else "it names no repository")
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

    def require(self, workflow: Workflow, repository: Repository | None = None) -> None:
        """Raise `SecretMissingError` unless a run can have every secret that its workflow names.

        Steps of a repository may have what the user granted to it, steps in the user's own checkout, which is
        no `repository` here, may have all. May be called from any thread.
        """
        named = named_by(workflow)
        if repository is None:
            self._values.update(self._take(named - self._values.keys()))
        else:
            self._refuse_ungranted(named, repository)
        self._refuse_unset(named, "this checkout" if repository is None else repository.text)

    def given(self, workflow: Workflow, repository: Repository | None = None) -> Secrets:
        """The secrets that a run of the workflow has; raises as `require`."""
        self.require(workflow, repository)
        return secrets_of({name: self._values[name] for name in named_by(workflow)})

    def for_run(self, spec: RunSpec) -> Secrets:
        """The secrets of a run; raises as `require`."""
        return self.given(spec.workflow, _repository_of(spec))

    def require_for_run(self, spec: RunSpec) -> None:
        """Raise `SecretMissingError` unless the run can have every secret that its workflow names."""
        self.require(spec.workflow, _repository_of(spec))

    def _refuse_ungranted(self, named: Iterable[str], repository: Repository) -> None:
        refused = sorted(name for name in named if repository.key not in self._grants.get(name, ()))
        if refused:
            options = " ".join(f"--grant {name}={repository.text}" for name in refused)
            message = (
                f"its tako.yml names {_listed(refused)}, not granted to {repository.text}: use {options},"
                " or `secrets:` of config.yml"
            )
            raise SecretMissingError(message)

    def _refuse_unset(self, named: Iterable[str], where: str) -> None:
        missing = sorted(name for name in named if not self._values.get(name, "").strip())
        if missing:
            message = (
                f"{_listed(missing)}, named by the tako.yml of {where}, is empty or not set in the"
                f" environment that tako was started with: export {missing[0]} and start tako again"
            )
            raise SecretMissingError(message)


def _repository_of(spec: RunSpec) -> Repository | None:
    return None if spec.in_place else parse_repository(spec.repository)


def _listed(names: list[str]) -> str:
    return f"the secret {names[0]}" if len(names) == 1 else f"the secrets {', '.join(names)}"
