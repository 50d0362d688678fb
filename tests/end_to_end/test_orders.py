"""A lake fed in several runs, in any order, equals one fed at once; and at rest it stays so."""

from __future__ import annotations

import itertools
import os
import random
import unittest
from pathlib import Path

from command import LONG, STREAMS, LakeTest, Policy, files_of, only, snapshot, tiny

AS_OF = Policy("as-of", "timestamp", "clear")
ANY = Policy("any", "customer", "pseudonym")
TINY_SEEDS = range(100 if LONG else 3)


class Orders(LakeTest):
    def deliver(
        self, name: str, data: Path, deliveries: list[list[tuple[str, str]]], policy: Policy
    ) -> None:
        """Feeds a lake in several runs; after each it equals the reference on what it was fed."""
        lake = self.folder / name
        fed: list[Path] = []
        for number, chosen in enumerate(deliveries):
            fed.append(only(data, self.folder / f"{name}-{number}", chosen))
            printed = self.run_lake(lake, fed[-1], policy)
            self.check_rows(printed, self.check(lake, policy, fed))

    def test_stream_by_stream(self) -> None:
        data = self.generate("data", 60, 2, 11)
        for number, order in enumerate(itertools.permutations(STREAMS)):
            policy = (AS_OF, ANY)[number % 2]
            with self.subTest(order=order, policy=policy):
                deliveries = [files_of(data, stream) for stream in order]
                self.deliver(f"lake-{number}", data, deliveries, policy)

    def test_one_file_at_a_time(self) -> None:
        for seed, policy in zip(TINY_SEEDS, itertools.cycle((AS_OF, ANY))):
            with self.subTest(seed=seed):
                data = self.folder / f"tiny-{seed}"
                tiny.write(data, seed)
                files = files_of(data)
                random.Random(seed).shuffle(files)
                self.deliver(f"lake-{seed}", data, [[file] for file in files], policy)

    def test_generated_files_in_three_shuffled_runs(self) -> None:
        data = self.generate("shuffled", 80, 3, 12)
        files = files_of(data)
        random.Random(7).shuffle(files)
        third = len(files) // 3
        thirds = [files[:third], files[third : 2 * third], files[2 * third :]]
        self.deliver("lake", data, thirds, AS_OF)

    def test_real_files_one_at_a_time(self) -> None:
        if not (named := os.environ.get("STEDI_DATA")):
            self.skipTest("STEDI_DATA is not set: nothing was run on real data")
        data = Path(named) / "stedi"
        order = ("accelerometer", "step_trainer", "customer")
        self.deliver("lake", data, [[file] for file in files_of(data, *order)], AS_OF)


def contents(folder: Path) -> dict[str, bytes]:
    """What is in the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class AtRest(LakeTest):
    def test_a_second_run_rewrites_nothing(self) -> None:
        for name, policy in (("as-of", AS_OF), ("any", ANY)):
            data, lake = self.generate(f"data-{name}", 60, 3, 13), self.folder / f"lake-{name}"
            self.run_lake(lake, data, policy)
            before = snapshot(lake)
            self.assertTrue(before)
            self.run_lake(lake, data, policy)
            self.assertEqual(snapshot(lake), before)
            # What the first comparison at rest remembers is what any later one does.
            remembered = contents(lake / "state" / "compared")
            self.assertTrue(remembered)
            for policies in (policy, None):
                self.run_lake(lake, None, policies)
                self.assertEqual(snapshot(lake), before)
                self.assertEqual(contents(lake / "state" / "compared"), remembered)

    def test_a_subset_of_the_files_again_changes_nothing(self) -> None:
        data, lake = self.generate("data", 60, 2, 14), self.folder / "lake"
        self.run_lake(lake, data, ANY)
        before = snapshot(lake)
        again = only(data, self.folder / "again", files_of(data)[::3])
        self.run_lake(lake, again, ANY)
        self.assertEqual(snapshot(lake), before)


if __name__ == "__main__":
    unittest.main()
