//! Byte formats. A format is described once, by walking its fields past a cursor; reading, writing, explaining and
//! inventing are four ways to be that cursor.
//!
//! Flags are computed, never stored. A walk refuses bytes, it never interprets them. Lists and buffers name their
//! limit, and a length is compared with what is left before anything is allocated. Bytes after the last field are
//! ignored unless the format says otherwise, as upstream does (notes: compact-encoding).

pub mod auction;
pub mod blind_relay;
pub mod compact;
pub mod dht_rpc;
pub mod hyperbee;
pub mod hypercore;
pub mod hyperdht;
pub mod manifest;
pub mod noise;
pub mod oplog;
pub mod protobuf;
pub mod protomux;
pub mod protomux_rpc;
pub mod registry;
pub mod secret_stream;
pub mod udx;

use crate::base::{Addr, Entropy, Malformed, Reason, limits};

/// A byte format.
pub trait Wire {
    /// As in the notes: `package.message`.
    const NAME: &'static str;
    /// The rule of the notes that says what the fields are.
    const RULE: &'static str;
    /// Fields that another rule says more about.
    const RULES: &'static [(&'static str, &'static str)] = &[];
    /// Moves each field past the cursor, in order.
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed>;
}

/// One line of an explanation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub at: usize,
    pub len: usize,
    pub field: &'static str,
    pub value: Value,
}

/// The rows of what was understood, and whether that was everything.
pub type Explanation = (Vec<Row>, Result<(), Malformed>);

/// What a field holds, as far as the format alone can say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Number(u64),
    Flags(u64),
    Bytes(Vec<u8>),
    Text(String),
    Addr(Addr),
}

impl core::fmt::Display for Value {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Value::Number(n) => write!(f, "{n}"),
            Value::Flags(bits) => write!(f, "{bits:#b}"),
            Value::Bytes(bytes) => write!(f, "{}", crate::base::hex::Hex(bytes)),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Addr(addr) => write!(f, "{addr}"),
        }
    }
}

/// The methods that a datagram's header is made of are always inlined: where it is known which way a walk goes, the
/// rest of each is left out.
enum Way<'a> {
    Read { bytes: &'a [u8], rows: Option<&'a mut Vec<Row>> },
    Write { out: &'a mut Vec<u8> },
    Invent { entropy: &'a mut dyn Entropy },
}

/// Where a walk is. See the module's head.
pub struct Cursor<'a> {
    format: &'static str,
    way: Way<'a>,
    /// Bytes read or written so far.
    at: usize,
    /// Where a frame that is being read ends; `bytes.len()` outside frames.
    end: usize,
}

/// Decodes a `T` from the front of `bytes`; what follows it is ignored.
pub fn decode<T: Wire + Default>(bytes: &[u8]) -> Result<T, Malformed> {
    decode_head(bytes).map(|(value, _)| value)
}

/// Decodes a `T` from the front of `bytes` and returns what follows it, which most callers ignore.
/// (compact_encoding.14)
pub fn decode_head<T: Wire + Default>(bytes: &[u8]) -> Result<(T, &[u8]), Malformed> {
    let mut value = T::default();
    let mut c = Cursor { format: T::NAME, way: Way::Read { bytes, rows: None }, at: 0, end: bytes.len() };
    value.walk(&mut c)?;
    Ok((value, &bytes[c.at..]))
}

/// Encodes a value.
pub fn encode<T: Wire + Clone>(value: &T) -> Vec<u8> {
    encode_once(value.clone())
}

/// Encodes a value that is not needed afterwards.
pub fn encode_once<T: Wire>(value: T) -> Vec<u8> {
    encode_of_about(USUAL_LEN, value)
}

/// `encode_once` where it is known about how long it gets: if it gets no longer, its buffer need not grow.
pub fn encode_of_about<T: Wire>(len: usize, mut value: T) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    encode_into(&mut value, &mut out);
    out
}

