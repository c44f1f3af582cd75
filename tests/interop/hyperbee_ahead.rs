//! seckel and the real package: trees that are read over the network with the help of the extension `hyperbee`.

use seckel::base::Error;
use seckel::crypto::KeyPair;
use seckel::hyperbee::ahead::{Ahead, EXTENSION, Told};
use seckel::hyperbee::{Bee, Entry, Range};
use seckel::hypercore::Open;
use seckel::hypercore::replicate::Event;
use serde_json::{Value, json};

use crate::replication::Ours;
use crate::support::{Node, skipped};

const KEYS: u64 = 3000;
/// The order in which the keys are put.
const STEP: u64 = 791;

/// Our core, its tree, and what asks and answers for it.
struct Tree {
    ours: Ours,
    bee: Bee,
    ahead: Ahead,
    /// Blocks that were fetched, answers to our questions, questions answered.
    downloaded: u64,
    hints: usize,
    answered: usize,
    began: std::time::Instant,
}

impl Tree {
    fn new(open: Open) -> Tree {
        let mut ours = Ours::new(open);
        ours.live.register_extension(EXTENSION).expect("a name");
        let (bee, ahead) = (Bee::new(), Ahead::default());
        Tree { ours, bee, ahead, downloaded: 0, hints: 0, answered: 0, began: std::time::Instant::now() }
    }

