"""`python -I -m models.child PACK_FOLDER`: warm up, give up what is not needed, then answer requests until EOF."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from core.errors import Permanent
from models.child.analyse import analyse
from models.child.decode import silence_libav
from models.child.musicnn import Taggers
from models.child.sandbox import confine, die_with_parent, take_pipe
from models.wire import LENGTH, Heard, Listen, Ready, Refused, decode_request, encode, read_length


def main() -> None:
    die_with_parent()
    answers = take_pipe()
    requests = sys.stdin.buffer
    silence_libav()
    taggers = Taggers(Path(sys.argv[1]))
    confine()
    _send(answers, encode(Ready(os.getpid())))
    while len(prefix := requests.read(LENGTH.size)) == LENGTH.size:
        request = decode_request(requests.read(read_length(prefix)))
        _send(answers, encode(_answer(request, taggers)))


def _answer(request: Listen, taggers: Taggers) -> Heard | Refused:
    # Anything but a refusal is a bug or a lack of memory: the traceback goes to stderr, this process ends, and the
    # parent sees a crash.
    try:
        return analyse(Path(os.fsdecode(request.path)), taggers, max_seconds=request.max_seconds)
    except Permanent as refusal:
        return Refused(refusal.reason, str(refusal))


def _send(answers: BinaryIO, frame: bytes) -> None:
    answers.write(frame)
    answers.flush()


if __name__ == "__main__":
    main()
