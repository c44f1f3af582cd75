//! From the roots down to the blocks, from left to right: each pair of nodes by the node above, each block by its leaf,
//! each bit by its block. Then what lies beyond the tree.

use super::files::ROW;
use super::replay::turned;
use super::report::{File, Finding, Seen};
use super::{Auditor, record};
use crate::base::{Cx, Error, Key, limits};
use crate::hypercore::flat_tree;
use crate::hypercore::tree::{self, Roots};
use crate::wire::hypercore::Node;

/// How a block's bytes are, beside its leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    Good,
    /// Good if that bit is turned.
    OneBit {
        byte: usize,
        bit: u8,
    },
    /// The file ends before it does.
    Short,
    Zeros,
    Other,
    /// Not good, and too long to look for a single wrong bit.
    Long,
}

/// What is known about a block's bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bit {
    /// Set; `certain` if header or entries say so too.
    Here {
        certain: bool,
    },
    Absent,
    /// Not set although the header says that the block is here.
    Dropped,
    /// The byte is being written anew, and the header says that the block is here.
    Rewritten,
}

const LEFT: &str = "left by a tree that is no more";
const ANEW: &str = "an entry of the oplog says what the next flush writes here";
const SLIGHT: &str =
    "of blocks that only an entry vouches for, where a wrong bit looks like what a crash leaves";
const GONE: &str = "blocks that are not here";
const UNSAID: &str = "bits of blocks behind the first hole: nothing else says which are set";

