//! Options for augmented views.

use std::num::NonZeroUsize;

use anyhow::anyhow;
use backbone::pixels::{AugmentConfig, AugmentConfigError};
use clap::Args;
use extract::views::PhotoViews;

/// Maximum number of views per photo. Each takes a forward pass, and more would hardly be drawn in a usual number of
/// epochs.
const MAX_VIEWS: usize = 64;

/// The options for augmented views of the training photos.
#[derive(Debug, Args)]
pub struct ViewsArgs {
    /// Also cache N augmented views of each training photo, up to 64; each epoch head trains on a random one per photo.
    /// Each view takes a forward pass, and more can be added later [default: none]
    #[arg(long, value_name = "N", value_parser = view_count)]
    views: Option<NonZeroUsize>,
    /// Mirror half of the views (needs --views)
    #[arg(long, requires = "views")]
    flip: bool,
    /// Crop up to this fraction of width and height off each view, at a random position, with the photo's aspect ratio
    /// (needs --views)
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, requires = "views", allow_negative_numbers = true)]
    crop: f64,
    /// Make each view lighter or darker by up to this fraction (needs --views)
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, requires = "views", allow_negative_numbers = true)]
    brightness: f64,
    /// Seed of the views, combined with the photo's bytes and the view's number (needs --views)
    #[arg(long, value_name = "SEED", default_value_t = 42, requires = "views")]
    seed: u64,
}

fn view_count(value: &str) -> Result<NonZeroUsize, String> {
    let count = value.parse().ok().filter(|count: &NonZeroUsize| count.get() <= MAX_VIEWS);
    count.ok_or_else(|| format!("expected a number from 1 to {MAX_VIEWS}"))
}

impl ViewsArgs {
    /// The checked settings; `None` without --views.
    pub fn views(&self) -> anyhow::Result<Option<PhotoViews>> {
        let Self { views, flip, crop, brightness, seed } = *self;
        let Some(count) = views else { return Ok(None) };
        let config = AugmentConfig::new(flip, crop, brightness, seed).map_err(|error| match error {
            AugmentConfigError::NoChange => {
                anyhow!("--views: {error}; say how they differ, as in --flip --crop 0.1 --brightness 0.1")
            }
            AugmentConfigError::OutOfRange { .. } => anyhow!("--{error}"),
        })?;
        Ok(Some(PhotoViews::new(count, config)))
    }
}
