"""A scratch checkout with the tiny data set, in which the real chain runs through the real dvc."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

BIN = Path(sys.executable).parent


class Project:
    """A scratch checkout; ``root`` is its folder."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        # Nothing of the machine's state: an empty home, our interpreter's tools first.
        self.environment = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
        }

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout; its output is in the error when it fails."""
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command as leader of its own process group, output thrown away."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def params(self, change: Callable[[dict], None]) -> None:
        """Edit params.yaml."""
        path = self.root / "params.yaml"
        raw = yaml.safe_load(path.read_text())
        change(raw)
        path.write_text(yaml.safe_dump(raw, sort_keys=False))

    def digests(self) -> dict[str, str]:
        """Digest of every artifact, checkpoint and prediction."""
        files = [
            p
            for folder in ("artifacts", "checkpoints", "predictions")
            for p in (self.root / "data" / folder).rglob("*")
        ]
        return {
            p.relative_to(self.root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
            if p.is_file() and p.name != ".gitignore"
        }
