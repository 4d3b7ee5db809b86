//! The augmented views that are asked for.

use std::num::NonZeroUsize;

use backbone::pixels::{Variation, VariationError};
use clap::Args;
use extract::views::PhotoViews;

/// More than a head sees in any sensible number of epochs; each costs as much as its photo.
const MOST_VIEWS: usize = 64;

/// Augmented views of the photos that heads learn from.
#[derive(Debug, Args)]
pub struct ViewsArgs {
    /// Also cache N augmented views of each training photo, up to 64, of which heads learn from another one each epoch;
    /// costs N times the forward passes of those photos, and more can be added later [default: none]
    #[arg(long, value_name = "N", value_parser = count)]
    views: Option<NonZeroUsize>,
    /// Mirror half of the views (needs --views)
    #[arg(long, requires = "views")]
    flip: bool,
    /// Cut up to this part of width and height off each view; the window keeps the photo's proportions and is anywhere in
    /// it (needs --views)
    #[arg(long, value_name = "PART", default_value_t = 0.0, requires = "views", allow_negative_numbers = true)]
    crop: f64,
    /// Make each view lighter or darker by up to this part (needs --views)
    #[arg(long, value_name = "PART", default_value_t = 0.0, requires = "views", allow_negative_numbers = true)]
    brightness: f64,
    /// What the views are drawn from, together with the photo's bytes and the view's number (needs --views)
    #[arg(long, value_name = "SEED", default_value_t = 42, requires = "views")]
    seed: u64,
}

fn count(typed: &str) -> Result<NonZeroUsize, String> {
    let count = typed.parse().ok().filter(|count: &NonZeroUsize| count.get() <= MOST_VIEWS);
    count.ok_or_else(|| format!("expected a number from 1 to {MOST_VIEWS}"))
}

impl ViewsArgs {
    /// What was meant.
    pub fn views(&self) -> Result<Option<PhotoViews>, VariationError> {
        let Self { views, flip, crop, brightness, seed } = *self;
        let Some(count) = views else { return Ok(None) };
        Ok(Some(PhotoViews::new(count, Variation::new(flip, crop, brightness, seed)?)))
    }
}
