//! The command line as a process, and a folder for its files.

#![allow(dead_code, reason = "not every test binary that shares this file uses all of it")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder below the build's, empty, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("registry-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn join(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The command line as a process.
pub struct Seckel {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Seckel {
    pub fn start(args: &[&str]) -> Seckel {
        let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(args)
            .env_remove("SECKEL_BOOTSTRAP")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("seckel starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Seckel { child, input, output }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).expect("text");
        assert!(read > 0, "seckel ended without a line");
        line.trim_end_matches('\n').to_owned()
    }

    /// The next line that contains `text`.
    pub fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Types a line.
    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("not ended");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("seckel reads");
    }

    /// Ctrl-C, and a sound end.
    pub fn interrupt(mut self) {
        let done = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("kill");
        assert!(done.success());
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it ends");
    }

    /// Ends its input and waits for it to leave.
    pub fn finish(mut self) {
        self.input = None;
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
    }
}

impl Drop for Seckel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
