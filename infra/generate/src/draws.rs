//! Chance that is the same on every machine and for every version of `rand`.
//!
//! Each thing drawn about (a person, a session, a file) has a stream of its own, keyed by the seed
//! and by what it is about. So anything can be drawn again at any time, in any order, and nothing
//! has to be remembered: that is what keeps the generator's memory bounded.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of draws is about.
#[derive(Clone, Copy)]
pub(crate) enum About {
    Names = 1,
    Person,
    Device,
    Records,
    Session,
    Group,
    File,
}

/// A stream of draws.
pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream about the thing that `a` and `b` identify.
    pub(crate) fn about(seed: u64, about: About, a: u64, b: u64) -> Self {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, about as u64, a, b]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 64 even bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The high half of a widening product: no rejection, so a draw always takes one word.
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number of milliseconds below `bound`.
    pub(crate) fn ms_below(&mut self, bound: i64) -> i64 {
        self.below(bound.max(0) as u64) as i64
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
