"""`stedi replay`, `stedi run --chaos` and `stedi quarantine`, held against the reference."""

from __future__ import annotations

import gzip
import json
import unittest

from command import LONG, POLICIES, LakeTest, Policy, stedi


class Replay(LakeTest):
    def test_another_policy_gives_what_a_new_lake_under_it_gives(self) -> None:
        data, lake = self.generate("data", 50, 3, 21), self.folder / "lake"
        self.run_lake(lake, data, POLICIES[0])
        for policy in (*POLICIES[1:], Policy("any", "timestamp", "clear"), POLICIES[0]):
            self.succeed("replay", "--lake", lake, *policy.arguments())
            self.check(lake, policy, [data])
            self.succeed("verify", "--lake", lake)

    def test_a_prefix_that_is_no_landing_object_is_refused(self) -> None:
        data, lake = self.generate("data", 10, 1, 22), self.folder / "lake"
        self.run_lake(lake, data, None)
        self.assertIn("landing/", self.refuse("replay", "--lake", lake, "trusted/customer/"))
        self.succeed("replay", "--lake", lake, "landing/accelerometer/")
        self.refuse("replay", "--lake", self.folder / "none")


class Chaos(LakeTest):
    def test_events_in_any_order_twice_and_at_once_give_the_same_tables(self) -> None:
        data = self.generate("data", 40, 2, 23)
        for seed in range(40 if LONG else 4):
            lake, policy = self.folder / f"lake-{seed}", POLICIES[seed % 4]
            more = policy.arguments()
            self.succeed("run", "--data", data, "--lake", lake, "--chaos", str(seed), *more)
            self.check(lake, policy, [data])


class Quarantine(LakeTest):
    def test_a_fragment_is_listed_and_explained_until_its_object_is_repaired(self) -> None:
        data, lake = self.generate("data", 20, 1, 24), self.folder / "lake"
        reading = {"user": "a@test.com", "timeStamp": 1769731200000, "x": 1, "y": 2, "z": 3}
        whole = json.dumps(reading).encode()
        landing = data / "landing" / "accelerometer" / "broken.json"
        landing.write_bytes(gzip.compress(whole + b'{"user":"a@te' + whole[:30]))
        self.run_lake(lake, data, None)
        key = "landing/accelerometer/broken.json"
        listed = self.succeed("quarantine", "--lake", lake)
        self.assertIn(f"{key}: byte {len(whole)}, ", listed)
        self.assertIn("cut_off", listed)
        self.assertIn("^", self.succeed("quarantine", "--lake", lake, "--explain", key))
        self.assertIn(f"cannot read {key}", self.succeed("catalog", "--lake", lake))
        landing.write_bytes(whole + b"\n")
        self.run_lake(lake, data, None)
        self.assertIn("0 in quarantine", self.succeed("quarantine", "--lake", lake))
        self.assertNotIn(key, self.succeed("catalog", "--lake", lake))

    def test_a_lake_that_is_not_there_is_named(self) -> None:
        for command in ("quarantine", "verify", "status", "catalog"):
            self.assertIn("stedi run", self.refuse(command, "--lake", self.folder / "none"))
        self.assertEqual(stedi("--help").returncode, 0)


if __name__ == "__main__":
    unittest.main()
