"""The names of record types that artists and listeners write into their own repositories for Earmark.

All installations share them: an artist who opts out does so once. No domain is registered for them yet; when one is,
this constant changes, and operators may go on accepting the old name (`control.optout_collections`).
"""

from __future__ import annotations

from typing import Final

from core.types import Nsid

RECORD_AUTHORITY: Final = "example.earmark"
OPTOUT: Final = Nsid(f"{RECORD_AUTHORITY}.optout")
FEED_PREFS: Final = Nsid(f"{RECORD_AUTHORITY}.feedPrefs")