    /// One round of everything, and what came by the extension.
    fn turn(&mut self) {
        assert!(
            self.began.elapsed() < core::time::Duration::from_secs(20),
            "no end: {} blocks, {} hints, {} answers, {:?}",
            self.downloaded,
            self.hints,
            self.answered,
            (self.ours.live.replicator.stats(), self.ours.live.peers().collect::<Vec<_>>())
        );
        if !self.ours.turn() {
            std::thread::sleep(core::time::Duration::from_micros(100));
        }
        for event in core::mem::take(&mut self.ours.events) {
            match event {
                Event::Downloaded { .. } => self.downloaded += 1,
                Event::Extension { peer, name, message } => {
                    assert_eq!(name, EXTENSION);
                    let (ahead, bee) = (&mut self.ahead, &mut self.bee);
                    let told = self.ours.with(|cx, live| ahead.told(cx, bee, &mut live.core, &message));
                    let Told { answers, wanted } = told.expect("the real package's messages are well formed");
                    self.hints += wanted.len();
                    self.answered += answers.len();
                    for seq in wanted {
                        self.ours.with(|cx, live| live.wait_for(cx, seq)).expect("room");
                    }
                    for answer in answers {
                        self.ours.live.send_extension(peer, EXTENSION, &answer).expect("room");
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads until it has what it asks for. Asks peers if `asks`.
    fn read<T>(
        &mut self,
        asks: bool,
        mut read: impl FnMut(
            &mut seckel::base::Cx<'_>,
            &mut Bee,
            &mut seckel::hypercore::Hypercore,
        ) -> Result<T, Error>,
    ) -> T {
        loop {
            let bee = &mut self.bee;
            match self.ours.with(|cx, live| read(cx, bee, &mut live.core)) {
                Ok(done) => return done,
                Err(Error::Missing) => {
                    let lacking = self.bee.lacking();
                    if let Some(question) = self.ahead.ask(&lacking).filter(|_| asks) {
                        self.ours.live.broadcast_extension(EXTENSION, &question).expect("a peer");
                    }
                    for &seq in &lacking.blocks {
                        self.ours.with(|cx, live| live.wait_for(cx, seq)).expect("room");
                    }
                    let before = self.downloaded;
                    while self.downloaded == before {
                        self.turn();
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Goes on until Node answers.
    fn ask(&mut self, node: Node, todo: Value) -> (Node, Value) {
        let asking = std::thread::spawn(move || {
            let mut node = node;
            let said = node.ask(&todo);
            (node, said)
        });
        while !asking.is_finished() {
            self.turn();
        }
        asking.join().expect("an answer")
    }
}

fn key(n: u64) -> String {
    format!("{n:05}")
}

/// What put `n` of `fill` left behind.
fn entry(n: u64) -> (u64, String, String) {
    (n + 1, key(n * STEP % KEYS), format!("value {n}"))
}

fn shown(entry: &Entry) -> (u64, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (entry.seq, text(&entry.key), text(entry.value.as_ref().expect("a value")))
}

/// Node has the tree. Of 3,000 blocks we fetch what our reads need, and Node says which.
// proves hyperbee.55, hyperbee.62
// proves hyperbee.56
#[test]
fn node_tells_us_what_our_reads_need() {
    if skipped("hyperbee_ahead::node_tells_us_what_our_reads_need") {
        return;
    }
    let mut node = Node::start("hyperbee_ahead.js", &[]);
    let opened = node.ask(&json!({"open": {}}));
    node.ask(&json!({"fill": {"count": KEYS, "step": STEP}}));
    let core = seckel::base::hex::decode(opened["key"].as_str().expect("a key")).expect("hex");
    let mut tree = Tree::new(Open { key: Some(core.try_into().expect("32 bytes")), ..Open::default() });
    tree.ours.connect(&opened, true);
    while tree.ours.live.core.length() < KEYS + 1 {
        tree.turn();
    }
    for n in [0, 1, 1234, 2999] {
        let wanted = entry(n);
        let before = tree.downloaded;
        let got = tree.read(true, |cx, bee, log| bee.get(cx, log, wanted.1.as_bytes())).expect("there");
        assert_eq!(shown(&got), wanted);
        assert!(tree.downloaded - before < 40, "{} blocks", tree.downloaded - before);
    }
    assert_eq!(tree.read(true, |cx, bee, log| bee.get(cx, log, b"nothing")), None);
    assert!(tree.hints > 10, "Node named {} blocks", tree.hints);
    let mut all: Vec<_> = (0..KEYS).map(entry).collect();
    all.sort_by(|a, b| a.1.cmp(&b.1));
    for reverse in [false, true] {
        let (hints, range) = (tree.hints, Range::all().gte(b"01000").lt(b"01400"));
        let mut cursor = tree.bee.range(KEYS + 1, Range { reverse, ..range });
        let mut got = Vec::new();
        tree.read(true, |cx, bee, log| {
            while let Some(entry) = cursor.next(cx, bee, log)? {
                got.push(shown(&entry));
            }
            Ok(())
        });
        let mut wanted = all[1000..1400].to_vec();
        if reverse {
            wanted.reverse();
        }
        assert_eq!(got, wanted);
        assert!(reverse || tree.hints - hints > 100, "Node named {} blocks", tree.hints - hints);
    }
    assert!(tree.downloaded < 700, "{} blocks", tree.downloaded);
    let (node, heard) = tree.ask(node, json!({"heard": {}}));
    assert!(heard["gets"].as_u64() >= Some(4) && heard["iterators"].as_u64() >= Some(1), "{heard}");
    node.finish();
}

/// We have the tree. Node reads it, asks, and fetches what we say.
// proves hyperbee.57
#[test]
fn we_tell_node_what_its_reads_need() {
    if skipped("hyperbee_ahead::we_tell_node_what_its_reads_need") {
        return;
    }
    let pair = KeyPair::from_seed([0x33; 32]);
    let mut tree = Tree::new(Open { key_pair: Some(pair), ..Open::default() });
    let bee = &mut tree.bee;
    tree.ours.with(|cx, live| {
        let mut batch = bee.batch(cx, &mut live.core).expect("a batch");
        for n in 0..KEYS {
            let (_, key, value) = entry(n);
            batch.put(cx, bee, &mut live.core, key.as_bytes(), Some(value.as_bytes())).expect("a put");
        }
        batch.flush(cx, bee, &mut live.core).expect("a flush");
        live.update(cx);
    });
    let mut node = Node::start("hyperbee_ahead.js", &[]);
    let key = seckel::base::hex::encode(tree.ours.live.core.key());
    let opened = node.ask(&json!({"open": {"key": key}}));
    tree.ours.connect(&opened, true);
    let (node, _) = tree.ask(node, json!({"length": {"length": KEYS + 1}}));
    let mut node = node;
    for n in [0, 77, 2999] {
        let wanted = entry(n);
        let (back, said) = tree.ask(node, json!({"get": {"key": wanted.1}}));
        assert_eq!(said["entry"], json!(wanted));
        node = back;
    }
    let gets = tree.answered;
    assert!(gets > 0, "Node asked");
    let mut all: Vec<_> = (0..KEYS).map(entry).collect();
    all.sort_by(|a, b| a.1.cmp(&b.1));
    for (range, reverse) in
        [(json!({"gt": "00499", "lte": "00999"}), false), (json!({"gte": "02500", "reverse": true}), true)]
    {
        let (back, said) = tree.ask(node, json!({"range": range}));
        let mut wanted = if reverse { all[2500..].to_vec() } else { all[500..1000].to_vec() };
        if reverse {
            wanted.reverse();
        }
        assert_eq!(said["entries"], json!(wanted));
        node = back;
    }
    assert!(tree.answered > gets, "Node asked for its walks, too");
    let (node, heard) = tree.ask(node, json!({"heard": {}}));
    assert!(heard["hints"].as_u64() > Some(100), "{heard}");
    node.finish();
}
