//! Questions to hyperbees that peers have: only the blocks that the answer needs are fetched.

use seckel::app::bee::{Piece, Reading};
use seckel::app::core::Standing;
use seckel::base::{Error, Key};

use super::read::{Asked, checked, within};
use crate::online::{Online, Turn};
use crate::run::Bad;
use crate::shelf::bad;

/// Hands over each piece of the answer, until `take` has enough. False: Ctrl-C.
pub fn answer(
    asked: Asked<'_>,
    key: Key,
    take: &mut dyn FnMut(Piece) -> Result<bool, Bad>,
) -> Result<bool, Bad> {
    asked.which.none()?;
    let Asked { which, reach, sub, ask, version, until, live, .. } = asked;
    let mut online = Online::open(reach, key, &which.cipher)?;
    if live {
        online = online.patient();
    }
    let core = online.exchange.core();
    let folder = online.folder().to_owned();
    let mut reading: Option<Reading> = None;
    let done = online.run(&mut |net, exchange| {
        let length = net.core_info(core).map_or(0, |info| info.length);
        let reading = match &mut reading {
            Some(reading) => reading,
            None => {
                let known = version.is_some_and(|version| version.max(until.unwrap_or(0)) <= length);
                if !known && exchange.standing(net) != Standing::Fresh {
                    return Ok(Turn::Waiting);
                }
                checked(until, length)?;
                reading.insert(Reading::new(ask.clone(), checked(version, length)?))
            }
        };
        let mut moved = false;
        loop {
            match net.bee_read(core, |cx, bee, core| reading.next(cx, bee, core)) {
                Ok(Some(piece)) => {
                    moved = true;
                    if let Some(piece) = within(sub, piece)
                        && !take(piece)?
                    {
                        return Ok(Turn::Done(()));
                    }
                }
                Ok(None) if !live => return Ok(Turn::Done(())),
                Ok(None) | Err(Error::Missing) => {
                    return Ok(if moved { Turn::Moved } else { Turn::Waiting });
                }
                Err(error) => return Err(bad(&folder, error)),
            }
        }
    })?;
    online.leave()?;
    Ok(done.is_some() || live)
}