impl Auditor<'_> {
    pub(super) fn walk_all(&mut self, cx: &mut Cx<'_>, roots: &Roots) -> Result<(), Error> {
        let length = roots.length();
        self.rewritten();
        self.hint(cx)?;
        let mut offset = 0_u64;
        for root in roots.nodes() {
            self.walk(cx, *root, offset, None)?;
            offset = offset.saturating_add(root.size);
        }
        let end = self.pending_end(cx, length)?;
        let mut beyond = offset;
        if end > length {
            match self.rows.gather(cx, end)? {
                Some(later) => {
                    beyond = later.byte_length();
                    self.walk_pending(cx, &later, roots)?;
                }
                None => {
                    self.lone_bits(cx, length, end)?;
                    return self.beyond(cx, length, beyond);
                }
            }
        }
        self.beyond(cx, end, beyond)
    }

    /// Places that the next flush writes anew.
    fn rewritten(&mut self) {
        let (len, bits) = (self.rows.raw.len, self.bits.len);
        for index in self.rows.fresh_indexes() {
            let at = index.saturating_mul(ROW);
            self.report.blind(File::Tree, at, at.saturating_add(ROW).min(len), ANEW);
        }
        self.runs = self.spans.runs();
        for run in &self.runs {
            self.report.blind(File::Bitfield, run.start.min(bits), run.end.min(bits), ANEW);
        }
    }

    /// The header's contiguous length names the first block that is not here.
    fn hint(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let hint = self.header.contiguous_length;
        // Older writers leave it out, so that it reads as zero.
        let said = hint > 0 && hint < self.header.tree.length.min(self.report.length);
        if said && self.bit(cx, hint)? == (Bit::Here { certain: false }) {
            let (expected, found) = (Seen::Bit((hint % 8) as u8, false), Seen::Bit((hint % 8) as u8, true));
            let what = "the bit of the first block that the header says is not here";
            let (file, at, block) = (File::Bitfield, hint / 8, Some(hint));
            self.report.find(Finding { file, at, what, block, expected, found, rule: "hypercore.51" });
        }
        Ok(())
    }

    fn raw_bit(&mut self, cx: &mut Cx<'_>, block: u64) -> Result<bool, Error> {
        Ok(self.bits.byte(cx, block / 8)? >> (block % 8) & 1 == 1)
    }

    /// Whether the next flush writes that byte.
    fn in_run(&self, byte: u64) -> bool {
        let before = self.runs.partition_point(|run| run.end <= byte);
        self.runs.get(before).is_some_and(|run| run.contains(&byte))
    }

    fn bit(&mut self, cx: &mut Cx<'_>, block: u64) -> Result<Bit, Error> {
        match self.spans.get(block) {
            Some(true) => return Ok(Bit::Here { certain: true }),
            Some(false) => return Ok(Bit::Absent),
            None => {}
        }
        let contiguous = block < self.header.contiguous_length;
        let beyond = block >= self.header.tree.length;
        if (contiguous || beyond) && self.in_run(block / 8) {
            return Ok(if contiguous { Bit::Rewritten } else { Bit::Absent });
        }
        Ok(match (self.raw_bit(cx, block)?, contiguous) {
            (true, certain) => Bit::Here { certain },
            (false, true) => Bit::Dropped,
            (false, false) => Bit::Absent,
        })
    }

    /// Everything below a node that is known to be right; `but` are nodes whose trees are done already.
    fn walk(&mut self, cx: &mut Cx<'_>, top: Node, offset: u64, but: Option<&Roots>) -> Result<(), Error> {
        let mut stack = vec![(top, offset)];
        while let Some((node, offset)) = stack.pop() {
            if but.is_some_and(|roots| roots.nodes().iter().any(|root| root.index == node.index)) {
                continue;
            }
            self.report.nodes += 1;
            let Some((left, right)) = flat_tree::children(node.index) else {
                self.leaf(cx, node, offset)?;
                continue;
            };
            let pair = (self.rows.node(cx, left)?, self.rows.node(cx, right)?);
            let pair = match pair {
                (Some(left), Some(right)) => self.pair(cx, node, left, right, offset)?,
                (Some(lone), None) | (None, Some(lone)) => {
                    self.lone(cx, node, lone)?;
                    self.unknown(cx, node, offset)?;
                    None
                }
                (None, None) => {
                    self.unknown(cx, node, offset)?;
                    None
                }
            };
            if let Some((left, right)) = pair {
                stack.push((right, offset.saturating_add(left.size)));
                stack.push((left, offset));
            }
        }
        Ok(())
    }

    /// The two nodes below one that is right. If they are wrong: which, and with what to go on. (hypercore.73)
    fn pair(
        &mut self,
        cx: &mut Cx<'_>,
        node: Node,
        left: Node,
        right: Node,
        offset: u64,
    ) -> Result<Option<(Node, Node)>, Error> {
        let fits = |left: &Node, right: &Node| {
            let made = tree::parent(left, right);
            (made.hash, made.size) == (node.hash, node.size)
        };
        if fits(&left, &right) {
            return Ok(Some((left, right)));
        }
        for place in 0..8 * ROW as usize {
            if !self.rows.is_fresh(left.index) && fits(&turned(left, place), &right) {
                self.rotten_row(left, place);
                return Ok(Some((turned(left, place), right)));
            }
            if !self.rows.is_fresh(right.index) && fits(&left, &turned(right, place)) {
                self.rotten_row(right, place);
                return Ok(Some((left, turned(right, place))));
            }
        }
        // What they should be by what is below them.
        let made_left = self.made(cx, left.index, left.size, offset)?.unwrap_or(left);
        let made_right = self.made(cx, right.index, right.size, offset.saturating_add(made_left.size))?;
        let made_right = made_right.unwrap_or(right);
        let tries = [(made_left, right), (left, made_right), (made_left, made_right)];
        let good = tries.into_iter().find(|(left, right)| fits(left, right));
        let wrong = good.unwrap_or((made_left, made_right));
        for (is, should) in [(left, wrong.0), (right, wrong.1)] {
            if is != should || good.is_none() {
                self.wrong_row(is, should.hash);
            }
        }
        if good.is_none() {
            self.unknown(cx, node, offset)?;
        }
        Ok(good)
    }

    fn wrong_row(&mut self, is: Node, should: Key) {
        let fresh = self.rows.is_fresh(is.index);
        let (file, at) = if fresh { (File::Oplog, 8192) } else { (File::Tree, is.index * ROW) };
        let expected =
            if should == is.hash { Seen::Text("what the node above says") } else { Seen::Hash(should) };
        self.found(file, at, "a node of the tree", expected, Seen::Hash(is.hash), "hypercore.3");
    }

    /// What a node should be by its children, or its block. None if those are not there.
    fn made(&mut self, cx: &mut Cx<'_>, index: u64, size: u64, offset: u64) -> Result<Option<Node>, Error> {
        if let Some((left, right)) = flat_tree::children(index) {
            let (left, right) = (self.rows.node(cx, left)?, self.rows.node(cx, right)?);
            return Ok(left.zip(right).map(|(left, right)| tree::parent(&left, &right)));
        }
        if size > limits::STORED_BLOCK_MAX || !matches!(self.bit(cx, index / 2)?, Bit::Here { .. }) {
            return Ok(None);
        }
        let mut bytes = vec![0; size as usize];
        let read = self.data.read(cx, offset, &mut bytes)?;
        Ok((read == bytes.len()).then(|| tree::leaf(index / 2, &bytes)))
    }

    /// One of two siblings is not there, so that the other cannot be checked.
    fn lone(&mut self, cx: &mut Cx<'_>, above: Node, lone: Node) -> Result<(), Error> {
        if self.one_bit_row(lone) {
            return Ok(());
        }
        let (first, last) = (flat_tree::left_span(above.index) / 2, flat_tree::right_span(above.index) / 2);
        if let Some(block) = self.first_here(cx, first, last + 1)? {
            let missing = flat_tree::sibling(lone.index);
            let (file, at, what) = (File::Tree, missing.saturating_mul(ROW), "a node of the tree");
            let (expected, found) =
                (Seen::Text("a node, since a block below is here"), Seen::Text("nothing"));
            let block = Some(block);
            self.report.find(Finding { file, at, what, block, expected, found, rule: "hypercore.38" });
        }
        Ok(())
    }

    /// A row with a single bit in it is nobody's hash.
    fn one_bit_row(&mut self, node: Node) -> bool {
        let bits = node.size.count_ones() + node.hash.iter().map(|byte| byte.count_ones()).sum::<u32>();
        if bits != 1 || self.rows.is_void(node.index) {
            return false;
        }
        let place = match node.size {
            0 => {
                64 + node
                    .hash
                    .iter()
                    .position(|byte| *byte != 0)
                    .map_or(0, |byte| 8 * byte + node.hash[byte].trailing_zeros() as usize)
            }
            size => size.trailing_zeros() as usize,
        };
        self.rotten_row(node, place);
        true
    }

    /// The first block of a range whose bit is set.
    fn first_here(&mut self, cx: &mut Cx<'_>, from: u64, to: u64) -> Result<Option<u64>, Error> {
        let mut said: Vec<(u64, u64)> =
            self.spans.ranges().filter(|(_, _, here)| *here).map(|(start, end, _)| (start, end)).collect();
        said.retain(|(start, end)| *start < to && *end > from);
        let mut first = said.first().map(|(start, _)| (*start).max(from));
        let mut at = from / 8;
        while let Some(byte) = self.bits.nonzero(cx, at, to.div_ceil(8))? {
            for block in (byte * 8).max(from)..(byte * 8 + 8).min(to) {
                if first.is_some_and(|first| first <= block) {
                    return Ok(first);
                }
                if matches!(self.bit(cx, block)?, Bit::Here { .. }) {
                    return Ok(Some(block));
                }
            }
            at = byte + 1;
        }
        first = first.filter(|first| *first < to);
        Ok(first)
    }

    /// A node of which nothing below is known: then no block below it can be here.
    fn unknown(&mut self, cx: &mut Cx<'_>, node: Node, offset: u64) -> Result<(), Error> {
        let (first, last) = (flat_tree::left_span(node.index), flat_tree::right_span(node.index));
        self.lone_bits(cx, first / 2, last / 2 + 1)?;
        if node.index > first {
            self.rows_without_tree(cx, first, node.index)?;
            self.rows_without_tree(cx, node.index + 1, last + 1)?;
        }
        self.report.blind(
            File::Data,
            offset.min(self.data.len),
            offset.saturating_add(node.size).min(self.data.len),
            GONE,
        );
        Ok(())
    }

    /// Bits that are set for blocks of which no node is known.
    fn lone_bits(&mut self, cx: &mut Cx<'_>, from: u64, to: u64) -> Result<(), Error> {
        let Some(block) = self.first_here(cx, from, to)? else { return Ok(()) };
        let bit = (block % 8) as u8;
        let said = self.spans.get(block).is_some();
        let (file, at) = if said { (File::Oplog, 8192) } else { (File::Bitfield, block / 8) };
        let what = "the bit of a block whose nodes are not there";
        let (expected, found, block) = (Seen::Bit(bit, false), Seen::Bit(bit, true), Some(block));
        self.report.find(Finding { file, at, what, block, expected, found, rule: "hypercore.30" });
        Ok(())
    }

    /// Rows of the file that no tree reaches: a lone bit is wrong, anything else cannot be judged.
    fn rows_without_tree(&mut self, cx: &mut Cx<'_>, from: u64, to: u64) -> Result<(), Error> {
        let end = to.saturating_mul(ROW).min(self.rows.raw.len);
        let mut at = from.saturating_mul(ROW);
        while let Some(found) = self.rows.raw.nonzero(cx, at, end)? {
            let index = found / ROW;
            at = (index + 1) * ROW;
            let wrong = match self.rows.stored(cx, index)? {
                Some(node) => self.one_bit_row(node),
                None => false,
            };
            if !wrong && !self.rows.is_fresh(index) {
                self.report.blind(File::Tree, index * ROW, at.min(self.rows.raw.len), LEFT);
            }
        }
        Ok(())
    }

    /// Whether the bytes of a block are those of its leaf, in `data` or, if a crash took them there, in the journal.
    pub(super) fn look(&mut self, cx: &mut Cx<'_>, leaf: &Node, offset: u64) -> Result<Look, Error> {
        let look = self.look_at_data(cx, leaf, offset)?;
        let sure = match &look {
            Look::Good => true,
            Look::OneBit { byte, .. } => !self.doubtful(cx, leaf, offset, *byte)?,
            Look::Short | Look::Zeros | Look::Long | Look::Other => false,
        };
        let held = |(from, bytes): &(u64, Vec<u8>)| {
            let start = usize::try_from(offset.checked_sub(*from)?).ok()?;
            let bytes = bytes.get(start..start.checked_add(leaf.size as usize)?)?;
            (tree::leaf(leaf.index / 2, bytes).hash == leaf.hash).then_some(())
        };
        let held = !sure && self.log.held.iter().any(|each| held(each).is_some());
        Ok(if held { Look::Good } else { look })
    }

    /// Reads a block and compares it with its leaf.
    fn look_at_data(&mut self, cx: &mut Cx<'_>, leaf: &Node, offset: u64) -> Result<Look, Error> {
        if leaf.size > limits::STORED_BLOCK_MAX {
            return Ok(Look::Other);
        }
        if offset.saturating_add(leaf.size) > self.data.len {
            return Ok(Look::Short);
        }
        let block = leaf.index / 2;
        let mut bytes = vec![0; leaf.size as usize];
        if self.data.read(cx, offset, &mut bytes)? < bytes.len() {
            return Ok(Look::Short);
        }
        if tree::leaf(block, &bytes).hash == leaf.hash {
            return Ok(Look::Good);
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Look::Zeros);
        }
        if bytes.len() > limits::AUDIT_BIT_SEARCH {
            return Ok(Look::Long);
        }
        for place in 0..8 * bytes.len() {
            let (byte, bit) = (place / 8, (place % 8) as u8);
            bytes[byte] ^= 1 << bit;
            if tree::leaf(block, &bytes).hash == leaf.hash {
                return Ok(Look::OneBit { byte, bit });
            }
            bytes[byte] ^= 1 << bit;
        }
        Ok(Look::Other)
    }

    /// A block, by a leaf that is right. (hypercore.74)
    fn leaf(&mut self, cx: &mut Cx<'_>, leaf: Node, offset: u64) -> Result<(), Error> {
        let block = leaf.index / 2;
        (self.progress)(offset, self.report.byte_length);
        let bit = self.bit(cx, block)?;
        let mut look = self.look(cx, &leaf, offset)?;
        // Zeros can be a block of zeros with one bit turned off.
        if look == Look::Zeros && matches!(bit, Bit::Here { certain: true }) {
            look = self.zeros(&leaf);
        }
        let byte = block / 8;
        match (bit, look) {
            (Bit::Here { .. } | Bit::Rewritten, Look::Good) => {
                self.report.blocks += 1;
                self.report.block_bytes += leaf.size;
                if bit == (Bit::Here { certain: false }) {
                    self.blind_bit(byte);
                }
                if self.spans.get(block).is_some() {
                    self.blind_parts(cx, &leaf, offset)?;
                }
            }
            (Bit::Here { .. } | Bit::Rewritten, Look::OneBit { byte, bit }) => {
                let at = offset + byte as u64;
                let is = self.data.byte(cx, at)? >> bit & 1 == 1;
                self.bad_block(block, at, Seen::Bit(bit, !is), Seen::Bit(bit, is));
            }
            (Bit::Here { certain }, Look::Short | Look::Zeros | Look::Other | Look::Long) => {
                if self.unclear.contains(&block) {
                    // Said already.
                } else if certain || look == Look::Long {
                    let found = if look == Look::Short { "the end of the file" } else { "other bytes" };
                    self.bad_block(block, offset, Seen::Hash(leaf.hash), Seen::Text(found));
                } else {
                    self.bad_bit(block, true, "the bit of a block whose bytes are not here");
                }
            }
            (Bit::Dropped, Look::Good) => {
                self.bad_bit(block, false, "the bit of a block that is here, as the header says too");
            }
            (Bit::Absent, Look::Good) => {
                self.blind_bit(byte);
                self.blind_data(&leaf, offset);
            }
            (Bit::Dropped, _) => {
                // Hypercore 10 can keep a contiguous length that is too high when it clears blocks.
                self.blind_bit(byte);
                self.blind_data(&leaf, offset);
            }
            (Bit::Absent | Bit::Rewritten, _) => self.blind_data(&leaf, offset),
        }
        Ok(())
    }

    /// Notes what of a block that only an entry vouches for can be one bit away from right after a crash.
    fn blind_parts(&mut self, cx: &mut Cx<'_>, leaf: &Node, offset: u64) -> Result<(), Error> {
        let mut bytes = vec![0; leaf.size as usize];
        self.data.read(cx, offset, &mut bytes)?;
        for part in record::doubtful_parts(offset, &bytes) {
            self.report.blind(File::Data, part.start, part.end, SLIGHT);
        }
        Ok(())
    }

    /// Whether a crash, too, could leave a block with just that byte wrong.
    pub(super) fn doubtful(
        &mut self,
        cx: &mut Cx<'_>,
        leaf: &Node,
        offset: u64,
        wrong: usize,
    ) -> Result<bool, Error> {
        let mut bytes = vec![0; leaf.size as usize];
        self.data.read(cx, offset, &mut bytes)?;
        Ok(record::doubtful(offset, &bytes, wrong))
    }

    fn zeros(&self, leaf: &Node) -> Look {
        let mut bytes = vec![0; leaf.size as usize];
        if bytes.len() > limits::AUDIT_BIT_SEARCH {
            return Look::Zeros;
        }
        for place in 0..8 * bytes.len() {
            let (byte, bit) = (place / 8, (place % 8) as u8);
            bytes[byte] = 1 << bit;
            if tree::leaf(leaf.index / 2, &bytes).hash == leaf.hash {
                return Look::OneBit { byte, bit };
            }
            bytes[byte] = 0;
        }
        Look::Zeros
    }

    fn bad_block(&mut self, block: u64, at: u64, expected: Seen, found: Seen) {
        let (file, what, block) = (File::Data, "a block, by its leaf", Some(block));
        self.report.find(Finding { file, at, what, block, expected, found, rule: "hypercore.2" });
    }

    fn bad_bit(&mut self, block: u64, is: bool, what: &'static str) {
        let (expected, found) = (Seen::Bit((block % 8) as u8, !is), Seen::Bit((block % 8) as u8, is));
        let (file, at, block) = (File::Bitfield, block / 8, Some(block));
        self.report.find(Finding { file, at, what, block, expected, found, rule: "hypercore.30" });
    }

    fn blind_bit(&mut self, byte: u64) {
        let last = self.report.unverifiable.iter().rev().find(|range| range.file == File::Bitfield);
        if last.is_none_or(|range| range.end <= byte) && byte < self.bits.len {
            self.report.blind(File::Bitfield, byte, byte + 1, UNSAID);
        }
    }

    fn blind_data(&mut self, leaf: &Node, offset: u64) {
        let len = self.data.len;
        self.report.blind(File::Data, offset.min(len), offset.saturating_add(leaf.size).min(len), GONE);
    }

    /// Where the blocks end that are here behind the signed tree: those of a batch that is not signed yet.
    fn pending_end(&mut self, cx: &mut Cx<'_>, length: u64) -> Result<u64, Error> {
        let mut end = length;
        while end < limits::BLOCKS_MAX && matches!(self.bit(cx, end)?, Bit::Here { .. }) {
            // An entry speaks of a whole range, as long as its writer likes; the file of bits is only as long as it is.
            end = self.spans.end(end).unwrap_or(end + 1);
        }
        Ok(end.min(limits::BLOCKS_MAX))
    }

    /// Blocks behind the signed tree: nodes and blocks agree, but nobody signed them.
    fn walk_pending(&mut self, cx: &mut Cx<'_>, later: &Roots, signed: &Roots) -> Result<(), Error> {
        let before = self.report.blocks;
        let mut offset = 0_u64;
        for root in later.nodes() {
            self.walk(cx, *root, offset, Some(signed))?;
            offset = offset.saturating_add(root.size);
        }
        self.report.pending = self.report.blocks - before;
        Ok(())
    }

    /// What lies behind a tree of `end` blocks and `bytes` bytes.
    fn beyond(&mut self, cx: &mut Cx<'_>, end: u64, bytes: u64) -> Result<(), Error> {
        let len = self.rows.raw.len;
        // Parents-to-be of the last blocks lie between the nodes of the tree.
        for depth in 1..limits::BLOCKS_MAX.ilog2() + 1 {
            let node = flat_tree::index(depth, end.saturating_sub(1) >> depth);
            if end > 0 && flat_tree::right_span(node) >= 2 * end && node < 2 * end - 1 {
                self.rows_without_tree(cx, node, node + 1)?;
            }
        }
        let first = (2 * end).saturating_sub(1);
        self.rows_without_tree(cx, first, len.div_ceil(ROW))?;
        if !len.is_multiple_of(ROW) && !self.rows.is_void(len / ROW) {
            let (expected, found) = (Seen::Text("a multiple of 40"), Seen::Number(len));
            self.found(
                File::Tree,
                len - len % ROW,
                "the length of the file",
                expected,
                found,
                "hypercore.38",
            );
        }
        let mut at = end / 8;
        'bits: while let Some(byte) = self.bits.nonzero(cx, at, u64::MAX)? {
            for block in (byte * 8).max(end)..byte * 8 + 8 {
                if matches!(self.bit(cx, block)?, Bit::Here { .. }) && self.spans.get(block).is_none() {
                    self.bad_bit(block, true, "a bit beyond the tree");
                    break 'bits;
                }
            }
            at = byte + 1;
        }
        let from = bytes.min(self.data.len);
        self.report.blind(File::Data, from, self.data.len, "behind the last block");
        Ok(())
    }
}
