from __future__ import annotations

from pathlib import Path

import pytest

from tako.config.schema import KeptWorkspaces, MinFree, Resources, Settings
from tako.config.settings import load_settings
from tako.errors import ConfigError


def _load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "config.yml"
    path.write_text(text)
    return load_settings(path)


def test_no_file_means_all_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "config.yml") == Settings()


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_means_all_defaults(tmp_path: Path, text: str) -> None:
    assert _load(tmp_path, text) == Settings()


def test_every_setting_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    text = """\
        jobs: 4
        isolation: landlock
        lock_timeout: 0
        url_template: https://{host}/{owner}/{name}.git
        repositories: [acme/lib, "localhost:3000/acme/team/tool:release/1.x", "acme/app:main"]
        environment: [JAVA_HOME, GOPROXY]
        cache_dir: ~/big/cache
        secrets: {NPM_TOKEN: [acme/site, example.org/acme/App], UNUSED: []}
        quotas: {acme/app: {mem_limit: 1G, cpu_time_limit: 9s}, default: {cpu_limit: "1.5", process_limit: 9}}
        keep_workspaces: {runs: 0, age: 36h, bytes: 512Mi}
        keep_runs: 24h
        min_free: 2Gi
        """
    assert _load(tmp_path, text) == Settings(
        jobs=4,
        isolation="landlock",
        lock_timeout_s=0.0,
        url_template="https://{host}/{owner}/{name}.git",
        repositories=("acme/lib", "localhost:3000/acme/team/tool:release/1.x", "acme/app:main"),
        environment=("JAVA_HOME", "GOPROXY"),
        cache_dir="/somewhere/big/cache",
        secrets={"NPM_TOKEN": ("acme/site", "example.org/acme/App"), "UNUSED": ()},
        quotas={
            "acme/app": Resources(mem_limit=10**9, cpu_time_limit=9.0),
            "default": Resources(cpu_limit=1.5, process_limit=9),
        },
        keep_workspaces=KeptWorkspaces(runs=0, age_s=36 * 3600.0, size=512 * 1024**2),
        keep_runs_s=24 * 3600.0,
        min_free=MinFree(2 << 30, None),
    )


@pytest.mark.parametrize(
    ("text", "of_a_small_disk", "of_a_large_one"),
    [
        ("{}", 5 << 20, 1 << 30),
        ("min_free: 20Mi", 20 << 20, 20 << 20),
        ("min_free: 10%", 10 << 20, 100 << 30),
        ("min_free: 0", 0, 0),
    ],
)
def test_the_reserve_of_free_disk_is_a_size_or_a_share(
    tmp_path: Path, text: str, of_a_small_disk: int, of_a_large_one: int
) -> None:
    found = _load(tmp_path, text).min_free
    assert (found.of(100 << 20), found.of(1000 << 30)) == (of_a_small_disk, of_a_large_one)


@pytest.mark.parametrize("text", ["much", "91%", "-1%", "x%", "[1]"])
def test_a_wrong_reserve_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="min_free"):
        _load(tmp_path, f"min_free: {text}")


def test_missing_keys_of_keep_workspaces_have_their_defaults(tmp_path: Path) -> None:
    kept = _load(tmp_path, "keep_workspaces: {bytes: 1Gi}").keep_workspaces
    assert kept == KeptWorkspaces(runs=20, age_s=7 * 24 * 3600.0, size=1024**3)


@pytest.mark.parametrize("text", ["{runs: -1}", "{age: 7}", "{bytes: much}", "{size: 1Gi}", "20"])
def test_a_wrong_bound_on_kept_workspaces_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="keep_workspaces"):
        _load(tmp_path, f"keep_workspaces: {text}")


def test_settings_may_be_a_link_to_where_the_user_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").write_text("jobs: 2")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.yml").symlink_to(tmp_path / "dotfiles")
    assert load_settings(tmp_path / "home" / "config.yml").jobs == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "expected a mapping, got a list"),
        ("job: 4", "unknown key 'job'; did you mean 'jobs'?"),
        ("jobs: 0", "expected at least 1, got 0"),
        ("jobs: '4'", "expected an integer, got a string"),
        ("isolation: container", "expected one of auto, process, landlock, namespace, got 'container'"),
        ("lock_timeout: 10", "'10' has no unit"),
        ("lock_timeout: ", "expected a string, got nothing"),
        ("url_template: https://x/", "expected a URL with {name} in it"),
        ("url_template: '{owner}/{nmae}'", "unknown field {nmae}; did you mean 'name'?"),
        ("url_template: '{name.__class__}'", "unknown field {name.__class__}"),
        ("url_template: '{name!r}'", "unknown field {name}"),
        ("url_template: '{name:>99999999}'", "unknown field {name}"),
        ("url_template: '{name'", "is not a template"),
        ("url_template: 'a{}'", "unknown field {}"),
        ("url_template: ''", "expected a text, it is empty"),
        ("url_template: true", "expected a string, got a boolean"),
        ("repositories: acme/lib", "expected a list, got a string"),
        ("repositories: [lib]", "an owner and a name are needed"),
        ("repositories: [acme/../lib]", "it leads out with '..'"),
        ("repositories: ['acme/lib:../x']", "'../x' is not a branch name: it holds '..'"),
        ("repositories: ['acme/lib:']", "it is empty"),
        ("repositories: [acme/lib.git]", "leave '.git' off"),
        ("repositories: [-x.y/acme/lib]", "it starts with '-'"),
        (f"repositories: [acme/{'l' * 250}]", "it is longer than 200 characters"),
        ("repositories: [a..b/acme/lib]", "'a..b' is not a host"),
        ("repositories: [true]", "expected a string, got a boolean"),
        ("environment: [A B]", "'A B' is not a name of an environment variable"),
        ("environment: [TAKO_HOME]", "names that start with TAKO_ are tako's own"),
        ("quotas: {app: {mem_limit: 1Gi}}", "an owner and a name are needed"),
        ("quotas: {acme/app: {address_space_limit: 1Gi}}", "unknown key 'address_space_limit'"),
        ("quotas: {default: {mem_limit: 0}}", "expected a size above 0"),
        ("secrets: [NPM_TOKEN]", "expected a mapping, got a list"),
        ("secrets: {NPM_TOKEN: acme/site}", "expected a list, got a string"),
        ("secrets: {NPM-TOKEN: [acme/site]}", "'NPM-TOKEN' is not a name of an environment variable"),
        ("secrets: {PATH: [acme/site]}", "PATH cannot be a secret: every step has it"),
        ("secrets: {A: [site]}", "expected owner/name, got 'site': an owner and a name are needed"),
        ("secrets: {A: ['acme/site:main']}", "expected owner/name, got 'acme/site:main'"),
        ("cache_dir: cache", "it neither is absolute nor starts with ~/"),
        ("cache_dir: /a/../b", "it leads out with '..'"),
        ("a: ]", "not valid YAML"),
    ],
)
def test_mistakes_are_reported_with_file_and_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert told in caught.value.message
    assert caught.value.message.startswith(f"{tmp_path / 'config.yml'}:1:")
