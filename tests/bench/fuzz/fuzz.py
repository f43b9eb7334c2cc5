"""Fuzz one target, or all of them in turn; see README beside this file."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
OPTIONS = ("-timeout=10", "-max_len=8000", "-rss_limit_mb=1024", "-print_final_stats=1")


def corpus(name: str) -> list[str]:
    """Give the folder where inputs of a target are kept, made if need be."""
    root = os.environ.get("FUZZ_CORPUS")
    if not root:
        return []
    folder = Path(root, name)
    folder.mkdir(parents=True, exist_ok=True)
    return [str(folder)]


def every(seconds: str) -> int:
    """Run all targets, each in a process and at a low priority; count those with finds."""
    import targets

    bad = 0
    for name in targets.TARGETS:
        command = [sys.executable, __file__, name, f"-max_total_time={seconds}"]
        command += [f"-artifact_prefix={name}-"]
        run = subprocess.run(["nice", "-n", "15", *command], stderr=subprocess.PIPE, text=True)
        words = dict(
            line.removeprefix("stat::").split(":", 1)
            for line in run.stderr.splitlines()
            if line.startswith("stat::")
        )
        inputs = words.get("number_of_executed_units", "?").strip()
        print(f"{name}: {'FOUND SOMETHING' if run.returncode else 'ok'}, {inputs} inputs")
        if run.returncode:
            bad += 1
            print(run.stderr[-6000:])
        sys.stdout.flush()
    return bad


def one(name: str, rest: list[str]) -> None:
    """Fuzz a target in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["mailtools"]):
        import targets
    target, seeds = targets.TARGETS[name], targets.seeds(name)
    given = {word.partition("=")[0] for word in rest}
    options = [word for word in OPTIONS if word.partition("=")[0] not in given]
    inputs = [word for word in rest if not word.startswith("-")]
    if not inputs:
        folders = corpus(name) or [f"/tmp/fuzz-{os.getpid()}-{name}"]
        for number, seed in enumerate(seeds):
            Path(folders[0]).mkdir(exist_ok=True)
            Path(folders[0], f"seed-{number}").write_bytes(seed)
        rest = [*rest, *folders]
    atheris.Setup([sys.argv[0], *options, *rest], target)
    atheris.Fuzz()


def main() -> None:
    """Do what the command line asks for."""
    words = sys.argv[1:]
    if words[:1] == ["--all"] and len(words) == 2:
        sys.exit(1 if every(words[1]) else 0)
    if words[:1] == ["--list"] or not words:
        import targets

        for name, target in targets.TARGETS.items():
            print(f"{name:18} {(target.__doc__ or '').splitlines()[0]}")
        return
    one(words[0], words[1:])


if __name__ == "__main__":
    main()
