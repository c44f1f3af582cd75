//! `seckel bee get`, `list`, `history`, `diff`, `export`.

use seckel::app::bee::{Ask, Piece, Reading};
use seckel::base::{Error, hex};
use seckel::hyperbee::{Bee, Change, Entry, Sub};
use seckel::hypercore::Hypercore;
use seckel::node::{Extent, Range};

use super::text::{entry_json, exported, line};
use super::{Diff, Export, Get, History, List, decoded, not_text, remote};
use crate::cores::read::{grown, open};
use crate::online::Reach;
use crate::progress::{Progress, Unit};
use crate::run::Bad;
use crate::shelf::{INTERRUPTED, NO, Place, Shelf, Which};
use crate::stdio::{Heap, put_value};
use crate::terminal::{say, warn};

/// A question and where it is asked.
pub struct Asked<'a> {
    pub at: &'a Place,
    pub which: &'a Which,
    pub reach: &'a Reach,
    pub sub: &'a Sub,
    pub ask: Ask,
    /// A version; none: the newest.
    pub version: Option<u64>,
    /// Another version that must be there.
    pub until: Option<u64>,
    /// Go on with what follows.
    pub live: bool,
}

impl Asked<'_> {
    /// Hands over each piece of the answer, until `take` has enough. False: Ctrl-C.
    pub fn answer(self, take: &mut dyn FnMut(Piece) -> Result<bool, Bad>) -> Result<bool, Bad> {
        if let Place::Key(key) = *self.at {
            return remote::answer(self, key, take);
        }
        let (mut shelf, mut core) = open(self.at, self.which)?;
        checked(self.until, core.length())?;
        let version = checked(self.version, core.length())?;
        let mut reading = Reading::new(self.ask, version);
        let mut bee = Bee::new();
        loop {
            let next = reading.next(&mut shelf.cx(), &mut bee, &mut core);
            match next {
                Ok(Some(piece)) => {
                    if let Some(piece) = within(self.sub, piece)
                        && !take(piece)?
                    {
                        return Ok(true);
                    }
                }
                Ok(None) if self.live => {
                    longer(&mut shelf, &mut core)?;
                }
                Ok(None) => return Ok(true),
                Err(Error::Missing) => return Err(missing(&shelf, &core, bee.missing())),
                Err(error) => return Err(shelf.bad(error)),
            }
        }
    }
}

/// A piece with the names of the sub-tree. None: it is of another one.
pub fn within(sub: &Sub, mut piece: Piece) -> Option<Piece> {
    let strip = |entry: &mut Entry| {
        let key = sub.strip(&entry.key)?.to_vec();
        entry.key = key;
        Some(())
    };
    match &mut piece {
        Piece::Entry(entry) | Piece::Change(Change::Put(entry) | Change::Del(entry)) => strip(entry)?,
        Piece::Difference(difference) => {
            for entry in [&mut difference.left, &mut difference.right].into_iter().flatten() {
                strip(entry)?;
            }
        }
    }
    Some(piece)
}

/// The version that is meant.
pub fn checked(version: Option<u64>, length: u64) -> Result<u64, Bad> {
    match version {
        Some(version) if version > length => Err(Bad {
            text: format!("there is no version {version}: the core has {length} blocks"),
            code: NO,
        }),
        version => Ok(version.unwrap_or(length)),
    }
}

fn missing(shelf: &Shelf, core: &Hypercore, block: Option<u64>) -> Bad {
    let (dir, key) = (shelf.dir.display(), hex::encode(core.key()));
    let block = block.map_or("a block".to_owned(), |block| format!("block {block}"));
    let text =
        format!("{dir}: {block} is not in this copy; with {key} instead of the folder peers are asked");
    Bad { text, code: NO }
}

/// Waits until another process has appended. It is killed by Ctrl-C: nothing is written here.
fn longer(shelf: &mut Shelf, core: &mut Hypercore) -> Result<(), Bad> {
    let (fork, length) = (core.fork(), core.length());
    while core.length() <= length {
        grown(shelf, core)?;
        if core.fork() != fork {
            return Err(Bad {
                text: "the core was truncated; what was shown may be no more".to_owned(),
                code: NO,
            });
        }
    }
    Ok(())
}