/// Most messages are not longer, so that their buffer need not grow.
const USUAL_LEN: usize = 64;
/// Places of a list that are made before its values are read. A claimed length is not trusted further.
const LIST_AHEAD: usize = 64;

/// Encodes a value behind what `out` holds. Takes `&mut` because a walk does; the value is left as it was.
pub fn encode_into<T: Wire>(value: &mut T, out: &mut Vec<u8>) {
    let mut c = Cursor { format: T::NAME, way: Way::Write { out }, at: 0, end: usize::MAX };
    value.walk(&mut c).expect("writing a value that its own limits allow");
}

/// The fields of `bytes`, up to the first that is malformed, and at most `limits::EXPLAIN_ROWS` of them.
pub fn explain<T: Wire + Default>(bytes: &[u8]) -> Explanation {
    let mut rows = Vec::new();
    let mut c =
        Cursor { format: T::NAME, way: Way::Read { bytes, rows: Some(&mut rows) }, at: 0, end: bytes.len() };
    let result = T::default().walk(&mut c);
    (rows, result)
}

/// A value with drawn fields, legal for its format.
pub fn invent<T: Wire + Default>(entropy: &mut dyn Entropy) -> T {
    let mut value = T::default();
    let mut c = Cursor { format: T::NAME, way: Way::Invent { entropy }, at: 0, end: usize::MAX };
    value.walk(&mut c).expect("inventing cannot be malformed");
    value
}

/// A format without its type: what `explain`, the notes' dumps and fuzzing work on.
#[derive(Clone, Copy)]
pub struct Format {
    pub name: &'static str,
    /// See `Wire::RULE` and `Wire::RULES`.
    pub rule: &'static str,
    pub rules: &'static [(&'static str, &'static str)],
    pub explain: fn(&[u8]) -> Explanation,
    /// Decodes and encodes again.
    pub again: fn(&[u8]) -> Result<Vec<u8>, Malformed>,
    /// The bytes of an invented value.
    pub invent: fn(&mut dyn Entropy) -> Vec<u8>,
}

impl Format {
    /// The rule of the notes that says what `field` is.
    pub fn rule_of(&self, field: &str) -> &'static str {
        self.rules.iter().find(|(name, _)| *name == field).map_or(self.rule, |(_, rule)| rule)
    }
}

/// The `Format` of a type.
pub const fn format<T: Wire + Default + Clone>() -> Format {
    Format {
        name: T::NAME,
        rule: T::RULE,
        rules: T::RULES,
        explain: |bytes| explain::<T>(bytes),
        again: |bytes| decode::<T>(bytes).map(|value| encode(&value)),
        invent: |entropy| encode(&invent::<T>(entropy)),
    }
}

/// Every format that seckel knows.
pub fn formats() -> Vec<Format> {
    [
        udx::FORMATS,
        dht_rpc::FORMATS,
        hyperdht::FORMATS,
        noise::FORMATS,
        secret_stream::FORMATS,
        protomux::FORMATS,
        protomux_rpc::FORMATS,
        blind_relay::FORMATS,
        hypercore::FORMATS,
        manifest::FORMATS,
        oplog::FORMATS,
        hyperbee::FORMATS,
        registry::FORMATS,
        auction::FORMATS,
    ]
    .concat()
}

