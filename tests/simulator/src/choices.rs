//! Every decision of a run, drawn from a seed or played back.
//!
//! Alternative 0 is always the harmless one that makes progress: so a run is made simpler by
//! setting choices to 0, and a list of choices that ends early goes on harmlessly.

/// A small generator of numbers (SplitMix64): the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        (self.bits() % count.max(1) as u64) as usize
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, of_a_thousand: usize) -> bool {
        self.below(1000) < of_a_thousand
    }

    /// One of several.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// The position of one of several weights, in proportion to them.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let total: u64 = weights.iter().sum();
        let mut left = self.bits() % total.max(1);
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        0
    }
}

/// The decisions of a run.
#[derive(Debug)]
pub struct Choices {
    /// What is drawn from where nothing is played back; also for weights, which are no decisions.
    pub random: Random,
    given: Option<Vec<u16>>,
    taken: Vec<u16>,
}

impl Choices {
    /// Draws every decision.
    pub fn drawn(seed: u64) -> Self {
        Self { random: Random::new(seed), given: None, taken: Vec::new() }
    }

    /// Plays decisions back, then goes on harmlessly.
    pub fn given(choices: Vec<u16>) -> Self {
        Self { random: Random::new(0), given: Some(choices), taken: Vec::new() }
    }

    /// Decides between `count` alternatives; `draw` prefers some of them.
    pub fn pick(&mut self, count: usize, draw: impl FnOnce(&mut Random) -> usize) -> usize {
        let picked = match &self.given {
            Some(given) => {
                let given = given.get(self.taken.len()).copied().unwrap_or(0);
                usize::from(given).min(count.saturating_sub(1))
            }
            None => draw(&mut self.random),
        };
        self.taken.push(picked as u16);
        picked
    }

    /// Decides whether something of this probability happens.
    pub fn happens(&mut self, of_a_thousand: usize) -> bool {
        self.pick(2, |random| usize::from(random.chance(of_a_thousand))) == 1
    }

    /// Every decision so far, without the harmless ones at the end.
    pub fn taken(&self) -> Vec<u16> {
        let mut taken = self.taken.clone();
        while taken.last() == Some(&0) {
            taken.pop();
        }
        taken
    }
}
