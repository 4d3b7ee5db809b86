//! The harness's own helpers: a command that hangs fails its test, and so does a folder that is missing.

use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::process::{Command, Stdio};
use std::time::Duration;

use end_to_end::{contents, run_command, start_with_limit, temporary};

#[test]
fn a_command_that_hangs_is_ended_with_its_children() {
    let ended = catch_unwind(|| {
        let mut command = Command::new("bash");
        // Both processes ignore SIGINT. The child keeps the pipe open.
        command.args(["-c", "trap '' INT; echo begun; sleep 1000 & wait"]).process_group(0).stdout(Stdio::piped());
        start_with_limit(&mut command, Duration::from_secs(5)).finish()
    });
    let message = ended.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("sleep 1000") && message.contains(": not finished after 5s: "), "{message}");
    assert!(message.contains("begun"), "{message}");
}

/// Both streams are read while the command runs: it waits for none of them.
#[test]
fn more_output_than_pipes_hold_is_read() {
    let script = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero";
    let ran = run_command(Command::new("bash").args(["-c", script])).succeeded();
    assert_eq!((ran.stdout.len(), ran.stderr.len()), (2_000_000, 1_000_000));
}

#[test]
#[should_panic(expected = "missing: No such file or directory")]
fn a_missing_folder_is_not_an_empty_one() {
    contents(&temporary().path().join("missing"));
}