/// `seckel bee get`.
pub fn get(args: &Get) -> Result<u8, Bad> {
    let sub = args.source.part.sub();
    let key = decoded(args.encoding, "the key", &args.entry)?;
    let ask = Ask::Get { key: sub.key(&key) };
    let asked = Asked {
        at: &args.source.at,
        which: &args.which,
        reach: &args.source.reach,
        sub: &sub,
        ask,
        version: args.as_of,
        until: None,
        live: false,
    };
    let mut found = None;
    let all = asked.answer(&mut |piece| {
        found = Some(piece);
        Ok(true)
    })?;
    if !all {
        return Ok(INTERRUPTED);
    }
    let Some(Piece::Entry(entry)) = found else {
        warn("not there");
        return Ok(NO);
    };
    match args.json {
        true => say(&entry_json(args.encoding, &entry).ok_or_else(not_text)?),
        false => put_value(entry.value.as_deref().unwrap_or_default()),
    }
    Ok(0)
}

/// `seckel bee list`.
pub fn list(args: &List) -> Result<u8, Bad> {
    let sub = args.source.part.sub();
    let ask = Ask::List(sub.range(args.bounds.range(args.encoding)?));
    let asked = Asked {
        at: &args.source.at,
        which: &args.which,
        reach: &args.source.reach,
        sub: &sub,
        ask,
        version: args.as_of,
        until: None,
        live: false,
    };
    let all = asked.answer(&mut |piece| {
        say(&line(args.encoding, &piece, args.json).ok_or_else(not_text)?);
        Ok(true)
    })?;
    Ok(if all { 0 } else { INTERRUPTED })
}

/// `seckel bee history`.
pub fn history(args: &History) -> Result<u8, Bad> {
    let sub = args.source.part.sub();
    let ask = Ask::History(Extent {
        gte: Some(i64::try_from(args.since).unwrap_or(i64::MAX)),
        // Those of other parts do not count.
        limit: args.limit.filter(|_| sub.prefix().is_empty()),
        reverse: args.reverse,
        live: args.live,
        ..Extent::all()
    });
    let (at, which, reach) = (&args.source.at, &args.which, &args.source.reach);
    let mut left = args.limit.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(0);
    }
    let mut pieces = |piece: Piece| {
        say(&line(args.encoding, &piece, args.json).ok_or_else(not_text)?);
        left -= 1;
        Ok(left > 0)
    };
    let asked = Asked { at, which, reach, sub: &sub, ask, version: None, until: None, live: args.live };
    let all = asked.answer(&mut pieces)?;
    Ok(if all { 0 } else { INTERRUPTED })
}

/// `seckel bee diff`.
pub fn diff(args: &Diff) -> Result<u8, Bad> {
    let sub = args.source.part.sub();
    let ask = Ask::Diff { from: args.old, range: sub.range(args.bounds.range(args.encoding)?) };
    let (at, which, reach) = (&args.source.at, &args.which, &args.source.reach);
    let asked = Asked {
        at,
        which,
        reach,
        sub: &sub,
        ask,
        version: Some(args.new),
        until: Some(args.old),
        live: false,
    };
    let all = asked.answer(&mut |piece| {
        say(&line(args.encoding, &piece, args.json).ok_or_else(not_text)?);
        Ok(true)
    })?;
    Ok(if all { 0 } else { INTERRUPTED })
}

/// `seckel bee export`.
pub fn export(args: &Export) -> Result<u8, Bad> {
    let sub = args.source.part.sub();
    let ask = Ask::List(sub.range(Range::all()));
    let mut progress = Progress::new(Unit::Entries, args.progress);
    let (mut done, mut heap) = (0, Heap::default());
    let asked = Asked {
        at: &args.source.at,
        which: &args.which,
        reach: &args.source.reach,
        sub: &sub,
        ask,
        version: args.as_of,
        until: None,
        live: false,
    };
    let answered = asked.answer(&mut |piece| {
        let Piece::Entry(entry) = piece else { return Ok(true) };
        heap.add(exported(args.encoding, &entry).ok_or_else(not_text)?.as_bytes());
        heap.add(b"\n");
        done += 1;
        progress.tell(done, None);
        Ok(true)
    });
    progress.end();
    drop(heap);
    Ok(if answered? { 0 } else { INTERRUPTED })
}
