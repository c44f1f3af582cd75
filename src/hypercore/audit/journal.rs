//! The file `journal` as an audit sees it: the records of the header that counts, each with its checksum
//! (hypercore.152). What the other files lack of them counts as there, since the next opening takes it up
//! (hypercore.154).

use super::log::{self, Log, Logged};
use super::record::{self, Record};
use super::report::{Audit, File, Finding, Seen};
use crate::base::disk::{join, read_file};
use crate::base::{Cx, Error, limits};
use crate::hypercore::oplog;
use crate::wire::decode;
use crate::wire::oplog::{Frame, JournalRecord};

/// Where the entries begin in `oplog`.
const ENTRIES: u64 = 8192;

/// Goes through the file, if there is one.
pub fn audit(cx: &mut Cx<'_>, dir: &str, log: &mut Log, report: &mut Audit) -> Result<(), Error> {
    let bytes = read_file(cx.disk, &join(dir, "journal"), limits::JOURNAL_BYTES as usize)?;
    let bytes = bytes.unwrap_or_default();
    let (mut at, mut next, mut follows) = (0, None, true);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (payload, wrong) = match record::read(rest) {
            Record::Whole { payload, .. } => (payload, None),
            Record::OneBit { payload, byte, bit, .. } => (payload, Some((byte, bit))),
            Record::Blank | Record::Other => break,
        };
        let end = at + Frame::BYTES + payload.len();
        let own = &bytes[at..end];
        let Ok(record) = decode::<JournalRecord>(&payload) else { break };
        if record.header != log.header_hash || next.is_some_and(|next| record.at != next) {
            break;
        }
        next = record.at.checked_add(record.entries.len() as u64);
        if let Some((byte, bit)) = wrong {
            if record::doubtful(at as u64, own, byte) {
                break;
            }
            let is = own[byte] >> bit & 1 == 1;
            let what = "a record of the journal, by its checksum";
            let (expected, found) = (Seen::Bit(bit, !is), Seen::Bit(bit, is));
            found_at(File::Journal, (at + byte) as u64, what, expected, found, report);
            follows = false; // the opening does not look for it
        }
        for part in record::doubtful_parts(at as u64, own) {
            report.blind(File::Journal, part.start, part.end, log::DOUBTFUL);
        }
        follows = follows && take_up(record, log, report);
        at = end;
    }
    report.blind(File::Journal, at as u64, bytes.len() as u64, "what no record of this header covers");
    Ok(())
}

fn found_at(file: File, at: u64, what: &'static str, expected: Seen, found: Seen, report: &mut Audit) {
    report.find(Finding { file, at, what, block: None, expected, found, rule: "hypercore.152" });
}

/// Whether a record goes on with the entries; what they lack of it is added.
fn take_up(record: JournalRecord, log: &mut Log, report: &mut Audit) -> bool {
    let Some(batch) = oplog::batch(log.bit, record.at, &record.entries) else { return false };
    let (at, end) = (record.at.saturating_add(ENTRIES), log.end());
    if at > end {
        let (expected, found) = (Seen::Number(at), Seen::Number(end));
        found_at(
            File::Oplog,
            end,
            "the end of the entries that the journal follows",
            expected,
            found,
            report,
        );
        return false;
    }
    let logged = batch.into_iter().scan(at, |at, found| {
        let logged =
            Logged { entry: found.entry, at: *at, batch: found.batch + ENTRIES, end: found.end + ENTRIES };
        *at = logged.end;
        Some(logged)
    });
    if at == end {
        report.journaled += 1;
        log.entries.extend(logged);
    } else {
        for logged in logged {
            let known = log.entries.binary_search_by_key(&logged.end, |each| each.end);
            if known.is_err() || known.is_ok_and(|known| log.entries[known].entry != logged.entry) {
                return false;
            }
        }
    }
    log.held.push((record.data_at, record.data));
    true
}
