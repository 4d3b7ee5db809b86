//! report.html: a run or a sweep as one page that needs nothing else, to look at and to pass on.
//!
//! Charts are SVG in the page's own colours, light or dark; every chart has its numbers as a table below it, so that
//! nothing is in a picture or a colour alone.

mod html;
mod overfitting;
mod classes;
mod gallery;
mod run_page;
mod sweep_page;

pub use self::gallery::{Gallery, Mistake, Unfamiliar, mistakes, most_unfamiliar};
pub use self::run_page::of_run;
pub use self::sweep_page::of_sweep;
