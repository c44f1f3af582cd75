//! `seckel core get`, `cat`, `info` with a key, `download` and `seed`.

use seckel::app::core::{Blocks, Copying, Extent, Standing, Step};
use seckel::app::text::{object, quoted};
use seckel::base::{Key, hex};
use seckel::node::{CoreId, Net};
use seckel::wire::hyperbee::Header;
use seckel::{hyperbee, wire};

use super::read::{About, block_json, put_block};
use super::{Cat, Download, Get, Info, Seed};
use crate::online::{Manner, Online, Turn};
use crate::progress::{Progress, Unit, bytes};
use crate::run::Bad;
use crate::shelf::{INTERRUPTED, NO, Place, Shelf, Which};
use crate::stdio::{Heap, put_value};
use crate::terminal::say;

/// `seckel core get KEY`.
pub fn get(args: &Get, key: Key) -> Result<u8, Bad> {
    args.which.none()?;
    let mut online = Online::open(&args.reach, key, &args.which.cipher)?;
    let core = online.exchange.core();
    let mut blocks = Blocks::new(core, args.index, Some(args.index + 1), false);
    let folder = online.folder().to_owned();
    let found = online.run(&mut |net, exchange| match blocks
        .poll(net, exchange)
        .map_err(|error| crate::shelf::bad(&folder, error))?
    {
        Step::Block(_, block) => Ok(Turn::Done(block)),
        Step::Wait => Ok(Turn::Waiting),
        Step::Beyond { length } => Err(no_block(args.index, length)),
        Step::End => Err(no_block(args.index, 0)),
    })?;
    online.leave()?;
    let Some(block) = found else { return Ok(INTERRUPTED) };
    match args.json {
        true => say(&block_json(args.index, &block)),
        false => put_value(&block),
    }
    Ok(0)
}

fn no_block(index: u64, length: u64) -> Bad {
    Bad { text: format!("there is no block {index}: the core has {length}"), code: NO }
}

/// `seckel core cat KEY`.
pub fn cat(args: &Cat, key: Key) -> Result<u8, Bad> {
    args.which.none()?;
    let mut online = Online::open(&args.reach, key, &args.which.cipher)?;
    if args.live {
        online = online.patient();
    }
    let core = online.exchange.core();
    let mut blocks = Blocks::new(core, args.start, args.end, args.live);
    let mut heap = Heap::default();
    let mut progress = Progress::new(Unit::Blocks, args.progress);
    online = online.ticking(progress.on());
    let folder = online.folder().to_owned();
    let done = online.run(&mut |net, exchange| {
        let mut moved = false;
        loop {
            match blocks.poll(net, exchange).map_err(|error| crate::shelf::bad(&folder, error))? {
                Step::Block(index, block) => {
                    put_block(args, index, &block, &mut heap);
                    moved = true;
                    let length = net.core_info(core).map_or(0, |info| info.length);
                    let end = args.end.unwrap_or(length);
                    progress.tell(index + 1 - args.start, Some(end.saturating_sub(args.start)));
                }
                Step::Wait => {
                    heap.flush();
                    return Ok(if moved { Turn::Moved } else { Turn::Waiting });
                }
                Step::End => return Ok(Turn::Done(())),
                Step::Beyond { length } => return Err(no_block(length, length)),
            }
        }
    });
    progress.end();
    drop(heap);
    let done = done?;
    online.leave()?;
    Ok(if done.is_some() || args.live { 0 } else { INTERRUPTED })
}

/// `seckel core info KEY`.
pub fn info(args: &Info, key: Key) -> Result<u8, Bad> {
    args.which.none()?;
    let mut online = Online::open(&args.reach, key, &args.which.cipher)?;
    let core = online.exchange.core();
    let about = online.run(&mut |net, exchange| {
        if exchange.standing(net) != Standing::Fresh {
            return Ok(Turn::Waiting);
        }
        let Ok(mut about) = net.look(core, About::new) else { return Ok(Turn::Waiting) };
        about.peers = net.core_info(core).ok().map(|info| info.peers);
        Ok(Turn::Done(about))
    })?;
    online.leave()?;
    let Some(about) = about else { return Ok(INTERRUPTED) };
    say(&if args.json { about.json() } else { about.text() });
    Ok(0)
}

