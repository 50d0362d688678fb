//! Data shaped like the three STEDI feeds.
