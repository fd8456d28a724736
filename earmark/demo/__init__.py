"""The embedded network of `earmark demo`, and the music that it publishes.

Owns a directory, a PDS with repositories, blobs and signed commits, both live streams, and synthesised pieces.
Defends the rule that none of it is ever reachable from another machine: it is a test network.
"""

from earmark.demo.account import DemoAccount
from earmark.demo.network import Network
from earmark.demo.world import Switches

__all__ = ["DemoAccount", "Network", "Switches"]
