"""Words that every room shares.

Owns values, errors and pure functions; defends the rule that nothing below imports anything above:
no sockets, no files (but packaged data), no database here.
"""
