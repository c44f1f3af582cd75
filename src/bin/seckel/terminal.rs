//! Lines from the user: edited on a terminal, plain from a pipe. They are read on a thread of their own, because
//! reading blocks; `wake` tells the loop that something came in.

use std::io::{BufRead, ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};

use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use seckel::app::registry::outcome::Exit;

/// A longer line is cut: no name is that long.
const LINE_MAX: u64 = 0x1_0000;
/// Lines read ahead of the loop.
const LINES_AHEAD: usize = 16;

/// What came from the user.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    Line(String),
    /// A line that is not UTF-8.
    NotText,
    /// End of input, or Ctrl-C at the prompt.
    End,
}

pub struct Terminal {
    typed: Receiver<Typed>,
    /// Asks for the next line; only on a terminal, so that the prompt follows the answer.
    go: Option<Sender<()>>,
    ended: bool,
}

impl Terminal {
    /// Begins to read; a terminal shows `prompt`. `history` is where a terminal's lines are kept.
    pub fn open(
        prompt: &'static str,
        history: Option<PathBuf>,
        wake: impl Fn() + Send + 'static,
    ) -> Terminal {
        let (to_loop, typed) = sync_channel(LINES_AHEAD);
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            let (go, ready) = channel();
            std::thread::spawn(move || edit(prompt, history.as_deref(), &ready, &to_loop, wake));
            return Terminal { typed, go: Some(go), ended: false };
        }
        Terminal::lines(wake)
    }

    /// Begins to read plain lines, without a prompt.
    pub fn lines(wake: impl Fn() + Send + 'static) -> Terminal {
        let (to_loop, typed) = sync_channel(LINES_AHEAD);
        std::thread::spawn(move || read(std::io::stdin().lock(), &to_loop, wake));
        Terminal { typed, go: None, ended: false }
    }

    /// Shows the prompt, if there is a terminal: the last command is answered.
    pub fn ready(&self) {
        if let Some(go) = &self.go {
            // The thread is gone only after it said `End`.
            let _ = go.send(());
        }
    }

    /// What came in, if anything did. `End` comes once.
    pub fn next(&mut self) -> Option<Typed> {
        if self.ended {
            return None;
        }
        let typed = match self.typed.try_recv() {
            Ok(typed) => typed,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Typed::End,
        };
        self.ended = typed == Typed::End;
        Some(typed)
    }
}

fn edit(
    prompt: &str,
    history: Option<&Path>,
    ready: &Receiver<()>,
    to_loop: &SyncSender<Typed>,
    wake: impl Fn(),
) {
    let config = Config::builder().auto_add_history(true).build();
    let Ok(mut editor) = DefaultEditor::with_config(config) else {
        let _ = to_loop.send(Typed::End);
        return wake();
    };
    if let Some(history) = history {
        // The first time there is none.
        let _ = editor.load_history(history);
    }
    while ready.recv().is_ok() {
        let typed = loop {
            match editor.readline(prompt) {
                Ok(line) => break Typed::Line(line),
                // The window changed its size: the prompt is shown anew.
                Err(ReadlineError::Signal(_)) => {}
                Err(_) => break Typed::End,
            }
        };
        let last = typed == Typed::End;
        if let Some(history) = history {
            let _ = editor.save_history(history);
        }
        if to_loop.send(typed).is_err() {
            return;
        }
        wake();
        if last {
            return;
        }
    }
}

fn read(mut input: impl BufRead, to_loop: &SyncSender<Typed>, wake: impl Fn()) {
    loop {
        let mut bytes = Vec::new();
        let read = input.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes);
        let typed = match read {
            Ok(0) | Err(_) => Typed::End,
            Ok(_) => match String::from_utf8(bytes) {
                Ok(line) => Typed::Line(line.trim_end_matches(['\r', '\n']).to_owned()),
                Err(_) => Typed::NotText,
            },
        };
        let last = typed == Typed::End;
        if to_loop.send(typed).is_err() {
            return;
        }
        wake();
        if last {
            return;
        }
    }
}

/// Writes a line to standard output. If it cannot be written that is the end of the program.
pub fn say(text: &str) {
    if text.is_empty() {
        return;
    }
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        let code = unwritten(&error);
        super::online::tidy();
        super::tracing::flush();
        std::process::exit(code.into());
    }
}

/// Standard output takes no more: the exit code. A reader that is gone has had enough, and the program ends quietly, as
/// others do; on a full disk something is missing.
pub fn unwritten(error: &std::io::Error) -> u8 {
    if error.kind() == ErrorKind::BrokenPipe {
        return 0;
    }
    warn(&format!("standard output cannot be written: {error}"));
    Exit::Storage as u8
}

/// Writes a line to standard error.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "seckel: {text}");
}

/// Writes a line of JSON to standard error.
pub fn warn_json(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gives_its_lines_and_then_ends() {
        let (to_loop, typed) = sync_channel(16);
        read(&b"register a\r\n\nlookup \xff\nlast"[..], &to_loop, || {});
        let got: Vec<Typed> = typed.try_iter().collect();
        let line = |text: &str| Typed::Line(text.to_owned());
        assert_eq!(got, [line("register a"), line(""), Typed::NotText, line("last"), Typed::End]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (to_loop, typed) = sync_channel(16);
        let long = vec![b'a'; 3 * LINE_MAX as usize];
        read(&long[..], &to_loop, || {});
        assert_eq!(typed.try_iter().count(), 4, "three pieces and the end");
    }
}
