//! Names of things: object keys, versions, and the keyed hashes that stand for people and devices.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Key of an object in the lake's bucket, as the store knows it (never form-encoded).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// Wraps a key.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows `prefix`, if the key begins with it.
    pub fn after(&self, prefix: &str) -> Option<&str> {
        self.0.strip_prefix(prefix)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Version of an object: equal tags, equal content. On S3 the reverse holds too, so that a tag may
/// come back (A-B-A); whoever must notice a change in between carries a revision in the content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(Arc<str>);

impl ETag {
    /// Wraps a tag as the store gave it.
    pub fn new(tag: impl Into<Arc<str>>) -> Self {
        Self(tag.into())
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Position in the history of a register part. Revisions only grow; 0 is before all of them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

/// Stands for a landing object in the keys of what is derived from it: the first 16 hex digits of
/// the SHA-256 of the landing key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source([u8; 8]);

impl Source {
    /// The source that a landing key names.
    pub fn of(landing: &ObjectKey) -> Self {
        Self(prefix_of(&Sha256::digest(landing.as_str().as_bytes())))
    }
}

/// Keyed hash of a person or a device, for the lake's own bookkeeping: 128 bits of HMAC-SHA256.
///
/// Keyed, since a plain hash of an e-mail address can be guessed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 16]);

impl KeyHash {
    /// The part of a register this hash falls into: its first bits.
    pub fn part(self, parts: Parts) -> Part {
        let first = u32::from(u16::from_be_bytes([self.0[0], self.0[1]]));
        Part { digits: parts.digits(), number: ((first * u32::from(parts.0)) >> 16) as u16 }
    }
}

/// Tells what was digested from everything else: the first 128 bits of a [`VersionDigest`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

/// Bytes that are spelled as hex digits.
macro_rules! hex_digits {
    ($name:ident, $bytes:literal, $wanted:literal) => {
        impl $name {
            /// Reads the digits.
            pub fn parse(digits: &str) -> Option<Self> {
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(digits, &mut bytes).ok()?;
                Some(Self(bytes))
            }

            /// The bytes that the digits stand for.
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// That with these bytes.
            pub fn of_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [0; 2 * $bytes];
                hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
                f.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let digits = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&digits).ok_or_else(|| serde::de::Error::custom($wanted))
            }
        }
    };
}

hex_digits!(Source, 8, "want 16 hex digits");
hex_digits!(KeyHash, 16, "want 32 hex digits");
hex_digits!(Fingerprint, 16, "want 32 hex digits");

/// Number of parts of every register of a lake: a power of two up to [`Self::MAX`], fixed when it is
/// made.
///
/// Whoever changes one person's record writes the whole of their part again, six objects of it; an
/// object of the readings of many people looks at each of their parts. [`Self::PEOPLE`] says
/// what is best in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Parts(u16);

impl Parts {
    /// The most there can be.
    pub const MAX: u16 = 1 << 15;
    /// The fewest that are made for people who were counted. Each costs six objects, with one person in
    /// it or many: a bulk load of a thousand takes a fifth less time with 4 than with 16.
    pub const MIN: u16 = 4;
    /// How many people a part is meant for.
    ///
    /// Measured in a lake of a million, by `tests/bench/increment`:
    ///
    /// | people of a part | one customer: KB written | instructions |
    /// |---|---|---|
    /// | 977 | 358 | 93 M |
    /// | 488 | 180 | 47 M |
    /// | 244 | 99 | 26 M |
    /// | 122 | 50 | 14 M |
    /// | 61 | 27 | 8 M |
    ///
    /// What many people at once take does not depend on it: of them the runs of all parts are read.
    ///
    /// Fewer yet would make a change cheaper, but the tables of customers have an object for each part,
    /// and whoever queries them reads all. The local command, which is used for bulk loads, takes a
    /// sixteenth as many parts: there, one process writes all of them over and over.
    pub const PEOPLE: u64 = 64;

    /// As many as suit so many people: about [`Self::PEOPLE`] to a part, as near as a power of two
    /// comes; but not fewer than [`Self::MIN`], nor more than [`Self::MAX`].
    pub fn for_people(people: u64) -> Self {
        let wanted = (people / Self::PEOPLE).clamp(u64::from(Self::MIN), u64::from(Self::MAX));
        let above = wanted.next_power_of_two();
        // Nearest by ratio: one of these two is within the square root of two.
        let parts = if 2 * wanted * wanted < above * above { above / 2 } else { above };
        Self(parts as u16)
    }

    /// Every part, in order.
    pub fn all(self) -> impl Iterator<Item = Part> {
        let digits = self.digits();
        (0..self.0).map(move |number| Part { digits, number })
    }

    /// Digits of each part's name: as many as the last one needs, and two at least.
    fn digits(self) -> u8 {
        match self.0 {
            0..=0x100 => 2,
            0x101..=0x1000 => 3,
            _ => 4,
        }
    }
}

impl From<Parts> for u16 {
    fn from(parts: Parts) -> Self {
        parts.0
    }
}

impl TryFrom<u16> for Parts {
    type Error = String;

    fn try_from(parts: u16) -> Result<Self, String> {
        if parts.is_power_of_two() && parts <= Self::MAX {
            Ok(Self(parts))
        } else {
            Err(format!("{parts} parts: want a power of two from 1 to {}", Self::MAX))
        }
    }
}

impl FromStr for Parts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.parse::<u16>().ok().and_then(|parts| Self::try_from(parts).ok());
        parts.ok_or_else(|| format!("want a power of two from 1 to {}", Self::MAX))
    }
}

