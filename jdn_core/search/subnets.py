"""What is known of single subnets: one small file each, so that a search of the pool can stop anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jdn_core.errors import StorageError
from jdn_core.space.teachers import SubnetSpec
from jdn_core.storage import durable

SCHEMA = 1
MEASURED = Path("work", "measured-teachers")  # below a search's folder: AP of teachers after BN reset


@dataclass(frozen=True)
class SubnetRecord:
    """A subnet after BN reset.

    Attributes:
        subnet: which one.
        ap: resolution, as text -> AP as a fraction, unrounded; one at least, smallest area first.
        macs: resolution -> multiply-accumulates of the whole detector for one image.
        params: of the whole detector.
    """

    subnet: SubnetSpec
    ap: Mapping[str, float]
    macs: Mapping[str, int]
    params: int

    def __post_init__(self) -> None:
        if not self.ap or self.ap.keys() != self.macs.keys():
            raise ValueError(f"ap and macs must have the same resolutions, got {[*self.ap]}, {[*self.macs]}")

    @property
    def resolution(self) -> str:
        """Where AP is highest; of equals the cheapest."""
        return min(self.ap, key=lambda frame: (-self.ap[frame], self.macs[frame]))

    @property
    def order(self) -> tuple[float, int, str]:
        """Sorts the best subnet first: by AP, then by cost; the text makes it total."""
        frame = self.resolution
        return (-self.ap[frame], self.macs[frame], str(self.subnet))

    def to_json(self) -> dict[str, Any]:
        frame = self.resolution
        return {
            "subnet": str(self.subnet),
            "resolution": frame,
            "ap": self.ap[frame],
            "macs": self.macs[frame],
            "params": self.params,
            "ap_by_resolution": dict(self.ap),
            "macs_by_resolution": dict(self.macs),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError where the data is broken."""
        subnet = SubnetSpec.parse(data["subnet"])
        # A file of ours has sorted keys; the cost brings the frames back into their order.
        macs = dict(sorted(data["macs_by_resolution"].items(), key=lambda item: item[1]))
        ap = {frame: data["ap_by_resolution"][frame] for frame in macs}
        return cls(subnet, ap, macs, data["params"])


class SubnetRecords:
    """The records in ``folder``, which is made at the first one; a damaged file counts for none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, subnet: SubnetSpec) -> SubnetRecord | None:
        """Returns the record of a subnet, or none where there is no whole one."""
        try:
            data = durable.read_json(self._path(subnet), schema=SCHEMA)
            record = SubnetRecord.from_json(data)
        except (FileNotFoundError, StorageError, ValueError, KeyError, TypeError):
            return None
        return record if record.subnet == subnet else None

    def put(self, record: SubnetRecord) -> None:
        """Writes a record; raises StorageError where the disk is full or broken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        durable.write_json(self._path(record.subnet), record.to_json(), schema=SCHEMA, seal=True)

    def _path(self, subnet: SubnetSpec) -> Path:
        return self._folder / f"{str(subnet).replace(' ', '_')}.json"
