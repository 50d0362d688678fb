//! The function `step_trainer_landing_to_trusted`.
