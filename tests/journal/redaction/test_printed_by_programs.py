"""What real programs make of random secrets when they print them: nothing of any value is left."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess

import pytest

from tako.journal.redaction.disguises import TIGHT
from tako.journal.redaction.escapes import Decoded
from tako.journal.redaction.scrubber import Scrubber

_SEED = 20261128
_COUNT = 200
_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_",
    "abcXYZ019!\"#$%&'()*+,-./:;<=>?[\\]^_`{|}~",
    "ab cd\tef'\"\\$`%&<>{}u0041x41n",
    "pässwörd Ünd € ž 日本 😀 ÿ'\"\\&%",
    "abc\x01\x07\x1b\x7f\n\r\t\\'\"012",
)
#: Not every program can tell what is no UTF-8.
_RAW = [b"caf\xe9-\xff\xfe-token'9", b'\x80\x81\x82\x83abc$"def', b"odd\xc3 \xa9bytes&\\41"]


def _random_secrets() -> list[bytes]:
    source = random.Random(_SEED)  # noqa: S311 - the same each time
    secrets: list[bytes] = []
    while len(secrets) < _COUNT:
        alphabet = _ALPHABETS[len(secrets) % len(_ALPHABETS)]
        text = "".join(source.choice(alphabet) for _ in range(source.randint(12, 60)))
        if len(TIGHT.of(text.encode())) >= 8:
            secrets.append(text.encode())
    return secrets


SECRETS = _random_secrets()
_MARK = re.compile(rb"@@@([0-9]+)@@@")
_NEXT = b"@,,@"
# What printf %q and a trace add, and the characters of base64 that also hold bits of the neighbours.
_ADDED = re.compile(
    rb"\*\*\*"
    rb"|declare -- |export (?:PATH$)?|[VX][0-9]*=|^\+ |: |\[\[ x == |\]\]"
    rb"|^b(?=['\"])|[A-Za-z0-9_/-]{0,2}={1,2}$",
    re.MULTILINE,
)


def _run(program: str, *words: str, secrets: list[bytes], locale: str = "C.UTF-8") -> bytes:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"there is no {program} here")
    environment = {b"PATH": os.fsencode(os.environ["PATH"]), b"LC_ALL": locale.encode()}
    environment |= {f"S{number}".encode(): secret for number, secret in enumerate(secrets)}
    done = subprocess.run([path, *words], env=environment, stdout=-1, stderr=subprocess.STDOUT, check=True)
    return done.stdout


def _left(scrubber: Scrubber, said: bytes) -> bytes:
    """What can be read of it, in any depth, besides quotes and space."""
    shown = scrubber.scrub(said)
    assert b"***" in shown, said
    rest = _ADDED.sub(b"", shown)
    for _ in range(4):
        rest = Decoded(rest, ended=True).text
    # Backquotes are how util.inspect quotes where both others occur.
    return TIGHT.of(rest).strip(b"`")


def _nothing_is_left(said: bytes, secrets: list[bytes]) -> None:
    pieces = _MARK.split(said)
    assert [int(number) for number in pieces[1::2]] == list(range(len(secrets)))
    for secret, piece in zip(secrets, pieces[2::2], strict=True):
        scrubber = Scrubber([secret])
        for form in piece.split(_NEXT):
            if form.strip():
                assert _left(scrubber, form) == b"", (secret, form, scrubber.scrub(form))


_SHELL = """
i=0
while [ $i -lt COUNT ]; do
  eval "V$i=\\$S$i; unset S$i"
  i=$((i+1))
done
unset PATH LC_ALL PWD OLDPWD
i=0
while [ $i -lt COUNT ]; do
  echo "@@@$i@@@"
  eval "v=\\$V$i"
  set -x
  : "$v"
  { set +x; } 2>/dev/null
  echo @,,@
  MORE
  i=$((i+1))
