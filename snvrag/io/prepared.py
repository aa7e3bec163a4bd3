"""Prepared panels: a reference panel as one file, which is mapped into memory instead of read.

The container is safetensors (https://huggingface.co/docs/safetensors): eight bytes with the length
of a JSON header, the header, and the arrays end to end. The library of that name copies arrays out
of the file; here they are mapped. The header's ``__metadata__`` holds format, version, chromosome
and CRC-32 checksums, including that of the header itself.
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, unreadable
from ..panel.panel import Panel
from ..panel.regions import Region
from ..panel.site_block import SiteBlock
from .atomic import atomic_file
from .records import ReadReport

FORMAT = "snvrag panel"
VERSION = "1"
# Sites whose bits share a checksum: a stream checks only what it reads.
PART_SITES = 1024

_MAX_HEADER_BYTES = 1 << 20
# Arrays by name, with safetensors' name of their type; larger elements first keep all aligned.
_TYPES: dict[str, tuple[str, type[np.generic]]] = {
    "site_bits": ("U64", np.uint64),  # (S, W)
    "position": ("I64", np.int64),  # (S,)
    "id_ends": ("I64", np.int64),  # (S,): where each ID ends in `ids`
    "alleles": ("U32", np.uint32),  # (S, 2): code points
    "bits_crc32": ("U32", np.uint32),  # (ceil(S / PART_SITES),)
    "ploidy": ("U8", np.uint8),  # (num_samples,)
    "samples": ("U8", np.uint8),  # UTF-8, lines
    "ids": ("U8", np.uint8),  # UTF-8, end to end
}


def is_prepared(head: bytes) -> bool:
    """Return whether a file may be a prepared panel by its first bytes (at least 9)."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER_BYTES


def write_prepared(
    path: str | Path, panel: Panel, ids: list[str], contig_length: int | None = None
) -> None:
    """Write a prepared panel atomically, without its populations; InputError if it cannot be.

    Parameters
    ----------
    path : str or Path
    panel : Panel
    ids : list of str
        ID of each site, "." without one.
    contig_length : int, optional
        Length of the chromosome in bp.
    """
    encoded = [name.encode() for name in ids]
    arrays: dict[str, NDArray[Any]] = {
        "site_bits": panel.site_bits,
        "position": panel.position,
        "id_ends": np.cumsum([len(name) for name in encoded], dtype=np.int64),
        "alleles": np.ascontiguousarray(panel.alleles, "<U1").view(np.uint32),
        "bits_crc32": np.array(
            [_crc32(panel.site_bits[part]) for part in _parts(panel.num_sites)], np.uint32
        ),
        "ploidy": panel.sample_ploidy.astype(np.uint8),
        "samples": np.frombuffer("\n".join(panel.samples).encode(), np.uint8),
        "ids": np.frombuffer(b"".join(encoded), np.uint8),
    }
    crc32 = {name: _crc32(array) for name, array in arrays.items() if name != "site_bits"}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "chrom": panel.chrom,
        "contig_length": "" if contig_length is None else str(contig_length),
        "crc32": json.dumps(crc32),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        entry = {"dtype": _TYPES[name][0], "shape": list(array.shape)}
        header[name] = {**entry, "data_offsets": [start, end]}
    metadata["header_crc32"] = str(_header_crc32(header))
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with atomic_file(Path(path)) as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            stream.write(_bytes_of(array))