impl Cursor<'_> {
    /// True when bytes are being read (a walk that must look at what is left asks this first).
    pub fn reading(&self) -> bool {
        matches!(self.way, Way::Read { .. })
    }

    /// True when fields are being drawn: a walk whose fields depend on each other then makes them agree.
    pub fn inventing(&self) -> bool {
        matches!(self.way, Way::Invent { .. })
    }

    /// When reading: how many bytes are left. Zero otherwise.
    pub fn left(&self) -> usize {
        if self.reading() { self.end - self.at } else { 0 }
    }

    /// Refuses the field that was just moved.
    pub fn refuse<T>(&self, field: &'static str, reason: Reason) -> Result<T, Malformed> {
        Err(Malformed { format: self.format, field, at: self.at, reason })
    }

    fn fault(&self, field: &'static str, at: usize, reason: Reason) -> Malformed {
        Malformed { format: self.format, field, at, reason }
    }

    #[inline(always)]
    fn take(&mut self, field: &'static str, len: usize) -> Result<&[u8], Malformed> {
        let (at, end) = (self.at, self.end);
        if len > end - at {
            return Err(self.fault(field, at, Reason::Short));
        }
        self.at = at + len;
        match &self.way {
            Way::Read { bytes, .. } => Ok(&bytes[at..at + len]),
            Way::Write { .. } | Way::Invent { .. } => unreachable!("only reading takes bytes"),
        }
    }

    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        if let Way::Write { out } = &mut self.way {
            out.extend_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    #[inline]
    fn row(&mut self, at: usize, field: &'static str, value: impl FnOnce() -> Value) {
        let len = self.at - at;
        if let Way::Read { rows: Some(rows), .. } = &mut self.way
            && rows.len() < limits::EXPLAIN_ROWS
        {
            rows.push(Row { at, len, field, value: value() });
        }
    }

    fn entropy(&mut self) -> &mut dyn Entropy {
        match &mut self.way {
            Way::Invent { entropy } => *entropy,
            Way::Read { .. } | Way::Write { .. } => unreachable!("only inventing draws"),
        }
    }

    #[inline(always)]
    fn fixed_int<const N: usize>(
        &mut self,
        field: &'static str,
        value: &mut u64,
        big_endian: bool,
    ) -> Result<(), Malformed> {
        let at = self.at;
        match self.way {
            Way::Read { .. } => {
                let mut bytes = [0; 8];
                bytes[..N].copy_from_slice(self.take(field, N)?);
                if big_endian {
                    bytes[..N].reverse();
                }
                let number = u64::from_le_bytes(bytes);
                *value = number;
                self.row(at, field, || Value::Number(number));
            }
            Way::Write { .. } => {
                let mut bytes = value.to_le_bytes();
                if big_endian {
                    bytes[..N].reverse();
                }
                self.put(&bytes[..N]);
            }
            Way::Invent { .. } => {
                let drawn = self.draw_number();
                *value = if N == 8 { drawn } else { drawn & ((1 << (8 * N)) - 1) };
            }
        }
        Ok(())
    }

    /// Numbers near the borders more often than evenly.
    fn draw_number(&mut self) -> u64 {
        let entropy = self.entropy();
        let bits = entropy.below(54);
        let base = entropy.u64() & ((1 << bits) - 1);
        match entropy.below(8) {
            0 => (1 << bits) - 1,
            1 => 0,
            _ => base,
        }
    }

    /// One byte. (compact_encoding.4)
    #[inline(always)]
    pub fn u8(&mut self, field: &'static str, value: &mut u8) -> Result<(), Malformed> {
        let mut wide = u64::from(*value);
        self.fixed_int::<1>(field, &mut wide, false)?;
        *value = wide as u8;
        Ok(())
    }

    /// Little endian.
    pub fn u16(&mut self, field: &'static str, value: &mut u16) -> Result<(), Malformed> {
        let mut wide = u64::from(*value);
        self.fixed_int::<2>(field, &mut wide, false)?;
        *value = wide as u16;
        Ok(())
    }

    /// Three bytes, little endian; `value` must be below 2^24. (compact_encoding.4)
    pub fn u24(&mut self, field: &'static str, value: &mut u32) -> Result<(), Malformed> {
        let mut wide = u64::from(*value);
        self.fixed_int::<3>(field, &mut wide, false)?;
        *value = wide as u32;
        Ok(())
    }

    /// Little endian.
    #[inline(always)]
    pub fn u32(&mut self, field: &'static str, value: &mut u32) -> Result<(), Malformed> {
        let mut wide = u64::from(*value);
        self.fixed_int::<4>(field, &mut wide, false)?;
        *value = wide as u32;
        Ok(())
    }

    /// Little endian.
    pub fn u64(&mut self, field: &'static str, value: &mut u64) -> Result<(), Malformed> {
        self.fixed_int::<8>(field, value, false)
    }

    /// Variable length: up to 0xfc one byte; 0xfd + u16; 0xfe + u32; 0xff + u64, at most 2^53 - 1. Longer forms than
    /// needed are accepted, as upstream does. (compact_encoding.2, compact_encoding.3)
    pub fn uint(&mut self, field: &'static str, value: &mut u64) -> Result<(), Malformed> {
        let at = self.at;
        match self.way {
            Way::Read { .. } => {
                let number = self.read_uint(field)?;
                *value = number;
                self.row(at, field, || Value::Number(number));
            }
            Way::Write { .. } => {
                let (bytes, len) = compact::uint_bytes(*value);
                self.put(&bytes[..len]);
            }
            Way::Invent { .. } => *value = self.draw_number().min(compact::UINT_MAX),
        }
        Ok(())
    }

    /// A `uint` that must be below 2^32.
    pub fn uint32(&mut self, field: &'static str, value: &mut u32) -> Result<(), Malformed> {
        let mut wide = u64::from(*value);
        let at = self.at;
        self.uint(field, &mut wide)?;
        if let Way::Invent { .. } = self.way {
            wide &= u64::from(u32::MAX);
        }
        let illegal = Reason::Illegal { value: wide };
        *value = u32::try_from(wide).map_err(|_| self.fault(field, at, illegal))?;
        Ok(())
    }

    fn read_uint(&mut self, field: &'static str) -> Result<u64, Malformed> {
        let at = self.at;
        let first = self.take(field, 1)?[0];
        let len = match first {
            0..=0xfc => return Ok(u64::from(first)),
            0xfd => 2,
            0xfe => 4,
            0xff => 8,
        };
        let mut bytes = [0; 8];
        match self.take(field, len) {
            Ok(tail) => bytes[..len].copy_from_slice(tail),
            Err(_) => return Err(self.fault(field, at, Reason::Short)),
        }
        let value = u64::from_le_bytes(bytes);
        if value > compact::UINT_MAX {
            return Err(self.fault(field, at, Reason::Illegal { value }));
        }
        Ok(value)
    }

    /// Flags as a `uint`, lowest bit first. Unknown bits are ignored.
    pub fn bits<const N: usize>(
        &mut self,
        field: &'static str,
        flags: [bool; N],
    ) -> Result<[bool; N], Malformed> {
        let at = self.at;
        let mut number = pack(flags);
        match self.way {
            Way::Read { .. } => {
                number = self.read_uint(field)?;
                self.row(at, field, || Value::Flags(number));
            }
            Way::Write { .. } => {
                let (bytes, len) = compact::uint_bytes(number);
                self.put(&bytes[..len]);
            }
            Way::Invent { .. } => number = self.entropy().u64(),
        }
        Ok(core::array::from_fn(|n| number >> n & 1 == 1))
    }

    /// Flags as one bare byte, lowest bit first. Unknown bits are ignored. (compact_encoding.13)
    #[inline(always)]
    pub fn bits8<const N: usize>(
        &mut self,
        field: &'static str,
        flags: [bool; N],
    ) -> Result<[bool; N], Malformed> {
        let at = self.at;
        let mut number = pack(flags);
        match self.way {
            Way::Read { .. } => {
                number = u64::from(self.take(field, 1)?[0]);
                self.row(at, field, || Value::Flags(number));
            }
            Way::Write { .. } => self.put(&[number as u8]),
            Way::Invent { .. } => number = self.entropy().u64(),
        }
        Ok(core::array::from_fn(|n| number >> n & 1 == 1))
    }

    /// One legal value.
    pub fn exactly(&mut self, field: &'static str, legal: u64) -> Result<(), Malformed> {
        let at = self.at;
        let mut value = legal;
        match self.way {
            Way::Invent { .. } => return Ok(()),
            Way::Read { .. } | Way::Write { .. } => self.uint(field, &mut value)?,
        }
        if value == legal { Ok(()) } else { Err(self.fault(field, at, Reason::Illegal { value })) }
    }

    /// One legal byte.
    #[inline(always)]
    pub fn exactly_u8(&mut self, field: &'static str, legal: u8) -> Result<(), Malformed> {
        let at = self.at;
        let mut value = legal;
        match self.way {
            Way::Invent { .. } => return Ok(()),
            Way::Read { .. } | Way::Write { .. } => self.u8(field, &mut value)?,
        }
        let reason = Reason::Illegal { value: u64::from(value) };
        if value == legal { Ok(()) } else { Err(self.fault(field, at, reason)) }
    }

    /// A tag as a `uint` below `kinds`; the caller then walks that kind.
    pub fn one_of(&mut self, field: &'static str, tag: u64, kinds: u64) -> Result<u64, Malformed> {
        let at = self.at;
        let mut value = tag;
        match self.way {
            Way::Invent { .. } => return Ok(self.entropy().below(kinds)),
            Way::Read { .. } | Way::Write { .. } => self.uint(field, &mut value)?,
        }
        if value < kinds { Ok(value) } else { Err(self.fault(field, at, Reason::Illegal { value })) }
    }

    /// `N` bytes as they are. (compact_encoding.5)
    pub fn fixed<const N: usize>(
        &mut self,
        field: &'static str,
        value: &mut [u8; N],
    ) -> Result<(), Malformed> {
        let at = self.at;
        match self.way {
            Way::Read { .. } => {
                value.copy_from_slice(self.take(field, N)?);
                self.row(at, field, || Value::Bytes(value.to_vec()));
            }
            Way::Write { .. } => self.put(&*value),
            Way::Invent { .. } => self.entropy().fill(value),
        }
        Ok(())
    }

    /// A `uint` length of at most `max`, then that many bytes. (compact_encoding.6)
    pub fn buffer(&mut self, field: &'static str, value: &mut Vec<u8>, max: usize) -> Result<(), Malformed> {
        let at = self.at;
        match self.way {
            Way::Read { .. } => {
                let len = self.read_len(field, max)?;
                *value = match self.take(field, len) {
                    Ok(bytes) => bytes.to_vec(),
                    Err(_) => return Err(self.fault(field, at, Reason::Short)),
                };
                self.row(at, field, || Value::Bytes(value.clone()));
            }
            Way::Write { .. } => {
                self.write_len(value.len());
                self.put(value);
            }
            Way::Invent { .. } => *value = self.draw_bytes(max),
        }
        Ok(())
    }

    /// A `buffer` where no bytes mean absent. (compact_encoding.7)
    pub fn optional_buffer(
        &mut self,
        field: &'static str,
        value: &mut Option<Vec<u8>>,
        max: usize,
    ) -> Result<(), Malformed> {
        let mut bytes = value.take().unwrap_or_default();
        let moved = self.buffer(field, &mut bytes, max);
        *value = if bytes.is_empty() { None } else { Some(bytes) };
        moved
    }

    /// A `uint` length of at most `max` bytes, then UTF-8 text. (compact_encoding.8)
    pub fn string(&mut self, field: &'static str, value: &mut String, max: usize) -> Result<(), Malformed> {
        let at = self.at;
        match self.way {
            Way::Read { .. } => {
                let len = self.read_len(field, max)?;
                let bytes = match self.take(field, len) {
                    Ok(bytes) => bytes,
                    Err(_) => return Err(self.fault(field, at, Reason::Short)),
                };
                match core::str::from_utf8(bytes) {
                    Ok(text) => *value = text.to_owned(),
                    Err(_) => return Err(self.fault(field, at, Reason::NotText)),
                }
                self.row(at, field, || Value::Text(value.clone()));
            }
            Way::Write { .. } => {
                self.write_len(value.len());
                self.put(value.as_bytes());
            }
            Way::Invent { .. } => {
                let len = self.entropy().below(max.min(20) as u64 + 1);
                *value = (0..len).map(|_| char::from(b'a' + self.entropy().below(26) as u8)).collect();
            }
        }
        Ok(())
    }

    /// A `string` whose bytes need not be UTF-8: what is not becomes U+FFFD, as it does upstream.
    pub fn lossy_string(
        &mut self,
        field: &'static str,
        value: &mut String,
        max: usize,
    ) -> Result<(), Malformed> {
        if !self.reading() {
            return self.string(field, value, max);
        }
        let at = self.at;
        let len = self.read_len(field, max)?;
        let text = match self.take(field, len) {
            Ok(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Err(_) => return Err(self.fault(field, at, Reason::Short)),
        };
        *value = text;
        self.row(at, field, || Value::Text(value.clone()));
        Ok(())
    }

    /// All bytes up to the end, at most `max`, without a length. (compact_encoding.11)
    pub fn raw(&mut self, field: &'static str, value: &mut Vec<u8>, max: usize) -> Result<(), Malformed> {
        let at = self.at;
        match self.way {
            Way::Read { .. } => {
                let len = self.left();
                if len > max {
                    let reason = Reason::TooLong { len: len as u64, max: max as u64 };
                    return Err(self.fault(field, at, reason));
                }
                *value = self.take(field, len)?.to_vec();
                self.row(at, field, || Value::Bytes(value.clone()));
            }
            Way::Write { .. } => self.put(value),
            Way::Invent { .. } => *value = self.draw_bytes(max),
        }
        Ok(())
    }

    /// `len` bytes without a length of their own, or all that are left if those are fewer.
    pub fn clipped(&mut self, field: &'static str, value: &mut Vec<u8>, len: u64) -> Result<(), Malformed> {
        let at = self.at;
        match self.way {
            Way::Read { .. } => {
                let len = usize::try_from(len).map_or(self.left(), |len| len.min(self.left()));
                *value = self.take(field, len)?.to_vec();
                self.row(at, field, || Value::Bytes(value.clone()));
            }
            Way::Write { .. } => self.put(value),
            Way::Invent { .. } => {
                *value = vec![0; len.min(40) as usize];
                self.entropy().fill(value);
            }
        }
        Ok(())
    }

    /// Four bytes of address and a little-endian port. (compact_encoding.12)
    #[inline(always)]
    pub fn addr(&mut self, field: &'static str, value: &mut Addr) -> Result<(), Malformed> {
        let at = self.at;
        match self.way {
            Way::Read { .. } => {
                let bytes = self.take(field, 6)?;
                let addr = Addr {
                    ip: [bytes[0], bytes[1], bytes[2], bytes[3]],
                    port: u16::from_le_bytes([bytes[4], bytes[5]]),
                };
                *value = addr;
                self.row(at, field, || Value::Addr(addr));
            }
            Way::Write { .. } => {
                let ([a, b, c, d], [low, high]) = (value.ip, value.port.to_le_bytes());
                self.put(&[a, b, c, d, low, high]);
            }
            Way::Invent { .. } => {
                self.entropy().fill(&mut value.ip);
                value.port = self.entropy().u32() as u16;
            }
        }
        Ok(())
    }

    /// A field that is there only if `present` (from flags that were moved before): `each` walks it.
    pub fn when<T: Default>(
        &mut self,
        present: bool,
        value: &mut Option<T>,
        each: impl FnOnce(&mut Self, &mut T) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if !present {
            *value = None;
            return Ok(());
        }
        each(self, value.get_or_insert_with(T::default))
    }

    /// A `uint` count of at most `max`, then the elements, each walked by `each`. `least` is the least number of
    /// bytes that an element takes (at least 1): a count that cannot fit is refused before anything is allocated.
    /// (compact_encoding.9)
    pub fn list<T: Default>(
        &mut self,
        field: &'static str,
        values: &mut Vec<T>,
        max: usize,
        least: usize,
        mut each: impl FnMut(&mut Self, &mut T) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let at = self.at;
        match self.way {
            Way::Read { .. } => {
                let count = self.read_len(field, max)?;
                self.row(at, field, || Value::Number(count as u64));
                if count > self.left() / least {
                    return Err(self.fault(field, at, Reason::Short));
                }
                values.clear();
                values.reserve(count.min(LIST_AHEAD));
                for _ in 0..count {
                    let mut value = T::default();
                    each(self, &mut value)?;
                    values.push(value);
                }
            }
            Way::Write { .. } => {
                self.write_len(values.len());
                values.iter_mut().try_for_each(|value| each(self, value))?;
            }
            Way::Invent { .. } => {
                let count = self.entropy().below(max.min(4) as u64 + 1);
                values.clear();
                for _ in 0..count {
                    let mut value = T::default();
                    each(self, &mut value)?;
                    values.push(value);
                }
            }
        }
        Ok(())
    }

    /// Elements without a count, as many as there are up to the end.
    pub fn rest<T: Default>(
        &mut self,
        values: &mut Vec<T>,
        max: usize,
        mut each: impl FnMut(&mut Self, &mut T) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        match self.way {
            Way::Read { .. } => {
                values.clear();
                while self.left() > 0 {
                    if values.len() == max {
                        let reason = Reason::TooLong { len: max as u64 + 1, max: max as u64 };
                        return Err(self.fault("count", self.at, reason));
                    }
                    let before = self.at;
                    let mut value = T::default();
                    each(self, &mut value)?;
                    values.push(value);
                    assert!(self.at > before, "an element of a rest takes at least a byte");
                }
            }
            Way::Write { .. } => values.iter_mut().try_for_each(|value| each(self, value))?,
            Way::Invent { .. } => {
                let count = self.entropy().below(max.min(4) as u64 + 1);
                values.clear();
                for _ in 0..count {
                    let mut value = T::default();
                    each(self, &mut value)?;
                    values.push(value);
                }
            }
        }
        Ok(())
    }

    /// A `uint` byte length of at most `max`, then fields inside that length; bytes that they leave are skipped.
    /// (compact_encoding.10)
    pub fn frame(
        &mut self,
        field: &'static str,
        max: usize,
        each: impl FnOnce(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let at = self.at;
        match &mut self.way {
            Way::Read { .. } => {
                let len = self.read_len(field, max)?;
                if len > self.left() {
                    return Err(self.fault(field, at, Reason::Short));
                }
                self.row(at, field, || Value::Number(len as u64));
                let outer = core::mem::replace(&mut self.end, self.at + len);
                let walked = each(self);
                self.at = self.end;
                self.end = outer;
                walked
            }
            Way::Write { out } => {
                let start = out.len();
                each(self)?;
                if let Way::Write { out } = &mut self.way {
                    let (bytes, used) = compact::uint_bytes((out.len() - start) as u64);
                    out.splice(start..start, bytes[..used].iter().copied());
                    self.at += used;
                }
                Ok(())
            }
            Way::Invent { .. } => each(self),
        }
    }

    fn read_len(&mut self, field: &'static str, max: usize) -> Result<usize, Malformed> {
        let at = self.at;
        let len = self.read_uint(field)?;
        if len > max as u64 {
            return Err(self.fault(field, at, Reason::TooLong { len, max: max as u64 }));
        }
        Ok(len as usize)
    }

    fn write_len(&mut self, len: usize) {
        let (bytes, used) = compact::uint_bytes(len as u64);
        self.put(&bytes[..used]);
    }

    fn draw_bytes(&mut self, max: usize) -> Vec<u8> {
        let len = self.entropy().below(max.min(40) as u64 + 1) as usize;
        let mut bytes = vec![0; len];
        self.entropy().fill(&mut bytes);
        bytes
    }
}

#[inline]
fn pack<const N: usize>(flags: [bool; N]) -> u64 {
    flags.iter().enumerate().fold(0, |bits, (n, &flag)| bits | u64::from(flag) << n)
}

#[cfg(test)]
mod tests;
