"""Labels encoded, hashed and signed, against the same by `cryptography` and, where Node is, by @noble/curves.

Ours is what the publisher calls for a transaction: 64 labels of different subjects, each checked before our name goes
under it. The peers sign one valid label over and over, without a check. All make the very same signature of it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from statistics import median
from typing import Any, Self

from bench.label_server import SRC, VALUES, subject
from bench.worker import Worker, cpu_seconds, serve
from core.keys import SigningKey
from core.label import Label
from labeler.signing import bytes_to_sign, sign, sign_all

SECRET = b"\x07" * 32
BATCH = 64
LABELS = [Label(SRC, subject(n // 3), VALUES[n % 3], "2026-11-21T10:00:00.000Z") for n in range(BATCH)]


def run(*, short: bool) -> dict[str, Any]:
    """`labels_per_cpu_second`, the median of rounds in which all take turns."""
    rounds, count = (2, 640) if short else (9, 6_400)
    expected = sign(LABELS[0], SigningKey(SECRET)).sig
    assert expected is not None
    rates: dict[str, list[float]] = {"ours": [], "cryptography": []}
    with Worker("bench.sign", "ours") as ours, Worker("bench.sign", "cryptography") as theirs, _Noble() as noble:
        for _ in range(rounds + 1):  # the first one warms up
            rates["ours"].append(ours.ask(count=count))
            rate, sig = theirs.ask(count=count // 8)
            rates["cryptography"].append(rate)
            if noble.process is not None:
                rate, noble_sig = noble.ask(count // 8)
                rates.setdefault("noble", []).append(rate)
                if noble_sig != expected.hex():
                    raise RuntimeError("noble makes another signature")
            if sig != expected.hex():
                raise RuntimeError("cryptography makes another signature")
    medians = {name: median(each[1:]) for name, each in rates.items()}
    own = medians.pop("ours")
    ratio: dict[str, Any] = {f"labels_per_cpu_second_to_{name}": round(own / rate, 1) for name, rate in medians.items()}
    if noble.process is None:
        ratio["labels_per_cpu_second_to_noble"] = "no Node with its packages (make test-network)"
    return {
        "metrics": {"labels_per_cpu_second": round(own)},
        "peer": {f"{name}_per_cpu_second": round(rate) for name, rate in medians.items()},
        "ratio": ratio,
    }


class _Noble:
    """@noble/curves in the Node that the test network has installed, if it has."""

    process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        from tests.network.install import find

        if (installed := find()) is not None:
            command = [str(installed.node), "--input-type=module", "--eval"]
            script = Path(__file__).with_name("sign_noble.mjs").read_text()
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                [*command, script], cwd=installed.folder, stdin=pipe, stdout=pipe, text=True
            )
            self._tell(json.dumps(LABELS[0].fields()))
        return self

    def ask(self, count: int) -> Any:
        """Labels per CPU second, and the signature in hex."""
        assert self.process is not None
        assert self.process.stdout is not None
        self._tell(str(count))
        return json.loads(self.process.stdout.readline())

    def _tell(self, line: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.communicate()


def own_rate(count: int) -> float:
    """Labels that this process signs per CPU second."""
    key = SigningKey(SECRET)
    return count / cpu_seconds(lambda: [sign_all(LABELS, key) for _ in range(count // BATCH)])


def _cryptography(count: int) -> tuple[float, str]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    key = ec.derive_private_key(int.from_bytes(SECRET, "big"), ec.SECP256K1())
    method = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)

    def sign_one() -> bytes:
        r, s = decode_dss_signature(key.sign(bytes_to_sign(LABELS[0]), method))
        return r.to_bytes(32, "big") + min(s, order - s).to_bytes(32, "big")

    return count / cpu_seconds(lambda: [sign_one() for _ in range(count)]), sign_one().hex()


if __name__ == "__main__":
    import sys

    serve({"ours": own_rate, "cryptography": _cryptography}[sys.argv[1]])
