"""What config.yml lets all runs of one repository use together.

In: the settings, a repository. Out: its quota as `Resources`, without bounds where there is none.
"""

from __future__ import annotations

from tako.config.schema import Resources, Settings
from tako.config.settings import DEFAULT_QUOTA
from tako.repositories.reference import Repository, parse_repository

BOUNDLESS_QUOTA = Resources()


def quota_of(settings: Settings, repository: Repository) -> Resources:
    """The quota of a repository: its own, else the one for all that have none."""
    for name, quota in settings.quotas.items():
        if name != DEFAULT_QUOTA and parse_repository(name).key == repository.key:
            return quota
    return settings.quotas.get(DEFAULT_QUOTA, BOUNDLESS_QUOTA)
