//! Cores: one content for each key, fork and length, in the whole world; and what was synced is there again.

use std::collections::BTreeMap;

use super::{Checker, Moment, Verdict};
use crate::base::Key;
use crate::base::hex;
use crate::node::CoreId;
use crate::node::inspect::CoreView;
use crate::sim::HostId;

fn name(core: &CoreView) -> String {
    let key = hex::encode(&core.key[..4]);
    format!("core {key}, fork {}, length {}", core.fork, core.length)
}

/// No two nodes, and no node at two times, have another tree for the same key, fork and length when they let something
/// out.
#[derive(Default)]
pub struct OneRoot {
    roots: BTreeMap<(Key, u64, u64), Key>,
    seen: BTreeMap<(HostId, CoreId), (u64, u64)>,
}

impl Checker for OneRoot {
    fn name(&self) -> &'static str {
        "hypercore.one_root"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let host = moment.host;
        if moment.cause.started {
            self.seen.retain(|(owner, _), _| *owner != host);
        }
        let Some(node) = moment.node() else { return Ok(()) };
        // What was not synced may be lost; what leaves a node hangs on nothing that is not synced.
        if moment.sent.is_empty() || moment.cause.stopped {
            return Ok(());
        }
        for core in node.cores() {
            let version = (core.fork, core.length);
            if self.seen.insert((host, core.id), version) == Some(version) {
                continue;
            }
            let Some(root) = node.core_root(core.id) else { continue };
            let known = *self.roots.entry((core.key, core.fork, core.length)).or_insert(root);
            if known != root {
                return Err(format!("{}: another root than was seen before", name(&core)));
            }
        }
        Ok(())
    }
}

/// What a core had when its node last let something out is there when it is opened again.
#[derive(Default)]
pub struct Reopened {
    /// What was safe, by host and key.
    safe: BTreeMap<(HostId, Key), CoreView>,
    /// Cores that were looked at since the process started.
    opened: BTreeMap<(HostId, CoreId), ()>,
}

impl Checker for Reopened {
    fn name(&self) -> &'static str {
        "hypercore.reopened"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let host = moment.host;
        if moment.cause.started {
            self.opened.retain(|(owner, _), ()| *owner != host);
        }
        if moment.cause.rotted {
            self.safe.retain(|(owner, _), _| *owner != host);
        }
        if moment.cause.stopped {
            return Ok(());
        }
        let Some(node) = moment.node() else { return Ok(()) };
        for core in node.cores() {
            let place = (host, core.key);
            if self.opened.insert((host, core.id), ()).is_none()
                && let Some(safe) = self.safe.get(&place)
            {
                let same = core.fork == safe.fork;
                if core.fork < safe.fork || same && core.length < safe.length {
                    return Err(format!("{} is open; {} was safe", name(&core), name(safe)));
                }
                if same && core.contiguous_length < safe.contiguous_length {
                    let (now, before) = (core.contiguous_length, safe.contiguous_length);
                    return Err(format!(
                        "{}: {now} blocks from the first on, {before} were safe",
                        name(&core)
                    ));
                }
            }
            if core.durable && !moment.sent.is_empty() {
                self.safe.insert(place, core);
            }
        }
        Ok(())
    }
}
