"""What cannot be done is refused: exit code 2, one line, the remedy in it, nothing changed."""

from __future__ import annotations

import unittest

from command import LakeTest, Policy, snapshot

POLICY = Policy("any", "timestamp", "clear")


class Refusals(LakeTest):
    def test_bad_arguments(self) -> None:
        lake = self.folder / "lake"
        for arguments in (
            ("run", "--consent", "maybe", "--lake", lake),
            ("run", "--pairing", "nobody", "--lake", lake),
            ("run", "--identity", "secret", "--lake", lake),
            ("run", "--format", "xml", "--lake", lake),
            ("run", "--frequently", "--lake", lake),
            ("run", "--parts", "12", "--lake", lake),
            ("walk",),
            ("generate", "--out", self.folder / "out", "--customers", "many"),
            (
                "generate",
                "--out",
                self.folder / "out",
                *["--customers", "0", "--days", "1", "--seed", "1"],
            ),
            ("generate", "--customers", "3"),
        ):
            with self.subTest(arguments=arguments):
                self.refuse(*arguments)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_an_absent_folder(self) -> None:
        absent = self.folder / "absent"
        self.assertIn(
            "absent", self.refuse("run", "--data", absent, "--lake", self.folder / "lake")
        )
        self.assertIn("absent", self.refuse("status", "--lake", absent))
        self.assertIn("absent", self.refuse("catalog", "--lake", absent))
        self.assertFalse(absent.exists())

    def test_a_folder_without_a_feed(self) -> None:
        data = self.folder / "photos"
        (data / "holidays").mkdir(parents=True)
        (data / "holidays" / "beach.json").write_text("{}", encoding="utf-8")
        line = self.refuse("run", "--data", data, "--lake", self.folder / "lake")
        self.assertIn("landing/", line)
        self.assertFalse((self.folder / "lake" / "landing").exists())

    def test_a_lake_under_other_policies(self) -> None:
        data, lake = self.generate("data", 10, 1, 31), self.folder / "lake"
        self.run_lake(lake, data, POLICY)
        before = snapshot(lake)
        for other in (
            Policy("as-of", "timestamp", "clear"),
            Policy("any", "customer", "clear"),
            Policy("any", "timestamp", "none"),
        ):
            for source in ((), ("--data", data)):
                line = self.refuse("run", *source, "--lake", lake, *other.arguments())
                self.assertIn("stedi replay", line)
        self.assertEqual(snapshot(lake), before)

    def test_a_lake_of_another_number_of_parts(self) -> None:
        data, lake = self.generate("data", 10, 1, 34), self.folder / "lake"
        self.run_lake(lake, data, POLICY)
        before = snapshot(lake)
        line = self.refuse("run", "--lake", lake, "--parts", "512", *POLICY.arguments())
        self.assertIn("the lake has 4 parts, not 512", line)
        self.assertEqual(snapshot(lake), before)

    def test_generating_over_feeds(self) -> None:
        data = self.generate("data", 5, 1, 32)
        before = sorted(path for path in data.rglob("*"))
        numbers = ("--customers", "5", "--days", "1", "--seed", "33")
        self.assertIn("name another folder", self.refuse("generate", "--out", data, *numbers))
        self.assertEqual(sorted(path for path in data.rglob("*")), before)


if __name__ == "__main__":
    unittest.main()
