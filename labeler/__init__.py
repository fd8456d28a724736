"""From verdict to signed label.

Owns the policy, the label key's use, the label log's numbering by T3 and the methods that serve it. Defends one
invariant: the labels live on a subject are those of its newest settled verdict, each signed over exactly the
bytes that we serve, in a sequence that is gapless and never reused, however often a step is repeated or cut short.
"""

from labeler.certificate import certify, verify_certificate
from labeler.enroll import Finding, check_enrolment
from labeler.label_key import load_label_key
from labeler.methods import LabelMethods
from labeler.musicnn import TagMapping
from labeler.policy import Policy
from labeler.publisher import Publisher
from labeler.reconcile import reconcile
from labeler.signing import BadLabel, label_from, sign, verify
from labeler.vocabulary import build_declaration

__all__ = [
    "BadLabel",
    "Finding",
    "LabelMethods",
    "Policy",
    "Publisher",
    "TagMapping",
    "build_declaration",
    "certify",
    "check_enrolment",
    "label_from",
    "load_label_key",
    "reconcile",
    "sign",
    "verify",
    "verify_certificate",
]
