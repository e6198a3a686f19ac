"""The page over https: a certificate of its own that is kept, or one that was given; a browser that accepts it."""

from __future__ import annotations

import json
import re
import socket
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from selenium import webdriver
from selenium.webdriver.common.by import By

from racing.cli import main
from racing.runs.paths import certificate_path
from racing.viewer.addresses import names_of
from racing.viewer.certificate import given_certificate, own_certificate
from racing.viewer.guard import SECURE_COOKIE
from tests.support.browser import needs_browser, wait_for
from tests.viewer.conftest import Page, Play

TOKEN = "long-and-secret"
PEM = serialization.Encoding.PEM
DAY = timedelta(days=1)


def key_of(password: bytes | None = None) -> tuple[Any, bytes]:
    """A key, and it in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key, key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden)


def certificate_of(key: Any, begin: timedelta = -DAY, end: timedelta = 100 * DAY) -> bytes:
    """One for this machine, valid from `begin` to `end`, seen from now."""
    now, who = datetime.now(UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "by hand")])
    made = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number(), now + begin, now + end)
    addresses = [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses])
    return made.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(PEM)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RACING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept() -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate_path().read_bytes())


# its own


def test_its_own_certificate_names_this_machine_and_is_kept(cache: Path):
    first = own_certificate("0.0.0.0")
    assert certificate_path().parent == cache
    assert stat.S_IMODE(certificate_path().stat().st_mode) == 0o600
    named = kept().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in named.get_values_for_type(x509.IPAddress)}
    names = {*named.get_values_for_type(x509.DNSName), *addresses}
    assert names == {"127.0.0.1", "localhost", "::1", *names_of("0.0.0.0")}
    assert socket.gethostname().lower() in names
    assert first.fingerprint.replace(":", "").lower() == kept().fingerprint(hashes.SHA256()).hex()
    again = [own_certificate(host).fingerprint for host in ("0.0.0.0", "127.0.0.1", "localhost")]
    assert again == [first.fingerprint] * 3


def test_it_is_made_anew_for_other_addresses_and_before_it_expires(cache: Path):
    first = own_certificate("127.0.0.1").fingerprint
    second = own_certificate("10.1.2.3").fingerprint
    assert first != second
    assert own_certificate("10.1.2.3").fingerprint == own_certificate("127.0.0.1").fingerprint == second
    for end, lasts in ((-DAY / 24, False), (29 * DAY, False), (31 * DAY, True)):
        key, secret = key_of()
        certificate_path().write_bytes(secret + certificate_of(key, -2 * DAY, end))
        by_hand = kept()
        own_certificate("127.0.0.1")
        assert (kept() == by_hand) == lasts
        assert kept().not_valid_after_utc > datetime.now(UTC) + 30 * DAY


@pytest.mark.parametrize("damage", ["others can read it", "of another key", "empty"])
def test_it_is_made_anew_where_it_is_no_good(damage: str, cache: Path):
    own_certificate("127.0.0.1")
    path, before = certificate_path(), kept()
    if damage == "others can read it":
        path.chmod(0o640)
    else:
        path.write_bytes(key_of()[1] + before.public_bytes(PEM) if damage == "of another key" else b"")
    own_certificate("127.0.0.1")
    assert kept() != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_where_it_cannot_be_kept_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setenv("RACING_CACHE", "/proc/nowhere")
    assert main(["play", "driver=human", "ssl=true", "open=false", "port=0"]) == 2
    said = capsys.readouterr().err
    assert "/proc/nowhere/play.pem" in said
    assert "set RACING_CACHE=FOLDER" in said
    assert said.count("\n") == 1


# one that was given


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """good.pem and its key, other.key, locked.key, old.pem, young.pem, both.pem."""
    folder = tmp_path / "my files"
    folder.mkdir()
    key, secret = key_of()
    _, locked = key_of(b"password")
    content = {"good.key": secret, "other.key": key_of()[1], "locked.key": locked, "good.pem": certificate_of(key)}
    content["old.pem"] = certificate_of(key, -9 * DAY, -DAY / 24)
    content["young.pem"] = certificate_of(key, DAY, 9 * DAY)
    content["both.pem"] = content["good.pem"] + secret
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_pair_of_files_is_taken_as_it_is(files: Path, cache: Path):
    for chain, key in (("good.pem", "good.key"), ("both.pem", "both.pem")):
        given = given_certificate(files / chain, files / key)
        expected = x509.load_pem_x509_certificate((files / chain).read_bytes()).fingerprint(hashes.SHA256())
        assert given.fingerprint.replace(":", "").lower() == expected.hex()
        assert not given.own
    assert not cache.exists()


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("good.pem,other.key", "other.key must be the key of"),
        ("old.pem,good.key", "old.pem must be valid now, it has expired on 20"),
        ("young.pem,good.key", "young.pem must be valid now, it is from 20"),
        ("good.pem,locked.key", "locked.key must hold a private key in PEM without a password"),
        ("good.key,good.pem", "good.key must hold a certificate in PEM"),
        ("good.pem,good.pem", "good.pem must hold a private key in PEM"),
        ("nowhere.pem,good.key", "nowhere.pem cannot be read: No such file"),
        ("good.pem,/dev/zero", "/dev/zero cannot be read: it is a device"),
    ],
)
def test_a_wrong_pair_is_said_in_one_line(pair: str, said: str, files: Path, capsys: pytest.CaptureFixture[str]):
    chain, key = (str(files / name) for name in pair.split(","))
    assert main(["play", "driver=human", "open=false", "port=0", f"ssl=[{chain},{key}]"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", ["cert.pem", "1", "null", "[a.pem]", "[a.pem,b.pem,c.pem]", "[1,2]", "{a:b}"])
def test_ssl_is_a_truth_value_or_a_pair(value: str, capsys: pytest.CaptureFixture[str]):
    assert main(["play", "driver=human", "open=false", f"ssl={value}"]) == 2
    error = capsys.readouterr().err
    assert "ssl must be true, false or [CERT.pem,KEY.pem], got" in error
    assert error.count("\n") == 1


# the real server


class SafePlay(Play):
    """It, for the network. others: the lines that it says after its address."""

    def start(self) -> None:
        super().start()
        assert self.process.stdout is not None
        self.others: list[str] = []
        while not self.others or "SHA-256" not in self.others[-1]:
            self.others.append(self.process.stdout.readline())

    @property
    def fingerprint(self) -> str:
        return re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", self.others[-1])[0]


@pytest.fixture(scope="module")
def safe(policies: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SafePlay]:
    cache = str(tmp_path_factory.mktemp("cache"))
    network = ["host=0.0.0.0", f"token={TOKEN}", "ssl=true"]
    server = SafePlay(tmp_path_factory.mktemp("outputs"), f"run={policies[1]}", *network, RACING_CACHE=cache)
    yield server
    server.kill()


def in_the_network(server: SafePlay) -> str:
    """The address by which another machine reaches it."""
    if len(names_of("0.0.0.0")) < 2:
        pytest.skip("this machine has no address but 127.0.0.1: connect it to a network")
    return server.others[0].strip()


def connecting(server: SafePlay, origin: str, cookie: str) -> Any:
    from websockets.sync.client import connect

    unknown = ssl.create_default_context()
    unknown.check_hostname, unknown.verify_mode = False, ssl.CERT_NONE
    address = f"wss://127.0.0.1:{server.port}/racing/link"
    headers = {"Cookie": cookie}
    return connect(address, origin=origin, additional_headers=headers, ssl=unknown, proxy=None, open_timeout=60)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_what_it_shows_is_what_it_says_and_only_its_own_pages_over_https_are_answered(safe: SafePlay):
    assert safe.address.startswith("https://")
    shown = ssl.get_server_certificate(("127.0.0.1", safe.port))
    seen = x509.load_pem_x509_certificate(shown.encode()).fingerprint(hashes.SHA256())
    assert seen.hex(":").upper() == safe.fingerprint
    address = f"https://127.0.0.1:{safe.port}/"
    ask = requests.Session()
    ask.verify, ask.trust_env = False, False
    assert ask.get(address, timeout=60).status_code == 403
    answer = ask.get(f"{address}?token={TOKEN}", timeout=60)
    assert answer.status_code == 200
    assert "strict-transport-security" not in answer.headers  # it would hold for all other servers of this machine
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{SECURE_COOKIE}={TOKEN};")
    assert "; Secure" in cookie
    held = cookie.partition(";")[0]
    with connecting(safe, address.rstrip("/"), held) as link:
        assert json.loads(link.recv(timeout=60))["event"] == "hello"
    for origin in ("https://evil.example", address.replace("https", "http").rstrip("/")):
        assert ask.get(f"{address}?token={TOKEN}", headers={"Origin": origin}, timeout=60).status_code == 403
        with pytest.raises(Exception, match="403"), connecting(safe, origin, held):
            pass
    with pytest.raises(requests.ConnectionError):
        requests.get(address.replace("https", "http"), timeout=60)


@pytest.mark.slow
@needs_browser
def test_a_browser_that_accepts_it_once_drives_in_the_network(safe: SafePlay, window: webdriver.Chrome):
    window.get(in_the_network(safe))
    wait_for(window, By.ID, "details-button").click()  # of the browser's warning
    wait_for(window, By.ID, "proceed-link").click()
    page = Page(window)
    before = page.until(lambda state: state["time"] > 0.5 and state["frames"] > 3, "time stands")
    after = page.until(lambda state: state["time"] > before["time"] + 0.5, "time stands")
    assert after["cars"][0]["x"] != before["cars"][0]["x"]
    capable = "return [location.protocol, isSecureContext, 'xr' in navigator, Boolean(navigator.getGamepads)]"
    assert window.execute_script(capable) == ["https:", True, True, True]
    assert page.errors() == []
    fingerprint = safe.fingerprint
    safe.kill()
    safe.start()
    assert safe.fingerprint == fingerprint
    page.until(lambda state: state["time"] < after["time"], "it does not come back")
    window.get_log("browser")  # that nobody answered is no fault of the page
