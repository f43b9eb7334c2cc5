"""Each transcript: turn by turn, octet by octet, all together, and with the real command."""

import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transcript

CASES = [
    pytest.param(folder, path, way, id=f"{folder}/{path.stem}-{way}")
    for folder, path, way in transcript.everything()
]


@pytest.mark.parametrize(("folder", "path", "way"), CASES)
def test_transcript(
    folder: str, path: Path, way: str, request: pytest.FixtureRequest, authority: Any
) -> None:
    hooks = transcript.hooks(folder)
    made = transcript.read(path, getattr(hooks, "OURS", "S"))
    options = {**made.options, "way": way}
    if way != "process":
        transcript.play_engine(made, hooks.engine(options), way)
        return
    tls = any(turn.kind == "tls" for turn in made.turns)
    site = request.getfixturevalue("secure_site" if tls else "site")
    command, *arguments = hooks.process(site, options)

    def launch(theirs: Any) -> subprocess.Popen[bytes]:
        log = (site.root / "log").open("wb")
        return site.start(command, *arguments, stdin=theirs, stdout=theirs, stderr=log)

    context = ssl.create_default_context()
    authority.configure_trust(context)
    transcript.play_process(made, launch, context)
    assert b"Traceback" not in (site.root / "log").read_bytes(), sys.argv
