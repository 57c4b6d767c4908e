"""An authority of TLS that nobody knows, and a server's certificate by it, made by openssl(1)."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from attrs import frozen


@frozen
class Authority:
    """`certificate` is what has to be trusted, `context` what a server on loopback uses."""

    certificate: Path
    context: ssl.SSLContext


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def made_by(directory: Path) -> Authority:
    """Give one, whose files are in `directory`; skips the test where there is no openssl."""
    if shutil.which("openssl") is None:
        assert os.environ.get("CI") != "true", "openssl must be there in CI"
        pytest.skip("needs openssl")
    request = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    # What RFC 5280 asks of either, which Python >= 3.13 checks (ssl.VERIFY_X509_STRICT).
    authority = ("-x509", "-subj", "/CN=Own CA", "-addext", "keyUsage=critical,keyCertSign")
    _openssl(directory, *request, *authority, "-keyout", "ca.key", "-out", "ca.pem")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n"
    (directory / "names").write_text(names)
    _openssl(directory, *request[:-2], "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "request.pem")
    signing = ("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    _openssl(directory, *signing, "-days", "2", "-extfile", "names", "-out", "cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return Authority(directory / "ca.pem", context)
