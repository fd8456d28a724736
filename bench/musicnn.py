"""One musicnn tagger against Essentia's TensorflowPredictMusiCNN: the same weights, the same PCM, one thread each.

PCM of 16 kHz in, activations out: spectra and network, ours and theirs. At equal hops both tag every patch; at the
defaults we tag the 40 patches of our budget and Essentia every 93 frames. Essentia gets the network as a frozen graph
(`bench.graphdef`); that both compute the same is shown by the largest difference of any patch's activations.
Goals: half of Essentia's CPU at equal hop (stretch: a third), a fifth at the defaults (stretch: an eighth).
Needs `make bench-peers`; without it the ratios say so.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.audio import compose
from bench.worker import Worker, cpu_seconds, peak_resident_mb, serve

RATE = 16_000
HOPS = {"hop_187": 187, "hop_93": 93}  # frames from patch to patch
ESSENTIA_DEFAULT = "hop_93"


def run(*, short: bool) -> dict[str, Any]:
    """CPU seconds of the medians, ratios peer by ours: above 1 we are faster."""
    seconds, rounds = (30, 1) if short else (180, 3)
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as name, ExitStack() as workers:
        folder = Path(name)
        pcm = compose(seconds, RATE).mean(axis=0)
        np.save(folder / "pcm.npy", pcm)
        sides = {"ours": workers.enter_context(Worker("bench.musicnn", "ours", name))}
        why = _prepare_essentia(folder)
        if why is None:
            sides["essentia"] = workers.enter_context(Worker("bench.musicnn", "essentia", name))
        hops = {side: [*HOPS, "default"] if side == "ours" else [*HOPS] for side in sides}
        times: dict[tuple[str, str], list[float]] = {}
        for index in range(rounds + 1):  # the first warms up: lazy compilation, buffers
            for hop in hops["ours"]:
                for side, worker in sides.items():
                    if hop in hops[side]:
                        spent = worker.ask(hop=hop)
                        times.setdefault((side, hop), []).extend([spent] if index else [])
        measured = {key: round(median(values), 4) for key, values in times.items()}
        resident = {side: worker.ask(hop=None) for side, worker in sides.items()}
        differences = {
            f"{hop}_max_difference": _compare(folder / f"ours-{hop}.npy", folder / f"essentia-{hop}.npy")
            for hop in HOPS
            if "essentia" in sides
        }
    metrics: dict[str, Any] = {f"{hop}_cpu_seconds": measured["ours", hop] for hop in hops["ours"]}
    peer: dict[str, Any] = {}
    ratio: dict[str, Any] = {}
    for hop in hops["ours"]:
        theirs = measured.get(("essentia", ESSENTIA_DEFAULT if hop == "default" else hop))
        if theirs is not None:
            peer[f"{hop}_cpu_seconds"] = theirs
        ratio[f"{hop}_cpu_seconds"] = why or round((theirs or 0) / measured["ours", hop], 2)
    if "essentia" in resident:
        peer["rss_mb"] = resident["essentia"]
    metrics |= {"rss_mb": resident["ours"], "track_seconds": seconds} | differences
    return {"metrics": metrics, "peer": peer, "ratio": ratio}


def _prepare_essentia(folder: Path) -> str | None:
    """Lay the graph that Essentia loads into the folder; what is missing, if anything is."""
    if importlib.util.find_spec("essentia") is None:
        return "no peer installed (make bench-peers)"
    from bench.graphdef import freeze

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "musicnn==0.1.0"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        return "pip cannot get the weights for the peer"
    freeze(next(folder.glob("musicnn-*.whl")), folder / "msd.pb")
    return None


def _compare(ours: Path, theirs: Path) -> float:
    first, second = np.load(ours), np.load(theirs)
    if first.shape != second.shape:
        raise RuntimeError(f"{len(first)} patches of ours, {len(second)} of Essentia's")
    return float(f"{np.abs(first - second).max():.2g}")


def _serve_ours(folder: Path) -> None:
    from core.home import default_home
    from models.child.musicnn import BUDGET, FRAMES
    from models.child.patches import PatchReservoir, choose_evenly
    from models.child.session import open_session
    from models.child.spectra import MelStream
    from models.pack import pack_folder

    session = open_session(pack_folder(default_home(), "musicnn") / "msd.onnx")
    pcm = np.load(folder / "pcm.npy")

    def tag(hop: str) -> NDArray[np.float32]:
        spectra, reservoir = MelStream(), PatchReservoir(frames=FRAMES, hop=HOPS.get(hop, FRAMES), capacity=len(pcm))
        for start in range(0, len(pcm), RATE):
            reservoir.feed(spectra.feed(pcm[start : start + RATE]))
        reservoir.feed(spectra.finish())
        patches = reservoir.finish()
        heard = choose_evenly(patches, BUDGET) if hop == "default" else patches
        return np.concatenate(
            [session.run(["activations"], {"melspectrogram": one.spectrum[None]})[0] for one in heard]
        )

    serve(lambda hop: _time(tag, hop, folder / f"ours-{hop}.npy"))


def _serve_essentia(folder: Path) -> None:
    pcm = np.load(folder / "pcm.npy")
    predictors: dict[str, Any] = {}

    def tag(hop: str) -> NDArray[np.float32]:
        return predictors[hop](pcm)

    def answer(hop: str | None) -> float:
        if not predictors:
            import essentia

            essentia.log.infoActive = False
            import essentia.standard

            graph = str(folder / "msd.pb")
            for name, frames in HOPS.items():
                predictors[name] = essentia.standard.TensorflowPredictMusiCNN(graphFilename=graph, patchHopSize=frames)
        return _time(tag, hop, folder / f"essentia-{hop}.npy")

    serve(answer)


def _time(tag: Any, hop: str | None, out: Path) -> float:
    """CPU seconds of one run, its activations saved; without a hop the peak memory so far, in MB."""
    if hop is None:
        return peak_resident_mb()
    rows: list[NDArray[np.float32]] = []
    spent = cpu_seconds(lambda: rows.append(tag(hop)))
    np.save(out, rows[0])
    return spent


if __name__ == "__main__":
    {"ours": _serve_ours, "essentia": _serve_essentia}[sys.argv[1]](Path(sys.argv[2]))
