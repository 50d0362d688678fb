//! The function `customer_trusted_to_curated`.
