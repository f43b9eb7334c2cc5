"""Power tests: every state a power cut may leave on disk, from the disk calls that were made.

The model is meaner than any journaling file system, and no meaner than POSIX allows:

- A file's content is on disk up to its last fsync. What was written behind that may be there, be
  missing, be cut short, or be NULs of the right length.
- A name in a directory (created, renamed, linked, removed) is on disk once that directory was
  synced after the change. Until then each name is, independently of all others, as it was after any
  of its unsynced changes: names come and go in any order.
- A rename is atomic: the old name is not gone before the new one is there. Between two directories
  the new name may be there before the old one is gone; within one directory never.
- A directory that is not there takes with it what is in it.
- Times, owners and permissions are not modelled.

The crash may come after any call; the state then is any of those that the calls so far allow.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from crash.door import Call, standing
from crash.scenario import Scenario

MOST = 400  # states looked at for one crash point; beyond, a fixed sample of so many


# -- what was done --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Op:
    """A change: its kind, the paths it names (from the folder), and what was written or said."""

    kind: str
    path: str = ""
    to: str = ""
    data: bytes = b""


def record(scenario: Scenario, folder: Path) -> list[Op]:
    """Run a scenario to its end in `folder`, and give what it changed and said, in order."""
    ops: list[Op] = []
    root = os.path.realpath(folder)

    def inside(path: str | Path) -> str:
        return os.path.relpath(os.path.join(os.path.realpath(os.path.dirname(path)), path), root)

    def opened(fd: int) -> str:
        return os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), root)

    def guard(function: Call, *arguments: Any) -> Any:
        if function in (os.write, os.fsync):
            fd = arguments[0]
            path, regular = opened(fd), not stat.S_ISFIFO(os.fstat(fd).st_mode)
            result = function(*arguments)
            if function is os.fsync:
                ops.append(Op("sync", path))
            elif regular:
                ops.append(Op("write", path, data=bytes(arguments[1])[:result]))
            return result
        new = function is os.open and not os.path.lexists(arguments[0])
        result = function(*arguments)
        if function is os.open:
            if new:
                ops.append(Op("create", inside(arguments[0])))
        elif function in (os.rename, os.link):
            ops.append(Op(function.__name__, inside(arguments[0]), inside(arguments[1])))
        elif function not in (os.utime, os.chmod, os.lchown):
            ops.append(Op(function.__name__, inside(arguments[0])))
        return result

    with standing(guard):
        scenario.act(Path(root), lambda text: ops.append(Op("say", data=text.encode())))
    return ops


# -- what the disk knows --------------------------------------------------------------------------


@dataclass(eq=False)
class File:
    """A file: what is surely there, and what was written since."""

    synced: bytes = b""
    pending: bytes = b""
    kind: str = "file"

    def variants(self) -> list[bytes]:
        """What a power cut may leave of it, the least first."""
        left = [self.synced]
        if self.pending:
            half = len(self.pending) // 2
            left += [self.synced + self.pending[:half], self.synced + bytes(len(self.pending))]
            left.append(self.synced + self.pending)
        return list(dict.fromkeys(left))


@dataclass(eq=False)
class Directory:
    """A directory: the history of each of its names."""

    names: dict[str, Name] = field(default_factory=dict)


Node = File | Directory


@dataclass(eq=False)
class Name:
    """What a name has stood for, oldest first; values before `synced` are past for good.

    `after[i]` is a name and the least index of its values that must be on disk when value `i` of
    this one is: the other half of a rename.
    """

    values: list[Node | None]
    synced: int = 0
    after: dict[int, tuple[Name, int]] = field(default_factory=dict)

    def now(self) -> Node | None:
        return self.values[-1]

    def set(self, node: Node | None) -> int:
        self.values.append(node)
        return len(self.values) - 1

    def sync(self, index: int) -> None:
        """Value `index` is on disk, and with it what a rename ties to it."""
        for value, (other, least) in self.after.items():
            if self.synced < value <= index and other.synced < least:
                self.synced = max(self.synced, value)
                other.sync(least)
        self.synced = max(self.synced, index)


class Disk:
    """The folder as a power cut would find it, while the calls go by."""

    def __init__(self, folder: Path) -> None:
        """Begin with what is in `folder`, all of it synced."""
        self.root = _read(folder)
        self.said: list[str] = []

    def do(self, op: Op) -> None:
        """Take note of one change."""
        match op.kind:
            case "say":
                self.said.append(op.data.decode())
            case "create" | "mkfifo":
                self._name(op.path).set(File(kind="fifo" if op.kind == "mkfifo" else "file"))
            case "mkdir":
                self._name(op.path).set(Directory())
            case "write":
                node = self._node(op.path)
                if isinstance(node, File):
                    node.pending += op.data
            case "sync":
                self._sync(op.path)
            case "link":
                self._name(op.to).set(self._node(op.path))
            case "unlink" | "rmdir":
                self._name(op.path).set(None)
            case "rename":
                self._rename(op.path, op.to)
            case other:
                raise AssertionError(f"the model does not know {other}")

    def _rename(self, path: str, to: str) -> None:
        source, target = self._name(path), self._name(to)
        added, gone = target.set(source.now()), source.set(None)
        source.after[gone] = (target, added)
        if os.path.dirname(path) == os.path.dirname(to):
            target.after[added] = (source, gone)

    def _sync(self, path: str) -> None:
        node = self._node(path)
        if isinstance(node, File):
            node.synced, node.pending = node.synced + node.pending, b""
        elif isinstance(node, Directory):
            for name in node.names.values():
                name.sync(len(name.values) - 1)

    def _directory(self, path: str) -> Directory:
        node = self._node(path)
        assert isinstance(node, Directory), path
        return node

    def _node(self, path: str) -> Node | None:
        node: Node | None = self.root
        for part in Path(path).parts:
            assert isinstance(node, Directory), path
            name = node.names.get(part)
            node = name.now() if name else None
        return node

    def _name(self, path: str) -> Name:
        names = self._directory(os.path.dirname(path)).names
        return names.setdefault(os.path.basename(path), Name([None]))

    # -- after the cut ----------------------------------------------------------------------------

    def states(self) -> Iterator[dict[str, bytes | None]]:
        """Give what may be on disk: files and their content by path; None is a directory.

        Beyond MOST of them, a sample, always the same; the one where most is lost is always in it.
        """
        names = _names(self.root)
        pending = [name for name in names if name.synced < len(name.values) - 1]
        ranges = [range(name.synced, len(name.values)) for name in pending]
        for chosen in _sample(ranges):
            picked = dict(zip(pending, chosen, strict=True))
            if _consistent(picked):
                yield from _contents(self.root, picked)


def _consistent(picked: Mapping[Name, int]) -> bool:
    return all(
        picked.get(other, other.synced) >= least
        for name, index in picked.items()
        for value, (other, least) in name.after.items()
        if value <= index
    )


def _contents(root: Directory, picked: Mapping[Name, int]) -> Iterator[dict[str, bytes | None]]:
    tree: dict[str, Node] = {}

    def walk(directory: Directory, path: str) -> None:
        for part, name in directory.names.items():
            node = name.values[picked.get(name, name.synced)]
            if node is not None:
                tree[f"{path}{part}"] = node
                if isinstance(node, Directory):
                    walk(node, f"{path}{part}/")

    walk(root, "")
    files = list(dict.fromkeys(node for node in tree.values() if isinstance(node, File)))
    for contents in _sample([node.variants() for node in files]):
        content = dict(zip(files, contents, strict=True))
        yield {
            path: content[node] if isinstance(node, File) else None
            for path, node in tree.items()
            if not (isinstance(node, File) and node.kind == "fifo")
        }


def _sample(choices: list[Any]) -> Iterator[tuple[Any, ...]]:
    """All combinations; where they are too many, the first, the last, and some between."""
    if prod(len(choice) for choice in choices) <= MOST:
        yield from product(*choices)
        return
    yield tuple(choice[0] for choice in choices)
    yield tuple(choice[-1] for choice in choices)
    fixed = random.Random(len(choices))
    for _ in range(MOST - 2):
        yield tuple(fixed.choice(choice) for choice in choices)


def _names(directory: Directory) -> list[Name]:
    """All names that a cut may leave something of, the outer ones first."""
    found = []
    for name in directory.names.values():
        found.append(name)
        for node in dict.fromkeys(name.values[name.synced :]):
            if isinstance(node, Directory):
                found += _names(node)
    return found


def _read(folder: Path) -> Directory:
    directory = Directory()
    for path in folder.iterdir():
        node: Node
        if path.is_dir():
            node = _read(path)
        elif path.is_fifo():
            node = File(kind="fifo")
        else:
            node = File(path.read_bytes())
        directory.names[path.name] = Name([node])
    return directory


# -- the loop -------------------------------------------------------------------------------------


def cuts(start: Path, ops: list[Op], place: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Give each state a power cut may leave: where it came, a folder that is so, what was said.

    `start` is the folder before the first of `ops`. States that look alike are given once for each
    thing said. The folder is gone when the next one is asked for.
    """
    disk = Disk(start)
    seen: set[int] = set()
    for number in range(len(ops) + 1):
        if number:
            disk.do(ops[number - 1])
        for state in disk.states():
            key = hash((len(disk.said), frozenset(state.items())))
            if key in seen:
                continue
            seen.add(key)
            folder = place / f"cut{len(seen)}"
            _write(folder, state)
            yield f"after {number} of {len(ops)} calls", folder, list(disk.said)
            shutil.rmtree(folder)


def _write(folder: Path, state: Mapping[str, bytes | None]) -> None:
    folder.mkdir()
    for path, content in sorted(state.items()):
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


def without_sync(ops: list[Op]) -> Iterator[tuple[str, list[Op]]]:
    """Give the calls once for each fsync, without that one; and what it synced."""
    for number, op in enumerate(ops):
        if op.kind == "sync":
            yield f"fsync of {op.path} (call {number + 1})", ops[:number] + ops[number + 1 :]


def violated(
    start: Path, ops: list[Op], place: Path, check: Callable[[Path, list[str]], None]
) -> str:
    """Say where a power cut breaks what `check` demands; "" for nowhere."""
    for where, folder, said in cuts(start, ops, place):
        try:
            check(folder, said)
        except Exception as error:
            shutil.rmtree(folder)
            return f"{where}, said {said}: {error!r}"
    return ""
