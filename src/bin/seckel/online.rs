//! Cores that peers have: the loop of the commands that are given a key instead of a folder.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::Args;
use seckel::app::core::{Exchange, Standing};
use seckel::base::{DiskError, Error, Key, Span, Time, hex};
use seckel::edge::host::Wake;
use seckel::node::{Event, Net};

use super::leftovers::Fresh;
use super::network::{Joined, Meeting};
use super::run::{Bad, LEAVE};
use super::shelf::{Cipher, Keeping, LOOK_EVERY, Shelf, UNREACHED, bad};
use super::terminal::warn;

/// With whom, and what is kept of it.
#[derive(Args, Debug)]
#[command(next_help_heading = "With a KEY")]
pub struct Reach {
    /// Keep what comes in this store, and read from it what it has [./seckel-store for copies, else nowhere]
    #[arg(long, value_name = "DIR")]
    pub storage: Option<PathBuf>,
    /// Give up when nothing came for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
    #[command(flatten)]
    pub meeting: Meeting,
}

impl Reach {
    pub fn storage_or_default(&self) -> PathBuf {
        self.storage.clone().unwrap_or_else(|| PathBuf::from(STORAGE))
    }
}

/// Where copies are kept that are to stay, unless told otherwise.
const STORAGE: &str = "./seckel-store";

/// A folder that is gone when the process ends; if that is killed, the next one sees to it.
static SCRATCH: OnceLock<Fresh> = OnceLock::new();
/// What the names of such folders begin with.
const SCRATCH_NAME: &str = "seckel-core-";

/// Removes what was kept for this process only.
pub fn tidy() {
    if let Some(scratch) = SCRATCH.get() {
        scratch.remove();
    }
}

fn scratch() -> PathBuf {
    SCRATCH.get_or_init(|| Fresh::new(SCRATCH_NAME)).folder.clone()
}

/// What is done with the cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// They are read, or copied.
    Copy,
    /// They are copied, and passed on.
    Seed,
    /// They are passed on, while another process may write them.
    Beside,
}

/// What a turn came to.
pub enum Turn<T> {
    Done(T),
    /// Something came.
    Moved,
    Waiting,
}

/// What is done whenever something happened.
type Act<'a, T> = dyn FnMut(&mut Net<'_>, &Exchange) -> Result<Turn<T>, Bad> + 'a;

/// A node that exchanges cores.
pub struct Online {
    pub joined: Joined,
    pub exchange: Exchange,
    folder: PathBuf,
    key: Key,
    /// None: for ever.
    patience: Option<Span>,
    /// When something came last.
    moved: Time,
    /// When the files were looked at last.
    looked: Time,
    /// Another process may write: its files are looked at now and then.
    pub beside: bool,
    /// Progress is shown: `act` is called now and then, even if nothing happens.
    ticking: bool,
}

/// How often.
const TICK: Span = Span::from_secs(1);

impl Online {
    pub fn open(reach: &Reach, key: Key, cipher: &Cipher) -> Result<Online, Bad> {
        let folder = reach.storage.clone().unwrap_or_else(scratch);
        let keeping = Keeping { unsynced: reach.storage.is_none() };
        let mut online = Online::open_in(&folder, reach, &[key], Manner::Copy, keeping)?;
        if reach.storage.is_none() {
            // What is said of it names the core: the folder is nobody's business.
            online.folder = PathBuf::from(hex::encode(&key));
        }
        let core = online.exchange.core();
        let set = online.joined.net().set_encryption(core, cipher.get());
        set.map_err(|error| online.bad(error))?;
        Ok(online)
    }

    /// With the cores of the store in `folder`.
    pub fn open_in(
        folder: &Path,
        reach: &Reach,
        keys: &[Key],
        manner: Manner,
        keeping: Keeping,
    ) -> Result<Online, Bad> {
        let lone = Shelf::open(folder, true)?.room_for_store(keys)?;
        let mut joined = reach.meeting.open_at(folder)?;
        joined.net().set_durability(keeping.durability());
        let serve = manner != Manner::Copy;
        let mut started = match (manner, lone) {
            (Manner::Beside, _) => Exchange::start_beside(&mut joined.net(), "", keys, lone),
            (_, true) => Exchange::start_lone(&mut joined.net(), "", serve),
            (_, false) => Exchange::start(&mut joined.net(), "", keys, serve),
        };
        let mut beside = manner == Manner::Beside;
        if manner == Manner::Seed && matches!(started, Err(Error::Io(DiskError::Locked))) {
            let dir = folder.display();
            warn(&format!(
                "{dir}: another process writes here; what it has is passed on, and nothing is downloaded"
            ));
            started = Exchange::start_beside(&mut joined.net(), "", keys, lone);
            beside = true;
        }
        let exchange = started.map_err(|error| bad(folder, error))?;
        let key = keys.first().copied().unwrap_or_default();
        let (patience, moved) = (Some(Span::from_secs(reach.timeout)), joined.host.now());
        Ok(Online {
            joined,
            exchange,
            folder: folder.to_owned(),
            key,
            patience,
            moved,
            looked: moved,
            ticking: false,
            beside,
        })
    }

