//! Data through standard input and output.

use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use seckel::edge::host::{Host, Wake};

use super::run::Bad;

/// Bytes that are read at once.
const CHUNK: usize = 0x4_0000;
/// Pieces that are read ahead.
const AHEAD: usize = 8;

/// Standard input, read on a thread of its own, and Ctrl-C beside it.
pub struct Input {
    host: Host,
    chunks: Receiver<std::io::Result<Vec<u8>>>,
}

/// What came.
pub enum Came {
    Bytes(Vec<u8>),
    /// Nothing so far: what came before can be put away.
    Nothing,
    End,
    /// Ctrl-C.
    Interrupted,
}

impl Input {
    pub fn open() -> Result<Input, Bad> {
        let mut host = Host::open()?;
        host.catch_signals()?;
        let (to_loop, chunks) = sync_channel(AHEAD);
        let waker = host.waker();
        std::thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            loop {
                let mut chunk = vec![0; CHUNK];
                let read = match input.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(count) => {
                        chunk.truncate(count);
                        Ok(chunk)
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let last = read.is_err();
                if to_loop.send(read).is_err() || last {
                    break;
                }
                let _ = waker.wake();
            }
            drop(to_loop);
            let _ = waker.wake();
        });
        Ok(Input { host, chunks })
    }

    /// What came, without waiting.
    pub fn next(&mut self) -> Result<Came, Bad> {
        if let Wake::Interrupted = self.host.wait(Some(std::time::Duration::ZERO))? {
            return Ok(Came::Interrupted);
        }
        match self.chunks.try_recv() {
            Ok(Ok(bytes)) => Ok(Came::Bytes(bytes)),
            Ok(Err(error)) => Err(Bad { text: format!("standard input: {error}"), code: 1 }),
            Err(TryRecvError::Empty) => Ok(Came::Nothing),
            Err(TryRecvError::Disconnected) => Ok(Came::End),
        }
    }

    /// Waits until `next` has something. Being woken for what was taken already is harmless.
    pub fn wait(&mut self) -> Result<Came, Bad> {
        loop {
            match self.next()? {
                Came::Nothing => {}
                came => return Ok(came),
            }
            if let Wake::Interrupted = self.host.wait(None)? {
                return Ok(Came::Interrupted);
            }
        }
    }

    /// How many bytes there will be, if standard input is a file.
    pub fn len() -> Option<u64> {
        let file = std::fs::metadata("/dev/stdin").ok()?;
        file.is_file().then_some(file.len())
    }
}

/// Writes bytes to standard output as they are. If they cannot be written that is the end of the program.
pub fn put(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        let code = super::terminal::unwritten(&error);
        super::online::tidy();
        super::tracing::flush();
        std::process::exit(code.into());
    }
}

/// What is to be written to standard output, gathered: many small pieces are one step. The rest is written when it is
/// dropped.
#[derive(Default)]
pub struct Heap(Vec<u8>);

impl Heap {
    /// Bytes that are written at once.
    const STEP: usize = 1 << 16;

    pub fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() >= Heap::STEP {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
        if !self.0.is_empty() {
            put(&self.0);
            self.0.clear();
        }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A value: as it is, and on a terminal with an end of line behind it.
pub fn put_value(bytes: &[u8]) {
    put(bytes);
    if std::io::stdout().is_terminal() && bytes.last() != Some(&b'\n') {
        put(b"\n");
    }
}
