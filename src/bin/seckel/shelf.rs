//! Cores in a folder of this machine: those of a store, or a single one. Reading takes no lock and changes nothing, so
//! that it works beside a process that writes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use seckel::base::{Cx, DiskError, Error, Key, NoTrace, Span, Time, Trace, hex};
use seckel::corestore::audit::{Kind, StoreAudit, kind};
use seckel::corestore::{Corestore, Namespace, StoreOptions};
use seckel::edge::files::Files;
use seckel::edge::os::OsEntropy;
use seckel::hypercore::{Durability, Encryption, Hypercore, Open, auth};

use super::args::key;
use super::run::Bad;
use super::tracing;

/// How often a folder is looked at for what another process appends.
pub const LOOK_EVERY: Span = Span::from_millis(100);

/// Exit codes of the commands on cores.
pub const NO: u8 = 1;
pub const USAGE: u8 = 2;
pub const UNREACHED: u8 = 3;
pub const STORAGE: u8 = 4;
pub const INTERRUPTED: u8 = 130;

/// Where a core is to be found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Folder(PathBuf),
    /// With its peers.
    Key(Key),
}

/// A folder, or a key if there is no folder of that name.
pub fn place(text: &str) -> Result<Place, &'static str> {
    if text.is_empty() {
        return Err("a folder, or the key of a core");
    }
    let path = PathBuf::from(text);
    match key(text) {
        Ok(key) if !path.exists() => Ok(Place::Key(key)),
        _ => Ok(Place::Folder(path)),
    }
}

/// Which core of a store; none: the only one.
#[derive(Args, Clone, Default, Debug)]
pub struct Which {
    /// The core of that name in the store [the only one]
    #[arg(long, value_name = "NAME", value_parser = named)]
    pub name: Option<String>,
    #[command(flatten)]
    pub space: Space,
    /// The core with this key in the store, hex or z-base-32
    #[arg(long, value_name = "KEY", value_parser = key, conflicts_with = "name")]
    pub key: Option<Key>,
    #[command(flatten)]
    pub cipher: Cipher,
}

/// The name of a core.
pub fn named(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("a name is not empty") } else { Ok(text.to_owned()) }
}

/// Which names are meant.
#[derive(Args, Clone, Default, Debug)]
pub struct Space {
    /// The name in this namespace, as store.namespace(NAME) of corestore has it; again for one within it
    #[arg(long = "namespace", value_name = "NAME", requires = "name")]
    pub names: Vec<String>,
}

impl Space {
    /// corestore.3
    pub fn get(&self) -> Namespace {
        self.names.iter().fold(Namespace::default(), |outer, name| outer.sub(name))
    }
}

/// How blocks are encrypted.
#[derive(Args, Clone, Default, Debug)]
pub struct Cipher {
    /// Blocks are encrypted with this key; who has it not can copy them, and not read them
    #[arg(
        long,
        value_name = "KEY",
        env = "SECKEL_ENCRYPTION_KEY",
        hide_env_values = true,
        value_parser = key
    )]
    pub encryption_key: Option<Key>,
}

impl Cipher {
    pub fn get(&self) -> Option<Encryption> {
        self.encryption_key.map(Encryption::new)
    }
}

impl Which {
    /// Where there is a key already, nothing more is to be said.
    pub fn none(&self) -> Result<(), Bad> {
        if self.name.is_none() && self.key.is_none() {
            return Ok(());
        }
        Err(Bad {
            text: "--name and --key say which core of a folder; KEY says that itself".to_owned(),
            code: USAGE,
        })
    }
}

/// How what is appended is kept.
#[derive(Args, Clone, Copy, Default, Debug)]
pub struct Keeping {
    /// Do not wait for the disk: outlives a crash of the process, but not one of the machine
    #[arg(long)]
    pub unsynced: bool,
}

impl Keeping {
    pub fn durability(self) -> Durability {
        if self.unsynced { Durability::Kernel } else { Durability::Flush }
    }
}

