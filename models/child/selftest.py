"""Whether a model is what its pack promises: names, shapes, numbers, and the same ones twice.

A wrong or damaged model must stop the service at its start with a remedy, not fill the store with nonsense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnxruntime as ort

Shape = tuple[int | None, ...]  # None is any number
Outputs = Mapping[str, NDArray[np.float32]]


class PackUnfit(Exception):
    """A pack on this machine does not do what it should. `pack` is its name."""

    def __init__(self, pack: str, message: str) -> None:
        super().__init__(f"{pack}: {message}")
        self.pack = pack
        self.message = message


def check_interface(
    session: ort.InferenceSession, pack: str, *, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
) -> None:
    """Every input must be one of ours and every output of ours must be there. Raises PackUnfit."""
    takes, gives = (
        {value.name: value.shape for value in values} for values in (session.get_inputs(), session.get_outputs())
    )
    for name in takes.keys() - inputs.keys():
        raise PackUnfit(pack, f"a model asks for {name!r}, which nobody has")
    for wanted, found, does in ((inputs, takes, "take"), (outputs, gives, "give")):
        for name, shape in wanted.items():
            if name not in found:
                raise PackUnfit(pack, f"a model does not {does} {name!r}, only {', '.join(found)}")
            if not _agree(shape, found[name]):
                raise PackUnfit(pack, f"{name!r} has the shape {found[name]}, not {list(shape)}")


def check_outputs(pack: str, run: Callable[[], Outputs], shapes: Mapping[str, Shape]) -> None:
    """Run it twice, on rows that differ: shapes, finite, the same again, answers that differ. Raises PackUnfit."""
    try:
        first, second = run(), run()
    except Exception as error:  # whatever the inference engine throws: there is no common type
        raise PackUnfit(pack, f"a model does not run ({error})") from error
    for name, shape in shapes.items():
        values = first[name]
        if not _agree(shape, values.shape):
            raise PackUnfit(pack, f"{name!r} came out as {list(values.shape)}, not {list(shape)}")
        if not np.isfinite(values).all():
            raise PackUnfit(pack, f"{name!r} has values that are no numbers")
        if not np.array_equal(values, second[name]):
            raise PackUnfit(pack, f"{name!r} is not the same for the same input")
        if (values == values[0]).all():
            raise PackUnfit(pack, f"{name!r} is the same for different inputs")


def make_probe(*shape: int) -> NDArray[np.float32]:
    """f32 of a shape whose rows differ, from 0 to 3, about where log-mel spectra lie."""
    numbers = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    return (1.5 + 1.5 * np.sin(numbers * 0.7 + numbers**2 * 1e-5)).astype(np.float32)


def _agree(shape: Shape, found: tuple[object, ...] | list[object]) -> bool:
    """A dimension that the model leaves open is a text or None."""
    return len(shape) == len(found) and all(
        wanted is None or not isinstance(size, int) or size == wanted for wanted, size in zip(shape, found, strict=True)
    )
