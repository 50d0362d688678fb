//! The function `machine_learning_curated`.