/// One part of a register. Its name has as many digits as those of all parts of its lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    digits: u8,
    number: u16,
}

impl Part {
    /// Reads the two, three or four hex digits of `part-NN`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = u8::try_from(text.len()).ok().filter(|digits| (2..=4).contains(digits))?;
        let part = Self { digits, number: u16::from_str_radix(text, 16).ok()? };
        // Neither capitals nor a sign.
        (part.to_string() == text).then_some(part)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0digits$x}", self.number, digits = usize::from(self.digits))
    }
}

/// The lake's secret: keys the hashes under `state/` and the pseudonyms, each with a label of its
/// own so that neither gives the other away. Never printed.
///
/// It is what HMAC makes of the secret: half the work of hashing something short, done once.
#[derive(Clone)]
pub struct LakeKey(Hmac<Sha256>);

impl LakeKey {
    /// Fewest bytes a key may have.
    pub const BYTES_MIN: usize = 16;

    /// Wraps a secret of at least [`Self::BYTES_MIN`] bytes.
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() < Self::BYTES_MIN {
            return None;
        }
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    /// Hash of a person, by `key(email)`.
    pub fn person(&self, email: &str) -> KeyHash {
        KeyHash(prefix_of(&self.mac("state:person", normal_email(email).as_bytes())))
    }

    /// Hash of a device, by its serial number, compared exactly.
    pub fn device(&self, serial_number: &str) -> KeyHash {
        KeyHash(prefix_of(&self.mac("state:device", serial_number.as_bytes())))
    }

    /// Digest of a whole record, to notice that it changed.
    pub fn record(&self, bytes: &[u8]) -> KeyHash {
        KeyHash(prefix_of(&self.mac("state:record", bytes)))
    }

    /// Pseudonym of a person: 64 hex digits, the same wherever the person appears.
    pub fn person_pseudonym(&self, email: &str) -> String {
        hex::encode(self.mac("pseudonym:person", normal_email(email).as_bytes()))
    }

    /// Pseudonym of a device: 64 hex digits.
    pub fn device_pseudonym(&self, serial_number: &str) -> String {
        hex::encode(self.mac("pseudonym:device", serial_number.as_bytes()))
    }

    /// Says which key this is without giving it away; a lake records it to refuse another.
    pub fn fingerprint(&self) -> String {
        hex::encode(&self.mac("fingerprint", b"")[..8])
    }

    fn mac(&self, label: &str, message: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(label.as_bytes());
        mac.update(&[0]);
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for LakeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LakeKey(secret)")
    }
}

/// `key(e)` of the rules: `lower(trim(e))`, spaces trimmed.
pub fn normal_email(email: &str) -> String {
    email.trim_matches(' ').to_lowercase()
}

fn prefix_of<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut prefix = [0; N];
    prefix.copy_from_slice(&digest[..N]);
    prefix
}

/// Digest of a sequence of fields: for versions that a footer carries, and those that are compared.
#[derive(Clone)]
pub struct VersionDigest(Sha256);

