"""The picture of a track, as its record names it: by an address, or as a blob in its account's repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.ports import Directory, SafeHttp
from core.types import Did
from earmark.pictures import MAX_BYTES, Picture, look_at_picture
from firehose.answers import check_answer

_FIELDS = ("imageUrl", "coverArt", "image", "thumbnail", "thumb")  # of the collections that are mapped


async def fetch_cover(http: SafeHttp, directory: Directory, did: Did, record: Mapping[str, Any]) -> Picture | None:
    """None if it names none, or one that is no picture or too large (see `look_at_picture`).

    Raises Unreachable, also for more than MAX_BYTES, UnsafeHost, AccountAway, RateLimited, ...
    """
    named = next((record[key] for key in _FIELDS if record.get(key)), None)
    if isinstance(named, str) and named.startswith("https://"):
        answer = await http.get(named, max_bytes=MAX_BYTES)
        return look_at_picture(check_answer(answer))
    ref = named.get("ref") if isinstance(named, Mapping) else None
    cid = ref.get("$link") if isinstance(ref, Mapping) else None
    pds = (await directory.resolve(did)).pds if isinstance(cid, str) else None
    if pds is None:
        return None
    params = {"did": did, "cid": str(cid)}
    answer = await http.get(f"{pds}/xrpc/com.atproto.sync.getBlob", params=params, max_bytes=MAX_BYTES)
    return look_at_picture(check_answer(answer))
