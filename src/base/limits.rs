//! Every bound in one place: nothing that a peer or a disk controls grows without one of these.
//! Each line says what is bounded and what happens at the bound.

/// A datagram longer than this cannot come from a peer that follows the protocol; it is dropped.
pub const DATAGRAM_MAX: usize = 2048;
/// Elements of a compact-encoding array; more is malformed (compact-encoding index.js `array`).
pub const ARRAY_MAX: usize = 0x10_0000;
/// Bytes of a Noise message in a handshake; more is malformed.
pub const NOISE_MAX: usize = 1500;
/// Bytes of the value of a DHT request or reply: an ask or answer with more is refused, so that it stays one datagram.
pub const DHT_VALUE_MAX: usize = 1200;
/// Files open at the operating system at once; the one used longest ago is closed and opened again when needed.
pub const FILES_OPEN_MAX: usize = 256;
/// Bytes of a block (or an extension message) in a replication message; more is malformed. A frame is shorter anyway.
pub const BLOCK_WIRE_MAX: usize = 1 << 24;
/// Nodes in one list of a proof; more is malformed. A path and two lists of roots are never above 128.
pub const PROOF_NODES_MAX: usize = 256;
/// Bytes of the signature of a tree (of many signers, with patches); more is malformed.
pub const TREE_SIGNATURE_MAX: usize = 1 << 16;
/// Bytes of a manifest in a replication message; more is malformed.
pub const MANIFEST_WIRE_MAX: usize = 1 << 16;
/// Words of one replication bitfield; more is malformed. Upstream sends at most 65536 at once.
pub const BITFIELD_WORDS_MAX: usize = 1 << 18;
/// Bytes of the name of a replication extension; more is malformed.
pub const EXTENSION_NAME_MAX: usize = 1024;
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
/// Blocks of a hyperbee kept decoded; the oldest reading makes room.
pub const HYPERBEE_CACHE_BLOCKS: usize = 0x4000;
/// Bytes of those blocks, about; the oldest reading makes room.
pub const HYPERBEE_CACHE_BYTES: usize = 0x80_0000;
