//! Every bound in one place: nothing that a peer or a disk controls grows without one of these.
//! Each line says what is bounded and what happens at the bound.

/// A datagram longer than this cannot come from a peer that follows the protocol; it is dropped.
pub const DATAGRAM_MAX: usize = 2048;
/// Elements of a compact-encoding array; more is malformed (compact-encoding index.js `array`).
pub const ARRAY_MAX: usize = 0x10_0000;
/// Bytes of a Noise message in a handshake; more is malformed.
pub const NOISE_MAX: usize = 1500;
/// Bytes of the value of a DHT request or reply, beside whose other fields it must fit a datagram; more is refused.
pub const DHT_VALUE_MAX: usize = 1800;
/// Files open at the operating system at once; the one used longest ago is closed and opened again when needed.
pub const FILES_OPEN_MAX: usize = 256;
/// Bytes of a block (or an extension message) in a replication message; more is malformed. A frame is shorter anyway.
pub const BLOCK_WIRE_MAX: usize = 1 << 24;
/// Nodes in one list of a proof; more is malformed. A path and two lists of roots are never above 128.
pub const PROOF_NODES_MAX: usize = 256;
/// Bytes of the signature of a tree (of many signers, with patches); more is malformed.
pub const TREE_SIGNATURE_MAX: usize = 1 << 16;
/// Words of one replication bitfield; more is malformed. Upstream sends at most 65536 at once.
pub const BITFIELD_WORDS_MAX: usize = 1 << 18;
/// Bytes of the name of a replication extension; more is malformed.
pub const EXTENSION_NAME_MAX: usize = 1024;
/// Bytes of an extension message that is sent.
pub const EXTENSION_MAX: usize = 8 << 20;
/// Names of extension messages that a core listens to.
pub const EXTENSIONS_MAX: usize = 64;
/// Bytes of the texts in a hyperbee's header; more is malformed.
pub const HYPERBEE_HEADER_MAX: usize = 0x1_0000;
/// Bytes of a key, a value or an index of a hyperbee; more is malformed, and refused by a put.
pub const HYPERBEE_BLOCK_MAX: usize = 0x80_0000;
/// Keys of one node of a hyperbee (it splits at nine); more is malformed.
pub const HYPERBEE_KEYS_MAX: usize = 8;
/// Nodes of the tree in one block of a hyperbee; more is malformed. A batch that would write more wants a flush.
pub const HYPERBEE_LEVELS_MAX: usize = 0x4000;
/// Levels between the root of a hyperbee and a leaf; a deeper tree is damaged (five-fold branching: 2^53 keys fit).
pub const HYPERBEE_DEPTH_MAX: usize = 32;
/// Blocks that one answer of the extension `hyperbee` names, and that answers make us fetch before we ask again; more
/// are malformed, and passed over.
pub const HYPERBEE_HINTS_MAX: usize = 4096;
/// Blocks of a hyperbee that peers' questions may make us read at once; asked for more, we are silent for a while.
pub const HYPERBEE_ASKED_MAX: u64 = 0x4000;
/// Blocks of a hyperbee kept decoded; the oldest reading makes room.
pub const HYPERBEE_CACHE_BLOCKS: usize = 0x1_0000;
/// Bytes of those blocks, about; the oldest reading makes room.
pub const HYPERBEE_CACHE_BYTES: usize = 0x100_0000;
/// Bytes of a protomux message, and of a corked batch with one message in it, so that either fits the 24-bit length of
/// a secret stream; a longer one is refused when sent.
pub const MUX_MESSAGE_MAX: usize = 0xff_ffff - 64;
/// Bytes of a protomux batch before it is written and the next one begun.
pub const MUX_BATCH_MAX: usize = 8 << 20;
/// Bytes of small messages that a multiplexer gathers in a turn before they are written; a message of more than a
/// quarter of it is not gathered.
pub const MUX_GATHERED_MAX: usize = 8 << 10;
/// Bytes of a channel's protocol name or id; a longer one is malformed and ends the stream.
pub const MUX_NAME_MAX: usize = 4096;
/// Batches within batches; a deeper one ends the stream.
pub const MUX_BATCH_DEPTH: usize = 32;
/// Opened channels of a peer that nobody here has answered yet; one more ends the stream.
pub const MUX_WAITING_MAX: usize = 1 << 10;
/// Channel ids of one side; one more ends the stream if it is the peer's, or is refused if it is ours.
pub const MUX_IDS_MAX: usize = 1 << 16;
/// Cost (length + 512 each) of messages for channels nobody here has answered yet; above it reading pauses.
pub const MUX_BUFFERED_PAUSE: usize = 32_768;
/// The same cost, with names and handshakes, for a peer whose bytes come although reading is paused; above it the
/// stream ends.
pub const MUX_BUFFERED_MAX: usize = 32 << 20;
/// Events of one multiplexer that are unpacked ahead; the rest of a batch stays packed until they are taken.
pub const MUX_EVENTS_AHEAD: usize = 1 << 10;
/// Bytes written to a multiplexer and not yet taken by the stream below; a message on top of that is refused.
pub const MUX_OUTBOX_MAX: usize = 64 << 20;
/// Bytes of a secret stream's frame, which is all that its length field can say; a longer message is refused.
pub const SECRET_STREAM_FRAME_MAX: usize = 0xff_ffff;
/// Bytes that a secret stream holds before the layer below takes them; at the bound `send` answers `Full`.
pub const SECRET_STREAM_UNSENT_MAX: usize = 64 << 20;
/// Bytes of messages that a secret stream holds before the layer above takes them; more ends the stream.
pub const SECRET_STREAM_UNREAD_MAX: usize = 64 << 20;
/// Unordered messages that a secret stream holds, each way; more are dropped and counted.
pub const SECRET_STREAM_UNORDERED_MAX: usize = 1024;
/// Of a message that has begun, bytes that come in a while if it is to be waited for.
pub const SECRET_STREAM_REST_MIN: u64 = 4096;
/// Bytes of a method name or of one text of a failure; a longer one is malformed and ends the channel's stream.
pub const RPC_TEXT_MAX: usize = 1 << 20;
/// Requests of ours without an answer; one more is refused.
pub const RPC_REQUESTS_MAX: usize = 1 << 14;
/// Requests of the peer without an answer; one more is answered with an error at once.
pub const RPC_CALLS_MAX: usize = 1 << 12;
/// Events of calls that nobody has taken; the peer's notices on top of that are dropped and counted.
pub const RPC_EVENTS_MAX: usize = 1 << 16;
/// Requests of a DHT node that wait for an answer, and answers not yet taken; one more `ask` is `Error::Full`.
pub const DHT_IN_FLIGHT_MAX: usize = 4096;
/// Queries of the layers above at once; one more is `Error::Full`.
pub const DHT_QUERIES_MAX: usize = 512;
/// Nodes that one query asks; then it ends with what it has.
pub const DHT_QUERY_VISITS_MAX: usize = 256;
/// Addresses that one query remembers; further ones are not looked at.
pub const DHT_QUERY_SEEN_MAX: usize = 2048;
/// Closer nodes taken from one reply; the rest is not looked at.
pub const DHT_CLOSER_MAX: usize = 40;
/// Those who referred a query to one address (they hear of its death); further ones are not remembered.
pub const DHT_REFERRERS_MAX: usize = 8;
/// Datagrams of a DHT node not yet taken by the socket; further ones are dropped and counted.
pub const DHT_OUTPUTS_MAX: usize = 4096;
/// Requests for the layer above not yet taken by it; further ones are dropped and counted.
pub const DHT_REQUESTS_MAX: usize = 1024;
/// Delayed pings waiting to be answered; further ones are not answered.
pub const DHT_DELAYED_MAX: usize = 256;
/// Hosts in each of the two generations of the rate limiter; then the older generation is forgotten.
pub const DHT_SOURCES_MAX: usize = 4096;
/// Answers of the node itself that one host may cause in a burst; further requests are dropped.
pub const DHT_SOURCE_BURST: u64 = 400;
/// Answers of the node itself that one host may cause per second.
pub const DHT_SOURCE_PER_SECOND: u64 = 100;
/// Hosts whose round trip is remembered in each of two generations; then the older one is forgotten.
pub const DHT_TIMEOUTS_MAX: usize = 32_768;
/// Bytes of a manifest's user data; more is malformed.
pub const MANIFEST_DATA_MAX: usize = 1 << 20;
/// Bytes of a key or value of a core's user data; more is malformed.
pub const USER_DATA_MAX: usize = 1 << 20;
/// Bytes of a stored tree signature (one of many signers has 66 and more each); more is malformed.
pub const SIGNATURE_MAX: usize = 1 << 20;
/// Reorganisations that a header remembers; writing drops the oldest beyond 4, reading refuses more than this.
pub const REORGS_MAX: usize = 1024;
/// Peer records, forwards and refreshes that a node keeps for others, per generation; then the older half is dropped.
pub const HYPERDHT_RECORDS: usize = 65536;
/// Mutable and immutable values that a node keeps for others, per generation; then the older half is dropped.
pub const HYPERDHT_VALUES: usize = 32768;
/// Bytes of a mutable or immutable value; a longer one is not stored (it would not fit one datagram with its proof).
pub const HYPERDHT_VALUE_MAX: usize = 1000;
/// Keys for which the relays, and the server's own address, of the last connection are remembered, per generation; then
/// the older half is dropped.
pub const HYPERDHT_RELAY_ADDRESSES: usize = 512;
/// Outputs that wait to be taken; at that many, requests of others are dropped.
pub const HYPERDHT_OUTPUTS: usize = 16384;
/// Raw streams of a node at once.
pub const RAW_STREAMS_MAX: usize = 4096;
/// Plugins that a program may register.
pub const HYPERDHT_PLUGINS: usize = 256;
/// Own addresses named in a handshake; more interfaces are left out.
pub const HYPERDHT_OWN_ADDRESSES: usize = 32;
/// Relays that one attempt to connect remembers and tries; further ones are not tried.
pub const HYPERDHT_RELAYS_TRIED: usize = 64;
/// Handshakes that a node's servers remember (each for some 10 seconds after its outcome); then the oldest is
/// forgotten.
pub const HYPERDHT_SESSIONS: usize = 8192;
/// Handshakes whose caller has not yet shown itself by a packet; further ones are dropped.
pub const HYPERDHT_SESSIONS_UNPROVEN: usize = 4096;
/// The same from one host (behind our own relays: of the host that they saw); further ones are dropped.
pub const HYPERDHT_SESSIONS_PER_HOST: usize = 1024;
/// Of those the ones that are punched, each with a socket; further ones are dropped.
pub const HYPERDHT_PUNCHES_PER_HOST: usize = 64;
/// Holepunches at one time, each with a socket; a server drops further handshakes that need one.
pub const HYPERDHT_PUNCHES: usize = 128;
/// Searches for a random NAT's ports at one time; who asks for one more is told to try later, or waits.
pub const HYPERDHT_SEARCHES: usize = 1;
/// Sockets of a search on the random side; those that the system refuses are done without.
pub const HYPERDHT_SEARCH_SOCKETS: usize = 256;
/// Addresses of the other side that are probed; further ones in its list are ignored.
pub const HYPERDHT_PROBE_TARGETS: usize = 8;
/// Copies of one handshake that wait for the program's word, each of which is answered; further ones are dropped.
pub const HYPERDHT_KNOCK_COPIES: usize = 8;
/// Holepunch rounds of one caller that wait for our own NAT's analysis; further ones are dropped.
pub const HYPERDHT_ROUNDS_WAITING: usize = 8;
/// Distinct peers that one lookup reports; further ones are not reported.
pub const HYPERDHT_PEERS_FOUND: usize = 4096;
/// Bytes of a registry's request or answer; more is malformed, and answered so.
pub const REGISTRY_TEXT_MAX: usize = 1024;
/// Bytes of a registry's name; a longer one is refused.
pub const REGISTRY_NAME_MAX: usize = 255;
/// Requests of one caller that a registry keeps waiting; more are refused.
pub const REGISTRY_WAITING_MAX: usize = 256;
/// Callers that a registry keeps an account of; when all are busy, a new one's requests are refused.
pub const REGISTRY_CALLERS_MAX: usize = 1024;
/// Requests that a caller may make at once after a rest; more wait.
pub const REGISTRY_BURST: u64 = 10_000;
/// Requests per second of a caller in the long run; more wait.
pub const REGISTRY_PER_SECOND: u64 = 2_000;
/// Lines typed ahead of a registry client's prompt; more wait in the pipe.
pub const REGISTRY_LINES_MAX: usize = 64;
/// Bytes of an auction's answer, and of the text in a request; more is malformed, and answered so.
pub const AUCTION_TEXT_MAX: usize = 1024;
/// Bytes of an auction's title; a longer one is refused.
pub const AUCTION_TITLE_MAX: usize = 200;
/// Blocks of an auction log; with so many of them, nothing but the end of what is open is taken.
pub const AUCTION_LOG_MAX: u64 = 1 << 20;
/// Auctions of one log; further ones are refused.
pub const AUCTION_MAX: usize = 1 << 16;
/// Auctions of one key that are open at once; further ones are refused.
pub const AUCTION_OPEN_MAX: u32 = 64;
/// Entries against the rules that a reader of an auction log remembers; further ones are counted.
pub const AUCTION_FAULTS_MAX: usize = 64;
/// Bytes of the file in which an auction's client notes what it has checked; a longer one is none.
pub const AUCTION_MARK_MAX: usize = 256;
/// Auctions that a server ends in one turn; further ones have the next.
pub const AUCTION_ENDS_PER_TURN: usize = 64;
/// Requests of one caller that an auction server keeps waiting; more are refused.
pub const AUCTION_WAITING_MAX: usize = 64;
/// Callers that an auction server keeps an account of; when all are busy, a new one's requests are refused.
pub const AUCTION_CALLERS_MAX: usize = 1024;
/// Requests that a caller may make at once after a rest; more wait.
pub const AUCTION_BURST: u64 = 200;
/// Requests per second of a caller in the long run; more wait.
pub const AUCTION_PER_SECOND: u64 = 50;
/// Lines typed ahead of an auction client's prompt; more wait in the pipe.
pub const AUCTION_LINES_MAX: usize = 64;
/// Datagrams that wait for the kernel per socket; more are dropped, as a network may.
pub const SOCKET_QUEUE_MAX: usize = 4096;
/// Rounds in which a node carries values between its machines; more is a bug of ours.
pub const SETTLE_ROUNDS_MAX: usize = 64;
/// Bytes of an oplog header that lies outside its slot; a longer one is taken as damaged.
pub const HEADER_MAX: usize = 64 << 20;
/// Bytes of a work buffer that is kept for the next use; a larger one is given back.
pub const BUFFER_KEPT_MAX: usize = 1 << 20;
/// Tree nodes of a core that were read and are kept, and as many offsets; a newer one takes the place of an older.
pub const TREE_CACHE: usize = 16384;
/// Runs of 64 leaves of a core, of which sizes and parts of the hashes are kept: 400 bytes each.
pub const LEAVES_CACHE: usize = 2560;
/// Blocks of a core (one bit of memory each that is here); a longer tree is refused.
pub const BLOCKS_MAX: u64 = 1 << 32;
/// Bytes of all blocks of a core: what compact-encoding can say. More is refused.
pub const LENGTH_MAX: u64 = (1 << 53) - 1;
/// Bytes of a block that is appended; a longer one is refused, as upstream does.
pub const BLOCK_MAX: usize = 15 << 20;
/// Bytes of a block that is read or received; a longer one is taken as damaged.
pub const STORED_BLOCK_MAX: u64 = 64 << 20;
/// Blocks of one append; more is refused.
pub const APPEND_MAX: usize = 1 << 18;
/// Bytes of oplog entries, after which they are moved into the other files.
pub const OPLOG_FLUSH: u64 = 256 << 10;
/// Bytes of blocks that are only vouched for by oplog entries, after which these are moved into the other files.
pub const DATA_FLUSH: u64 = 16 << 20;
/// Bytes of a core's journal; when it is full, the oplog's entries are moved into the other files.
pub const JOURNAL_BYTES: u64 = 256 << 10;
/// Changes of a core since it was opened, after which it gets a journal.
pub const JOURNAL_AFTER: u32 = 16;
/// Bytes of blocks in one record of a journal; of more, the file `data` is synced instead.
pub const JOURNAL_BLOCKS: usize = 32 << 10;
/// Bytes that a udx stream holds for its reader, in order or not; the window that the sender is told shrinks to zero.
pub const UDX_WINDOW_MAX: usize = 4 << 20;
/// Bytes that a udx stream holds before it is connected; more are dropped and not acked.
pub const UDX_EARLY_MAX: usize = 64 << 10;
/// Packets beyond the next one that a udx stream keeps; later ones are dropped and not acked.
pub const UDX_AHEAD_MAX: usize = 1 << 14;
/// Bytes written to a udx stream and not yet acked; a write beyond is refused as full.
pub const UDX_UNACKED_MAX: usize = 64 << 20;
/// Unordered messages of a udx stream that wait to be sent, or to be taken; more are refused, or dropped and counted.
pub const UDX_MESSAGES_MAX: usize = 256;
/// Packets for streams that are gone and wait to be sent; more are dropped.
pub const UDX_ANSWERS_MAX: usize = 1024;
/// Packets that go from one udx stream to another and wait to be sent; more are dropped and counted.
pub const UDX_FORWARDS_MAX: usize = 8192;
/// Closed udx streams that still answer late packets; the oldest is forgotten.
pub const UDX_PAST_MAX: usize = 1024;
/// Topics that are joined at once; one more is refused.
pub const SWARM_TOPICS_MAX: usize = 1 << 10;
/// Sessions of joined topics, and flushes that wait; one more is refused.
pub const SWARM_SESSIONS_MAX: usize = 1 << 12;
/// Peers that a swarm remembers; one more that is only discovered is ignored and counted.
pub const SWARM_PEERS_MAX: usize = 1 << 12;
/// Incoming connections of one peer that wait until its old one has closed; one more is dropped.
pub const SWARM_SUCCESSORS_MAX: usize = 4;
/// Pages (of 32768 blocks) with holes that are remembered of what one peer has of a core; further claims are not.
pub const REMOTE_PAGES_MAX: usize = 1024;
/// Runs of whole pages that are remembered of what one peer has of a core; further claims are not.
pub const REMOTE_RUNS_MAX: usize = 1024;
/// Requests of a replication peer that wait to be answered; further ones are answered without data.
pub const REPLICATION_REQUESTS_MAX: usize = 4096;
/// Ranges of blocks of which a replication peer wants to hear and has not yet; further ones are not answered.
pub const REPLICATION_WANTS_MAX: usize = 1024;
/// Messages to a replication peer that wait to be taken; beyond, it is asked for nothing more, and one that should hear
/// of a new block is closed.
pub const REPLICATION_OUT_MAX: usize = 8192;
/// Bytes of messages to replication peers that are taken before the connection below takes them in turn, plus one
/// message. A connection that is full is only noticed then.
pub const CORE_TAKEN_MAX: usize = 128 << 10;
/// Events of one core's replication that wait to be taken; further ones are dropped and counted.
pub const REPLICATION_EVENTS_MAX: usize = 1 << 16;
/// Requests to one peer at one time, however the window is set.
pub const INFLIGHT_MAX: usize = 4096;
/// Jobs of one core that are waited for (blocks, seeks, ranges); one more is refused.
pub const JOBS_MAX: usize = 1 << 14;
/// Blocks of one core that are waited for; one more is refused.
pub const WAITED_MAX: usize = 4096;
/// Findings of an audit that are kept; further ones are counted.
pub const AUDIT_FINDINGS: usize = 64;
/// Ranges of bytes that nothing vouches for, as an audit lists them; further ones are counted.
pub const AUDIT_RANGES: usize = 1 << 14;
/// Bytes of an oplog, or of a header outside of it, that is audited; a longer one is not judged.
pub const AUDIT_OPLOG_MAX: u64 = 256 << 20;
/// Bytes of a record of the oplog in which an audit looks for a single wrong bit.
pub const AUDIT_RECORD_SEARCH: usize = 1 << 20;
/// Bytes of a block in which an audit looks for a single wrong bit: the time grows with their square.
pub const AUDIT_BIT_SEARCH: usize = 8 << 10;
/// Bytes of an oplog's record in which a wrong bit is looked for when a core is opened.
pub const MEND_MAX: u64 = 1 << 18;
/// Lines of a key log that are kept; further ones are passed over.
pub const EXPLAIN_KEYS: usize = 1 << 20;
/// Bytes of a direction of a stream that wait, when a capture is read, for packets before them; then those are lost.
pub const EXPLAIN_AHEAD_BYTES: usize = 8 << 20;
/// Bytes that wait in all directions of streams when a capture is read; the direction that has more is given up.
pub const EXPLAIN_HELD_BYTES: usize = 256 << 20;
/// Directions of streams that are followed when a capture is read; the one that was silent longest is forgotten.
pub const EXPLAIN_FLOWS: usize = 1 << 12;
/// Requests of a DHT whose answers are waited for when a capture is read; the oldest is forgotten.
pub const EXPLAIN_ASKED: usize = 1 << 16;
/// Handshakes whose answer is waited for when a capture is read; the oldest is forgotten.
pub const EXPLAIN_HANDSHAKES: usize = 1 << 12;
/// Channels, and calls without an answer, of one direction when a capture is read; further ones are not named.
pub const EXPLAIN_CHANNELS: usize = 1 << 12;
/// Keys that are tried on one sealed payload whose own is not known; further ones are not.
pub const EXPLAIN_TRIES: usize = 1 << 10;
/// Fields of one message, and messages of one batch, that are explained; further ones are counted as bytes only.
pub const EXPLAIN_ROWS: usize = 1 << 14;
/// Batches within batches that are explained; deeper ones are bytes.
pub const EXPLAIN_DEPTH: usize = 4;
/// Keys of a hyperbee that an audit remembers to find what cannot be reached; with more of them that is not judged.
pub const AUDIT_KEYS: usize = 1 << 22;
/// Lines of a chat that wait for one peer to read; with more of them it is parted with.
pub const CHAT_WAITING_MAX: usize = 1 << 12;
/// Requests to a blind relay, and pairs, of one channel; one more is refused, or dropped by the relay.
pub const BLIND_RELAY_REQUESTS_MAX: usize = 16;
/// Connections of a node that ask for a blind relay, use one or are about to leave it; further ones do without.
pub const HYPERDHT_RELAYED_MAX: usize = 1024;
/// Of those the ones that are being asked because callers of a server named them; further ones do without.
pub const HYPERDHT_RELAYS_BIDDEN_MAX: usize = 32;
/// Messages of a blind relay that wait to be taken; beyond, what comes in is dropped.
pub const BLIND_RELAY_QUEUE_MAX: usize = 1 << 14;
/// Channels that a blind relay serves; further ones are refused.
pub const BLIND_RELAY_SESSIONS_MAX: usize = 4096;
/// Pairs of streams that a blind relay passes on for; further requests are dropped.
pub const BLIND_RELAY_PAIRS_MAX: usize = 1024;
/// Requests to a blind relay that wait for the other side; further ones are dropped.
pub const BLIND_RELAY_WAITING_MAX: usize = 4096;
/// Cuts of a core that are remembered for its snapshots.
pub const SNAPSHOT_CUTS_MAX: usize = 256;
/// Bytes of a draft's name.
pub const DRAFT_NAME_MAX: usize = 100;
/// Bytes of the blocks that a draft is given at once.
pub const DRAFT_RECORD_MAX: usize = 64 << 20;
