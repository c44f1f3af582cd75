//! Trees within a tree, and keys and values that are more than bytes. Follows hyperbee.37, hyperbee.45 and hyperbee.46.

use core::marker::PhantomData;
use core::ops::Bound;

use super::{Bee, Entry, Log, Range};
use crate::base::{Cx, Error};
use crate::wire::{Wire, decode, encode};

/// A part of a tree: the keys with one prefix. The tree's own name for a key is `key`, and `strip` takes the prefix
/// off again; what reads and writes is the `Bee`. (hyperbee.37)
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sub {
    prefix: Vec<u8>,
    /// What parts of it are named with, unless they are told another one.
    separator: Vec<u8>,
}

impl Default for Sub {
    fn default() -> Sub {
        Sub::whole()
    }
}

impl Sub {
    /// The whole tree; names within it end with a zero byte.
    pub fn whole() -> Sub {
        Sub::separated(&[0])
    }

    /// The whole tree; names within it end with `separator`.
    pub fn separated(separator: &[u8]) -> Sub {
        Sub { prefix: Vec::new(), separator: separator.to_vec() }
    }

    /// The part named `name`.
    pub fn sub(&self, name: &[u8]) -> Sub {
        self.sub_with(name, &self.separator)
    }

    /// The part whose name ends with a separator of its own. Parts of that one have the whole tree's again, as
    /// upstream.
    pub fn sub_with(&self, name: &[u8], separator: &[u8]) -> Sub {
        let prefix = [&self.prefix[..], name, separator].concat();
        Sub { prefix, separator: self.separator.clone() }
    }

    /// What all keys of this part begin with.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The tree's name for a key of this part.
    pub fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix[..], key].concat()
    }

    /// This part's name for a key of the tree; None if it lies elsewhere.
    pub fn strip<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(&self.prefix[..])
    }

    /// The tree's range for one of this part; open ends end with the part. (hyperbee.45)
    pub fn range(&self, range: Range) -> Range {
        let bound = |bound: Bound<Vec<u8>>| bound.map(|key| self.key(&key));
        let from = match bound(range.from) {
            Bound::Unbounded => Bound::Included(self.prefix.clone()),
            bound => bound,
        };
        let to = match bound(range.to) {
            Bound::Unbounded => self.end(),
            bound => bound,
        };
        Range { from, to, ..range }
    }

    /// The first key after all that begin with the prefix.
    fn end(&self) -> Bound<Vec<u8>> {
        let Some(last) = self.prefix.iter().rposition(|&byte| byte < 0xff) else { return Bound::Unbounded };
        let mut end = self.prefix[..=last].to_vec();
        end[last] += 1;
        Bound::Excluded(end)
    }
}

/// How keys, or values, of one kind are written as bytes.
pub trait Codec {
    type Item;
    fn encode(&self, item: &Self::Item) -> Vec<u8>;
    fn decode(&self, bytes: &[u8]) -> Result<Self::Item, Error>;
}

/// Bytes as they are: upstream's `binary`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Binary;

impl Codec for Binary {
    type Item = Vec<u8>;
    fn encode(&self, item: &Vec<u8>) -> Vec<u8> {
        item.clone()
    }
    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(bytes.to_vec())
    }
}

/// Text: upstream's `utf-8`, `ascii`, and `json` as far as the text goes. Bytes that are no text are an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8;

impl Codec for Utf8 {
    type Item = String;
    fn encode(&self, item: &String) -> Vec<u8> {
        item.clone().into_bytes()
    }
    fn decode(&self, bytes: &[u8]) -> Result<String, Error> {
        String::from_utf8(bytes.to_vec()).map_err(|_| Error::Corrupt("text that is not UTF-8"))
    }
}

/// A format of `wire`: upstream's compact and abstract encodings.
#[derive(Clone, Copy, Debug)]
pub struct Wired<T>(PhantomData<T>);

impl<T> Default for Wired<T> {
    fn default() -> Wired<T> {
        Wired(PhantomData)
    }
}

impl<T: Wire + Clone + Default> Codec for Wired<T> {
    type Item = T;
    fn encode(&self, item: &T) -> Vec<u8> {
        encode(item)
    }
    fn decode(&self, bytes: &[u8]) -> Result<T, Error> {
        Ok(decode(bytes)?)
    }
}

/// Numbers whose bytes sort as they do: eight, the highest first. Upstream has none; its numbers' bytes do not sort.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ordered;

impl Codec for Ordered {
    type Item = u64;
    fn encode(&self, item: &u64) -> Vec<u8> {
        item.to_be_bytes().to_vec()
    }
    fn decode(&self, bytes: &[u8]) -> Result<u64, Error> {
        let bytes = bytes.try_into().map_err(|_| Error::Corrupt("a number of other than eight bytes"))?;
        Ok(u64::from_be_bytes(bytes))
    }
}

/// A part of a tree whose keys are of one kind, and whose values are of one. (hyperbee.46)
#[derive(Clone, Debug, Default)]
pub struct Typed<K, V> {
    pub sub: Sub,
    pub keys: K,
    pub values: V,
}

/// What a `Typed` reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypedEntry<K, V> {
    pub seq: u64,
    pub key: K,
    pub value: Option<V>,
}

/// What a `Typed` of two codecs reads.
pub type EntryOf<K, V> = TypedEntry<<K as Codec>::Item, <V as Codec>::Item>;

impl<K: Codec, V: Codec> Typed<K, V> {
    /// The tree's name for a key.
    pub fn key(&self, key: &K::Item) -> Vec<u8> {
        self.sub.key(&self.keys.encode(key))
    }

    /// Reads an entry of the tree, be it of a get, a range, a difference or a history. `Error::Corrupt`,
    /// `Error::Malformed`: it is of another kind; `Ok(None)`: it is of another part.
    pub fn read(&self, entry: &Entry) -> Result<Option<EntryOf<K, V>>, Error> {
        let Some(key) = self.sub.strip(&entry.key) else { return Ok(None) };
        let value = entry.value.as_ref().map(|value| self.values.decode(value)).transpose()?;
        Ok(Some(TypedEntry { seq: entry.seq, key: self.keys.decode(key)?, value }))
    }

    /// The tree's range for the keys between two bounds.
    pub fn range(&self, from: Bound<&K::Item>, to: Bound<&K::Item>) -> Range {
        let bound = |bound: Bound<&K::Item>| bound.map(|key| self.keys.encode(key));
        self.sub.range(Range { from: bound(from), to: bound(to), ..Range::all() })
    }

    /// See `Bee::get`.
    pub fn get(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &K::Item,
    ) -> Result<Option<EntryOf<K, V>>, Error> {
        let entry = bee.get(cx, log, &self.key(key))?;
        entry.map_or(Ok(None), |entry| self.read(&entry))
    }

    /// See `Bee::put`.
    pub fn put(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &K::Item,
        value: Option<&V::Item>,
    ) -> Result<u64, Error> {
        let value = value.map(|value| self.values.encode(value));
        bee.put(cx, log, &self.key(key), value.as_deref())
    }

    /// See `Bee::del`.
    pub fn del(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &K::Item,
    ) -> Result<bool, Error> {
        bee.del(cx, log, &self.key(key))
    }
}