/// `seckel core download`.
pub fn download(args: &Download) -> Result<u8, Bad> {
    let mut online = Online::open_in(
        &args.reach.storage_or_default(),
        &args.reach,
        &[args.key],
        Manner::Copy,
        args.keeping,
    )?;
    if args.live {
        online = online.patient();
    }
    let core = online.exchange.core();
    let extent = Extent { start: args.start, end: args.end, linear: args.linear, live: args.live };
    let mut copying = Copying::new(core, extent);
    let mut progress = Progress::new(Unit::Blocks, args.progress);
    online = online.ticking(progress.on());
    let folder = online.folder().to_owned();
    let done = online.run(&mut |net, exchange| {
        let state = copying.poll(net, exchange).map_err(|error| match error {
            seckel::base::Error::Missing => {
                let length = net.core_info(core).map_or(0, |info| info.length);
                no_block(args.end.unwrap_or(length).saturating_sub(1), length)
            }
            error => crate::shelf::bad(&folder, error),
        })?;
        progress.tell(state.here, Some(state.of));
        Ok(if state.done { Turn::Done(()) } else { Turn::Waiting })
    });
    progress.end();
    let done = done?;
    let about = online.joined.net().look(core, About::new).map_err(|error| online.bad(error))?;
    let stats = online.joined.net().core_stats(core).map_err(|error| online.bad(error))?;
    online.leave()?;
    if args.json {
        say(&object(&[
            ("key", quoted(&hex::encode(&args.key))),
            ("done", done.is_some().to_string()),
            ("length", about.length.to_string()),
            ("contiguous_length", about.contiguous_length.to_string()),
            ("byte_length", about.byte_length.to_string()),
            ("received_blocks", stats.blocks_received.to_string()),
            ("received_bytes", stats.bytes_received.to_string()),
        ]));
    } else {
        let (count, size) = (stats.blocks_received, bytes(stats.bytes_received));
        say(&format!("Downloaded: {count} blocks, {size}; length {}", about.length));
    }
    Ok(if done.is_some() || args.live { 0 } else { INTERRUPTED })
}

/// `seckel core seed`.
pub fn seed(args: &Seed) -> Result<u8, Bad> {
    let (folder, keys, manner) = match &args.at {
        Place::Key(key) => (args.reach.storage_or_default(), vec![*key], Manner::Seed),
        Place::Folder(dir) => {
            let (name, space) = (args.name.clone(), args.space.clone());
            let which = Which { name, space, key: args.core, ..Which::default() };
            let (keys, own) = Shelf::open(dir, false)?.keys(&which)?;
            (dir.clone(), keys, if own { Manner::Beside } else { Manner::Seed })
        }
    };
    let mut online = Online::open_in(&folder, &args.reach, &keys, manner, args.keeping)?.patient();
    let (cores, beside): (Vec<_>, _) = (online.exchange.cores().collect(), online.beside);
    for &core in &cores {
        let mut net = online.joined.net();
        if !beside && !net.core_info(core).is_ok_and(|info| info.writable) {
            net.download(core).map_err(|error| crate::shelf::bad(&folder, error))?;
        }
    }
    let mut progress = Progress::new(Unit::Bytes, args.progress);
    online = online.ticking(progress.on());
    let (mut told, mut logs) = (false, cores.clone());
    let uploaded = |net: &Net<'_>| {
        let stats = cores.iter().filter_map(|&core| net.core_stats(core).ok());
        stats.fold((0, 0), |(blocks, bytes), stats| (blocks + stats.blocks_sent, bytes + stats.bytes_sent))
    };
    online.run::<()>(&mut |net, exchange| {
        logs.retain(|&core| !is_known(net, core));
        if !told && exchange.announced() {
            told = true;
            for &core in &cores {
                if let Ok(about) = net.look(core, About::new) {
                    say(&if args.json {
                        about.json()
                    } else {
                        format!("Seeding: {}", hex::encode(&about.key))
                    });
                }
            }
        }
        progress.tell(uploaded(net).1, None);
        Ok(Turn::Waiting)
    })?;
    progress.end();
    let ((count, size), peers) = (uploaded(&online.joined.net()), online.exchange.met());
    online.leave()?;
    if args.json {
        let counts = [("uploaded_blocks", count), ("uploaded_bytes", size), ("peers_met", peers)];
        say(&object(&counts.map(|(name, count)| (name, count.to_string()))));
    } else {
        say(&format!("Uploaded: {count} blocks, {}, to {peers} peers", bytes(size)));
    }
    Ok(0)
}

/// Whether it is known what a core holds. Of a tree, peers are told what else they will need.
fn is_known(net: &mut Net<'_>, core: CoreId) -> bool {
    let Ok(Some(block)) = net.block(core, 0) else { return false };
    let header = wire::decode::<Header>(&block);
    if header.is_ok_and(|header| header.protocol == hyperbee::PROTOCOL) {
        // One that is closed asks nothing.
        let _ = net.bee_open(core);
    }
    true
}
