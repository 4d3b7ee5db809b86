//! Charts as SVG: lines over epochs, and means with error bars over learning rates.
//!
//! A chart is drawn once. A page shows it in the page's style, light or dark; as a file it is self-contained.

mod axes;
mod series_style;
mod chart;
mod lines;
mod means;
mod standalone;
mod curves;

pub(crate) use self::chart::{Chart, Table};
pub(crate) use self::curves::curves;
pub(crate) use self::means::{Mean, Series, mean_chart};
pub(crate) use self::series_style::legend_key;
pub(crate) use self::standalone::STYLE;

pub use self::curves::curves_svg;
