//! The promises, held to by whole chains over lakes in memory: by thousands of runs from seeds, and one
//! by one. In one binary, which is linked once; what measures the memory of its process is in others.

mod bad_neighbours;
mod broken_protocols;
mod comparisons;
mod contention;
mod cost;
mod late_steps;
mod neighbours;
mod passes;
mod policies;
mod regressions;
mod said_first;
mod seeds;
mod small_lake;
mod together;
