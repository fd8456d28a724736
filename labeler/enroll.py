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


def check_enrolment(identity: Identity, *, key: PublicKey, service_url: str) -> list[Finding]:
    """What is wrong with the labeler's DID document; nothing is wrong if the list is empty.

    Signing must not start while there are findings: readers drop signatures they cannot verify without a word.
    """
    findings = []
    if identity.label_key is None:
        findings.append(
            Finding(
                f"the DID document of {identity.did} has no #atproto_label key",
                f"add the verification method atproto_label with {key.multikey}",
            )
        )
    elif identity.label_key != key:
        findings.append(
            Finding(
                f"the #atproto_label key of {identity.did} is {identity.label_key.multikey}, ours is {key.multikey}",
                "point the key setting at the private key that was enrolled, or publish the new public key",
            )
        )
    endpoint = identity.services.get("atproto_labeler")
    if endpoint is None:
        findings.append(
            Finding(
                f"the DID document of {identity.did} has no #atproto_labeler service",
                f"add the service atproto_labeler of type AtprotoLabeler with endpoint {service_url}",
            )
        )
    elif endpoint.rstrip("/") != service_url.rstrip("/"):
        findings.append(
            Finding(
                f"the #atproto_labeler endpoint of {identity.did} is {endpoint}, we serve {service_url}",
                "correct the service URL setting or the DID document: readers follow no redirect",
            )
        )
    return findings
