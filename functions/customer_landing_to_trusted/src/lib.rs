//! The function `customer_landing_to_trusted`.
