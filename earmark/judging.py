"""The policy as the settings want it, and the judge that the service and the operator's verbs share."""

from __future__ import annotations

from core.analysis import Analysis, Ruling, Verdict
from core.config import Settings
from core.taxonomy import Taxonomy
from earmark.deciding import Judge
from labeler.musicnn import TagMapping
from labeler.policy import Policy
from labeler.thresholds import Thresholds
from store.tracks import StoredTrack


def load_policy(settings: Settings, taxonomy: Taxonomy) -> Policy:
    """Raises Misconfigured for a file of thresholds that cannot be used."""
    path = settings.policy.thresholds
    thresholds = Thresholds() if path is None else Thresholds.load(path, taxonomy)
    mapping = TagMapping.load(taxonomy)
    return Policy(taxonomy, mapping, publish_styles=settings.policy.publish_styles, thresholds=thresholds)


def judge_by(policy: Policy) -> Judge:
    """What a policy says of a stored track."""

    def judge(analysis: Analysis, stored: StoredTrack, previous: tuple[str, ...], ruling: Ruling) -> Verdict:
        track = stored.track
        return policy.judge(
            analysis,
            author_tags=track.author_tags,
            self_labels=track.self_labels,
            previous=previous,
            ruling=ruling,
        )

    return judge
