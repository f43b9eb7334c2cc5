"""Control files: a folder, a setting a file, a value a line, `#` comments (mailtools-control(5)).

settings.py has the table of all of them. Only commands read settings; services get plain values.
A getter that finds a fault notes it and gives the default; `check` then raises Misconfigured with
every fault at once, each with file and line.
"""

import os
import re
from collections.abc import Callable
from typing import TypeVar

from mailtools.errors import Misconfigured
from mailtools.settings import SETTINGS

T = TypeVar("T")

DIGITS_MOST = 18
_amount = re.compile(r"([0-9]{1,18})\s*([A-Za-z]*)\Z")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800, "": 1}
_OCTETS = {
    f"{unit}{end}": 1024**power
    for power, unit in enumerate(("", "k", "m", "g"))
    for end in ("", "b", "ib")
}


def duration(text: str) -> int | None:
    """Read a duration in seconds: `300`, `5min`, `4h`, `5d`, `1w`; None where it is none."""
    return _amount_of(text, _SECONDS)


def _amount_of(text: str, units: dict[str, int]) -> int | None:
    match = _amount.match(text)
    return int(match[1]) * units[match[2]] if match and match[2] in units else None


class Config:
    """One control folder, each file read when it is first asked for."""

    def __init__(self, folder: str) -> None:
        """Name the folder; it need not exist: then everything has its default."""
        self.folder = folder
        self._faults: list[str] = []

    # -- getters, by kind -------------------------------------------------------------------------

    def line(self, name: str) -> str:
        """The one line of a `line` setting, or its default ("" where that is `none`)."""
        values = self._values(name, "line")
        if values is None:
            return self._default_line(name)
        if len(values) > 1:
            self.fault(name, values[1][0], "one line expected, this is a second one")
        if not values and name == "me":
            self.fault(name, 0, "is empty: the name of this host is expected")
        return values[0][1] if values else ""

    def lines(self, name: str) -> list[str]:
        """The lines of a `lines` setting."""
        values = self._values(name, "lines")
        if values is None:
            default = SETTINGS[name].default
            if default in SETTINGS:
                return [self.line(default)]
            return [] if default == "none" else [default]
        return [value for _, value in values]

    def number(self, name: str) -> int:
        """A whole number."""
        number, value = self._single(name, "number")
        if not value.isascii() or not value.isdigit() or len(value) > DIGITS_MOST:
            self.fault(name, number, f"{value[:60]!r} is not a whole number")
            value = SETTINGS[name].default
        return int(value)

    def seconds(self, name: str) -> int:
        """A duration in seconds: `300`, `5min`, `4h`, `5d`, `1w`."""
        number, value = self._single(name, "duration")
        found = duration(value)
        if found is None:
            self.fault(name, number, f"{value!r} is not a duration: 300, 5min, 4h, 5d, 1w")
            found = duration(SETTINGS[name].default)
            assert found is not None
        return found

    def octets(self, name: str) -> int:
        """A size in octets: `10485760`, `10M`."""
        number, value = self._single(name, "size")
        found = _amount_of(value.lower(), _OCTETS)
        if found is None:
            self.fault(name, number, f"{value!r} is not a size: 10485760, 10M, 1G")
            found = _amount_of(SETTINGS[name].default.lower(), _OCTETS)
            assert found is not None
        return found

    def flag(self, name: str) -> bool:
        """A yes or a no; an empty file is a yes."""
        number, value = self._single(name, "flag")
        if value.lower() not in ("", "yes", "no"):
            self.fault(name, number, f"{value!r} is neither yes nor no")
        return value.lower() in ("", "yes")

    def mapping(self, name: str) -> dict[str, str]:
        """Lines of `key:value`; keys in lower case, a key stands once."""
        found: dict[str, str] = {}
        for number, value in self._values(name, "map") or ():
            key, colon, rest = value.partition(":")
            if not colon:
                self.fault(name, number, f"{value!r} has no colon: key:value expected")
            elif key.strip().lower() in found:
                self.fault(name, number, f"{key.strip()!r} stands here a second time")
            found[key.strip().lower()] = rest.strip()
        return found

    def path(self, name: str) -> str:
        """A `path` setting: a file's path, relative ones from the control folder; "" for none."""
        values = self._values(name, "path")
        if not values:
            return ""
        return os.path.join(self.folder, os.path.expanduser(values[0][1]))

    def file(self, name: str) -> str:
        """The path of a `file` setting, which a service reads itself; "" where it is missing."""
        assert SETTINGS[name].kind == "file"
        path = os.path.join(self.folder, name)
        return path if os.path.exists(path) else ""

    # -- all of them ------------------------------------------------------------------------------

    def read_all(self) -> None:
        """Read every setting by its kind, so that all faults are noted."""
        getters: dict[str, Callable[[str], object]] = {
            "line": self.line,
            "lines": self.lines,
            "number": self.number,
            "duration": self.seconds,
            "size": self.octets,
            "flag": self.flag,
            "map": self.mapping,
            "path": self.path,
            "file": self.file,
        }
        for setting in SETTINGS.values():
            getters[setting.kind](setting.name)

    def shown(self, name: str) -> tuple[list[str], str]:
        """Give what counts for a setting, and the path of the file that says so ("": none does).

        Of a `file` setting that is its path: what stands in it may be a secret.
        """
        setting, path = SETTINGS[name], os.path.join(self.folder, name)
        if setting.kind == "file":
            return ([path], path) if self.file(name) else (["none"], "")
        values = self._values(name, setting.kind)
        if values is not None:
            return [value for _, value in values], path
        if setting.default in SETTINGS:
            return self.shown(setting.default)[0], ""
        return [self._default_line(name) if name == "me" else setting.default], ""

    # -- faults -----------------------------------------------------------------------------------

    def fault(self, name: str, line: int, what: str) -> None:
        """Note a fault of a control file ("": the folder); line 0 is the file as a whole."""
        place = os.path.join(self.folder, name) if name else self.folder
        place = f"{place}:{line}" if line else place
        if (fault := f"{place}: {what}") not in self._faults:
            self._faults.append(fault)

    def attempt(self, make: Callable[[], T]) -> T | None:
        """Make something of the settings; what Misconfigured says is noted, and None given."""
        try:
            return make()
        except Misconfigured as failure:
            lines = (failure.detail or failure.text).split("\n")
            self._faults += (line for line in lines if line not in self._faults)
            return None

    @property
    def faults(self) -> list[str]:
        """The faults noted so far, a line each."""
        return list(self._faults)

    def check(self) -> None:
        """Raise Misconfigured with every fault noted so far, a line each."""
        if self._faults:
            raise Misconfigured(detail="\n".join(self._faults))

    # -- reading ----------------------------------------------------------------------------------

    def _single(self, name: str, kind: str) -> tuple[int, str]:
        values = self._values(name, kind)
        if values is None:
            return 0, SETTINGS[name].default
        if len(values) > 1:
            self.fault(name, values[1][0], "one line expected, this is a second one")
        return values[0] if values else (0, "")

    def _values(self, name: str, kind: str) -> list[tuple[int, str]] | None:
        assert SETTINGS[name].kind == kind, f"{name} is a {SETTINGS[name].kind}"
        try:
            with open(os.path.join(self.folder, name), "rb") as file:
                text = file.read().removeprefix(b"\xef\xbb\xbf").decode()  # some editors begin so
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError:
            self.fault(name, 0, "is not UTF-8 text")
            return None
        except OSError as error:
            self.fault(name, 0, f"cannot be read: {error.strerror}")
            return None
        if "\0" in text:  # no name, path or number has one, and the kernel takes none
            self.fault(name, text.count("\n", 0, text.index("\0")) + 1, "holds a NUL")
            return None
        numbered = enumerate((line.strip() for line in text.split("\n")), 1)
        return [(number, line) for number, line in numbered if line and line[0] != "#"]

    def _default_line(self, name: str) -> str:
        default = SETTINGS[name].default
        if name == "me":
            return os.uname().nodename.lower()
        if default in SETTINGS:
            return self.line(default)
        return "" if default in ("none", "the system's") else default
