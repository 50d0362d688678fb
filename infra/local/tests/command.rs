//! The `stedi` command as a shell runs it: where its output goes, and what it refuses.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const STEDI: &str = env!("CARGO_BIN_EXE_stedi");

/// A folder that is there as long as its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _none = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Runs the command in this folder to its end, which must not be long in coming.
    fn stedi(&self, line: &str) -> Output {
        self.stedi_into(line, Stdio::piped())
    }

    fn stedi_into(&self, line: &str, stdout: impl Into<Stdio>) -> Output {
        let mut command = Command::new("timeout");
        command.args(["60", STEDI]).args(line.split_whitespace()).current_dir(&self.0);
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn();
        child.unwrap().wait_with_output().unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A lake of a small sample.
    fn lake(&self) {
        succeeded(&self.stedi("generate --out data --customers 40 --days 1 --seed 3"));
        succeeded(&self.stedi("run --data data --lake lake"));
    }

    /// A lake with so much in quarantine that no pipe holds the list of it.
    fn lake_of_fragments(&self) {
        self.write("data/customer/a.json", &"{\"email\":\n".repeat(10_000));
        succeeded(&self.stedi("run --data data --lake lake"));
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// A pipe that nobody reads.
fn cut_off() -> io::PipeWriter {
    let (_reader, writer) = io::pipe().unwrap();
    writer
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn succeeded(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// The one line that a command failed with.
fn failure(output: &Output, exit_code: i32) -> String {
    assert_eq!(output.status.code(), Some(exit_code), "{output:?}");
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(line.starts_with("error: ") && line.lines().count() == 1, "{line}");
    line
}

const COMMANDS: [&str; 11] = [
    "status --lake lake",
    "status --lake lake --format json",
    "quarantine --lake lake",
    "catalog --lake lake",
    "catalog --lake lake --ddl",
    "verify --lake lake",
    "run --lake lake",
    "replay --lake lake --format json",
    "compact --lake lake --before 2026-01-01",
    "watch --lake lake",
    "generate --out more --customers 5 --days 1 --seed 3",
];

#[test]
fn a_command_whose_output_is_cut_off_ends_quietly() {
    let folder = Folder::new("cut-off");
    folder.lake_of_fragments();
    for line in COMMANDS {
        let output = folder.stedi_into(line, cut_off());
        succeeded(&output);
        assert!(output.stderr.is_empty(), "{line}: {output:?}");
    }
}

#[test]
fn a_command_whose_output_is_full_says_so_in_one_line() {
    let folder = Folder::new("full");
    folder.lake_of_fragments();
    for line in COMMANDS {
        let said = failure(&folder.stedi_into(line, full()), 2);
        assert!(said.contains("standard output: "), "{line}: {said}");
    }
}

#[test]
fn verify_keeps_its_verdict_where_its_output_goes_nowhere() {
    let folder = Folder::new("verdict");
    folder.lake();
    // More of them than are buffered.
    let unknown =
        |number| format!(r#"{{"email":"{number}@test.com","registrationDate":1769186562218}}"#);
    let records: Vec<String> = (0..1_000).map(unknown).collect();
    folder.write("lake/landing/customer/unknown.json", &records.join("\n"));
    for output in [
        folder.stedi_into("verify --lake lake", cut_off()),
        folder.stedi_into("verify --lake lake", full()),
    ] {
        assert!(failure(&output, 1).contains("not as the rules have it: customer_landing"));
    }
}

#[test]
fn output_is_whole_where_the_command_fails() {
    let folder = Folder::new("whole");
    folder.lake();
    fs::remove_dir_all(folder.join("lake/curated")).unwrap();
    let output = folder.stedi("verify --lake lake");
    failure(&output, 1);
    let printed = String::from_utf8(output.stdout).unwrap();
    for table in ["customer_trusted: ", "customer_curated: ", "machine_learning_curated: "] {
        assert!(printed.contains(table), "{printed}");
    }
}

#[test]
fn what_is_neither_a_file_nor_a_folder_is_refused_before_anything_is_put() {
    let folder = Folder::new("pipe");
    folder.write("data/landing/customer/a.json", "{}");
    folder.write("data/landing/step_trainer/a.json", "{}");
    let pipe = folder.join("data/landing/step_trainer/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let output = folder.stedi("run --data data --lake lake");

    let said = failure(&output, 2);
    assert!(said.contains("data/landing/step_trainer/pipe is neither"), "{said}");
    assert!(said.contains("remove it"), "{said}");
    assert!(!folder.join("lake").exists());
}

#[test]
fn links_to_files_and_folders_are_followed() {
    let folder = Folder::new("links");
    succeeded(&folder.stedi("generate --out data --customers 40 --days 1 --seed 3"));
    fs::create_dir_all(folder.join("links")).unwrap();
    symlink("../data/landing/accelerometer", folder.join("links/accelerometer")).unwrap();
    fs::create_dir(folder.join("links/customer")).unwrap();
    for entry in fs::read_dir(folder.join("data/landing/customer")).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path(), folder.join("links/customer").join(entry.file_name())).unwrap();
    }
    for again in ["again", "beside"] {
        symlink("../../data/landing/customer", folder.join("links/customer").join(again)).unwrap();
    }
    succeeded(&folder.stedi("run --data links --lake lake"));
    for landed in ["accelerometer", "customer/again", "customer/beside"] {
        assert!(folder.join("lake/landing").join(landed).exists(), "{landed}");
    }
}

#[test]
fn a_link_to_a_folder_it_lies_in_is_refused_before_anything_is_put() {
    for (target, link) in [(".", "data/customer/loop"), ("..", "data/customer/a/up")] {
        let folder = Folder::new("loop");
        folder.write("data/customer/a/a.json", "{}");
        symlink(target, folder.join(link)).unwrap();
        let said = failure(&folder.stedi("run --data data --lake lake"), 2);
        assert!(said.contains(&format!("{link} leads back to ")), "{said}");
        assert!(said.contains("remove the link"), "{said}");
        assert!(!folder.join("lake").exists());
    }
}

#[test]
fn a_link_that_leads_nowhere_is_refused_before_anything_is_put() {
    for target in ["nothing", "lost"] {
        let folder = Folder::new("nowhere");
        folder.write("data/customer/a.json", "{}");
        symlink(target, folder.join("data/customer/lost")).unwrap();
        let said = failure(&folder.stedi("run --data data --lake lake"), 2);
        assert!(said.contains("data/customer/lost: the link leads nowhere: "), "{said}");
        assert!(!folder.join("lake").exists());
    }
}

#[test]
fn a_folder_of_other_things_is_no_lake() {
    for other in ["state/app.json", "landing/index.html", ".stedi", "landing/customer"] {
        let folder = Folder::new("proj");
        folder.write(&format!("proj/{other}"), "{}");
        for line in ["run --lake proj", "watch --lake proj"] {
            let said = failure(&folder.stedi(line), 2);
            assert!(said.contains("proj holds other things and no lake"), "{said}");
        }
        assert_eq!(fs::read_dir(folder.join("proj")).unwrap().count(), 1, "nothing is added");
    }
}

#[test]
fn a_folder_with_what_a_lake_begins_with_may_become_one() {
    for begun in [".stedi", "landing/customer", "landing/accelerometer", "landing/step_trainer"] {
        let folder = Folder::new("begun");
        folder.write("lake/README.md", "");
        fs::create_dir_all(folder.join("lake").join(begun)).unwrap();
        succeeded(&folder.stedi("run --lake lake"));
    }
    let folder = Folder::new("begun");
    fs::create_dir_all(folder.join("lake/landing")).unwrap();
    succeeded(&folder.stedi("run --lake lake"));
    let folder = Folder::new("begun");
    folder.lake();
    fs::remove_dir_all(folder.join("lake/.stedi")).unwrap();
    fs::remove_dir_all(folder.join("lake/landing")).unwrap();
    let said = failure(&folder.stedi("run --lake lake"), 2);
    assert!(said.contains(".stedi/key is missing"), "{said}");
}

#[test]
fn a_prefix_of_no_landing_zone_is_refused() {
    let folder = Folder::new("prefix");
    folder.lake();
    let zones = "landing/customer/, landing/accelerometer/, landing/step_trainer/";
    for prefix in ["landing/custmer/", "landing//", "landing/customers/", "trusted/customer/", "x"]
    {
        let said = failure(&folder.stedi(&format!("replay --lake lake {prefix}")), 2);
        assert!(said.contains(zones), "{said}");
    }
    for prefix in ["landing", "landing/", "landing/c", "landing/customer", "landing/step_trainer/2"]
    {
        succeeded(&folder.stedi(&format!("replay --lake lake {prefix}")));
    }
}
