//! report.html: a run or a sweep as one self-contained page.
//!
//! Charts are SVG in the page's colours, light or dark. Each chart has a table of its numbers below it, for readers who
//! cannot see the chart or its colours.

mod html;
mod overfitting;
mod classes;
mod gallery;
mod run_page;
mod sweep_page;

pub use self::gallery::{Gallery, Mistake, PhotoFolder, Unfamiliar, mistakes, most_unfamiliar};
pub use self::run_page::run_page;
pub use self::sweep_page::sweep_page;