done
"""
_BASH = """printf "%q@,,@" "$v" "${v@Q}"; declare -p V$i; echo @,,@
  set -x; [[ x == "$v" ]] || { set +x; } 2>/dev/null"""


def _shell(more: str, count: int) -> str:
    return _SHELL.replace("COUNT", str(count)).replace("MORE", more)


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_bash(locale: str) -> None:
    secrets = SECRETS + _RAW
    _nothing_is_left(_run("bash", "-c", _shell(_BASH, len(secrets)), secrets=secrets, locale=locale), secrets)


def test_dash() -> None:
    secrets = SECRETS + _RAW
    said = _run("dash", "-c", _shell('export X="$v"; export -p; unset X', len(secrets)), secrets=secrets)
    _nothing_is_left(said, secrets)


_PYTHON = """
import base64, html, json, os, shlex, sys
from urllib.parse import quote, quote_plus, urlencode
for i in range(COUNT):
    v, b = os.environ[f"S{i}"], os.environb[f"S{i}".encode()]
    print(f"@@@{i}@@@")
    told = [repr(v), ascii(v), repr(b), json.dumps(v), json.dumps(json.dumps(v)),
        json.dumps(json.dumps(json.dumps(v))), quote(b), quote(b, safe=""), quote_plus(b),
        quote(quote(b)), html.escape(v), html.escape(json.dumps(v)), shlex.quote(v),
        b.hex(), b.hex(" "), b.hex().upper(),
        base64.b64encode(b).decode(), base64.urlsafe_b64encode(b).decode(), base64.encodebytes(b).decode(),
        quote(json.dumps(v)), json.dumps(base64.b64encode(b).decode()).replace("/", "\\\\/"),
        quote(base64.b64encode(b)), "".join(f"\\\\x{c:02x}" for c in b), "".join(f"\\\\{c:03o}" for c in b),
        "".join(f"%{c:02x}" for c in b),
        "".join(f"&#{ord(c)};" for c in v), "".join(f"&#x{ord(c):X};" for c in v),
    ]
    if all(ord(c) < 0xD800 or ord(c) > 0xDFFF for c in v):
        told += [json.dumps(v, ensure_ascii=False), "".join(f"\\\\U{ord(c):08x}" for c in v)]
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode("@,,@".join(told)))
    sys.stdout.flush()
"""


def test_python() -> None:
    secrets = SECRETS + _RAW
    said = _run("python3", "-c", _PYTHON.replace("COUNT", str(len(secrets))), secrets=secrets)
    _nothing_is_left(said, secrets)


_NODE = """
const util = require("util"), qs = require("querystring");
for (let i = 0; i < COUNT; i++) {
  const v = process.env["S" + i], b = Buffer.from(v);
  console.log(`@@@${i}@@@`);
  const told = [JSON.stringify(v), JSON.stringify(JSON.stringify(v)), encodeURIComponent(v),
    encodeURI(v), escape(v), util.inspect(v), qs.escape(v), new URLSearchParams({"": v}).toString().slice(1),
    b.toString("base64"), b.toString("base64url"), b.toString("hex"), String.raw`${v}`];
  console.log(told.join("@,,@"));
}
"""


def test_node() -> None:
    _nothing_is_left(_run("node", "-e", _NODE.replace("COUNT", str(_COUNT)), secrets=SECRETS), SECRETS)


_JQ = """range(COUNT) as $i | $ENV["S\\($i)"] as $v | "@@@\\($i)@@@",
  ($v | tojson, (tojson | tojson), @sh, @uri, @html, @base64, ([.] | @csv), ([.] | @tsv), (@uri | @json)
   | (., "@,,@"))
"""


def test_jq() -> None:
    _nothing_is_left(_run("jq", "-nr", _JQ.replace("COUNT", str(_COUNT)), secrets=SECRETS), SECRETS)


_GO = {
    ord("\a"): "\\a",
    8: "\\b",
    12: "\\f",
    10: "\\n",
    13: "\\r",
    9: "\\t",
    11: "\\v",
    34: '\\"',
    92: "\\\\",
}


def _go_quoted(text: str, *, ascii_only: bool) -> str:
    """As strconv.Quote and QuoteToASCII, the verbs %q and %+q, by their documentation."""

    def one(code: int) -> str:
        if code in _GO:
            return _GO[code]
        if 32 <= code < 127 or (not ascii_only and code > 160):
            return chr(code)
        if code < 128:
            return f"\\x{code:02x}"
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return '"' + "".join(one(ord(each)) for each in text) + '"'


def _go_json(text: str) -> str:
    """As encoding/json, which writes it so that it may stand in HTML."""
    short = {8: "\\b", 12: "\\f", 10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 92: "\\\\"}

    def one(code: int) -> str:
        if code in short:
            return short[code]
        return f"\\u{code:04x}" if code < 32 or chr(code) in "<>&\u2028\u2029" else chr(code)

    return '"' + "".join(one(ord(each)) for each in text) + '"'


def _go_html(text: str) -> str:
    """As html.EscapeString."""
    named = {"&": "&amp;", "'": "&#39;", "<": "&lt;", ">": "&gt;", '"': "&#34;"}
    return "".join(named.get(each, each) for each in text)


@pytest.mark.parametrize("secret", SECRETS[::4])
def test_go(secret: bytes) -> None:
    text = secret.decode()
    for said in (
        _go_quoted(text, ascii_only=False),
        _go_quoted(text, ascii_only=True),
        _go_json(text),
        _go_json(_go_json(text)),
        _go_html(text),
        _go_html(_go_quoted(text, ascii_only=True)),
    ):
        assert _left(Scrubber([secret]), said.encode()) == b"", said


def test_the_random_secrets_hold_what_escapes_are_made_of() -> None:
    together = b"".join(SECRETS)
    assert all(bytes((byte,)) in together for byte in b"\\'\"$`%&<>+ \t\n\x01\x07\x1b\x7f")
    assert len(set(SECRETS)) == _COUNT