impl VersionDigest {
    /// An empty digest.
    #[expect(clippy::new_without_default, reason = "a digest is begun, not defaulted")]
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds a field, with its length so that neighbours cannot run together.
    pub fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds a key and its revision.
    pub fn revision(&mut self, key: &KeyHash, revision: Revision) {
        self.0.update(key.as_bytes());
        self.0.update(revision.0.to_le_bytes());
    }

    /// 64 hex digits.
    pub fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }

    /// The first of them, as bytes.
    pub fn fingerprint(self) -> Fingerprint {
        Fingerprint(prefix_of(&self.0.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_one_hash_however_they_write_their_email() {
        let key = LakeKey::new(&[7; 32]).unwrap();
        assert_eq!(key.person(" Ada.L@Test.com "), key.person("ada.l@test.com"));
        assert_ne!(key.person("ada\u{a0}"), key.person("ada"), "only spaces are trimmed");
        assert_ne!(key.device("A1"), key.device("a1"), "serial numbers are compared exactly");
    }

    #[test]
    fn hashes_are_those_that_lakes_have() {
        // HMAC-SHA256 of label, NUL and text, computed by another implementation.
        let key = LakeKey::new(b"sixteen bytes or").unwrap();
        assert_eq!(key.person("ada@test.com").to_string(), "b8e8fe83fd019115de7483132d0e8b45");
        let pseudonym = "23d175dd5504240d97c3098293ef90399620d75a61e692db65abd75da280d702";
        assert_eq!(key.device_pseudonym("serial"), pseudonym);
        assert!(LakeKey::new(b"fifteen bytes a").is_none());
    }

    #[test]
    fn state_and_pseudonym_do_not_give_each_other_away() {
        let key = LakeKey::new(&[7; 32]).unwrap();
        assert!(!key.person_pseudonym("a").starts_with(&key.person("a").to_string()));
        assert_ne!(key.person("a"), LakeKey::new(&[8; 32]).unwrap().person("a"));
    }

    #[test]
    fn parts_split_the_hashes_by_their_first_bits() {
        let hash = |first: u8| KeyHash([first; 16]);
        let parts = Parts::try_from(16).unwrap();
        assert_eq!(hash(0x00).part(parts).to_string(), "00");
        assert_eq!(hash(0xff).part(parts).to_string(), "0f");
        assert_eq!(hash(0xff).part(Parts::try_from(256).unwrap()).to_string(), "ff");
        assert_eq!(hash(0xff).part(Parts::try_from(1).unwrap()).to_string(), "00");
        assert!(Parts::try_from(12).is_err() && Parts::try_from(0).is_err());
        let bytes = [0x12, 0x34, 0x56].map(|byte| [byte; 1]).concat();
        let hash = KeyHash(std::array::from_fn(|at| bytes.get(at).copied().unwrap_or_default()));
        let in_part = |parts: u16| hash.part(Parts::try_from(parts).unwrap()).to_string();
        assert_eq!(in_part(256), "12");
        assert_eq!(in_part(512), "024");
        assert_eq!(in_part(4_096), "123");
        assert_eq!(in_part(Parts::MAX), "091a");
    }

    #[test]
    fn the_names_of_parts_sort_as_the_parts_do_and_are_read_back() {
        for (count, last) in [(1, "00"), (256, "ff"), (512, "1ff"), (4_096, "fff"), (8_192, "1fff")]
        {
            let parts: Vec<Part> = Parts::try_from(count).unwrap().all().collect();
            let names: Vec<String> = parts.iter().map(ToString::to_string).collect();
            assert_eq!(names.last().unwrap(), last);
            assert!(names.is_sorted() && parts.is_sorted());
            let read: Option<Vec<Part>> = names.iter().map(|name| Part::parse(name)).collect();
            assert_eq!(read.unwrap(), parts);
        }
        for stranger in ["", "0", "0F", "+f", "-1", "0g", "00000"] {
            assert_eq!(Part::parse(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_lake_has_as_many_parts_as_suit_its_people() {
        let parts = |people| u16::from(Parts::for_people(people));
        let full = Parts::PEOPLE;
        assert_eq!([parts(0), parts(4 * full), parts(5 * full)], [4, 4, 4]);
        assert_eq!([parts(16 * full), parts(22 * full)], [16, 16]);
        assert_eq!([parts(23 * full), parts(32 * full), parts(45 * full)], [32, 32, 32]);
        assert_eq!([parts(46 * full), parts(1_000_000)], [64, 16_384]);
        assert_eq!(parts(u64::MAX), Parts::MAX);
    }
}
