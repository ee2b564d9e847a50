"""What a process wrote to its files and sent over its sockets, in order; and the disk as a power cut leaves it.

strace notes every write, flush and send. From that a disk is built that keeps its word and no more: what was flushed is
there, of what was written since any part may be, in any order, down to single sectors; a file that was made is there when
its directory was flushed, or by luck.
"""

from __future__ import annotations

import random
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = (
    "openat,write,pwrite64,writev,pwritev,sendto,sendmsg,fsync,fdatasync,ftruncate,fallocate,"
    "unlink,unlinkat,rename,renameat,renameat2"
)


def tracer(output: Path) -> list[str]:
    """What to put before a command so that it is recorded; the command stays a direct child."""
    return ["strace", "-D", "-f", "-q", "-yy", "-xx", "-s", "16777216", "--seccomp-bpf",
            "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(output)]


def may_trace() -> bool:
    """Whether this machine lets one process watch another."""
    try:
        done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


@dataclass
class Event:
    """One call. It begins at `begin` and has ended at `end`, both positions in the record; never ended: None."""

    call: str
    path: str  # the file, or the two ends of the connection
    data: bytes = field(default=b"", repr=False)
    offset: int = 0
    begin: int = 0
    end: int | None = None
    failed: bool = False


_LINE = re.compile(r"(\d+) +(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)", re.DOTALL)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PLACE = re.compile(r"(?:\d+|AT_FDCWD)<(TCP[^]]*\]|[^>]*)>")
_RESULT = re.compile(r"\) += (-?\d+)")


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _place(text: str) -> str:
    found = _PLACE.search(text)
    if not found:
        return ""
    return re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), found[1])


class Record:
    """The calls of a run, oldest first, as far as they concern the files below `directory` or connections."""

    def __init__(self, output: Path, directory: Path):
        self.directory = directory
        self.events: list[Event] = []
        self.length = 0
        self._parse(output)

    def _parse(self, output: Path) -> None:
        open_calls: dict[str, Event | None] = {}
        with open(output, encoding="ascii") as lines:
            for position, line in enumerate(lines):
                self.length = position + 1
                process, rest = _LINE.match(line.rstrip("\n")).groups()
                if rest.startswith("<..."):
                    event = open_calls.pop(process, None)
                    if event:
                        self._ended(event, rest, position)
                    continue
                called = _CALL.match(rest)
                if not called:
                    continue  # an exit or a signal
                event = self._event(called[1], called[2], position)
                if event:
                    self.events.append(event)
                if rest.endswith("<unfinished ...>"):
                    open_calls[process] = event
                elif event:
                    self._ended(event, rest, position)

    @staticmethod
    def _ended(event: Event, rest: str, position: int) -> None:
        result = _RESULT.findall(rest)
        event.failed = not result or int(result[-1]) < 0
        event.end = position
        if not event.failed and event.call in ("pwrite64", "sendto", "write"):
            event.data = event.data[: int(result[-1])]

    def _event(self, call: str, arguments: str, position: int) -> Event | None:
        texts = _TEXT.findall(arguments)
        place = _place(arguments)
        if call == "openat" and "O_CREAT" not in arguments:
            return None
        if call in ("openat", "unlink", "unlinkat", "rename", "renameat", "renameat2"):
            return self._below(Event(call, str(Path(place) / _bytes(texts[0]).decode()), begin=position))
        if place.startswith("TCP"):
            return Event("send", place, b"".join(map(_bytes, texts)), begin=position)
        event = Event(call, place, begin=position)
        if call == "pwrite64":
            event.data = _bytes(texts[0])
            event.offset = int(re.search(r'", \d+, (\d+)', arguments)[1])
        elif call == "ftruncate":
            event.offset = int(re.search(r">, (\d+)", arguments)[1])
        elif call == "write":
            event.data = _bytes(texts[0])
        return self._below(event)

    def _below(self, event: Event) -> Event | None:
        inside = event.path == str(self.directory) or event.path.startswith(f"{self.directory}/")
        return event if inside else None


class Disk:
    """The files below a directory, as they were before the run; a run is then told to it call by call.

    One that `forgets` takes flushes for nothing, as a disk does whose cache has no battery.
    """

    def __init__(self, before: dict[str, bytes], forgets: bool = False):
        self.forgets = forgets
        self.flushed = {name: bytearray(content) for name, content in before.items()}
        self.waiting: dict[str, list[Event]] = {}
        # Files that were made or taken away and whose directory was not flushed since: name -> content before, if any.
        self.names: dict[str, bytes | None] = {}

    def begins(self, event: Event) -> None:
        """A call may have any part of its effect from here on."""
        if event.call in ("pwrite64", "ftruncate"):
            self.waiting.setdefault(event.path, []).append(event)
        elif event.call == "openat":
            if event.path not in self.flushed:
                self.names.setdefault(event.path, None)
                self.flushed[event.path] = bytearray()
        elif event.call in ("unlink", "unlinkat"):
            content = self.flushed.pop(event.path, None)
            if content is not None:
                self.names.setdefault(event.path, bytes(content))
            self.waiting.pop(event.path, None)
        elif event.call not in ("fsync", "fdatasync", "send"):
            raise ValueError(f"a disk that knows no {event.call} (of {event.path})")

    def ends(self, event: Event) -> None:
        """A flush that returned has made durable what was written before it began."""
        if event.call not in ("fsync", "fdatasync") or event.failed or self.forgets:
            return
        for name in [name for name in self.names if str(Path(name).parent) == event.path]:
            del self.names[name]
        later = []
        for written in self.waiting.pop(event.path, []):
            if written.end is not None and written.end < event.begin:
                self._apply(self.flushed[event.path], written)
            else:
                later.append(written)
        if later:
            self.waiting[event.path] = later

    @staticmethod
    def _apply(content: bytearray, event: Event) -> None:
        if event.call == "ftruncate":
            size = event.offset
            del content[size:]
            content.extend(bytes(size - len(content)))
            return
        end = event.offset + len(event.data)
        content.extend(bytes(max(0, event.offset - len(content))))
        content[event.offset:end] = event.data

    def cut(self, luck: random.Random) -> dict[str, bytes]:
        """What is found when the power comes back."""
        found = {name: bytearray(content) for name, content in self.flushed.items()}
        # All that was not flushed is lost, or a part of it; of what reached the disk the order does not matter.
        share = luck.choice((0.0, 0.5, 0.9))
        for path, events in self.waiting.items():
            for event in events:
                for part in self._sectors(event):
                    if luck.random() < share:
                        self._apply(found[path], part)
        for name, before in self.names.items():
            if luck.random() < 0.5:
                if before is None:
                    del found[name]
                else:
                    found[name] = bytearray(before)
        return {name: bytes(content) for name, content in found.items()}

    @staticmethod
    def _sectors(event: Event):
        if event.call == "ftruncate":
            yield event
            return
        at = event.offset
        end = at + len(event.data)
        while at < end:
            to = min(end, (at // SECTOR + 1) * SECTOR)
            yield Event(event.call, event.path, event.data[at - event.offset: to - event.offset], at)
            at = to
