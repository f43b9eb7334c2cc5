"""All scenarios, and their names for pytest."""

from importlib import import_module
from pathlib import Path

from crash.scenario import Scenario

NAMES = sorted(path.stem for path in (Path(__file__).parent / "scenes").glob("*.py"))
SCENARIOS: list[Scenario] = [
    scenario for name in NAMES for scenario in import_module(f"crash.scenes.{name}").SCENARIOS
]