/// A folder, and what machines need beside it.
pub struct Shelf {
    pub dir: PathBuf,
    files: Files,
    entropy: OsEntropy,
    trace: Box<dyn Trace>,
    start: Instant,
}

impl Shelf {
    /// `make`: the folder, if it is missing.
    pub fn open(dir: &Path, make: bool) -> Result<Shelf, Bad> {
        // `Files` would make a folder that is missing.
        if !make && !dir.is_dir() {
            let text = format!("{}: there is no such folder", dir.display());
            return Err(Bad { text, code: STORAGE });
        }
        if !dir.exists() && key(&dir.to_string_lossy()).is_ok() {
            let text = "a key is for reading; who writes to a core has it in a folder".to_owned();
            return Err(Bad { text, code: USAGE });
        }
        let files = Files::open(dir).map_err(|error| bad(dir, error.into()))?;
        let trace: Box<dyn Trace> = match tracing::transcript() {
            Some(transcript) => Box::new(transcript.of(0)),
            None => Box::new(NoTrace),
        };
        let (entropy, start) = (OsEntropy::default(), Instant::now());
        Ok(Shelf { dir: dir.to_owned(), files, entropy, trace, start })
    }

    pub fn cx(&mut self) -> Cx<'_> {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Cx {
            now: Time::from_micros(micros),
            entropy: &mut self.entropy,
            disk: &mut self.files,
            trace: &mut *self.trace,
        }
    }

    /// What to say of an error of a machine.
    pub fn bad(&self, error: Error) -> Bad {
        bad(&self.dir, error)
    }

    fn no(&self, why: &str) -> Bad {
        Bad { text: format!("{}: {why}", self.dir.display()), code: STORAGE }
    }

    pub fn kind(&mut self) -> Result<Kind, Bad> {
        let found = kind(&mut self.cx(), "");
        match found.map_err(|error| self.bad(error))? {
            Kind::NewStore => {
                Err(self
                    .no("holds a store of corestore 7, which seckel does not read (only the layout of 6)"))
            }
            kind => Ok(kind),
        }
    }

    /// A store is here, or there is room for one. True: the only one of these cores is here by itself.
    pub fn room_for_store(&mut self, keys: &[Key]) -> Result<bool, Bad> {
        match self.kind()? {
            Kind::Store => Ok(false),
            Kind::Core => {
                let mut core = self.peek("")?;
                let own = *core.key();
                let _ = core.close(&mut self.cx());
                if keys == [own] { Ok(true) } else { Err(self.no("holds a single core, and another one")) }
            }
            Kind::NewStore | Kind::Neither => self.empty().map(|()| false),
        }
    }

    fn empty(&mut self) -> Result<(), Bad> {
        let names = self.cx().disk.list("").map_err(|error| bad(&self.dir, error.into()))?;
        // A store that was begun, on a full disk maybe, has its lock and what was to be its primary key.
        let others = names.iter().any(|name| name != "lock" && name != "primary-key.new");
        if others { Err(self.no("holds other files; give a folder of its own")) } else { Ok(()) }
    }

    /// The keys of the core that is meant, or without a name or key of all. True: all of them are written here, and
    /// none is a copy that peers may have more of.
    pub fn keys(&mut self, which: &Which) -> Result<(Vec<Key>, bool), Bad> {
        if which.name.is_some() || which.key.is_some() {
            let core = self.reader(which)?;
            return Ok((vec![*core.key()], own(&core)));
        }
        let (mut keys, mut all) = (Vec::new(), true);
        for folder in self.folders()? {
            let mut core = self.peek(&folder)?;
            keys.push(*core.key());
            all &= own(&core);
            let _ = core.close(&mut self.cx());
        }
        if keys.is_empty() { Err(self.no(NO_CORE)) } else { Ok((keys, all)) }
    }

    /// The folders of all cores.
    pub fn folders(&mut self) -> Result<Vec<String>, Bad> {
        match self.kind()? {
            Kind::Core => Ok(vec![String::new()]),
            Kind::Store => {
                let audit = StoreAudit::open(&mut self.cx(), "").map_err(|error| bad(&self.dir, error))?;
                Ok(audit.cores)
            }
            Kind::NewStore | Kind::Neither => Err(self.no(NO_CORE)),
        }
    }

    /// A core for reading, by its folder.
    pub fn peek(&mut self, folder: &str) -> Result<Hypercore, Bad> {
        let open = Open { create: false, read_only: true, ..Open::default() };
        let opened = Hypercore::open(&mut self.cx(), folder, open);
        opened.map_err(|error| self.bad(error))
    }

    /// The core that is meant, for reading.
    pub fn reader(&mut self, which: &Which) -> Result<Hypercore, Bad> {
        let mut core = self.reader_of(which)?;
        core.set_encryption(which.cipher.get());
        Ok(core)
    }

    fn reader_of(&mut self, which: &Which) -> Result<Hypercore, Bad> {
        let folders = self.folders()?;
        let key = match (&which.key, &which.name) {
            (Some(key), _) => *key,
            (None, Some(name)) => self.key_of(which.space.get(), name)?,
            (None, None) => match &folders[..] {
                [only] => return self.peek(only),
                [] => return Err(self.no(NO_CORE)),
                many => return Err(self.many(many.len())),
            },
        };
        let wanted = hex::encode(&auth::discovery_key(&key));
        for folder in folders.iter().filter(|folder| folder.is_empty() || folder.ends_with(&wanted)) {
            let core = self.peek(folder)?;
            if *core.key() == key {
                return Ok(core);
            }
        }
        Err(match &which.name {
            Some(name) => self.none_such(&format!("no core of the name {name:?} is here")),
            None => self.none_such("no core of that key is here"),
        })
    }

    /// The key of the core of a name.
    fn key_of(&mut self, space: Namespace, name: &str) -> Result<Key, Bad> {
        if self.files_exist() {
            return Err(self.no("holds a single core, which has no name; leave --name out"));
        }
        let options = StoreOptions { read_only: true, ..StoreOptions::default() };
        let found = (|cx: &mut Cx<'_>| {
            let mut store = Corestore::open_with(cx, "", &options)?;
            store.key_by_name(cx, space, name)
        })(&mut self.cx());
        found.map_err(|error| match error {
            Error::Missing => self.none_such(&format!("no core of the name {name:?} is here")),
            error => self.bad(error),
        })
    }

    fn none_such(&self, what: &str) -> Bad {
        let dir = self.dir.display();
        Bad { text: format!("{dir}: {what} (`seckel core list {dir}` shows those that are)"), code: NO }
    }

    fn many(&self, count: usize) -> Bad {
        let dir = self.dir.display();
        let text = format!(
            "{dir}: holds {count} cores; say which with --name or --key (`seckel core list {dir}` shows them)"
        );
        Bad { text, code: USAGE }
    }

    /// The core that is meant, for writing; `make`: if it is missing. True: it was made.
    pub fn writer(&mut self, which: &Which, make: bool, keeping: Keeping) -> Result<(Hypercore, bool), Bad> {
        let (mut core, fresh) = self.writer_of(which, make, keeping.durability())?;
        core.set_encryption(which.cipher.get());
        Ok((core, fresh))
    }

    fn writer_of(
        &mut self,
        which: &Which,
        make: bool,
        durability: Durability,
    ) -> Result<(Hypercore, bool), Bad> {
        let single = match self.kind()? {
            Kind::Core if which.name.is_some() => {
                return Err(self.no("holds a single core, which has no name; leave --name out"));
            }
            Kind::Core => true,
            Kind::Store => false,
            Kind::NewStore | Kind::Neither if !make => return Err(self.no(NO_CORE)),
            Kind::NewStore | Kind::Neither => {
                self.empty()?;
                which.name.is_none()
            }
        };
        if single { self.single(which, durability) } else { self.stored(which, make, durability) }
    }

    fn single(&mut self, which: &Which, durability: Durability) -> Result<(Hypercore, bool), Bad> {
        let fresh = !self.files_exist();
        let done = (|cx: &mut Cx<'_>| {
            cx.disk.lock("oplog")?;
            Hypercore::open(cx, "", Open { key: which.key, durability, ..Open::default() })
        })(&mut self.cx());
        Ok((done.map_err(|error| self.bad(error))?, fresh))
    }

    fn files_exist(&mut self) -> bool {
        self.cx().disk.exists("oplog")
    }

    fn stored(
        &mut self,
        which: &Which,
        make: bool,
        durability: Durability,
    ) -> Result<(Hypercore, bool), Bad> {
        let done = (|cx: &mut Cx<'_>| {
            let options = StoreOptions { durability, ..StoreOptions::default() };
            let mut store = Corestore::open_with(cx, "", &options)?;
            let there = store.list(cx)?;
            let key = match (which.key, &which.name) {
                (Some(key), _) => key,
                (None, Some(name)) => store.key_by_name(cx, which.space.get(), name)?,
                (None, None) => match &there[..] {
                    [only] => {
                        let core = store.core_by_discovery_key(cx, only)?.ok_or(Error::Missing)?;
                        return Ok(Ok((core, false)));
                    }
                    [] => return Ok(Err(Not::Any)),
                    many => return Ok(Err(Not::One(many.len()))),
                },
            };
            let fresh = !there.contains(&auth::discovery_key(&key));
            let core = match &which.name {
                _ if fresh && (!make || which.key.is_some()) => return Ok(Err(Not::That)),
                Some(name) => store.core_in(cx, which.space.get(), name)?,
                None => store.core_by_key(cx, &key)?,
            };
            Ok(Ok((core, fresh)))
        })(&mut self.cx());
        match done.map_err(|error| self.bad(error))? {
            Ok(opened) => Ok(opened),
            Err(Not::Any) => Err(self.no(NO_CORE)),
            Err(Not::That) => Err(self.none_such("that core is not here")),
            Err(Not::One(many)) => Err(self.many(many)),
        }
    }

    /// What was appended is on the disk when this returns.
    pub fn sync(&mut self) -> Result<(), Bad> {
        let synced = self.cx().disk.sync_pending();
        synced.map_err(|error| self.bad(error.into()))
    }

    /// Puts a core away. What was appended to it is on the disk when this returns.
    pub fn close(&mut self, mut core: Hypercore) -> Result<(), Bad> {
        let closed = core.close(&mut self.cx());
        closed.map_err(|error| self.bad(error))?;
        self.sync()
    }
}

