//! The transcript and the key log of this process, the same for all its nodes.

use std::path::PathBuf;
use std::sync::OnceLock;

use seckel::edge::trace::Transcript;

use super::args::Tracing;
use super::run::Bad;
use super::terminal::warn;

static TRANSCRIPT: OnceLock<Transcript> = OnceLock::new();

/// Opens what the command line and the environment ask for.
pub fn start(tracing: Tracing) -> Result<(), Bad> {
    let wanted = tracing.wanted(std::env::var_os("SECKEL_KEYS").map(PathBuf::from));
    let opened = Transcript::open(&wanted).map_err(|unopened| Bad { text: unopened.to_string(), code: 2 })?;
    let Some(transcript) = opened else { return Ok(()) };
    if let Some(keys) = &wanted.keys {
        warn(&format!("session keys go to {}: who reads it reads what is sent", keys.display()));
    }
    // It is set once, here.
    let _ = TRANSCRIPT.set(transcript);
    Ok(())
}

/// Where nodes write, if something was asked for.
pub fn transcript() -> Option<Transcript> {
    TRANSCRIPT.get().cloned()
}

/// Writes what is collected.
pub fn flush() {
    if let Some(transcript) = TRANSCRIPT.get() {
        transcript.flush();
    }
}

/// While it lives, the program does: what is global is not dropped, so that this writes what is collected.
pub struct Program;

impl Drop for Program {
    fn drop(&mut self) {
        flush();
    }
}
