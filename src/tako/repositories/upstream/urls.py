"""Where repositories are fetched from: which URLs are taken, and how they are shown.

In: URLs or paths from the command line and the template of config.yml. Out: URLs that git
fetches over a known transport. A URL that could make git run a program (`ext::`, a leading `-`)
is a `UsageError`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from tako.errors import UsageError
from tako.repositories.reference import Repository

SCHEMES = ("file", "git", "http", "https", "ssh")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCP = re.compile(r"([A-Za-z0-9._+-]+@)?[A-Za-z0-9][A-Za-z0-9._-]*:[^:-].*")
# The user part of a URL, also inside a longer text such as git's own messages.
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_PLACEHOLDERS = ("{host}", "{owner}", "{name}")


def without_credentials(text: str) -> str:
    """Return a text in which no URL names a user or password."""
    return _CREDENTIALS.sub("", text)


def _refuse(url: str, why: str) -> UsageError:
    return UsageError(
        f"{without_credentials(url)!r} cannot be fetched: {why}",
        hint=f"expected a path or a URL: {', '.join(SCHEMES)}, or user@host:path",
    )


def is_local(url: str) -> bool:
    """Return whether fetching from a URL needs no network."""
    return url.startswith("file://")


def checked_url(text: str) -> str:
    """Return a URL that git may fetch from; a path becomes an absolute `file://` URL.

    Raises `UsageError` for an empty text, a control character, an unknown or unsafe transport.
    """
    if not text or text.startswith("-"):
        raise _refuse(text, "it is empty" if not text else "it starts with '-'")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise _refuse(text, "it holds a control character")
    is_text = text.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in text)
    scheme = _SCHEME.match(text)
    if scheme:
        if scheme[1].lower() not in SCHEMES:
            raise _refuse(text, f"transport {scheme[1]!r} is not taken")
        if not is_text:
            raise _refuse(text, "it holds bytes that are no text; write them as %XX")
        return text
    if "::" in text.partition("/")[0]:
        raise _refuse(text, "git's remote helpers ('transport::address') are not taken")
    if is_text and _SCP.fullmatch(text) and not os.path.lexists(text):
        return text
    path = Path(text).expanduser() if text.startswith("~/") else Path(text)
    return "file://" + quote(os.fsencode(os.path.abspath(path)))


def host_of(url: str) -> str:
    """The host that a URL fetches from, with its port if it has one, lower case; empty for a path."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return url.partition(":")[0].rpartition("@")[2].lower() if _SCP.fullmatch(url) else ""
    return url[scheme.end() :].partition("/")[0].rpartition("@")[2].lower()


def url_of(repository: Repository, template: str) -> str:
    """Fill in the user's `url_template`: `{host}`, `{owner}` and `{name}`."""
    values = (repository.host, repository.owner, repository.name)
    for placeholder, value in zip(_PLACEHOLDERS, values, strict=True):
        template = template.replace(placeholder, value)
    return checked_url(template)