fn own(core: &Hypercore) -> bool {
    core.signable() && core.contiguous_length() == core.length()
}

/// Why no core of a store can be told.
enum Not {
    Any,
    That,
    One(usize),
}

const NO_CORE: &str = "holds no core (`seckel core create` makes one)";

/// The name of a core in its store.
pub fn name_of(core: &Hypercore) -> Option<&[u8]> {
    core.user_data("corestore/name")
}

/// What to say of an error of a machine whose files are in that folder.
pub fn bad(dir: &Path, error: Error) -> Bad {
    let dir = dir.display();
    let text = match error {
        Error::Io(DiskError::Locked) => {
            format!(
                "{dir}: in use by another process that writes; end that one first (reading needs no lock)"
            )
        }
        Error::Corrupt(_) | Error::Malformed(_) => {
            format!("{dir}: {error}; `seckel audit core {dir}` says what is still sound")
        }
        Error::Refused(why) => return Bad { text: format!("{dir}: {why}"), code: NO },
        other => format!("{dir}: {other}"),
    };
    Bad { text, code: STORAGE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_key_or_a_folder() {
        let digits = "07".repeat(32);
        assert_eq!(place(&digits), Ok(Place::Key([7; 32])));
        assert_eq!(place(&hex::key_to_z32(&[7; 32])), Ok(Place::Key([7; 32])));
        for folder in ["./store", "..", "07"] {
            assert_eq!(place(folder), Ok(Place::Folder(PathBuf::from(folder))));
        }
        assert!(place("").is_err());
    }
}
