"""Measured latencies as costs: the table that `darts-benchmark operations --format=json` prints, and its checks."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from darts_tf.config import SearchConfig
from darts_tf.spaces.costs import Costs, priced
from darts_tf.spaces.space import Place, Space
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json, user_path
from darts_tf.system.types import Path

NETWORK = ("space", "init_channels", "num_cells", "num_nodes")
"""The settings that identify a table's network, in addition to its images and operations."""


def read(path: Path) -> dict[str, Any]:
    """Returns a table.

    Raises:
        UserError: There is no such file, or it is not a table.
    """
    file = user_path(path, "cost_table")
    try:
        table = parse_json(file.read_bytes())
        numbers = [table["scale"], table["fixed_ms"], *(row["ms"] for row in table["operations"])]
        if (
            not all(math.isfinite(number) for number in numbers)
            or table["scale"] <= 0
            or min(numbers[2:], default=0) < 0
        ):
            raise ValueError("times that are not finite, or below 0")
        places = [(row["operation"], tuple(row[name] for name in Place._fields)) for row in table["operations"]]
        if not set(places) or not {*NETWORK, "image_shape", "device"} <= table.keys():
            raise ValueError("parts are missing")
    except OSError as error:
        raise UserError(
            f"cost_table cannot be read: {error.strerror or error}. Expected the output of `darts-benchmark "
            f"operations --format=json`. Received: cost_table={path}."
        ) from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            "cost_table is not a table of operations. Expected the output of `darts-benchmark operations "
            f"--format=json`. Received: cost_table={path}, {type(error).__name__}: "
            f"{' '.join(str(error).split())[:80]}."
        ) from error
    return table


def check(table: Mapping[str, Any], config: SearchConfig, image_shape: Sequence[int], device: str) -> None:
    """Checks that a table describes the right network and device.

    Args:
        table: What `read` returns.
        config: The settings of the search, with the channels and cells of the network to be served.
        image_shape: `(height, width, channels)`.
        device: The name that the table's device should have.

    Raises:
        UserError: The table describes another network or device.
    """
    expected = {name: getattr(config, name) for name in NETWORK} | {"image_shape": list(image_shape)}
    for name, value in expected.items():
        if table[name] != value:
            raise UserError(
                f"cost_table is for another network. Expected {name}={value}; `darts-benchmark operations` takes the "
                f"network's flags. Received: {name}={table[name]}."
            )
    if table["device"] != device:
        raise UserError(
            f"cost_table is for another device. Expected {device!r}: measure there, or pass the table's device as "
            f"cost_device if it will serve the network. Received: {table['device']!r}."
        )


def costs(table: Mapping[str, Any], space: Space, config: SearchConfig, network: Any) -> Costs:
    """Returns the latencies of a search's derived networks in milliseconds.

    Args:
        table: What `read` returns. Operations in a network take `scale` times as long as alone, and the rest takes
            `fixed_ms`.
        space: The search space.
        config: The settings of the search.
        network: A derived network of the search, with any genotype.

    Raises:
        UserError: An operation of the search is missing from the table.
    """
    known = {(row["operation"], *(row[name] for name in Place._fields)): row["ms"] for row in table["operations"]}

    def price(name, place):
        if (name, *place) not in known:
            raise UserError(
                f"cost_table is for another network. Expected {name} with {json.dumps(place._asdict())}; pass "
                f"`darts-benchmark operations` the same --primitives and sizes. Received: {len(known)} others."
            )
        return known[name, *place] * table["scale"]

    return dataclasses.replace(priced(space, config, network, price), fixed=table["fixed_ms"])
