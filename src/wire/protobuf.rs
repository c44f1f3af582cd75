//! Protocol buffers, as far as hyperbee uses them: fields that a walk of `Cursor::protobuf` visits by number.
//!
//! Reading takes the fields in whatever order they come, passes over unknown numbers, and does not look at the wire
//! type of a known one, as upstream does (hyperbee.5). Writing visits the numbers upwards, so that equal values give
//! equal bytes.

use core::ops::Deref;

use super::{Cursor, Value, Way, compact};
use crate::base::{Malformed, Reason};

/// A field that a walk is at.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its number, at least 1.
    pub number: u64,
    /// Where its tag begins.
    at: usize,
}

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

/// A varint of seven bits per byte takes at most this many bytes; more are malformed.
const VARINT_MAX: usize = 10;

impl Cursor<'_> {
    /// Walks a protobuf message that ends where the cursor's bytes (or frame) end. `each` is called with the fields
    /// that are there (when reading), or with 1 to `last` (when writing and inventing). Returns which numbers were
    /// met, as bits: a required one that is missing is for the caller to refuse. (hyperbee.5)
    pub fn protobuf(
        &mut self,
        last: u64,
        mut each: impl FnMut(&mut Self, Field) -> Result<(), Malformed>,
    ) -> Result<u64, Malformed> {
        if !self.reading() {
            for number in 1..=last {
                each(self, Field { number, at: self.at })?;
            }
            return Ok(u64::MAX);
        }
        let mut met = 0;
        while self.left() > 0 {
            let at = self.at;
            let tag = self.read_varint("tag")?;
            let number = tag >> 3;
            if (1..=last).contains(&number) {
                each(self, Field { number, at })?;
                met |= 1 << number;
            } else {
                self.skip_field(tag & 7)?;
            }
        }
        Ok(met)
    }

    /// Bytes that are always there.
    pub fn pb_bytes(
        &mut self,
        field: Field,
        name: &'static str,
        value: &mut Vec<u8>,
        max: usize,
    ) -> Result<(), Malformed> {
        match self.way {
            Way::Read { .. } => {
                let len = self.read_pb_len(name, max)?;
                *value = self.take(name, len)?.to_vec();
                self.row(field.at, name, || Value::Bytes(value.clone()));
            }
            Way::Write { .. } => self.put_bytes_field(field.number, value),
            Way::Invent { .. } => *value = self.draw_bytes(max),
        }
        Ok(())
    }

    /// Bytes that may be absent; no bytes are not the same as absent.
    pub fn pb_optional_bytes(
        &mut self,
        field: Field,
        name: &'static str,
        value: &mut Option<Vec<u8>>,
        max: usize,
    ) -> Result<(), Malformed> {
        match self.way {
            Way::Read { .. } => self.pb_bytes(field, name, value.get_or_insert_default(), max),
            Way::Write { .. } => {
                value.as_mut().map_or(Ok(()), |bytes| self.pb_bytes(field, name, bytes, max))
            }
            Way::Invent { .. } => {
                *value = if self.entropy().chance(500) { Some(self.draw_bytes(max)) } else { None };
                Ok(())
            }
        }
    }

    /// A number; absent it is 0, and it is always written.
    pub fn pb_uint(&mut self, field: Field, name: &'static str, value: &mut u64) -> Result<(), Malformed> {
        match &mut self.way {
            Way::Read { .. } => {
                *value = self.read_varint(name)?;
                self.row(field.at, name, || Value::Number(*value));
            }
            Way::Write { out } => {
                let start = out.len();
                put_varint(out, field.number << 3 | VARINT);
                put_varint(out, *value);
                self.at += out.len() - start;
            }
            Way::Invent { .. } => *value = self.draw_number().min(compact::UINT_MAX),
        }
        Ok(())
    }

    /// True for any number but 0; absent it is false, and it is always written.
    pub fn pb_bool(&mut self, field: Field, name: &'static str, value: &mut bool) -> Result<(), Malformed> {
        let mut number = u64::from(*value);
        self.pb_uint(field, name, &mut number)?;
        *value = number > 0;
        Ok(())
    }

    /// UTF-8 text that is always there.
    pub fn pb_string(
        &mut self,
        field: Field,
        name: &'static str,
        value: &mut String,
        max: usize,
    ) -> Result<(), Malformed> {
        match self.way {
            Way::Read { .. } => {
                let len = self.read_pb_len(name, max)?;
                let at = self.at;
                let text = core::str::from_utf8(self.take(name, len)?).map(str::to_owned);
                *value = text.map_err(|_| self.fault(name, at, Reason::NotText))?;
                self.row(field.at, name, || Value::Text(value.clone()));
            }
            Way::Write { .. } => self.put_bytes_field(field.number, value.as_bytes()),
            Way::Invent { .. } => {
                let len = self.entropy().below(max.min(12) as u64 + 1);
                *value = (0..len).map(|_| char::from(b'a' + self.entropy().below(26) as u8)).collect();
            }
        }
        Ok(())
    }

    /// Numbers packed into one field, which is absent when there are none. At most `max`, for which there must be room.
    /// (hyperbee.6)
    pub fn pb_packed<V: Deref<Target = [u64]> + Extend<u64> + FromIterator<u64>>(
        &mut self,
        field: Field,
        name: &'static str,
        values: &mut V,
        max: usize,
    ) -> Result<(), Malformed> {
        match &mut self.way {
            Way::Read { .. } => {
                let len = self.read_pb_len(name, usize::MAX)?;
                let outer = core::mem::replace(&mut self.end, self.at + len);
                let read = self.read_packed(name, values, max);
                self.end = outer;
                read?;
                self.row(field.at, name, || Value::Number(values.len() as u64));
            }
            Way::Write { out } => {
                if values.is_empty() {
                    return Ok(());
                }
                let start = out.len();
                put_varint(out, field.number << 3 | LENGTH);
                put_varint(out, values.iter().map(|&value| varint_len(value)).sum::<usize>() as u64);
                values.iter().for_each(|&value| put_varint(out, value));
                self.at += out.len() - start;
            }
            Way::Invent { .. } => {
                let count = self.entropy().below(max.min(4) as u64 + 1);
                *values = (0..count).map(|_| self.draw_number().min(compact::UINT_MAX)).collect();
            }
        }
        Ok(())
    }

    /// Messages, one field each. At most `max`.
    pub fn pb_messages<T: Default>(
        &mut self,
        field: Field,
        name: &'static str,
        values: &mut Vec<T>,
        max: usize,
        mut each: impl FnMut(&mut Self, &mut T) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        match self.way {
            Way::Read { .. } => {
                if values.len() == max {
                    let reason = Reason::TooLong { len: max as u64 + 1, max: max as u64 };
                    return Err(self.fault(name, field.at, reason));
                }
                let mut value = T::default();
                self.read_message(field, name, |c| each(c, &mut value))?;
                values.push(value);
                Ok(())
            }
            Way::Write { .. } => {
                values.iter_mut().try_for_each(|value| self.write_message(field.number, |c| each(c, value)))
            }
            Way::Invent { .. } => {
                let count = self.entropy().below(max.min(4) as u64 + 1);
                values.clear();
                for _ in 0..count {
                    let mut value = T::default();
                    each(self, &mut value)?;
                    values.push(value);
                }
                Ok(())
            }
        }
    }

    /// A message that may be absent.
    pub fn pb_optional_message<T: Default>(
        &mut self,
        field: Field,
        name: &'static str,
        value: &mut Option<T>,
        each: impl FnOnce(&mut Self, &mut T) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        match self.way {
            Way::Read { .. } => {
                let mut read = T::default();
                self.read_message(field, name, |c| each(c, &mut read))?;
                *value = Some(read);
                Ok(())
            }
            Way::Write { .. } => match value {
                Some(value) => self.write_message(field.number, |c| each(c, value)),
                None => Ok(()),
            },
            Way::Invent { .. } => {
                *value = None;
                if self.entropy().chance(500) {
                    each(self, value.insert(T::default()))?;
                }
                Ok(())
            }
        }
    }

    fn read_message(
        &mut self,
        field: Field,
        name: &'static str,
        each: impl FnOnce(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let len = self.read_pb_len(name, usize::MAX)?;
        self.row(field.at, name, || Value::Number(len as u64));
        let outer = core::mem::replace(&mut self.end, self.at + len);
        let walked = each(self);
        self.end = outer;
        walked
    }

    fn write_message(
        &mut self,
        number: u64,
        each: impl FnOnce(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let start = match &self.way {
            Way::Write { out } => out.len(),
            Way::Read { .. } | Way::Invent { .. } => unreachable!("only writing writes"),
        };
        each(self)?;
        if let Way::Write { out } = &mut self.way {
            // Behind the fields at first, then turned to the front of them.
            let end = out.len();
            put_varint(out, number << 3 | LENGTH);
            put_varint(out, (end - start) as u64);
            let head = out.len() - end;
            out[start..].rotate_right(head);
            self.at += head;
        }
        Ok(())
    }

    fn put_bytes_field(&mut self, number: u64, bytes: &[u8]) {
        if let Way::Write { out } = &mut self.way {
            let start = out.len();
            put_varint(out, number << 3 | LENGTH);
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
            self.at += out.len() - start;
        }
    }

    fn read_packed<V: Deref<Target = [u64]> + Extend<u64>>(
        &mut self,
        name: &'static str,
        values: &mut V,
        max: usize,
    ) -> Result<(), Malformed> {
        while self.left() > 0 {
            let value = self.read_varint(name)?;
            if values.len() == max {
                let reason = Reason::TooLong { len: max as u64 + 1, max: max as u64 };
                return Err(self.fault(name, self.at, reason));
            }
            values.extend([value]);
        }
        Ok(())
    }

    /// A length of at most `max` that is not beyond the end.
    fn read_pb_len(&mut self, name: &'static str, max: usize) -> Result<usize, Malformed> {
        let at = self.at;
        let len = self.read_varint(name)?;
        if len > max as u64 {
            return Err(self.fault(name, at, Reason::TooLong { len, max: max as u64 }));
        }
        if len > self.left() as u64 {
            return Err(self.fault(name, at, Reason::Short));
        }
        Ok(len as usize)
    }

    /// Follows hyperbee.9.
    fn read_varint(&mut self, name: &'static str) -> Result<u64, Malformed> {
        let at = self.at;
        let mut value = 0_u64;
        for n in 0..VARINT_MAX {
            let byte = match self.take(name, 1) {
                Ok(bytes) => bytes[0],
                Err(_) => return Err(self.fault(name, at, Reason::Short)),
            };
            let bits = u64::from(byte & 0x7f);
            let shifted = if 7 * n < 63 { bits << (7 * n) } else { 0 };
            if bits != 0 && (7 * n >= 63 || shifted >> (7 * n) != bits) {
                return Err(self.fault(name, at, Reason::Illegal { value: u64::MAX }));
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return if value <= compact::UINT_MAX {
                    Ok(value)
                } else {
                    Err(self.fault(name, at, Reason::Illegal { value }))
                };
            }
        }
        Err(self.fault(name, at, Reason::Illegal { value: u64::MAX }))
    }

    fn skip_field(&mut self, wire_type: u64) -> Result<(), Malformed> {
        let len = match wire_type {
            VARINT => return self.read_varint("unknown field").map(|_| ()),
            FIXED_64 => 8,
            LENGTH => self.read_pb_len("unknown field", usize::MAX)?,
            FIXED_32 => 4,
            value => return Err(self.fault("tag", self.at, Reason::Illegal { value })),
        };
        self.take("unknown field", len).map(|_| ())
    }
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_takes_the_bytes_it_needs() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1 << 28, compact::UINT_MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }
}