    /// However long nothing comes.
    pub fn patient(mut self) -> Online {
        self.patience = None;
        self
    }

    /// `act` is called now and then, even if nothing happens.
    pub fn ticking(mut self, on: bool) -> Online {
        self.ticking = on;
        self
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What to say of an error of the node.
    pub fn bad(&self, error: Error) -> Bad {
        bad(&self.folder, error)
    }

    /// Lets `act` do what it can whenever something happened, until it is done. None: Ctrl-C.
    pub fn run<T>(&mut self, act: &mut Act<'_, T>) -> Result<Option<T>, Bad> {
        loop {
            match act(&mut self.joined.net(), &self.exchange)? {
                Turn::Done(done) => return Ok(Some(done)),
                Turn::Moved => self.moved = self.joined.host.now(),
                Turn::Waiting => {}
            }
            let end = self.patience.map(|patience| self.moved + patience);
            if end.is_some_and(|end| end <= self.joined.host.now()) {
                return Err(self.given_up());
            }
            let soon = self.exchange.deadline(&self.joined.net());
            let tick = self.ticking.then(|| self.joined.host.now() + TICK);
            let look = self.beside.then(|| self.looked + LOOK_EVERY);
            let until = [end, soon, tick, look].into_iter().flatten().min();
            match self.joined.wait(until)? {
                Wake::Event(_, event) => self.take(&event)?,
                Wake::Interrupted => return Ok(None),
                Wake::Woken | Wake::TimedOut => {}
            }
            if look.is_some_and(|look| look <= self.joined.host.now()) {
                self.look_beside()?;
            }
        }
    }

    /// Takes over what another process has written.
    fn look_beside(&mut self) -> Result<(), Bad> {
        let refreshed = self.exchange.refresh(&mut self.joined.host.net(self.joined.id));
        refreshed.map_err(|error| bad(&self.folder, error))?;
        self.looked = self.joined.host.now();
        Ok(())
    }

    fn take(&mut self, event: &Event) -> Result<(), Bad> {
        if let Event::PeerAdded { .. } | Event::Downloaded { .. } | Event::Appended { .. } = event {
            self.moved = self.joined.host.now();
        }
        // What has been cut since is not to be handed to somebody new: he would believe nothing that comes after it.
        if self.beside && matches!(event, Event::PeerAdded { .. }) {
            self.look_beside()?;
        }
        if let Event::BindFailed = event {
            return Err(self.joined.unbound());
        }
        let told = self.exchange.on_event(&mut self.joined.host.net(self.joined.id), event);
        told.map_err(|error| bad(&self.folder, error))
    }

    fn given_up(&mut self) -> Bad {
        let alone = self.exchange.standing(&self.joined.net()) == Standing::Alone;
        if alone && self.joined.net().status().nodes.is_empty() {
            return self.joined.nobody();
        }
        let key = hex::encode(&self.key);
        let text = match alone {
            true => format!("nobody was found who has {key}; is it being seeded? (seckel core seed)"),
            false => "peers are there, but what is asked for does not come from them".to_owned(),
        };
        Bad { text, code: UNREACHED }
    }

    /// Says goodbye; what cannot be said in time stays unsaid.
    pub fn leave(mut self) -> Result<(), Bad> {
        self.exchange.leave(&mut self.joined.host.net(self.joined.id));
        let until = self.joined.host.now() + LEAVE;
        while !self.exchange.left() && self.joined.host.now() < until {
            match self.joined.wait(Some(until))? {
                Wake::Event(_, event) => self.take(&event)?,
                Wake::Interrupted => break,
                Wake::Woken | Wake::TimedOut => {}
            }
        }
        Ok(())
    }
}
