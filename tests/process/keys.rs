//! SECKEL_KEYS: what a process writes into its key log.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::seckel::Folder;
use ::seckel::explain::Keys;

fn demo(log: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seckel"));
    command.arg("demo").env_remove("SECKEL_KEYS");
    if let Some(log) = log {
        command.env("SECKEL_KEYS", log);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("seckel starts");
    child.stdin.take().expect("piped").write_all(b"register alice\nlookup alice\n").expect("it reads");
    child.wait_with_output().expect("seckel ends")
}

// proves key_log.1, key_log.8
#[test]
fn a_process_logs_its_keys_if_it_is_told_to_and_says_so() {
    let folder = Folder::new();
    let log = folder.join("keys");
    let said = demo(Some(&log));
    assert!(String::from_utf8_lossy(&said.stdout).contains("alice -> "));
    let warning = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(warning.contains(&log) && warning.contains("session keys go to"), "{warning}");
    let text = std::fs::read_to_string(&log).expect("the log");
    let mut keys = Keys::default();
    for line in text.lines() {
        assert_eq!(keys.read(line), Ok(()), "{line}");
        let lower = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit() && b != b'A');
        assert!(line.split(' ').skip(1).all(lower), "{line}");
    }
    assert_eq!(keys.count(), text.lines().count(), "no line is passed over");
    for label in ["SECRET_STREAM ", "UNORDERED ", "NOISE_IK "] {
        assert!(text.contains(label), "{label}: {text}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&log).expect("the log").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let quiet = demo(None);
    assert!(!String::from_utf8_lossy(&quiet.stderr).contains("session keys go to"));
}
