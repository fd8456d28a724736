"""Whether the network can trust what we would sign: our DID document against our key and address (P44, P83)."""

from __future__ import annotations

from dataclasses import dataclass

from core.keys import PublicKey
from core.ports import Identity


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps others from believing or finding our labels, and what to do about it."""

    what: str
    remedy: str


def check_certificates(identity: Identity, *, key: PublicKey) -> list[Finding]:
    """What keeps others from verifying our certificates; labels do not depend on it (P45)."""
    if identity.certificate_key == key:
        return []
    now = identity.certificate_key
    return [
        Finding(
            f"the #earmark_certificate key of {identity.did} is {now.multikey if now else 'missing'}, "
            f"ours is {key.multikey}",
            "run: earmark labeler setup",
        )
    ]


def check_enrolment(identity: Identity, *, key: PublicKey, service_url: str) -> list[Finding]:
    """What is wrong with the labeler's DID document; nothing is wrong if the list is empty.

    Signing must not start while there are findings: readers drop signatures they cannot verify without a word.
    """
    findings = []
    if identity.label_key is None:
        findings.append(
            Finding(
                f"the DID document of {identity.did} has no #atproto_label key",
                f"run: earmark labeler setup; it adds the verification method atproto_label with {key.multikey}",
            )
        )
    elif identity.label_key != key:
        findings.append(
            Finding(
                f"the #atproto_label key of {identity.did} is {identity.label_key.multikey}, ours is {key.multikey}",
                "set labeler.key_file to the private key that was enrolled, or publish ours: earmark labeler setup",
            )
        )
    endpoint = identity.services.get("atproto_labeler")
    if endpoint is None:
        findings.append(
            Finding(
                f"the DID document of {identity.did} has no #atproto_labeler service",
                f"run: earmark labeler setup; it adds the service atproto_labeler (AtprotoLabeler) at {service_url}",
            )
        )
    elif endpoint.rstrip("/") != service_url.rstrip("/"):
        findings.append(
            Finding(
                f"the #atproto_labeler endpoint of {identity.did} is {endpoint}, we serve {service_url}",
                "correct service.public_url, or the document: earmark labeler setup; readers follow no redirect",
            )
        )
    return findings
