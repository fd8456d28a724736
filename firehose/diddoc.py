"""What a DID document says, in both styles that are in use (P207, P208). Pure."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import libipld

from core.errors import UnknownDid
from core.keys import BadKey, Curve, PublicKey
from core.ports import Identity
from core.types import Did
from firehose.guard import is_loopback_host

MAX_ENTRIES = 100
_LEGACY: dict[str, Curve] = {
    "EcdsaSecp256k1VerificationKey2019": "k256",
    "EcdsaSecp256r1VerificationKey2019": "p256",
}
_HANDLE = re.compile(
    r"^at://((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)$", re.IGNORECASE
)


def read_document(did: Did, document: Any, *, allow_loopback: bool = False) -> Identity:
    """The parts of a document that we use; parts that are malformed count as absent.

    Raises UnknownDid when the document is not one of this DID.
    """
    if not isinstance(document, dict) or document.get("id") != did:
        raise UnknownDid(f"{did}: the document is not about this DID")
    services = {
        name: origin
        for name, entry in reversed(_entries(document, "service", did))
        if (origin := service_origin(entry.get("serviceEndpoint"), allow_loopback=allow_loopback)) is not None
    }
    pds = next((entry for name, entry in _entries(document, "service", did) if name == "atproto_pds"), None)
    is_pds = pds is not None and pds.get("type") == "AtprotoPersonalDataServer"
    return Identity(
        did=did,
        pds=services.get("atproto_pds") if is_pds else None,
        signing_key=_key(document, did, "atproto"),
        label_key=_key(document, did, "atproto_label"),
        certificate_key=_key(document, did, "earmark_certificate"),
        handle_claim=_handle(document.get("alsoKnownAs")),
        services=services,
    )


def service_origin(endpoint: Any, *, allow_loopback: bool = False) -> str | None:
    """Scheme, host and optional port of an endpoint; None if it has more or is not https (or allowed loopback)."""
    if not isinstance(endpoint, str) or len(endpoint) > 512:
        return None
    try:
        parsed = urlsplit(endpoint)
        host, port = parsed.hostname or "", parsed.port
    except ValueError:
        return None
    plain = parsed.scheme == "http" and allow_loopback and is_loopback_host(host)
    if not host or not (parsed.scheme == "https" or plain) or "@" in parsed.netloc:
        return None
    if parsed.path not in ("", "/") or parsed.query or parsed.fragment:
        return None
    host = f"[{host}]" if ":" in host else host
    return f"{parsed.scheme}://{host}" + (f":{port}" if port is not None else "")


def _entries(document: dict[str, Any], field: str, did: Did) -> list[tuple[str, dict[str, Any]]]:
    """(fragment, entry) of a list whose ids are `#name` or `did#name`."""
    listed = document.get(field)
    out = []
    for entry in listed[:MAX_ENTRIES] if isinstance(listed, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            owner, mark, name = entry["id"].partition("#")
            if mark and owner in ("", did):
                out.append((name, entry))
    return out


def _key(document: dict[str, Any], did: Did, wanted: str) -> PublicKey | None:
    entry = next((entry for name, entry in _entries(document, "verificationMethod", did) if name == wanted), None)
    if entry is None or entry.get("controller") != did or not isinstance(entry.get("publicKeyMultibase"), str):
        return None
    text, curve = entry["publicKeyMultibase"][:200], _LEGACY.get(str(entry.get("type")))
    try:
        if entry.get("type") == "Multikey":
            return PublicKey.from_multikey(text)
        if curve is not None:  # a bare point, uncompressed, without the prefix that names the curve
            return PublicKey.from_uncompressed(curve, bytes(libipld.decode_multibase(text)[1]))
    except (BadKey, ValueError):
        pass
    return None


def _handle(also_known_as: Any) -> str | None:
    for alias in also_known_as[:MAX_ENTRIES] if isinstance(also_known_as, list) else ():
        if isinstance(alias, str) and len(alias) <= 258 and (found := _HANDLE.fullmatch(alias)):
            return found[1].lower()
    return None
