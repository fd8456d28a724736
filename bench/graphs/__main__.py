"""`python -m bench.graphs FOLDER [--full-clap DIR]`: stand-ins for effnet and clap, and how to install them."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.graphs.catalogue import write_stand_ins


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.graphs", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write effnet/, clap/ and packs.json")
    parser.add_argument("--full-clap", type=Path, help="folder of full-size CLAP graphs, as `make references` writes")
    wanted = parser.parse_args()
    catalogue = write_stand_ins(wanted.folder, full_clap=wanted.full_clap)
    options = f"--accept-license --from {wanted.folder} --catalogue {catalogue}"
    print("to install them beside the real musicnn, in a home folder of their own:")
    print("  export EARMARK_HOME=... EARMARK_LISTENING__PACK_CATALOGUE=" + str(catalogue.absolute()))
    print(f"  earmark models pull musicnn && earmark models pull effnet clap {options}")


if __name__ == "__main__":
    main()
