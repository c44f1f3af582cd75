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
