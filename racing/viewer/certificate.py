"""What the page's server shows to browsers over https: a certificate of its own, or one that was given."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from racing.errors import InputError, read_bytes, require
from racing.files import write_own
from racing.reading import read_own
from racing.runs.lock import FileLock
from racing.runs.paths import certificate_path
from racing.viewer.addresses import EVERYWHERE, LOOPBACK, is_address, names_of

VALID, LEFT = timedelta(days=365), timedelta(days=30)  # of our own; renewed when so much is left. Apple takes 825 days
EARLIER = timedelta(days=1)  # since when it is valid: a headset's clock may be slow
MOST_BYTES = 1 << 20  # of a file
PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Certificate:
    """context: of the server's connections. fingerprint: SHA-256 as browsers show it. own: no authority signed it."""

    context: ssl.SSLContext
    fingerprint: str
    own: bool


def own_certificate(host: str) -> Certificate:
    """That of this user, for all names and addresses on which a server listens that was told `host`.

    It is made at its first use, and anew before it expires, for other names, and where others can read its key: who has
    accepted it is not asked again until then. Raises InputError where it cannot be kept.
    """
    names = [name for name in (*LOOPBACK, *names_of(host)) if name.isascii()]
    # Those of IPv6 change every day (RFC 8981): another certificate for each would be worse than one without.
    lasting = [name for name in names if ":" not in name or host not in EVERYWHERE]
    path = certificate_path()
    lock = FileLock(Path(f"{path}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(wait=True)  # of two processes that make one, both shall have the same
        try:
            first = _kept(path, lasting)
            if first is None:
                content = _made(names)
                write_own(path, content)
                first = x509.load_pem_x509_certificate(content)
            return _certificate(path, path, first, own=True)
        finally:
            lock.release()
    except OSError as error:
        rule = f"{path}, the page's certificate and its key, must be a file of yours, {error.strerror}"
        raise InputError(f"{rule}; remove it, or set RACING_CACHE=FOLDER to a writable one") from error


def given_certificate(chain: Path, key: Path) -> Certificate:
    """That of two files in PEM. Raises InputError unless they belong together and are valid now.

    chain: the server's certificate, then those of authorities up to one that browsers know.
    """
    content = read_bytes(chain, MOST_BYTES, "a certificate in PEM")
    first = _first(content, read_bytes(key, MOST_BYTES, "its private key in PEM"), chain, key)
    try:
        return _certificate(chain, key, first, own=False)
    except OSError as error:  # of OpenSSL, which refuses more, such as short keys
        raise InputError(f"ssl: {chain} must be one that OpenSSL takes, {error}; have another one made") from error


def _certificate(chain: Path, key: Path, first: x509.Certificate, *, own: bool) -> Certificate:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key, password="")  # nobody is asked for one
    return Certificate(context, first.fingerprint(hashes.SHA256()).hex(":").upper(), own)


def _kept(path: Path, names: Sequence[str]) -> x509.Certificate | None:
    """The certificate that was made earlier; None: there is none, or it can serve no longer. names: it must have."""
    try:
        content = read_own(path, MOST_BYTES)
        first = _first(content, content, path, path)
        named = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, InputError, x509.ExtensionNotFound):
        return None
    known = {*named.get_values_for_type(x509.DNSName), *map(str, named.get_values_for_type(x509.IPAddress))}
    lasts = datetime.now(UTC) < first.not_valid_after_utc - LEFT
    return first if lasts and known.issuperset(names) else None


def _first(content: bytes, private: bytes, chain: Path, key: Path) -> x509.Certificate:
    """The server's certificate, which a file begins with. Raises InputError for what is wrong with it or its key.

    content, private: of the files `chain` and `key`.
    """
    order = "give ssl=[CERT.pem,KEY.pem]"
    try:
        first = x509.load_pem_x509_certificates(content)[0]
        public = first.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"ssl: {chain} must hold a certificate in PEM, it does not; {order}") from error
    try:
        fits = serialization.load_pem_private_key(private, password=None).public_key() == public
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a password
        rule = f"ssl: {key} must hold a private key in PEM without a password, it does not"
        raise InputError(f"{rule}; {order}") from error
    require(fits, f"ssl: {key} must be the key of {chain}, it is another one's; give two that were made together")
    now, begin, end = datetime.now(UTC), first.not_valid_before_utc, first.not_valid_after_utc
    later = f"ssl: {chain} must be valid now, it is from {begin:%Y-%m-%d %H:%M} UTC on; set the clock, or wait"
    require(begin <= now, later)
    require(now < end, f"ssl: {chain} must be valid now, it has expired on {end:%Y-%m-%d}; renew it, or use ssl=true")
    return first


def _made(names: Sequence[str]) -> bytes:
    """A new key and a certificate for it, in PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    named = [x509.IPAddress(ip_address(name)) if is_address(name) else x509.DNSName(name) for name in names]
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "racing play")])
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number(), now - EARLIER, now + VALID)
        .add_extension(x509.SubjectAlternativeName(named), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret + made.public_bytes(PEM)
