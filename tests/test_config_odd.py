"""Control files that no person wrote: faults with their place, and no tracebacks."""

from pathlib import Path

import pytest

from mailtools.config import Config
from mailtools.errors import Misconfigured
from mailtools.settings import SETTINGS


@pytest.mark.parametrize("text", ["~\0x\n", "9" * 6000, "9" * 6000 + "d"])
def test_nul_and_endless_numbers(tmp_path: Path, text: str) -> None:
    names = {each.kind: name for name, each in SETTINGS.items() if each.kind != "file"}
    for name in names.values():
        (tmp_path / name).write_text(text)
    etc = Config(str(tmp_path))
    etc.read_all()
    with pytest.raises(Misconfigured) as found:
        etc.check()
    assert f"{tmp_path}/{names['number']}" in found.value.detail
