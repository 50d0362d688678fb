"""`stedi watch`, and lakes whose process was killed at any moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from command import LakeTest, binary, stedi


class Watch(LakeTest):
    """Files come, change and go while a lake is watched; the process is killed now and then."""

    SEED = int(os.environ.get("STEDI_SEED", "7"))
    KILLS = 6

    def start(self, lake: Path) -> subprocess.Popen[bytes]:
        """Starts watching."""
        watcher = subprocess.Popen(
            [binary(), "watch", "--lake", lake], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.addCleanup(watcher.stderr.close)
        self.addCleanup(watcher.wait)
        self.addCleanup(watcher.kill)
        return watcher

    def verify(self, lake: Path) -> subprocess.CompletedProcess[str]:
        """Recomputes the tables by the rules."""
        return stedi("verify", "--lake", lake)

    def disturb(self, lake: Path, files: list[Path], chance: random.Random) -> None:
        """Puts, replaces or removes a landing file, as others would: without the lake's help."""
        source = chance.choice(files)
        landing = lake / "landing" / source.relative_to(self.data / "landing")
        landing.parent.mkdir(parents=True, exist_ok=True)
        if landing.exists() and "customer" not in landing.parts and chance.random() < 0.3:
            landing.unlink()
        elif landing.exists() and "customer" not in landing.parts and chance.random() < 0.5:
            landing.write_bytes(source.read_bytes()[: chance.randrange(4096)])
        else:
            shutil.copyfile(source, landing)

    def at_rest(self, lake: Path) -> None:
        """Waits until the tables are what the rules give, within a bound."""
        deadline = time.monotonic() + 60
        while True:
            verified = self.verify(lake)
            if verified.returncode == 0:
                return
            if time.monotonic() > deadline:
                self.fail(f"seed {self.SEED}: {verified.stdout}{verified.stderr}")
            time.sleep(0.3)

    def test_files_come_change_and_go_and_the_process_is_killed(self) -> None:
        """Whenever it is killed, the lake comes to rest once it is watched again."""
        chance = random.Random(self.SEED)
        self.data = self.generate("data", customers=40, days=2, seed=self.SEED)
        files = sorted(path for path in self.data.rglob("*.json"))
        lake = self.folder / "lake"
        watcher = self.start(lake)
        for kill in range(self.KILLS):
            for _ in range(12):
                self.disturb(lake, files, chance)
                time.sleep(chance.random() * 0.03)
            time.sleep(chance.random() * 0.3)
            if kill < self.KILLS - 1:
                watcher.kill()
                watcher.wait()
                self.disturb(lake, files, chance)
                watcher = self.start(lake)
        self.at_rest(lake)
        watcher.send_signal(signal.SIGINT)
        self.assertEqual(watcher.wait(timeout=20), 0, "an interrupted watch ends well")
        self.assertEqual(self.verify(lake).returncode, 0)

    def test_a_killed_run_is_finished_by_the_next(self) -> None:
        """A run that is killed at any moment leaves what the next one brings to rest."""
        chance = random.Random(self.SEED)
        data = self.generate("data", customers=60, days=2, seed=self.SEED)
        lake = self.folder / "lake"
        for _ in range(self.KILLS):
            run = subprocess.Popen(
                [binary(), "run", "--data", data, "--lake", lake],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(chance.random() * 0.25)
            run.kill()
            run.wait()
        self.succeed("run", "--data", data, "--lake", lake)
        verified = self.verify(lake)
        self.assertEqual(verified.returncode, 0, verified.stdout)

    def test_verify_tells_a_lake_that_is_not_as_the_rules_have_it(self) -> None:
        """A table that lost an object does not pass."""
        data, lake = (
            self.generate("data", customers=20, days=1, seed=self.SEED),
            self.folder / "lake",
        )
        self.succeed("run", "--data", data, "--lake", lake)
        self.assertEqual(self.verify(lake).returncode, 0)
        largest = max(
            (lake / "trusted" / "accelerometer").rglob("*.parquet"),
            key=lambda path: path.stat().st_size,
        )
        largest.unlink()
        verified = self.verify(lake)
        self.assertEqual(verified.returncode, 1, verified.stdout)
        self.assertIn("accelerometer_trusted", verified.stderr)
        self.succeed("run", "--lake", lake)
        self.assertEqual(self.verify(lake).returncode, 0, "the next run mends it")


if __name__ == "__main__":
    unittest.main()
