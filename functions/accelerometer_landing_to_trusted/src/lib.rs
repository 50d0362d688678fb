//! The function `accelerometer_landing_to_trusted`.