class PreparedReader:
    """A prepared panel, mapped into memory: a `HaplotypeReader`.

    Opening reads the header and the names of the samples, whatever the size of the panel. Checksums
    are compared by `verify`, and by `blocks` for the sites that it yields.

    Raises
    ------
    InputError
        If the file is not a prepared panel of this version, is truncated, has a damaged header, or
        has no site in the region.
    """

    def __init__(self, path: str, region: Region | None = None) -> None:
        self._path = path
        metadata = self._map()
        self.chrom: str = metadata["chrom"]
        self.contig_length = int(metadata["contig_length"] or 0) or None
        self.ploidy = self._arrays["ploidy"].astype(np.int64)
        try:
            self.samples = tuple(self._arrays["samples"].tobytes().decode().split("\n"))
        except UnicodeDecodeError as error:
            raise self._damage("the samples' names") from error
        if len(self.samples) != self.ploidy.size or not np.isin(self.ploidy, (1, 2)).all():
            raise self._damage("the samples' names or ploidy")
        position = self._arrays["position"]
        self._start, self._stop = 0, position.size
        if region is not None:
            region = region.within(path, [self.chrom])
            self._start = int(np.searchsorted(position, region.first, side="left"))
            self._stop = int(np.searchsorted(position, region.last, side="right"))
            if self._start >= self._stop:
                raise self._error(f"no biallelic SNV left in {region.text}")
        self.report = ReadReport(path)

    def verify(self) -> None:
        """Compare the whole file with its checksums; InputError names a part that differs."""
        self._verify_sites()
        self._verify_bits(0, self._arrays["position"].size)

    def blocks(self, num_sites: int = PART_SITES) -> Iterator[SiteBlock]:
        """See `HaplotypeReader.blocks`; the arrays may be read-only."""
        self._verify_sites()
        ends = self._arrays["id_ends"]
        checked = self._start
        for start in range(self._start, self._stop, num_sites):
            stop = min(start + num_sites, self._stop)
            if stop > checked:
                checked = self._verify_bits(max(start, checked), stop)
            first = int(ends[start - 1]) if start else 0
            text = self._arrays["ids"][first : int(ends[stop - 1])].tobytes()
            cuts = [first, *ends[start:stop].tolist()]
            ids = [text[a - first : b - first].decode() for a, b in pairwise(cuts)]
            self.report.num_records += stop - start
            position, bits = (self._arrays[name][start:stop] for name in ("position", "site_bits"))
            yield SiteBlock(position, self._letters(start, stop), ids, bits)

    def panel(self) -> Panel:
        """Return the panel; its arrays stay in the file until they are accessed."""
        self.report.num_records = self._stop - self._start
        sites = slice(self._start, self._stop)
        return Panel(
            chrom=self.chrom,
            position=self._arrays["position"][sites],
            alleles=self._letters(self._start, self._stop),
            samples=self.samples,
            site_bits=self._arrays["site_bits"][sites],
            ploidy=None if (self.ploidy == 2).all() else self.ploidy,
        )

    def _letters(self, start: int, stop: int) -> NDArray[np.str_]:
        return self._arrays["alleles"][start:stop].view("<U1")

    def _map(self) -> dict[str, str]:
        """Map the arrays; return the metadata."""
        try:
            with open(self._path, "rb") as stream:
                header_bytes = int.from_bytes(stream.read(8), "little")
                text = stream.read(min(header_bytes, _MAX_HEADER_BYTES))
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise unreadable(self._path, error) from error
        file = np.frombuffer(mapped, np.uint8)
        try:
            header = json.loads(text)
            metadata = header["__metadata__"]
            kind, version = metadata["format"], metadata["version"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._error("not a panel prepared by snvrag, or damaged") from error
        if kind != FORMAT:
            raise self._error("not a panel prepared by snvrag")
        if version != VERSION:
            versions = f"format version {version}, this snvrag reads version {VERSION}"
            raise self._error(f"{versions}: prepare the panel again")
        if metadata.get("header_crc32") != str(_header_crc32(header)):
            raise self._damage("the header")
        begin = 8 + header_bytes
        size = begin + max(header[name]["data_offsets"][1] for name in _TYPES)
        if file.size < size:
            raise self._error(f"truncated, {file.size} bytes where the header expects {size}")
        if file.size > size:
            raise self._error(f"damaged, {file.size - size} bytes too many")
        self._arrays: dict[str, NDArray[Any]] = {}
        for name, (_, dtype) in _TYPES.items():
            start, stop = header[name]["data_offsets"]
            array = file[begin + start : begin + stop].view(dtype)
            self._arrays[name] = array.reshape(header[name]["shape"])
        self._crc32: dict[str, int] = json.loads(metadata["crc32"])
        return dict(metadata)

    def _verify_sites(self) -> None:
        for name, crc32 in self._crc32.items():
            if _crc32(self._arrays[name]) != crc32:
                raise self._damage(f"the array {name}")

    def _verify_bits(self, start: int, stop: int) -> int:
        """Check the parts that hold the sites [start, stop); return the end of the last part."""
        bits = self._arrays["site_bits"]
        end = start
        for i in range(start // PART_SITES, -(-stop // PART_SITES)):
            begin, end = PART_SITES * i, min(PART_SITES * (i + 1), int(bits.shape[0]))
            if _crc32(bits[begin:end]) != int(self._arrays["bits_crc32"][i]):
                raise self._damage(f"the haplotypes at sites {begin} to {end - 1}")
        return end

    def _damage(self, what: str) -> InputError:
        problem = f"damaged, the checksum of {what} does not match"
        return self._error(f"{problem}: prepare the panel again")

    def _error(self, message: str) -> InputError:
        return InputError(message, path=self._path)


def _parts(num_sites: int) -> list[slice]:
    return [slice(start, start + PART_SITES) for start in range(0, num_sites, PART_SITES)]


def _crc32(array: NDArray[Any]) -> int:
    return zlib.crc32(_bytes_of(array))


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _header_crc32(header: dict[str, Any]) -> int:
    """Return the checksum of a header without the checksum that it holds."""
    metadata = {k: v for k, v in header["__metadata__"].items() if k != "header_crc32"}
    return zlib.crc32(json.dumps({**header, "__metadata__": metadata}, sort_keys=True).encode())
