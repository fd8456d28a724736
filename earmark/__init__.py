"""The top: wiring, verbs and the web. The only room that knows all the others.

Owns the composition (`compose.build`) and the order of starting and stopping; defends the rule that nothing
below it reads settings or imports a sibling.
"""

__version__ = "0.1.0"
