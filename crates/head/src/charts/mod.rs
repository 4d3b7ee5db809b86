//! Charts as SVG: lines over epochs, and means with error bars over learning rates.
//!
//! A chart is drawn once. A page shows it in its own style, light or dark; a picture of it is a file that needs nothing
//! else.

mod axes;
mod looks;
mod chart;
mod lines;
mod means;
mod picture;
mod curves;

pub(crate) use self::chart::{Chart, Table};
pub(crate) use self::curves::curves;
pub(crate) use self::looks::key;
pub(crate) use self::means::{Mean, Series, mean_chart};
pub(crate) use self::picture::STYLE;

pub use self::curves::curves_svg;
