"""`python -I -m models.child listen|text PACK=FOLDER...`: warm up, give up what is not needed, answer until EOF."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core.errors import Permanent
from models.child.sandbox import confine, die_with_parent
from models.child.selftest import PackUnfit
from models.wire import (
    LENGTH,
    Answer,
    Embed,
    Embedded,
    Listen,
    Ready,
    Refused,
    Request,
    Unfit,
    decode_request,
    encode,
    read_length,
)

Respond = Callable[[Request, BinaryIO | None], Answer]


def main() -> None:
    die_with_parent()
    parent = socket.socket(fileno=sys.stdin.fileno())
    role, *packs = sys.argv[1:]
    folders = {name: Path(folder) for name, _, folder in (pack.partition("=") for pack in packs)}
    try:
        respond = {"listen": _listen, "text": _read}[role](folders)
    except PackUnfit as unfit:
        parent.sendall(encode(Unfit(unfit.pack, unfit.message)))
        return
    if not confine():
        print("this kernel has no Landlock: files are protected by their permissions only", file=sys.stderr)  # noqa: T201
    parent.sendall(encode(Ready(os.getpid())))
    while (received := _receive(parent)) is not None:
        request, audio = received
        try:
            parent.sendall(encode(respond(request, audio)))
        finally:
            if audio is not None:
                audio.close()


def _listen(folders: dict[str, Path]) -> Respond:
    from models.child.analyse import Listener  # noqa: PLC0415  (a text child needs no decoder)
    from models.child.decode import silence_libav  # noqa: PLC0415

    silence_libav()
    listener = Listener(folders)
    listener.warm_up()

    def respond(request: Request, audio: BinaryIO | None) -> Answer:
        assert isinstance(request, Listen)
        assert audio is not None
        # Anything but a refusal is a bug or a lack of memory: the traceback goes to stderr, this process ends, and the
        # parent sees a crash.
        try:
            return listener.analyse(audio, max_seconds=request.max_seconds)
        except Permanent as refusal:
            return Refused(refusal.reason, str(refusal))

    return respond


def _read(folders: dict[str, Path]) -> Respond:
    from models.child.clap import ClapText  # noqa: PLC0415  (a listening child needs no tokenizer)

    tower = ClapText(folders["clap"])
    tower.self_test()

    def respond(request: Request, _: BinaryIO | None) -> Answer:
        assert isinstance(request, Embed)
        return Embedded(tower.embed(request.texts).tolist())

    return respond


def _receive(parent: socket.socket) -> tuple[Request, BinaryIO | None] | None:
    """The next request and the open file that came with it; None when the parent is done with us."""
    prefix, descriptors, _, _ = socket.recv_fds(parent, LENGTH.size, 1)
    if len(prefix) < LENGTH.size:
        return None
    body = b""
    while len(body) < read_length(prefix):
        part = parent.recv(read_length(prefix) - len(body))
        if not part:
            return None
        body += part
    return decode_request(body), os.fdopen(descriptors[0], "rb") if descriptors else None


if __name__ == "__main__":
    main()
