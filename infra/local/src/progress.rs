//! A progress bar on standard error, where that is a terminal.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// A bar of so many units; it hides itself where there is no terminal.
pub(crate) fn bar(total: u64, unit: &str) -> ProgressBar {
    bar_among(&MultiProgress::new(), total, unit)
}

/// A bar beside others. It ticks only once it is one of them: before, it would draw over them.
pub(crate) fn bar_among(bars: &MultiProgress, total: u64, unit: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(total));
    let template = format!("{{spinner}} {{msg}} [{{bar:32}}] {{human_pos}}/{{human_len}} {unit}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
