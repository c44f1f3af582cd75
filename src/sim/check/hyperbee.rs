//! B-trees: at every version the tree says what a plain map says to which the same puts and deletions were done.

use std::collections::BTreeMap;

use super::{Checker, Moment, Note, Verdict};
use crate::base::{Error, Key};
use crate::node::{Bee, Change, CoreId, Range};
use crate::sim::HostId;

/// A tree and the map beside it. The operations are those that the blocks name; whether a block's index, which is the
/// tree, agrees with them is what is looked at.
#[derive(Default)]
struct Model {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    bee: Bee,
    fork: u64,
    /// Blocks that the map knows of.
    version: u64,
    /// Operations since the whole tree was compared.
    since: usize,
    /// Blocks are missing, or the core is no tree.
    idle: bool,
}

/// A key and its value; none: it is deleted.
type Operation = (Vec<u8>, Option<Vec<u8>>);

/// hyperbee equals a `BTreeMap` at every version, in trees that are written put by put (within a batch there is none).
/// What the operations were, the blocks say; what a program says of them by `Note::Entry` must agree.
#[derive(Default)]
pub struct Trees {
    models: BTreeMap<(HostId, CoreId), Model>,
    /// What programs say that they put or deleted: core and version.
    noted: BTreeMap<(Key, u64), Operation>,
}

impl Checker for Trees {
    fn name(&self) -> &'static str {
        "hyperbee.model"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let host = moment.host;
        if moment.cause.started || moment.cause.stopped {
            self.models.retain(|(owner, _), _| *owner != host);
        }
        if moment.cause.stopped || moment.cause.rotted {
            return Ok(());
        }
        let Some(node) = moment.node() else { return Ok(()) };
        let grown: Vec<_> = node
            .cores()
            .filter(|core| {
                let known =
                    self.models.get(&(host, core.id)).map_or((0, 0), |model| (model.fork, model.version));
                (core.fork, core.contiguous_length) != known && core.contiguous_length > 1
            })
            .collect();
        for core in grown {
            let model = self.models.entry((host, core.id)).or_default();
            if model.fork != core.fork || model.version > core.contiguous_length {
                *model = Model { fork: core.fork, ..Model::default() };
            }
            let noted = &self.noted;
            let walked = moment.read_core(host, core.id, |cx, log| {
                model.follow(cx, log, core.contiguous_length, |version| noted.get(&(core.key, version)))
            });
            walked.unwrap_or(Ok(())).map_err(|what| format!("{}: {what}", core.id))?;
        }
        Ok(())
    }

    fn note(&mut self, _: &Moment<'_>, note: &Note<'_>) -> Verdict {
        if let Note::Entry { core, version, key, value } = note {
            self.noted.insert((*core, *version), (key.to_vec(), value.map(<[u8]>::to_vec)));
        }
        Ok(())
    }
}

type Noted<'a> = Option<&'a Operation>;

impl Model {
    fn follow<'n>(
        &mut self,
        cx: &mut crate::base::Cx<'_>,
        log: &mut crate::node::inspect::Core,
        length: u64,
        noted: impl Fn(u64) -> Noted<'n>,
    ) -> Verdict {
        if self.idle || self.version == 0 && !matches!(self.bee.header(cx, log), Ok(Some(_))) {
            self.idle = true;
            return Ok(());
        }
        let mut history = self.bee.history(length);
        history.skip_to(self.version.max(1));
        loop {
            match history.next(cx, &mut self.bee, log) {
                Ok(Some(change)) => self.one(cx, log, change, &noted)?,
                Ok(None) => break,
                Err(Error::Missing) => return Ok(()),
                Err(error) => return Err(format!("version {}: {error}", self.version + 1)),
            }
        }
        if self.since > self.map.len() {
            self.since = 0;
            self.whole(cx, log)?;
        }
        Ok(())
    }

    /// The block at `version - 1` as an operation, and whether the tree of that version knows of it.
    fn one<'n>(
        &mut self,
        cx: &mut crate::base::Cx<'_>,
        log: &mut crate::node::inspect::Core,
        change: Change,
        noted: &impl Fn(u64) -> Noted<'n>,
    ) -> Verdict {
        let (entry, value) = match change {
            Change::Put(entry) => {
                let value = entry.value.clone().unwrap_or_default();
                (entry, Some(value))
            }
            Change::Del(entry) => (entry, None),
        };
        self.version = entry.seq + 1;
        let version = self.version;
        if let Some((key, said)) = noted(version)
            && (key, said) != (&entry.key, &value)
        {
            return Err(format!("version {version} is not what its program says that it did"));
        }
        match &value {
            Some(value) => drop(self.map.insert(entry.key.clone(), value.clone())),
            None => drop(self.map.remove(&entry.key)),
        }
        self.since += 1;
        // The key itself, and its neighbours: an index that lost one of them lost it here.
        let below = self.map.range(..entry.key.clone()).next_back().map(|(key, _)| key.clone());
        let above = self.map.range(entry.key.clone()..).find(|(key, _)| **key != entry.key);
        let above = above.map(|(key, _)| key.clone());
        for key in [Some(entry.key), below, above].into_iter().flatten() {
            let found = match self.bee.get_at(cx, log, version, &key) {
                Ok(found) => found.map(|entry| entry.value.unwrap_or_default()),
                Err(Error::Missing) => return Ok(()), // within a batch
                Err(error) => return Err(format!("version {version}: {error}")),
            };
            if found.as_ref() != self.map.get(&key) {
                let text = String::from_utf8_lossy(&key).into_owned();
                let (found, map) = (found.is_some(), self.map.contains_key(&key));
                return Err(format!("version {version}, {text:?}: in the tree {found}, in the map {map}"));
            }
        }
        Ok(())
    }

    fn whole(&mut self, cx: &mut crate::base::Cx<'_>, log: &mut crate::node::inspect::Core) -> Verdict {
        let mut cursor = self.bee.range(self.version, Range::all());
        let mut expected = self.map.iter();
        loop {
            let entry = match cursor.next(cx, &mut self.bee, log) {
                Ok(entry) => entry.map(|entry| (entry.key, entry.value.unwrap_or_default())),
                Err(Error::Missing) => return Ok(()),
                Err(error) => return Err(format!("version {}: {error}", self.version)),
            };
            let known = expected.next().map(|(key, value)| (key.clone(), value.clone()));
            match (entry, known) {
                (None, None) => return Ok(()),
                (one, other) if one == other => {}
                _ => return Err(format!("version {}: the tree is not the map", self.version)),
            }
        }
    }
}
