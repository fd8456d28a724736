"""Everything that is held about one account, told in the words of our own lexicon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.clock import format_datetime
from core.types import Did
from earmark.dossier_place import Place
from earmark.report import look_up
from earmark.views import tell_labels, tell_view
from labeler.certificate import tell_score
from store import (
    Reader,
    accounts,
    actions,
    announcements,
    dossiers,
    feedback,
    labels,
    mirrors,
    repos,
    rulings,
    signals,
    wishes,
)
from store.actions import Action
from store.dossiers import DisputeNote
from store.feedback import ViewerKey
from store.wishes import Scope, WishKind

MAX_HISTORY = 200  # label rows of one subject
MAX_WISHES = 200
MAX_POSTS = 50  # of one track


class Dossier:
    """Reads one page in one snapshot."""

    def __init__(self, reader: Reader, did: Did, src: Did, complete: bool, limit: int, *, viewer: ViewerKey) -> None:
        """`viewer`: what stands for the account where it said something in feeds."""
        self._reader, self._did, self._src, self._complete, self._limit = reader, did, src, complete, limit
        self._viewer = viewer

    async def tell(self, place: Place) -> dict[str, Any]:
        reader, did = self._reader, self._did
        account, standing = await accounts.get(reader, did), await wishes.of(reader, did)
        shown = account.active and not standing.logged_in_only and standing.scope is not Scope.ALL
        tracks, next_track = await self._tracks(place.track)
        posts, next_post = await self._posts(place.post) if shown or self._complete else ([], None)
        disputes, next_dispute = await self._disputes(place.dispute) if self._complete else ([], None)
        done, next_action = await self._actions(place.action) if self._complete else ([], None)
        following = Place(next_track, next_post, next_dispute, next_action)
        report: dict[str, Any] = {
            "did": did,
            "complete": self._complete,
            "account": await self._account(active=account.active, status=account.status),
            "wishes": {
                "scope": standing.scope.value,
                "loggedInOnly": standing.logged_in_only,
                "records": [
                    {
                        "uri": wish.uri,
                        "kind": wish.kind.value,
                        "scope": wish.scope.value,
                        "loggedInOnly": wish.logged_in_only,
                        "updatedAt": format_datetime(wish.updated_us),
                    }
                    for wish in await dossiers.wishes_of(reader, did, limit=MAX_WISHES)
                    if self._complete or wish.kind is not WishKind.REPORT
                ],
            },
            "tracks": tracks,
            "posts": posts,
            "disputes": disputes,
            "actions": done,
        }
        if self._complete and place == Place():
            report |= {"feedback": await self._feedback(), "announcing": await self._announcing()}
        return report if following == Place(None, None, None, None) else report | {"cursor": str(following)}

    async def _account(self, *, active: bool, status: str | None) -> dict[str, Any]:
        told: dict[str, Any] = {"active": active}
        if status is not None:
            told["status"] = status
        if not self._complete:
            return told
        repo, met = await repos.get(self._reader, self._did), await dossiers.met(self._reader, self._did)
        if repo is not None:
            told["repository"] = repo.state
        if met is not None:
            told["metAt"] = format_datetime(met[1])
            if met[0] is not None:
                told["bornAt"] = format_datetime(met[0])
        given = await signals.given(self._reader, self._did)
        return told | {"signals": _tell_signals(given)}

    async def _feedback(self) -> list[dict[str, Any]]:
        """What the account said in feeds of its own, all of it."""
        return [
            {"uri": said.track_uri, "feed": said.feed, "wish": said.wish.value, "at": format_datetime(said.at_us)}
            for said in await feedback.of_viewer(self._reader, self._viewer)
        ]

    async def _announcing(self) -> list[dict[str, Any]]:
        """What the account said of being announced."""
        said = await announcements.wishes_of(self._reader, self._did, limit=MAX_WISHES)
        return [{"uri": one.record_uri, "said": one.said.value, "at": format_datetime(one.said_us)} for one in said]

    async def _tracks(self, after: int | None) -> tuple[list[dict[str, Any]], int | None]:
        if after is None:
            return [], None
        found = await dossiers.tracks_of(self._reader, self._did, after=after, limit=self._limit)
        told = [track for _, uri in found if (track := await self._track(uri)) is not None]
        return told, found[-1][0] if len(found) == self._limit else None

    async def _track(self, uri: str) -> dict[str, Any] | None:
        """None for one that is kept from the public, unless its artist asks: that it exists is not told either."""
        reader = self._reader
        known = await look_up(reader, uri, labeler_did=self._src, everything=self._complete)
        if known is None or not known.public:
            return None
        stored, track = known.stored, known.stored.track
        told: dict[str, Any] = {
            "view": tell_view(uri, known),
            "firstSeenAt": format_datetime(stored.first_seen_us),
            "updatedAt": format_datetime(stored.updated_us),
            "visibility": stored.visibility.value if track.visibility_check else "not_asked",
            "title": track.title,
            "authorTags": list(track.author_tags),
            "selfLabels": list(track.self_labels),
            "history": [
                {"seq": step.seq, "val": step.val, "neg": step.neg, "cts": step.cts}
                | ({} if step.exp is None else {"exp": step.exp})
                for step in await dossiers.label_history(reader, self._src, uri, limit=MAX_HISTORY)
            ],
            "notes": list(known.verdict.verdict.notes) if known.verdict is not None else [],
            "mirrors": await mirrors.posts_of(reader, uri),
            "posts": [link.post_uri for link in known.posts[:MAX_POSTS]],
            "signals": _tell_signals((await signals.counts(reader, [uri]))[uri]),
        }
        optional = {"artist": track.artist, "album": track.album, "pageUrl": track.page_url}
        told |= {name: text for name, text in optional.items() if text is not None}
        if known.job is not None:
            told["job"] = known.job.state.value + (f": {known.job.reason}" if known.job.reason else "")
        if self._complete:
            ruling = await rulings.of(reader, uri)
            told |= {"denied": sorted(ruling.denied), "stated": list(ruling.stated)}
            if (post := await announcements.of_track(reader, uri)) is not None:
                told["announcement"] = {
                    "post": post.post_uri,
                    "state": post.state.value,
                    "at": format_datetime(post.made_us),
                }
            if known.analysis is not None:
                told["scores"] = [tell_score(tag) for tag in known.analysis.tags]
        return told

    async def _posts(self, after: str | None) -> tuple[list[dict[str, Any]], str | None]:
        if after is None:
            return [], None
        found = await dossiers.posts_by(self._reader, self._did, after=after, limit=self._limit)
        told = [
            {
                "uri": post.uri,
                "createdAt": format_datetime(post.created_us),
                "links": post.links,
                "labels": tell_labels(await labels.live(self._reader, self._src, post.uri)),
            }
            for post in found
        ]
        return told, found[-1].uri if len(found) == self._limit else None

    async def _disputes(self, after: int | None) -> tuple[list[dict[str, Any]], int | None]:
        if after is None:
            return [], None
        found = await dossiers.disputes_with(self._reader, self._did, after=after, limit=self._limit)
        told = [self._dispute(dispute) for dispute in found]
        return told, found[-1].dispute_id if len(found) == self._limit else None

    def _dispute(self, dispute: DisputeNote) -> dict[str, Any]:
        """Of another's report neither sender nor words: they are that person's, as may be the post that it names. Why
        it was decided so is for operators only.
        """
        mine = dispute.reporter == self._did
        told: dict[str, Any] = {
            "id": dispute.dispute_id,
            "createdAt": format_datetime(dispute.created_us),
            "state": dispute.state,
            "uri": dispute.uri,
            "subject": dispute.subject if mine else dispute.uri,
            "reasonType": dispute.reason_type,
            "mine": mine,
            "byArtist": dispute.by_artist,
            "labels": list(dispute.labels),
        }
        if mine and dispute.words:
            told["words"] = dispute.words
        if dispute.decided_us is not None:
            told["decidedAt"] = format_datetime(dispute.decided_us)
        return told

    async def _actions(self, before: int | None) -> tuple[list[dict[str, Any]], int | None]:
        if before is None:
            return [], None
        found = await actions.about(self._reader, self._did, before=before, limit=self._limit)
        return [_tell_action(action) for action in found], found[-1].action_id if len(found) == self._limit else None


def _tell_action(action: Action) -> dict[str, Any]:
    """Without who it was and in which words: those belong to an operator or to somebody who reported."""
    told = {
        "id": action.action_id,
        "at": format_datetime(action.at_us),
        "by": action.actor_kind.value,
        "verb": action.verb,
    }
    return told if action.uri is None else told | {"uri": action.uri}


def _tell_signals(counted: Mapping[signals.SignalKind, int]) -> list[dict[str, Any]]:
    return [{"kind": kind.value, "count": count} for kind, count in sorted(counted.items())]
